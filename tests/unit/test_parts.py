"""Parts cut in two: no row is lost or doubled, and every piece has its own name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fasthash import parts
from fasthash.fixity import Part, Result

verdicts = st.sampled_from(["hashed", "fresh", "no_file", "unreadable"])


@st.composite
def whole_parts(draw: st.DrawFn) -> Part:
    rows = draw(st.integers(1, 30))
    results = [
        Result(f"{n:03d}", f"path {n}", None, draw(verdicts), draw(st.none() | st.binary()), n)
        for n in range(1, rows + 1)
    ]
    payload = parts.pack(results)
    return Part(3, 2, 1, "000", f"{rows:03d}", rows, payload, 4711, draw(st.integers(1, 99)))


@given(whole_parts())
def test_what_was_packed_comes_out(part: Part) -> None:
    found = parts.results(part)
    assert len(found) == part.rows
    assert all(type(r) is Result for r in found)
    assert parts.pack(found) == part.payload
    assert list(parts.row_ids(part)) == [r.row_id for r in found]


@given(whole_parts(), st.data())
def test_two_pieces_make_the_whole(part: Part, data: st.DataObject) -> None:
    if part.rows == 1:
        return
    at = data.draw(st.integers(1, part.rows - 1))
    first, rest = parts.cut(part, at)
    assert parts.results(first) + parts.results(rest) == parts.results(part)
    assert (first.rows, rest.rows) == (at, part.rows - at)
    assert (first.after_id, rest.through_id) == (part.after_id, part.through_id)
    assert first.through_id == rest.after_id == parts.row_ids(part)[at - 1]
    assert first.read_bytes + rest.read_bytes == part.read_bytes
    assert first.segment_no != rest.segment_no
    assert (first.part_no, rest.part_no) == (part.part_no, part.part_no)


@given(whole_parts())
def test_pieces_down_to_single_rows_have_names_of_their_own(part: Part) -> None:
    pieces = []
    rest: Part | None = part
    while rest is not None and rest.rows > 1:
        first, rest = parts.cut(rest, 1)
        pieces.append(first)
    if rest is not None:
        pieces.append(rest)
    assert len({p.segment_no for p in pieces}) == part.rows
    assert [r for p in pieces for r in parts.results(p)] == parts.results(part)


@given(whole_parts(), st.data())
def test_behind_a_row_is_all_that_follows_it(part: Part, data: st.DataObject) -> None:
    ids = list(parts.row_ids(part))
    at = data.draw(st.integers(0, len(ids) - 1))
    rest = parts.behind(part, ids[at])
    assert (list(parts.row_ids(rest)) if rest else []) == ids[at + 1 :]
    if rest is not None:
        assert rest.after_id == ids[at]
        assert rest.offset == part.offset + at + 1
