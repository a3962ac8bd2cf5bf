"""Small files by the group: nearly every file of a big catalog, in as few steps as there can be.

Natively where the machine can (`_native.c`), else one by one in Python, with the same results.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import stat
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Protocol

from fasthash import files
from fasthash.files import OPEN_FLAGS, WHOLE_FILE_BYTES, moved
from fasthash.fixity import Root
from fasthash.hashing import digest_many
from fasthash.paths import is_inside

# The native code reads a group into this before it hashes it: it should stay in the L2 cache, and
# has to hold one file of WHOLE_FILE_BYTES with its padding.
ARENA_BYTES = 1024 * 1024
# Set to `off`, it keeps the native code out.
VARIABLE = "FASTHASH_NATIVE"


# One state of a small file: digest, size in bytes, modification time and the time before the
# read, both in nanoseconds. A plain tuple: one is made a file, by the native code mostly.
Small = tuple[bytes, int, int, int]


class Notes(Protocol):
    """Where a reader notes which file it is in, for those who find it dead."""

    memory: mmap.mmap

    def note(self, unit_no: int, index: int) -> None:
        """The file is about to be read."""


def load_native() -> ModuleType | None:
    """The native code, if it is there, runs on this machine, and hashes as hashlib does."""
    if os.environ.get(VARIABLE) == "off":
        return None
    try:
        from fasthash import _native  # noqa: PLC0415
    except ImportError:
        return None
    # Every length of padding, and pairs of unequal length, as they come in a group.
    messages = [bytes([n & 255]) * n for n in (*range(130), 1_000, 4_096, 70_001)]
    expected = [hashlib.sha256(m, usedforsecurity=False).digest() for m in messages]
    if _native.hash_messages(messages) != expected:
        raise RuntimeError("the native hash is wrong on this machine: set FASTHASH_NATIVE=off")
    return _native


class SmallFiles:
    """Reads and hashes groups of small files beneath the roots.

    A file is left to `files.Reader.digest` where it is not as simple as that: missing, large, not
    regular, unreadable, moving or changed a moment ago, with another name, or a link in its path.
    """

    def __init__(self, roots: Sequence[Root], notes: Notes) -> None:
        self._roots = roots
        self._notes = notes
        self.native = load_native()
        self._arena = bytearray(ARENA_BYTES)
        self._no_atime = getattr(os, "O_NOATIME", 0)

    def read(
        self, root: Root, names: Sequence[bytes | None], unit_no: int, first: int
    ) -> Sequence[Small | None] | None:
        """One state of each file; None for one that is not that simple.

        Args:
            root: where the names begin.
            names: relative to the root, without `..`; None is left out.
            unit_no: the unit they belong to.
            first: the index of the first of them in the unit.

        Returns:
            None in place of everything if the root is not the directory that it was.
        """
        self._notes.note(unit_no, first)
        found = self._read(root, names, unit_no, first)
        if self._no_atime and found is not None and not any(found) and self._may_not(root, names):
            self._no_atime = 0  # only for owners and root: from here on without
            found = self._read(root, names, unit_no, first)
        return found

    def _may_not(self, root: Root, names: Sequence[bytes | None]) -> bool:
        """Whether it is the access time that keeps files from being opened."""
        for name in filter(None, names):
            try:
                os.close(os.open(root.path + b"/" + name, OPEN_FLAGS | self._no_atime))
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno == errno.EPERM:
                    return True
        return False

    def _read(
        self, root: Root, names: Sequence[bytes | None], unit_no: int, first: int
    ) -> Sequence[Small | None] | None:
        if self.native is None or files.between_looks is not None:
            return self._read_in_python(root, names, unit_no, first)
        found: list[Small | None] | None = self.native.read_and_hash(
            root.path, (root.device, root.inode), names, self._notes.memory, first,
            (OPEN_FLAGS | self._no_atime, WHOLE_FILE_BYTES, files.RACY_NS), self._arena,
        )  # fmt: skip
        return found

    def _read_in_python(
        self, root: Root, names: Sequence[bytes | None], unit_no: int, first: int
    ) -> list[Small | None] | None:
        try:
            facts = os.stat(root.path)
        except OSError:
            return None
        if (facts.st_dev, facts.st_ino) != (root.device, root.inode):
            return None
        read: list[tuple[bytes, int, int] | None] = []
        for i, name in enumerate(names):
            if name is None:
                read.append(None)
                continue
            self._notes.note(unit_no, first + i)
            read.append(self._read_one(root.path + b"/" + name))
        digests = iter(digest_many([content for content, _, _ in filter(None, read)]))
        return [r and (next(digests), len(r[0]), r[1], r[2]) for r in read]

    def _read_one(self, path: bytes) -> tuple[bytes, int, int] | None:
        """Content, modification time and the time before the read."""
        try:
            descriptor = os.open(path, OPEN_FLAGS | self._no_atime)
        except (OSError, ValueError):
            return None
        try:
            return self._content(descriptor)
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _content(self, descriptor: int) -> tuple[bytes, int, int] | None:
        read_at_ns = time.time_ns()
        facts = os.fstat(descriptor)
        size_bytes = facts.st_size
        plain = stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1
        if size_bytes > WHOLE_FILE_BYTES or not plain:
            return None
        if not is_inside(os.readlink(b"/proc/self/fd/%d" % descriptor), self._roots):
            return None
        if files.between_looks is not None:
            files.between_looks(descriptor)
        content = os.read(descriptor, size_bytes + 1)
        still = len(content) == size_bytes and not moved(facts, os.fstat(descriptor))
        racy = read_at_ns - facts.st_ctime_ns < files.RACY_NS
        return (content, facts.st_mtime_ns, read_at_ns) if still and not racy else None
