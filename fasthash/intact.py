"""Where an intact copy of a lost or damaged file is: in other rows, or in a folder elsewhere."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fasthash import paths
from fasthash.copies import judge
from fasthash.hashfiles import hash_files
from fasthash.listing import Naming
from fasthash.register import Walk

# Of one content no more are named.
COPIES_AT_MOST = 3


@dataclass(frozen=True, slots=True)
class Copy:
    """A file with the hash that is wanted: of a row, or else of a folder that was searched."""

    path: str
    row_id: str | None = None
    artifact_type: str | None = None
    verified_at: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """Its fields."""
        return asdict(self)

    def told(self) -> str:
        """For people; control characters are still in it."""
        if self.row_id is None:
            return self.path
        of_type = "" if self.artifact_type is None else f" ({self.artifact_type})"
        return f"{self.path} (row {self.row_id}{of_type}, verified {self.verified_at})"


Copies = dict[str, list[Copy]]


def of_rows(rows: Iterable[dict[str, Any]], naming: Naming | None) -> Copies:
    """Copies by digest, of rows whose file was good when it was looked at last.

    Args:
        rows: as `store.listing.iterate_copies` gives them.
        naming: where files lie: those that are not there, or changed, are none. None not to look.
    """
    found: Copies = defaultdict(list)
    for row in rows:
        copies = found[row["digest"]]
        if len(copies) < COPIES_AT_MOST and judge(row, naming)[2] is None:
            keys = ("path", "row_id", "artifact_type", "verified_at")
            copies.append(Copy(*(row[key] for key in keys)))
    return found


def elsewhere(folder: bytes, wanted: Mapping[str, int | None]) -> Copies:
    """Copies by digest, of files below a folder, each of which is read.

    Args:
        folder: an absolute path.
        wanted: the size in bytes by digest, as far as it is known: no other files are read.
    """
    sizes = None if None in wanted.values() else set(wanted.values())
    found: Copies = defaultdict(list)
    for state in hash_files(_of_sizes(Walk(folder, lambda _: False), sizes)):
        digest = state.sha256
        if digest is not None and digest in wanted and len(found[digest]) < COPIES_AT_MOST:
            found[digest].append(Copy(paths.encode(state.path)))
    return found


def _of_sizes(files: Iterable[bytes], sizes: set[int | None] | None) -> Iterator[bytes]:
    for path in files:
        try:
            facts = os.lstat(path)
        except OSError:
            continue  # it has gone meanwhile
        if stat.S_ISREG(facts.st_mode) and (sizes is None or facts.st_size in sizes):
            yield path
