"""When a run may read: windows of local time, right on the nights when clocks change. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fasthash.errors import ConfigError

_WINDOW = re.compile(r"\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*")
DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """Minutes of the local day from `begin` up to, not including, `end`; it may pass midnight."""

    begin: int
    end: int

    def __str__(self) -> str:
        return "-".join(f"{m // 60:02d}:{m % 60:02d}" for m in (self.begin, self.end))

    @property
    def minutes(self) -> frozenset[int]:
        """The minutes of the day that it covers."""
        length = (self.end - self.begin) % DAY_MINUTES
        return frozenset((self.begin + n) % DAY_MINUTES for n in range(length))


def parse_window(text: str) -> Window:
    """A window from `22:00-06:00`; `24:00` is the end of the day.

    Raises:
        ConfigError: the text is none, or the window is empty.
    """
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is no window: write 22:00-06:00")
    hours = [(int(match[1]), int(match[2])), (int(match[3]), int(match[4]))]
    if any(m > 59 or h * 60 + m > DAY_MINUTES for h, m in hours):
        raise ConfigError(f"{text!r} is no window: there is no such time of day")
    begin, end = (h * 60 + m for h, m in hours)
    if begin % DAY_MINUTES == end % DAY_MINUTES:
        raise ConfigError(f"{text!r} is empty; leave --window out to read at any time")
    return Window(begin % DAY_MINUTES, end % DAY_MINUTES)


def check(windows: Sequence[Window]) -> None:
    """Refuses windows of which one begins in another.

    Raises:
        ConfigError: naming both.
    """
    for n, one in enumerate(windows):
        for other in windows[n + 1 :]:
            if one.minutes & other.minutes:
                raise ConfigError(f"windows {one} and {other} overlap: make one of them")


def find_zone(name: str | None) -> tzinfo:
    """A time zone by its name; this host's own where none is given.

    Raises:
        ConfigError: there is none of that name.
    """
    if name is None:
        return _local_zone()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"there is no time zone {name!r}: write one like Europe/Berlin (if none is known, "
            "install the tzdata package)"
        ) from None


def _local_zone() -> tzinfo:
    """The host's zone with its rules, so that it is right in another season, too."""
    try:
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether reading is allowed, and until when that stays so (None: for ever)."""

    is_open: bool
    until: datetime | None


def opening(windows: Sequence[Window], zone: tzinfo, now: datetime) -> Opening:
    """Whether a time lies in one of the windows, and when that changes next.

    A window is the time in which a wall clock shows it. So one from 22:00 to 06:00 is an hour
    shorter in the night when clocks go forward and an hour longer when they go back; a border
    that the clock skips lies where it skips it; of one that it shows twice the window has all.

    Args:
        windows: none for always.
        zone: whose wall clock counts.
        now: with a time zone.
    """
    if not windows:
        return Opening(is_open=True, until=None)
    minute = now.astimezone(UTC).replace(second=0, microsecond=0)
    covered = frozenset().union(*(w.minutes for w in windows))
    is_open = _is_in(covered, minute, zone)
    # Changes lie at borders of windows, or where the zone's offset changes: look at each day's.
    changes = sorted(_borders(windows, zone, minute))
    for change in changes:
        if change > minute and _is_in(covered, change, zone) != is_open:
            return Opening(is_open, change)
    return Opening(is_open, None)


def _is_in(covered: frozenset[int], minute: datetime, zone: tzinfo) -> bool:
    local = minute.astimezone(zone)
    return local.hour * 60 + local.minute in covered


def _borders(windows: Sequence[Window], zone: tzinfo, minute: datetime) -> set[datetime]:
    """The times at which a window may begin or end, of two days and a bit."""
    found = set()
    day = minute.astimezone(zone).date()
    for n in range(-1, 4):
        date = day + timedelta(days=n)
        for border in {b for w in windows for b in (w.begin, w.end)}:
            wall = datetime.combine(date, time(border // 60, border % 60), zone)
            for fold in (0, 1):
                found.add(wall.replace(fold=fold).astimezone(UTC))
        found |= _offset_changes(datetime.combine(date, time(0), zone), zone)
    return found


def _offset_changes(midnight: datetime, zone: tzinfo) -> set[datetime]:
    """The minute of a day in which the zone's offset changes, if there is one."""
    low, high = midnight.astimezone(UTC), (midnight + timedelta(days=1)).astimezone(UTC)
    if low.astimezone(zone).utcoffset() == high.astimezone(zone).utcoffset():
        return set()
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(minutes=1):
        middle = low + (high - low) // 2
        middle = middle.replace(second=0, microsecond=0)
        if middle in (low, high):
            break
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return {high}
