"""From the catalog's rows to names of files: for manifests, comparisons and duplicates."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fasthash import paths
from fasthash.fixity import Root
from fasthash.manifest import Entry, Listed
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
    """Manifest entries for rows that have a digest."""
    for row in rows:
        yield Entry(
            row["row_id"],
            row["artifact_type"],
            naming.name(row["path"]),
            row["digest"],
            row["size_bytes"],
            row["computed_at"],
        )


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What a manifest and the catalog say of one file."""

    kind: str  # differs, not_in_catalog or not_in_manifest
    path: bytes
    in_manifest: str | None
    in_catalog: str | None
    row_id: str | None = None


def compare(listed: Iterable[Listed], held: Iterable[Entry]) -> Iterator[Disagreement]:
    """What a manifest from elsewhere and the catalog disagree about.

    A file of which the manifest, or the catalog, has several digests agrees if any of them does.
    """
    theirs: dict[bytes, set[str]] = defaultdict(set)
    for line in listed:
        theirs[os.path.normpath(line.path)].add(line.digest)
    met: dict[bytes, bool] = {}
    differing: dict[bytes, Disagreement] = {}
    for entry in held:
        path = os.path.normpath(entry.path)
        if path not in theirs:
            yield Disagreement("not_in_manifest", entry.path, None, entry.digest, entry.row_id)
            continue
        agrees = entry.digest in theirs[path]
        met[path] = met.get(path, False) or agrees
        if not agrees:
            said = min(theirs[path])
            differing[path] = Disagreement("differs", entry.path, said, entry.digest, entry.row_id)
    for path, found in differing.items():
        if not met[path]:
            yield found
    for path, digests in theirs.items():
        if path not in met:
            yield Disagreement("not_in_catalog", path, min(digests), None)
