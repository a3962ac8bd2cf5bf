"""Files of one content: which of them are copies that one can rely on."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from typing import Any

from fasthash.listing import Naming

# A file on its file system.
Identity = tuple[int, int]


def groups(rows: Iterable[dict[str, Any]], naming: Naming | None) -> Iterator[dict[str, Any]]:
    """Rows of one digest together, with what is stored more than once.

    Args:
        rows: in the order of digests, as `store.listing.iterate_duplicates` gives them.
        naming: where files lie; None to look at none.

    Yields:
        `sha256`, `size_bytes`, `files` (different ones that can be relied on),
        `could_be_saved_bytes` and `rows`; of each row `linked` (it is one of the files before it)
        and `not_counted` (why it is no copy to rely on, or None).
    """
    for digest, members in itertools.groupby(rows, key=lambda row: row["digest"]):
        seen: set[object] = set()
        found: list[dict[str, Any]] = []
        size = 0
        for row in members:
            identity, size_bytes, why = judge(row, naming)
            size = size if size_bytes is None or why is not None else size_bytes
            keys = ("row_id", "artifact_type", "path")
            linked = why is None and identity in seen
            found.append({**{k: row[k] for k in keys}, "linked": linked, "not_counted": why})
            if why is None:
                seen.add(identity)
        yield {
            "sha256": digest,
            "size_bytes": size,
            "files": len(seen),
            "could_be_saved_bytes": size * max(0, len(seen) - 1),
            "rows": found,
        }


def judge(
    row: dict[str, Any], naming: Naming | None
) -> tuple[Identity | str, int | None, str | None]:
    """Which file a row's is, its size in bytes, and why it is no copy to rely on, if it is none."""
    if row["is_bad"]:
        return row["row_id"], None, "it was found bad when it was looked at last"
    if not row["is_verified"]:
        return row["row_id"], None, "its hash was never verified"
    if naming is None:
        return row["path"], row["size_bytes"], None
    try:
        facts = os.stat(naming.place(row["path"]))
    except FileNotFoundError:
        return row["row_id"], None, "it is missing"
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        return row["row_id"], None, f"it cannot be looked at: {what}"
    return (facts.st_dev, facts.st_ino), facts.st_size, _changed(facts, row["size_bytes"])


def _changed(facts: os.stat_result, recorded: int | None) -> str | None:
    """What shows without reading a file that it is not the one that was hashed."""
    if not stat.S_ISREG(facts.st_mode):
        return "it is no regular file"
    if facts.st_size == recorded:
        return None
    said = "none is recorded" if recorded is None else f"{recorded:,} are recorded"
    return f"it has {facts.st_size:,} bytes, {said}"
