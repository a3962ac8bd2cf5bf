"""How long ago everything was verified, and when it will have been again: pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fasthash.drift import parse_marker
from fasthash.widths import human_time

DAY_S = 86_400.0
TO_LIST = "`fasthash residual --known-bad`"


@dataclass(frozen=True, slots=True)
class Freshness:
    """The state of a catalog at the end of a scrub's session.

    The line is the oldest marker: every row that has a hash was verified since, except those
    known to be bad, which are counted apart. Rows without a marker wait for their first hash and
    do not move it, so that a store that grows raises no alarm.
    """

    at: datetime
    oldest_marker: str | None
    rows_marked: int
    rows_unmarked: int
    rows_bad: int
    verified_by: datetime | None

    def as_json(self) -> dict[str, Any]:
        """The keys of the summary's `freshness`."""
        oldest = parse_marker(self.oldest_marker)
        return {
            "at": _iso(self.at),
            "oldest_marker": self.oldest_marker,
            "oldest_age_s": round((self.at - oldest).total_seconds(), 1) if oldest else None,
            "rows_marked": self.rows_marked,
            "rows_unmarked": self.rows_unmarked,
            "rows_bad": self.rows_bad,
            "verified_by": _iso(self.verified_by),
        }


def verified_by(
    now: datetime, began: datetime, busy_s: float, done: int, left: int, *, nightly: bool
) -> datetime | None:
    """When the rows that are left will have been read, at the pace so far.

    Args:
        now: the time.
        began: when the scrub did.
        busy_s: how long it has been worked on.
        done: its rows that are done.
        left: those that are not.
        nightly: it goes on for some of each day only, so that what counts is rows a day.

    Returns:
        None where nothing is known of the pace.
    """
    if left <= 0:
        return now
    if done <= 0:
        return None
    if nightly:
        days = max(1, math.ceil((now - began).total_seconds() / DAY_S))
        return now + timedelta(days=math.ceil(left * days / done))
    return now + timedelta(seconds=left * max(busy_s, 1.0) / done)


def in_words(freshness: dict[str, Any]) -> list[str]:
    """The freshness for a person, from the summary's keys."""
    lines = []
    marked, bad = freshness["rows_marked"], freshness["rows_bad"]
    if freshness["oldest_marker"] is not None:
        age_s = freshness["oldest_age_s"]
        age = f" ({_age(age_s)} ago)" if age_s is not None else ""
        since = f"verified at {_when(freshness['oldest_marker'])}{age} or later"
        good = marked - bad
        if good:
            of = f" of {marked:,}" if bad else ""
            have = "row with a hash was" if marked == 1 else "rows with a hash were"
            lines.append(f"{good:,}{of} {have} {since}")
    if bad:
        lines.append(f"{bad:,} {'row is' if bad == 1 else 'rows are'} known to be bad: {TO_LIST}")
    if freshness["rows_unmarked"]:
        lines.append(f"{freshness['rows_unmarked']:,} rows have no hash yet: `fasthash run`")
    if freshness["verified_by"] is not None and freshness["verified_by"] > freshness["at"]:
        by = _when(freshness["verified_by"])
        lines.append(f"at this pace all will have been read by {by}")
    return lines


def _when(text: str) -> str:
    time = parse_marker(text)
    return text[:16] if time is None else human_time(time)


def _age(seconds: float) -> str:
    if seconds < 2 * 3600:
        return f"{max(0.0, seconds) / 60:.0f} min"
    if seconds < 2 * DAY_S:
        return f"{seconds / 3600:.0f} hours"
    return f"{seconds / DAY_S:.0f} days"


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat().replace("+00:00", "Z")
