"""The vocabulary: counts add up, names of parts are their own, everything can be pickled."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash import fixity, units
from fasthash.fixity import Counts, Outcome, Part, Verdict

numbers = st.integers(0, 2**62)
counts = st.builds(Counts, *[numbers] * len(dataclasses.fields(Counts)))


@given(counts, counts)
def test_counts_add_field_by_field(one: Counts, other: Counts) -> None:
    total = one + other
    for field in dataclasses.fields(Counts):
        name = field.name
        assert getattr(total, name) == getattr(one, name) + getattr(other, name), name
    assert total.scanned == one.scanned + other.scanned


@given(counts)
def test_nothing_added_changes_nothing(one: Counts) -> None:
    assert one + Counts() == Counts() + one == one


@given(counts)
def test_the_tuple_has_the_order_of_the_fields(one: Counts) -> None:
    assert one.as_tuple() == tuple(getattr(one, f.name) for f in dataclasses.fields(Counts))
    assert Counts(*one.as_tuple()) == one


@given(counts)
def test_scanned_is_the_sum_of_all_outcomes_and_of_nothing_else(one: Counts) -> None:
    assert one.scanned == sum(getattr(one, str(outcome)) for outcome in Outcome)


def test_residual_reasons_are_the_verdicts_without_a_hash() -> None:
    others = {Verdict.HASHED, Verdict.FRESH, Verdict.PRECHECKED}
    assert set(fixity.RESIDUAL_REASONS) == set(Verdict) - others


def test_pieces_of_different_parts_never_share_a_name() -> None:
    # A part holds at most one unit's rows, and each piece begins at another of them.
    assert fixity.PIECES_A_PART > units.MOST_ROWS
    names = {
        Part(1, 1, 1, None, "x", 1, b"", 0, part_no=part_no, offset=offset).segment_no
        for part_no in range(1, 4)
        for offset in (0, 1, units.MOST_ROWS - 1)
    }
    assert len(names) == 9


@pytest.mark.parametrize(
    "message",
    [
        fixity.Task("1", "a", None, None),
        fixity.Result("1", "a", None, "hashed", b"\0" * 32, 1, 2, 3, True, "why"),
        fixity.LeasedRange(1, None, None, "9", 0, 1),
        fixity.Unit(1, 2, 3, None, (fixity.Task("1", "a", None, None),)),
        fixity.Part(1, 2, 3, "0", "1", 1, b"x", 4, 5, 6, True),
        fixity.RootGone(1, "/r", "gone"),
        fixity.Counts(1, 2, 3),
        fixity.Root(b"/r", b"/s", 1, 2),
    ],
)
def test_everything_that_is_sent_survives_pickling_and_is_frozen(message: Any) -> None:
    again = pickle.loads(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
    assert again == message
    assert type(again) is type(message)
    name = "row_id" if isinstance(message, tuple) else dataclasses.fields(message)[0].name
    with pytest.raises(AttributeError):
        setattr(message, name, None)
