"""Roots as they are now: whether a directory is still the one it was at the start."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fasthash import child, paths
from fasthash.fixity import Root


def find_root(path: str, sentinel: str | None = None) -> Root:
    """The facts of a root as it is now.

    Args:
        path: a directory.
        sentinel: a name that has to exist beneath it, or None.

    Raises:
        OSError: it is missing, not a directory, or lacks the sentinel.
    """
    absolute = os.path.abspath(os.fsencode(path))
    real_path = os.path.realpath(absolute)
    facts = os.stat(real_path)
    if not stat.S_ISDIR(facts.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    if sentinel is not None:
        os.stat(os.path.join(real_path, os.fsencode(sentinel)))
    return Root(absolute, real_path, facts.st_dev, facts.st_ino)


def missing_root(roots: Sequence[Root], sentinel: str | None = None) -> tuple[Root, str] | None:
    """The first root that is not what it was at the start, and what is wrong with it."""
    for root in roots:
        try:
            now = find_root(os.fsdecode(root.path), sentinel)
        except OSError as error:
            return root, os.strerror(error.errno or 0)
        if (now.device, now.inode) != (root.device, root.inode):
            return root, "another file system or directory is mounted there"
    return None


def find_roots(names: Sequence[str], sentinel: str | None) -> Iterator[Root | str]:
    """The roots as they are now, one after the other; a text says what is wrong with one."""
    for name in names:
        try:
            root = find_root(os.fsdecode(paths.decode(name)), sentinel)
        except (OSError, ValueError) as error:  # a NUL is no part of a name
            what = f" (sentinel {sentinel})" if sentinel is not None else ""
            why = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
            yield f"root {name}{what}: {why}"
            continue
        if os.access(root.real_path, os.X_OK, effective_ids=True):
            yield root
        else:
            yield f"root {name}: this user may not open anything in it (chmod +x)"


def main() -> None:
    """A helper process of a coordinator, which must not touch a dead mount itself."""
    child.answer(_look)


def _look(question: tuple[str, Any, str | None]) -> Iterable[object]:
    kind, roots, sentinel = question
    return find_roots(roots, sentinel) if kind == "find" else [(missing_root(roots, sentinel),)]
