"""Whether roots hold the files of a catalog, told by some of its rows: pure.

A disk that is not mounted, or another one in its place, makes every file look missing or changed.
Before a run begins some of its rows are looked for; that not one of them is there is no state that
a run should write down. What is found is kept with the run, and another host that joins it, or a
later command that goes on with it, has to find the same files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST_KEPT = 16  # of those that were found
# Fewer of the kept files than this share, and it is another place: an application may well have
# replaced some of them meanwhile.
LEAST_SAME = 0.5


@dataclass(frozen=True, slots=True)
class Evidence:
    """A file that was there when a run began."""

    row_id: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Look:
    """What became of looking for a row's file.

    `is_there` is None where that is not known: it may not be opened, or nobody has answered.
    """

    row_id: str
    path: str
    is_there: bool | None
    size_bytes: int = 0
    mtime_ns: int = 0
    detail: str = ""


def kept(looks: Sequence[Look]) -> tuple[Evidence, ...]:
    """What is kept of a look: files from all over it."""
    there = [look for look in looks if look.is_there]
    step = max(1, -(-len(there) // MOST_KEPT))
    return tuple(Evidence(x.row_id, x.size_bytes, x.mtime_ns) for x in there[::step])


def none_there(looks: Sequence[Look]) -> Look | None:
    """The first of the files, where not one is there and that is known of each; else None."""
    if not looks or any(look.is_there is not False for look in looks):
        return None
    return looks[0]


@dataclass(frozen=True, slots=True)
class Difference:
    """How many of the kept files are not as they were, of how many, and what of the first."""

    differing: int
    of: int
    example: str


def difference(before: Sequence[Evidence], looks: Sequence[Look]) -> Difference | None:
    """How far what is there differs from what was kept; None where it is the same place.

    Args:
        before: what was kept.
        looks: of those rows that the catalog still has.
    """
    known = {look.row_id: look for look in looks if look.is_there is not None}
    compared = [one for one in before if one.row_id in known]
    found = [text for text in (_what_differs(one, known) for one in compared) if text]
    if not found or len(compared) - len(found) >= LEAST_SAME * len(compared):
        return None
    return Difference(len(found), len(compared), found[0])


def _what_differs(before: Evidence, known: Mapping[str, Look]) -> str:
    look = known[before.row_id]
    if not look.is_there:
        return f"{look.path}: {look.detail}"
    if look.size_bytes != before.size_bytes:
        return f"{look.path}: {look.size_bytes:,} bytes, not {before.size_bytes:,}"
    if look.mtime_ns != before.mtime_ns:
        return f"{look.path}: another time of change"
    return ""
