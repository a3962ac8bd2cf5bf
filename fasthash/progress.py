"""How a run shows where it is: a protocol, and an object that shows nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fasthash.fixity import Counts


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run is."""

    counts: Counts
    rows_expected: int | None
    read_bytes: int  # of this process, since it started
    held: str | None = None  # why nothing goes on, if nothing does
    stuck: str | None = None  # a file that has been read for long

    @property
    def rows_in_all(self) -> int | None:
        """How many there will be: rows that came since they were counted are met as well."""
        expected = self.rows_expected
        return None if expected is None else max(expected, self.counts.scanned)


class Progress(Protocol):
    """Shown to a person, or to a log."""

    def show(self, position: Position) -> None:
        """The run is here now; called a few times a second."""

    def close(self) -> None:
        """The run ends."""


class NoProgress:
    """Shows nothing."""

    def show(self, position: Position) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""
