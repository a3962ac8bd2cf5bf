"""Unit sizes: bounds, slow growth, instant shrinking, and a fair share at the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash.units import LEAST_ROWS, MOST_ROWS, TARGET_S, UnitSize, share

sizes = st.builds(
    UnitSize,
    st.integers(1, MOST_ROWS),
    st.none() | st.floats(1e-9, 1e7, allow_nan=False),
)
seconds = st.floats(0, 1e7, allow_nan=False)
rows_done = st.integers(1, MOST_ROWS)


@given(sizes, rows_done, seconds)
def test_a_unit_has_one_to_a_thousand_rows(size: UnitSize, rows: int, took_s: float) -> None:
    assert 1 <= size.after(rows, took_s).rows <= MOST_ROWS == 1000


@given(sizes, rows_done, seconds)
def test_it_grows_by_a_fifth_at_the_most(size: UnitSize, rows: int, took_s: float) -> None:
    # One row more is always allowed: a fifth of a few rows is none.
    assert size.after(rows, took_s).rows <= max(size.rows * 1.2, size.rows + 1)


@given(sizes, rows_done, seconds)
def test_it_shrinks_at_once(size: UnitSize, rows: int, took_s: float) -> None:
    after = size.after(rows, took_s)
    assert after.rows == LEAST_ROWS or after.rows * took_s / rows <= TARGET_S * (1 + 1e-9)


def test_one_huge_file_after_a_million_small_ones_brings_it_down() -> None:
    size = UnitSize()
    for _ in range(1000):
        size = size.after(size.rows, size.rows * 1e-4)
    assert size.rows == MOST_ROWS
    assert size.after(1, 120.0).rows == LEAST_ROWS


@pytest.mark.parametrize("row_s", [0.0005, 0.002, 0.013, 0.4, 2.0, 60.0])
@pytest.mark.parametrize("start", [1, 64, MOST_ROWS])
def test_steady_work_settles_at_about_a_second(row_s: float, start: int) -> None:
    size = UnitSize(start)
    for _ in range(200):
        size = size.after(size.rows, size.rows * row_s)
    wanted = max(LEAST_ROWS, min(MOST_ROWS, TARGET_S / row_s))
    assert 0.5 * wanted <= size.rows <= wanted


def test_it_recovers_from_one_slow_unit() -> None:
    size = UnitSize(MOST_ROWS, 0.001).after(10, 100.0)
    assert size.rows == LEAST_ROWS
    for _ in range(100):
        size = size.after(size.rows, size.rows * 0.001)
    assert size.rows > MOST_ROWS / 2


@given(sizes, seconds)
def test_a_unit_without_rows_teaches_nothing(size: UnitSize, took_s: float) -> None:
    assert size.after(0, took_s) == size


@given(st.integers(1, MOST_ROWS), st.integers(0, 100_000), st.integers(0, 512))
def test_a_share_is_neither_nothing_nor_more_than_asked(rows: int, queued: int, n: int) -> None:
    assert 1 <= share(rows, queued, n) <= rows


@given(st.integers(1, MOST_ROWS), st.integers(1, 100_000), st.integers(1, 512))
def test_shares_are_fair_and_leave_nothing_over(rows: int, queued: int, n: int) -> None:
    got = share(rows, queued, n)
    assert (
        got >= rows - 1 or (got + 1) * n >= queued
    )  # n shares take everything, but for an odd row
    assert got <= 2 or (got - 2) * n < queued  # and none is larger than it has to be
    assert got == 1 or got % 2 == 0  # large files are read two at a time


def test_only_units_known_to_be_quick_lie_ready() -> None:
    assert not UnitSize().is_quick
    assert UnitSize(1_000, 0.000_02).is_quick
    assert not UnitSize(4, 0.25).is_quick
