"""The vocabulary: the frozen, picklable types that every other module speaks in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

# A part has fewer results than this (units.MOST_ROWS), so pieces of it have names of their own.
PIECES_A_PART = 4096


class Outcome(StrEnum):
    """What became of one row; every row of a run ends with exactly one."""

    HASHED = "hashed"  # no hash was there before
    CONFIRMED = "confirmed"  # the same hash was there
    DRIFTED = "drifted"  # another hash was there
    FRESH = "fresh"  # the marker was there already
    NO_FILE = "no_file"  # the path resolves to nothing
    FAILED = "failed"  # no verdict; the residual says why


class Verdict(StrEnum):
    """What a worker found out about one row; all but the first three are residual reasons."""

    HASHED = "hashed"
    FRESH = "fresh"
    PRECHECKED = "prechecked"  # unchanged as far as the pre-check can see; not hashed
    NO_FILE = "no_file"
    UNREADABLE = "unreadable"
    UNSTABLE = "unstable"
    OUTSIDE_ROOT = "outside_root"
    NOT_REGULAR = "not_regular"
    BAD_METADATA = "bad_metadata"
    UNREADABLE_ROW = "unreadable_row"  # the database cannot give the row
    WRITE_REFUSED = "write_refused"  # found by the writer: the database refuses this row


class DriftKind(StrEnum):
    """Why a stored hash may differ from the file's."""

    MODIFIED = "modified"  # mtime or size moved since the marker
    CORRUPT = "corrupt"  # they did not: bit rot
    UNKNOWN = "unknown"  # there is no marker or stamp to compare with


RESIDUAL_REASONS: tuple[Verdict, ...] = tuple(
    v for v in Verdict if v not in (Verdict.HASHED, Verdict.FRESH, Verdict.PRECHECKED)
)


class Known(NamedTuple):
    """What a pre-check compares a file with: its facts when its hash was made.

    All but the size is None where only the size is to be compared. Times are nanoseconds.
    """

    size_bytes: int
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    device: int | None = None
    inode: int | None = None
    xxh3: bytes | None = None


class Why(StrEnum):
    """What holds a run."""

    WINDOW = "window"
    PAUSE_FILE = "pause_file"
    IO_PRESSURE = "io_pressure"
    REPLICATION_LAG = "replication_lag"
    WAL_BACKLOG = "wal_backlog"
    ROOT_GONE = "root_gone"
    LEASES = "leases"


class Task(NamedTuple):
    """One row as a worker gets it (a tuple: a million of them are made and sent).

    `preset` is a verdict that needs no reading, or None. `known` is there where a pre-check may
    spare the hashing. `careful` has the file read with `readinto` whatever the run's reader:
    reading it has killed a worker before.
    """

    row_id: str
    path: str
    stored_sha256: str | None
    marker: str | None
    preset: str | None = None
    known: Known | None = None
    detail: str | None = None
    careful: bool = False


class Result(NamedTuple):
    """What a worker says of one row. Times are nanoseconds since the epoch.

    `read_at_ns` is taken before the read, so that a later change of the file is never older
    than the marker made from it. `compared` is the stored hash that a second read past the page
    cache was made for, with the same digest as the first: a drift is only recorded against that
    one. A `detail` beside a digest says why the row cannot be written. `stamps` are mtime, ctime,
    device and inode as `verdicts.STAMPS` packs them: one value is cheaper than four all the way.
    """

    row_id: str
    path: str
    marker: str | None
    verdict: str
    sha256: bytes | None = None
    size_bytes: int = 0
    mtime_ns: int = 0
    read_at_ns: int = 0
    compared: str | None = None
    detail: str | None = None
    stamps: bytes | None = None
    blake3: bytes | None = None
    xxh3: bytes | None = None


@dataclass(frozen=True, slots=True)
class LeasedRange:
    """A range as its holder knows it: rows of one type with after_id < id <= through_id.

    Of one that `is_listed` only the rows in its list count. `leased_before` says that parts of it
    may be committed already; `attempts` counts the holders that were lost with it.
    """

    range_no: int
    artifact_type: str | None
    after_id: str | None
    through_id: str
    pass_no: int
    term: int
    leased_before: bool = False
    attempts: int = 0
    is_listed: bool = False


@dataclass(frozen=True, slots=True)
class Unit:
    """A slice of a leased range, in key order, for one worker."""

    unit_no: int
    range_no: int
    term: int
    after_id: str | None
    tasks: tuple[Task, ...]
    sweep: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # By columns: pickling a row at a time costs the coordinator five times as much.
        columns = tuple(zip(*self.tasks, strict=True))
        facts = (self.unit_no, self.range_no, self.term, self.after_id)
        return _unit_of, (*facts, columns, self.sweep)


def _unit_of(
    unit_no: int, range_no: int, term: int, after_id: str | None, columns: Any, sweep: bool
) -> Unit:
    tasks = tuple(map(Task._make, zip(*columns, strict=True)))
    return Unit(unit_no, range_no, term, after_id, tasks, sweep)


@dataclass(frozen=True, slots=True)
class Part:
    """The results of the next rows of a unit: after_id < id <= the last result's id.

    `part_no` is given by the coordinator and names the part for ever: committed once, a part
    sent again (after a crash or an ambiguous commit) is recognised and changes nothing. A part
    that was cut in two keeps the number; `offset` is where the piece begins. `sweep` says that
    the rows may have been met before in this run.
    """

    unit_no: int
    range_no: int
    term: int
    after_id: str | None
    through_id: str
    rows: int
    payload: bytes  # the results, packed: see `parts`
    read_bytes: int
    part_no: int = 0
    offset: int = 0
    sweep: bool = False

    @property
    def segment_no(self) -> int:
        """The name under which the ledger knows it."""
        return self.part_no * PIECES_A_PART + self.offset


@dataclass(frozen=True, slots=True)
class RootGone:
    """A root is missing or another file system: the unit was given up before any verdict."""

    unit_no: int
    root: str
    detail: str


@dataclass(frozen=True, slots=True)
class Returned:
    """A unit was given up between two files: nothing may be read now, or of the budget."""

    unit_no: int
    out_of_budget: bool


@dataclass(frozen=True, slots=True)
class Starved:
    """A unit was given up because no file can be opened any more: that says nothing of its rows."""

    unit_no: int
    detail: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows by outcome and what goes with them; counts of disjoint rows add up."""

    hashed: int = 0
    confirmed: int = 0
    drifted: int = 0
    fresh: int = 0
    no_file: int = 0
    failed: int = 0
    gone: int = 0
    updated: int = 0
    bytes_hashed: int = 0
    prechecked: int = 0  # of the confirmed: without a hash

    @property
    def scanned(self) -> int:
        """Rows that ended with an outcome."""
        return self.hashed + self.confirmed + self.drifted + self.fresh + self.no_file + self.failed

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(self.as_tuple(), other.as_tuple(), strict=True)))

    def as_tuple(self) -> tuple[int, ...]:
        """The fields in the order of their declaration, which is the order of the SQL columns."""
        return (
            self.hashed,
            self.confirmed,
            self.drifted,
            self.fresh,
            self.no_file,
            self.failed,
            self.gone,
            self.updated,
            self.bytes_hashed,
            self.prechecked,
        )


@dataclass(frozen=True, slots=True)
class Root:
    """A directory that files must lie beneath, as it was when somebody looked.

    What tells that it is still the same one, on whatever device its file system is by now, is
    decided in `sameness`.

    Args:
        path: as configured, absolute.
        real_path: the same with symbolic links resolved.
        device: `st_dev`, which a file system may change when it is mounted anew.
        inode: the directory's number, which it keeps.
        mount_id: names the mount as long as the machine runs; 0 where the kernel does not tell.
        birth_ns: when the directory was made, nanoseconds since the epoch; 0 where the file
            system does not tell.
        file_system: names the file system wherever it is mounted; empty where nothing does.
        sentinel: inode, size in bytes and mtime in nanoseconds of the sentinel, if there is one.
    """

    path: bytes
    real_path: bytes
    device: int
    inode: int
    mount_id: int = 0
    birth_ns: int = 0
    file_system: bytes = b""
    sentinel: tuple[int, int, int] | None = None
