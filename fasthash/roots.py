"""Roots as they are now: whether a directory is still the one it was at the start."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Sequence

from fasthash import child, wire
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


def main() -> None:
    """Says once which root is missing, to a coordinator that must not touch a dead mount itself.

    Not even a thread of it may: one in an uninterruptible call keeps the process from ending.
    """
    child.become_child(int(sys.argv[1]))
    source, sink = child.take_pipes()
    question: tuple[Sequence[Root], str | None] | None = wire.read(source)
    if question is not None:
        wire.write(sink, (missing_root(*question),))
    os._exit(0)
