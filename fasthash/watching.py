"""How a reader is told how far it may go, and when to stop."""

from __future__ import annotations

from typing import Protocol


class Stopped(Exception):
    """The coordinator wants this worker to stop now."""


class Watch(Protocol):
    """Where a reader asks how far it may go, says how far it is, and hears that it has to stop."""

    @property
    def slowed(self) -> bool:
        """Whether there is a rate to be kept."""

    def allow(self, most_bytes: int) -> int:
        """Waits until something may be read: how many bytes.

        Raises:
            Stopped: the run stops.
        """

    def advance(self, read_bytes: int) -> None:
        """So many more bytes were read.

        Raises:
            Stopped: the run stops.
        """


class Unwatched:
    """For a reader that nobody waits for."""

    slowed = False

    def allow(self, most_bytes: int) -> int:
        """Everything."""
        return most_bytes

    def advance(self, read_bytes: int) -> None:
        """Nothing."""
