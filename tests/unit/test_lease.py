"""When to renew, when to stop handing out, how much to lease."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fasthash.lease import (
    ATTEMPTS_ALONE,
    ATTEMPTS_BEFORE_ALONE,
    RANGES_AT_MOST,
    LeaseClock,
    Silence,
    ranges_wanted,
    rows_to_keep,
)


def test_a_lease_of_a_minute_is_renewed_every_twelve_seconds() -> None:
    clock = LeaseClock(60.0, 100.0)
    assert clock.renew_every_s == 12.0
    assert not clock.due(111.9)
    assert clock.due(112.0)


@given(st.floats(1, 1e4), st.floats(0, 1e6), st.floats(0, 1e5))
def test_nothing_is_handed_out_long_before_the_lease_can_end(
    ttl_s: float, renewed_at_s: float, later_s: float
) -> None:
    clock = LeaseClock(ttl_s, renewed_at_s)
    now_s = renewed_at_s + later_s
    if clock.may_hand_out(now_s):
        assert now_s - renewed_at_s < ttl_s / 2
    else:  # by then several renewals were due
        assert clock.due(now_s)
        assert now_s - renewed_at_s >= 2 * clock.renew_every_s


def test_work_goes_on_while_renewing_succeeds() -> None:
    clock = LeaseClock(60.0, 0.0)
    assert clock.may_hand_out(0.0)
    assert clock.may_hand_out(29.9)
    assert not clock.may_hand_out(30.0)


@given(
    st.integers(0, 10**6),
    st.integers(1, 10**5),
    st.integers(1, 256),
    st.integers(1, 1000),
    st.floats(0, 1),
)
def test_ranges_are_leased_when_and_only_when_workers_could_run_dry(
    queued: int, range_rows: int, workers: int, unit_rows: int, full: float
) -> None:
    lately = full * range_rows
    wanted = ranges_wanted(queued, range_rows, workers, unit_rows, lately)
    enough = 2 * workers * unit_rows
    assert 0 <= wanted <= (RANGES_AT_MOST if lately * RANGES_AT_MOST < range_rows else 8)
    assert (wanted == 0) == (queued >= enough)
    if wanted > 1:  # never a range that nobody could need
        assert queued + (wanted - 1) * max(1, round(lately)) < enough


def test_small_ranges_are_leased_together() -> None:
    assert ranges_wanted(0, 5_000, 2, 1_000, 5_000.0) == 1
    assert ranges_wanted(0, 5_000, 2, 1_000, 1.0) == RANGES_AT_MOST


@given(st.integers(1, 5_000), st.data())
def test_halving_finds_the_one_row_that_takes_holders_down(rows: int, data: st.DataObject) -> None:
    deadly = data.draw(st.integers(0, rows - 1))
    waiting, given_up, lost = [(0, 0, rows)], set(), 0  # attempts, first, end
    while waiting:
        attempts, first, end = waiting.pop(0)
        keep = rows_to_keep(attempts, end - first)
        if keep is None:
            given_up |= set(range(first, end))
            continue
        if keep < end - first:
            waiting.append((ATTEMPTS_BEFORE_ALONE, first + keep, end))
            attempts, end = ATTEMPTS_BEFORE_ALONE, first + keep
        if first <= deadly < end:
            lost += 1
            waiting.append((attempts + 1, first, end))
    assert given_up == {deadly}
    assert lost <= ATTEMPTS_BEFORE_ALONE + ATTEMPTS_ALONE + rows.bit_length()


def test_who_is_silent_is_known_by_our_own_clock() -> None:
    silence, at = Silence(), datetime(2026, 1, 1, tzinfo=UTC)
    assert silence.silent({1: at, 2: at}, 0.0, 60.0) == set(), "one met first may go on"
    assert silence.silent({1: at, 2: at - timedelta(hours=1)}, 59.0, 60.0) == set()
    assert silence.silent({1: at, 2: at - timedelta(hours=1)}, 60.0, 60.0) == {1}
    assert silence.silent({2: at - timedelta(hours=1)}, 118.0, 60.0) == set()
    assert silence.silent({1: at, 2: at - timedelta(hours=1)}, 119.0, 60.0) == {2}, "1 was away"
