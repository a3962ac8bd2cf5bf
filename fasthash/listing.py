"""From the catalog's rows to names of files: for manifests, comparisons and duplicates."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from fasthash import paths
from fasthash.fixity import Root
from fasthash.listed import Listed
from fasthash.manifest import Entry
from fasthash.paths import PathRefusedError


class Naming:
    """What files are called in a manifest.

    Args:
        roots: where files lie.
        relative_to: the folder that names begin in; None for the catalog's own texts.
    """

    def __init__(self, roots: tuple[Root, ...], relative_to: str | None) -> None:
        self._roots = roots
        self._folder = None if relative_to is None else os.fsencode(os.path.abspath(relative_to))

    def name(self, text: str) -> bytes:
        """The name for a catalog's text."""
        if self._folder is None:
            return paths.decode(text)
        return os.path.relpath(self.place(text), self._folder)

    def place(self, text: str) -> bytes:
        """The absolute path of a catalog's text: the first that exists, or else the first."""
        try:
            found = paths.candidates(text, self._roots)
        except PathRefusedError:
            return paths.decode(text)
        if len(found) == 1:
            return found[0]
        return next((path for path in found if os.path.lexists(path)), found[0])


def entries(rows: Iterable[dict[str, Any]], naming: Naming) -> Iterator[Entry]:
    """Manifest entries for rows that have a path."""
    for row in rows:
        yield Entry(
            row["row_id"],
            row["artifact_type"],
            naming.name(row["path"]),
            row["digest"],
            row["size_bytes"],
            row["computed_at"],
            row["is_hashed"],
        )


# In the order in which they are counted.
DISAGREEMENTS = (
    "differs", "not_in_catalog", "not_in_manifest", "manifest_contradicts", "catalog_contradicts",
    "not_hashed_yet", "not_compared",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What a manifest and the catalog say of one file."""

    kind: str  # one of DISAGREEMENTS
    path: bytes
    in_manifest: str | None
    in_catalog: str | None
    row_id: str | None = None
    detail: str | None = None


def compare(listed: Iterable[Listed], held: Iterable[Entry]) -> list[Disagreement]:
    """What a manifest from elsewhere and the catalog disagree about, by kind and name.

    Args:
        listed: the manifest's entries. One name with two digests is a contradiction, whichever of
            them the catalog has.
        held: the catalog's rows with a path; so are two rows of one path with two digests.
    """
    theirs: dict[bytes, set[str | None]] = defaultdict(set)
    for line in listed:
        theirs[os.path.normpath(line.path)].add(line.digest)
    agreeing: set[bytes] = set()
    others: dict[bytes, list[Entry]] = defaultdict(list)
    for entry in held:
        path = os.path.normpath(entry.path)
        if entry.digest is not None and theirs.get(path) == {entry.digest}:
            agreeing.add(path)
        else:
            others[path].append(entry)
    found = [
        *(_judge(path, digests, path in agreeing, others.pop(path, []))
          for path, digests in theirs.items()),
        *(_unlisted(rows) for rows in others.values()),
    ]  # fmt: skip
    told = _with_likenesses([d for d in found if d is not None])
    return sorted(told, key=lambda d: (DISAGREEMENTS.index(d.kind), d.path))


def _judge(
    path: bytes, digests: set[str | None], agrees: bool, others: list[Entry]
) -> Disagreement | None:
    """What there is to say of a listed name.

    Args:
        path: the name.
        digests: the list's; None for one of another algorithm.
        agrees: whether a row has the one digest of the list.
        others: rows of the same path that have not.
    """
    there = sorted(d for d in digests if d is not None)
    here = sorted(
        {e.digest for e in others if e.digest is not None} | ({*there} if agrees else set())
    )
    ids = ", ".join(entry.row_id for entry in others) or None
    said = (", ".join(there) or None, ", ".join(here) or None, ids)
    if len(there) == 1 and here == there:
        return None
    kind, detail = _kind(there, here, agrees, others)
    return Disagreement(kind, path, *said, detail)


def _kind(
    there: list[str], here: list[str], agrees: bool, others: list[Entry]
) -> tuple[str, str | None]:
    """The kind of a disagreement, and what else is to be said of it."""
    kind, detail = "differs", None
    if len(there) > 1:
        kind = "manifest_contradicts"
    elif len(here) > 1:
        kind = "catalog_contradicts"
    elif not agrees and not others:
        kind = "not_in_catalog"
    elif not there:
        kind, detail = "not_compared", "the list has another algorithm's digest"
    elif not here and any(entry.is_hashed for entry in others):
        kind, detail = "not_compared", "the row has no digest of this algorithm"
    elif not here:
        kind = "not_hashed_yet"
    return kind, detail


def _unlisted(rows: list[Entry]) -> Disagreement:
    digests = sorted({row.digest for row in rows if row.digest is not None})
    kind = "catalog_contradicts" if len(digests) > 1 else "not_in_manifest"
    ids = ", ".join(row.row_id for row in rows)
    return Disagreement(kind, rows[0].path, None, ", ".join(digests) or None, ids)


def _with_likenesses(found: list[Disagreement]) -> Iterator[Disagreement]:
    """Tells of names that differ in Unicode form or in the kind of slash alone."""
    sides: dict[str, dict[str, bytes]] = {"not_in_catalog": {}, "not_in_manifest": {}}
    for d in found:
        if d.kind in sides:
            sides[d.kind][_shape(d.path)] = d.path
    other = {"not_in_catalog": "not_in_manifest", "not_in_manifest": "not_in_catalog"}
    for d in found:
        like = sides[other[d.kind]].get(_shape(d.path)) if d.kind in sides else None
        if like is None:
            yield d
        else:
            where = "catalog" if d.kind == "not_in_catalog" else "manifest"
            what = f"the {where} has {os.fsdecode(like)!a}: {_difference(d.path, like)}"
            yield replace(d, detail=what)


def _shape(path: bytes) -> str:
    text = path.decode("utf-8", "surrogateescape").replace("\\", "/")
    return unicodedata.normalize("NFC", os.path.normpath(text))


def _difference(one: bytes, other: bytes) -> str:
    if one.count(b"\\") != other.count(b"\\"):
        return "another kind of slash"
    return "another Unicode form of the same name"
