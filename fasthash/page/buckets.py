"""Sizes by powers of ten and ages by steps that a calendar has: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fasthash.parsing import marker_text

# A clock may be so much ahead before its markers are called wrong.
AHEAD = timedelta(minutes=1)
# The newest first: up to how long ago, and what that is called. The last has no end.
AGES: tuple[tuple[timedelta | None, str, str], ...] = (
    (timedelta(days=1), "day", "in the last day"),
    (timedelta(days=7), "week", "in the last week"),
    (timedelta(days=30), "month", "in the last 30 days"),
    (timedelta(days=90), "quarter", "in the last 90 days"),
    (timedelta(days=365), "year", "in the last year"),
    (None, "older", "longer ago"),
)
FUTURE = ("future", "in the future (a wrong clock)")
NEVER = ("never", "never")


@dataclass(frozen=True, slots=True)
class SizeBucket:
    """Files from a size on and below another, in bytes."""

    from_bytes: int
    below_bytes: int
    rows: int
    bytes: int

    def as_json(self) -> dict[str, int]:
        """Its fields."""
        return {
            "from_bytes": self.from_bytes,
            "below_bytes": self.below_bytes,
            "rows": self.rows,
            "bytes": self.bytes,
        }

    @property
    def label(self) -> str:
        """`empty`, or from a power of ten to the next."""
        if self.below_bytes == 1:
            return "empty"
        low, high = _power(self.from_bytes), _power(self.below_bytes)
        number, unit = low.split()
        return f"{number if high.endswith(f' {unit}') else low} – {high}"


def _power(size_bytes: int) -> str:
    """A power of ten in bytes: `1 B`, `100 kB`, `10 TB`."""
    units = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
    digits = len(str(size_bytes)) - 1
    return f"{10 ** (digits % 3)} {units[digits // 3]}"


@dataclass(frozen=True, slots=True)
class AgeBucket:
    """Rows that were verified so long ago: a stable name, words, and how many."""

    name: str
    words: str
    rows: int

    @property
    def is_dated(self) -> bool:
        """Whether it has a time of the past."""
        return self.name not in (FUTURE[0], NEVER[0])

    def as_json(self) -> dict[str, Any]:
        """`verified` names the bucket."""
        return {"verified": self.name, "rows": self.rows}


def age_limits(now: datetime) -> list[str]:
    """Between the buckets, as markers are written, the oldest first."""
    ends = [now - length for length, _, _ in reversed(AGES) if length is not None]
    return [marker_text(end) for end in (*ends, now + AHEAD)]


def ages(counted: Iterable[tuple[int | None, int]]) -> list[AgeBucket]:
    """Buckets, the newest first; the one for the future only where there is something in it.

    Args:
        counted: how many of `age_limits` a marker is not before, and how many rows. No marker is
            None.
    """
    rows: dict[int | None, int] = {}
    for age, n in counted:
        rows[age] = rows.get(age, 0) + n
    oldest = len(AGES) - 1
    found = [
        AgeBucket(name, words, rows.get(oldest - n, 0)) for n, (_, name, words) in enumerate(AGES)
    ]
    if rows.get(len(AGES)):
        found.append(AgeBucket(*FUTURE, rows[len(AGES)]))
    return [*found, AgeBucket(*NEVER, rows.get(None, 0))]


def sizes(counted: Iterable[tuple[int | None, int, int]]) -> tuple[list[SizeBucket], int]:
    """Buckets from the smallest to the largest that has files, none left out between.

    Args:
        counted: how many digits a size has (0 of an empty file, None of no size), how many rows,
            and their bytes.

    Returns:
        The buckets, and how many rows have no size.
    """
    rows: dict[int, int] = {}
    total: dict[int, int] = {}
    without = 0
    for digits, n, size_bytes in counted:
        if digits is None:
            without += n
            continue
        rows[digits] = rows.get(digits, 0) + n
        total[digits] = total.get(digits, 0) + size_bytes
    if not rows:
        return [], without
    return [
        SizeBucket(_first(d), _first(d + 1), rows.get(d, 0), total.get(d, 0))
        for d in range(min(rows), max(rows) + 1)
    ], without


def _first(digits: int) -> int:
    """The least number with this many digits; the size of an empty file has none."""
    return 0 if digits == 0 else 10 ** (digits - 1)


def share(part: int, whole: int) -> str:
    """`12 %`; never 0 or 100 where it is not all or nothing."""
    if not part or not whole:
        return "0 %"
    if part == whole:
        return "100 %"
    percent = 100 * part / whole
    if percent < 1:
        return "< 1 %"
    return "> 99 %" if percent > 99 else f"{percent:.0f} %"


def most(buckets: Sequence[SizeBucket]) -> SizeBucket:
    """The one with most rows."""
    return max(buckets, key=lambda bucket: bucket.rows)
