"""What the page tells: a run, the state of its catalog, and what waits for somebody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fasthash.page.buckets import AgeBucket, SizeBucket
from fasthash.summary import RunSummary

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Piece:
    """What a run did in a part of its time: rows, bytes and the seconds they took."""

    since: datetime
    seconds: float
    rows: float
    bytes: float

    def as_json(self) -> Row:
        """Rates, as a chart shows them."""
        return {
            "since": self.since,
            "seconds": round(self.seconds, 3),
            "rows_per_s": round(self.rows / self.seconds, 3),
            "bytes_per_s": round(self.bytes / self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Files of one content: the numbers of paths and rows, and two of the paths as examples."""

    sha256: str
    size_bytes: int
    files: int
    rows: int
    first_path: str
    last_path: str
    could_be_saved_bytes: int

    def as_json(self) -> Row:
        """Keys as `fasthash duplicates` has them where the meaning is the same."""
        return {
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "files": self.files,
            "rows": self.rows,
            "could_be_saved_bytes": self.could_be_saved_bytes,
            "examples": [self.first_path, self.last_path],
        }


@dataclass(frozen=True, slots=True)
class Duplicates:
    """How many groups of equal files there are, what they all could save, and the largest."""

    groups: int
    could_be_saved_bytes: int
    top: Sequence[Group]


@dataclass(frozen=True, slots=True)
class DriftCount:
    """How many drifts of one kind and resolution; of this run, or of an earlier one and open.

    `unmarked` of them are of rows that had no marker.
    """

    kind: str
    resolution: str
    is_of_run: bool
    n: int
    unmarked: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """What the ledger has of a run beside its figures."""

    options: Row
    host: str
    hosts: Sequence[Row]
    error: str | None
    superseded: bool
    rows_expected: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it, as of one moment. The two lists are read from the database as they are used."""

    made_at: datetime
    version: str
    summary: RunSummary
    run: Run
    throughput: Sequence[Piece]
    sizes: Sequence[SizeBucket]
    rows_without_size: int
    ages: Sequence[AgeBucket]
    duplicates: Duplicates
    drift_counts: Sequence[DriftCount]
    drifts: Iterator[Row]
    residual: Iterator[Row]
    # Of rows without a verdict the digest that their file had; and by digest rows whose file has it
    # still: `row_id`, `artifact_type`, `path`, `verified_at`.
    lost: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    known_bad: int = 0  # rows of the catalog that earlier runs found bad, and this one has not met

    @property
    def catalog_rows(self) -> int:
        """The rows of the catalog that have a path."""
        return sum(bucket.rows for bucket in self.ages)

    @property
    def catalog_bytes(self) -> int:
        """Their recorded sizes together."""
        return sum(bucket.bytes for bucket in self.sizes)

    @property
    def drift_total(self) -> int:
        """How many drifts the list has."""
        return sum(count.n for count in self.drift_counts)

    @property
    def residual_total(self) -> int:
        """How many rows without a verdict the list has."""
        return sum(self.summary.residual.values())

    def as_json(self) -> Row:
        """All but the two lists, by stable keys."""
        return {
            "fasthash": self.version,
            "made_at": self.made_at,
            "summary": self.summary.as_json(),
            "run": {
                "host": self.run.host,
                "hosts": list(self.run.hosts),
                "options": self.run.options,
                "error": self.run.error,
                "superseded": self.run.superseded,
                "rows_expected": self.run.rows_expected,
            },
            "catalog": {
                "rows": self.catalog_rows,
                "bytes": self.catalog_bytes,
                "rows_without_size": self.rows_without_size,
                "rows_known_bad": self.known_bad,
            },
            "sizes": [bucket.as_json() for bucket in self.sizes],
            "ages": [bucket.as_json() for bucket in self.ages],
            "throughput": [piece.as_json() for piece in self.throughput],
            "duplicates": {
                "groups": self.duplicates.groups,
                "could_be_saved_bytes": self.duplicates.could_be_saved_bytes,
                "top": [group.as_json() for group in self.duplicates.top],
            },
        }
