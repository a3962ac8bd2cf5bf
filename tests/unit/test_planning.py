"""`cut_unmet`: the rows of the last sweep as ranges (that each lies in one: test_decisions.py)."""

from __future__ import annotations

from itertools import groupby, pairwise

from hypothesis import given
from hypothesis import strategies as st

from fasthash.store.planning import cut_unmet

Row = tuple[str | None, str]


@st.composite
def unmet_rows(draw: st.DrawFn) -> list[Row]:
    """Rows in (type, id) order, as the database gives them; ids may repeat in other types."""
    types = draw(st.lists(st.none() | st.text(max_size=3), unique=True, max_size=5))
    rows: list[Row] = []
    for artifact_type in types:
        ids = sorted(draw(st.sets(st.integers(0, 99), min_size=1, max_size=25)))
        rows += [(artifact_type, f"{number:02d}") for number in ids]
    return rows


@given(unmet_rows(), st.integers(1, 30))
def test_a_range_says_which_rows_it_holds_and_how_many(unmet: list[Row], range_rows: int) -> None:
    met: list[Row] = []
    for artifact_type, after_id, listed in cut_unmet(unmet, range_rows):
        through_id = listed[-1]
        inside = [
            (t, row_id)
            for t, row_id in unmet
            if t == artifact_type
            and (after_id is None or after_id < row_id)
            and row_id <= through_id
        ]
        assert 1 <= len(inside) <= range_rows
        assert [row_id for _, row_id in inside] == listed
        met += inside
    assert met == unmet  # each once, and in order


@given(unmet_rows(), st.integers(1, 30))
def test_ranges_of_a_type_follow_each_other_and_are_full_but_the_last(
    unmet: list[Row], range_rows: int
) -> None:
    for _, group in groupby(cut_unmet(unmet, range_rows), key=lambda c: c[0]):
        found = list(group)
        assert found[0][1] is None
        for one, following in pairwise(found):
            assert following[1] == one[2][-1]
            assert len(one[2]) == range_rows


def test_nothing_left_nothing_to_do() -> None:
    assert cut_unmet([], 5) == []
