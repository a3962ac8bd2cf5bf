"""Results as a part carries them: packed by columns, opened only where they are looked at.

The coordinator passes parts on unopened; the writer takes the columns as they are for its
statement. Packing rows instead cost another 7 us per row, over all three processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from fasthash import wire
from fasthash.fixity import Part, Result, Verdict

Columns = Sequence[Sequence[Any]]  # one for each field of Result, in its order


def pack(results: Iterable[Result]) -> bytes:
    """The payload for some results."""
    return wire.dump(tuple(zip(*results, strict=True)))


def columns(part: Part) -> Columns:
    """The results by field."""
    found: Columns = wire.unpack(part.payload)
    return found


def results(part: Part) -> list[Result]:
    """The results by row."""
    return list(map(Result._make, zip(*columns(part), strict=True)))


def row_ids(part: Part) -> Sequence[str]:
    """The rows of a part."""
    found = columns(part)
    return found[0] if found else ()


def cut(part: Part, at: int) -> tuple[Part, Part]:
    """Two pieces: the first `at` results, and the rest."""
    rows = results(part)
    middle_id = rows[at - 1].row_id
    first = replace(part, through_id=middle_id, rows=at, payload=pack(rows[:at]))
    rest = replace(
        part,
        after_id=middle_id,
        rows=part.rows - at,
        payload=pack(rows[at:]),
        offset=part.offset + at,
        read_bytes=0,
    )
    return first, rest


def refuse(
    part: Part, row_ids: frozenset[str], detail: str, verdict: Verdict | None = None
) -> Part:
    """The part with what is said of some of its rows: that they cannot be written, and why.

    Args:
        verdict: takes the place of theirs, if one is given: they are not looked at any more.
    """
    rows = results(part)
    if not any(row.row_id in row_ids for row in rows):
        return part
    marked = [
        r._replace(detail=detail, verdict=str(verdict or r.verdict)) if r.row_id in row_ids else r
        for r in rows
    ]
    return replace(part, payload=pack(marked))


def only(part: Part, begin: int, end: int) -> Part:
    """The part with its results from `begin` up to, not including, `end`, and no more."""
    if begin > 0:
        part = cut(part, begin)[1]
    return cut(part, end - begin)[0] if end - begin < part.rows else part


def behind(part: Part, row_id: str) -> Part | None:
    """The piece behind a row, or None if that is the last."""
    at = row_ids(part).index(row_id) + 1
    return cut(part, at)[1] if at < part.rows else None
