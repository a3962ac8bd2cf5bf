"""What a few files say of the roots they lie in."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fasthash.evidence import LEAST_SAME, MOST_KEPT, Evidence, Look, difference, kept, none_there

LOOKS = st.lists(
    st.builds(
        Look,
        st.uuids().map(str),
        st.just("a"),
        st.sampled_from([True, False, None]),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    unique_by=lambda look: look.row_id,
    max_size=40,
)


@given(LOOKS)
def test_only_what_is_known_of_every_file_is_said_of_all(looks: list[Look]) -> None:
    said = none_there(looks)
    assert (said is not None) == (bool(looks) and {look.is_there for look in looks} == {False})


@given(LOOKS)
def test_what_was_there_is_kept_from_all_over(looks: list[Look]) -> None:
    there = [look for look in looks if look.is_there]
    found = kept(looks)
    assert len(found) <= MOST_KEPT
    assert len(found) >= min(len(there), MOST_KEPT // 2)
    assert set(found) <= {Evidence(x.row_id, x.size_bytes, x.mtime_ns) for x in there}
    if there:
        assert found[0].row_id == there[0].row_id


@given(LOOKS)
def test_the_same_place_does_not_differ(looks: list[Look]) -> None:
    assert difference(kept(looks), looks) is None


@given(LOOKS, st.data())
def test_another_place_differs_in_more_than_half(looks: list[Look], data: st.DataObject) -> None:
    before = kept(looks)
    changes = {
        "gone": {"is_there": False, "detail": "not there"},
        "grown": {"size_bytes": 7},
        "later": {"mtime_ns": 7},
        "silent": {"is_there": None},
        "same": {},
    }
    after, differing, same = [], 0, 0
    for one in before:
        how = data.draw(st.sampled_from(sorted(changes)))
        look = Look(one.row_id, "a", True, one.size_bytes, one.mtime_ns)
        after.append(replace(look, **changes[how]))  # type: ignore[arg-type]
        differing += how in ("gone", "grown", "later")
        same += how == "same"
    found = difference(before, after)
    if found is None:
        assert not differing or same >= LEAST_SAME * (same + differing)
    else:
        assert (found.differing, found.of) == (differing, same + differing)
        assert same < LEAST_SAME * (same + differing)
        assert found.example.startswith("a: ")
