"""Windows of time, against a clock that is asked minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthash.errors import ConfigError
from fasthash.windows import DAY_MINUTES, Window, check, find_zone, opening, parse_window

BERLIN = ZoneInfo("Europe/Berlin")
# Half an hour of daylight saving, and zones that are not whole hours from UTC.
ZONES = [ZoneInfo(z) for z in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe",
                               "Asia/Kathmandu", "UTC")]  # fmt: skip
minutes = st.integers(0, DAY_MINUTES - 1)
window = st.tuples(minutes, minutes).filter(lambda w: w[0] != w[1]).map(lambda w: Window(*w))
# Days around changes of clocks, and others.
days = st.sampled_from([(3, 28), (10, 24), (3, 7), (4, 4), (6, 1)])
moments = st.builds(
    lambda day, n: datetime(2026, *day) + timedelta(minutes=n),
    days,
    st.integers(0, 3 * DAY_MINUTES),
)


def shows(windows: list[Window], local: datetime) -> bool:
    """Whether a wall clock stands in one of the windows."""
    minute = local.hour * 60 + local.minute
    return any(
        w.begin <= minute < w.end if w.begin < w.end else not w.end <= minute < w.begin
        for w in windows
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(window, min_size=1, max_size=3), st.sampled_from(ZONES), moments)
def test_it_is_what_the_wall_clock_shows(
    windows: list[Window], zone: ZoneInfo, moment: datetime
) -> None:
    now = moment.replace(tzinfo=UTC)
    found = opening(windows, zone, now)
    assert found.is_open == shows(windows, now.astimezone(zone))
    changes = now
    for _ in range(2 * DAY_MINUTES):
        changes += timedelta(minutes=1)
        if shows(windows, changes.astimezone(zone)) != found.is_open:
            assert found.until == changes
            return
    assert found.until is None, "it never changes"


@pytest.mark.parametrize(
    ("night", "begins", "ends"),
    [
        ("2026-01-10", "2026-01-10T21:00", "2026-01-11T05:00"),
        ("2026-03-28", "2026-03-28T21:00", "2026-03-29T04:00"),  # an hour shorter
        ("2026-07-01", "2026-07-01T20:00", "2026-07-02T04:00"),
        ("2026-10-24", "2026-10-24T20:00", "2026-10-25T05:00"),  # an hour longer
    ],
)
def test_nights_in_berlin(night: str, begins: str, ends: str) -> None:
    windows = [parse_window("22:00-06:00")]
    noon = datetime.fromisoformat(f"{night}T12:00").replace(tzinfo=UTC)
    before = opening(windows, BERLIN, noon)
    assert not before.is_open
    assert before.until == datetime.fromisoformat(begins).replace(tzinfo=UTC)
    during = opening(windows, BERLIN, before.until)
    assert during.is_open
    assert during.until == datetime.fromisoformat(ends).replace(tzinfo=UTC)


def test_a_border_that_is_skipped_lies_where_the_clock_skips_it() -> None:
    windows = [parse_window("02:30-04:00")]  # on 29 March there is no 02:30 in Berlin
    before = opening(windows, BERLIN, datetime(2026, 3, 29, 0, 0, tzinfo=UTC))
    assert before.until == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


def test_without_windows_it_is_always_open() -> None:
    assert opening([], UTC, datetime.now(UTC)).is_open
    assert opening([], UTC, datetime.now(UTC)).until is None


def test_the_whole_day_in_two_parts_never_closes() -> None:
    windows = [parse_window("00:00-12:00"), parse_window("12:00-24:00")]
    check(windows)
    found = opening(windows, BERLIN, datetime(2026, 3, 28, 22, 0, tzinfo=UTC))
    assert (found.is_open, found.until) == (True, None)


@pytest.mark.parametrize("text", ["22:00", "22-06", "22:60-23:00", "25:00-26:00", "", "a:b-c:d",
                                  "06:00-06:00", "00:00-24:00"])  # fmt: skip
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_window(text)
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [("22:00-06:00", "05:00-07:00"), ("22:00-06:00", "21:00-22:01"), ("01:00-02:00",) * 2],
)
def test_windows_that_overlap_are_refused(one: str, other: str) -> None:
    with pytest.raises(ConfigError, match="overlap"):
        check([parse_window(one), parse_window(other)])
    check([parse_window("22:00-06:00"), parse_window("06:00-07:00")])


def test_a_zone_that_is_not_known() -> None:
    assert find_zone("Europe/Berlin") == BERLIN
    for name in ("Europe/Atlantis", "", "../etc/passwd", "a\0b", "/etc/localtime"):
        with pytest.raises(ConfigError, match="time zone"):
            find_zone(name)
    assert find_zone(None).utcoffset(datetime.now()) is not None
