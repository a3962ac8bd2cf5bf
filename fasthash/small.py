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
from typing import Any, NamedTuple, Protocol

from fasthash import cautious, disks, files
from fasthash.files import OPEN_FLAGS, WHOLE_FILE_BYTES, moved
from fasthash.fixity import Root
from fasthash.hashing import ONLY_SHA256, Algorithms, Digests, digests
from fasthash.paths import is_inside
from fasthash.roots import is_unmoved
from fasthash.verdicts import bounded, stamps_of

# The native code reads a group into this before it hashes it: it should stay in the L2 cache, and
# has to hold one file of WHOLE_FILE_BYTES with its padding.
ARENA_BYTES = 1024 * 1024
# Set to `off`, it keeps the native code out.
VARIABLE = "FASTHASH_NATIVE"


# What the native code is asked for.
_WANT_SHA256, _WANT_CONTENT = 1, 2


# One state of a small file: SHA-256, size in bytes, mtime, time before the read (both in
# nanoseconds), stamps as `verdicts.STAMPS` packs them, and the other digests. A plain tuple: one is
# made a file, by the native code mostly.
Small = tuple[bytes | None, int, int, int, bytes, Digests | None]


class Notes(Protocol):
    """Where a reader notes which file it is in, for those who find it dead."""

    memory: mmap.mmap

    def note(self, unit_no: int, index: int) -> None:
        """The file is about to be read."""

    def advance(self, read_bytes: int) -> None:
        """So many more bytes were read.

        Raises:
            Stopped: the run stops.
        """


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
    """Reads and hashes groups of small files beneath the roots, where heads move along the disk.

    A file is left to `files.Reader.digest` where it is not as simple as that: missing, large, not
    regular, unreadable, moving or changed a moment ago, with another name, or a link in its path.
    """

    def __init__(self, roots: Sequence[Root], notes: Notes, *, along_disk: bool = False) -> None:
        self.roots = roots
        self._along_disk = along_disk
        self._notes = notes
        self.native = load_native()
        self._arena = bytearray(ARENA_BYTES)
        self._no_atime = getattr(os, "O_NOATIME", 0)

    def read(
        self,
        root: Root,
        names: Sequence[bytes | None],
        unit_no: int,
        first: int,
        algorithms: Algorithms = ONLY_SHA256,
        most_bytes: int = WHOLE_FILE_BYTES,
    ) -> Sequence[Small | None] | None:
        """One state of each file; None for one that is not that simple.

        Args:
            root: where the names begin.
            names: relative to the root, without `..`; None is left out.
            unit_no: the unit they belong to.
            first: the index of the first of them in the unit.
            algorithms: the digests to make.
            most_bytes: the size of a small file, WHOLE_FILE_BYTES at the most.

        Returns:
            None in place of everything if the root is not on the mount that it was, or cannot be
            looked at: `roots.look_again` tells which.
        """
        self._notes.note(unit_no, first)
        wish = (unit_no, first, algorithms, most_bytes)
        if self._along_disk and len(names) > 1:
            return self._read_along_disk(root, names, *wish)
        found = self._read(root, names, *wish)
        if self._no_atime and found is not None and not any(found) and self._may_not(root, names):
            self._no_atime = 0  # only for owners and root: from here on without
            found = self._read(root, names, *wish)
        return found

    def _read_along_disk(
        self,
        root: Root,
        names: Sequence[bytes | None],
        unit_no: int,
        first: int,
        algorithms: Algorithms,
        most_bytes: int,
    ) -> Sequence[Small | None] | None:
        """One by one, in the order they lie in."""
        places = [
            (disks.position(root.path + b"/" + name), i, name)
            for i, name in enumerate(names)
            if name is not None
        ]
        states: list[Small | None] = [None] * len(names)
        for _, i, name in sorted(places):
            self._notes.advance(0)  # raises Stopped
            found = self.read(root, [name], unit_no, first + i, algorithms, most_bytes)
            if found is None:
                return None
            states[i] = found[0]
        return states

    def _may_not(self, root: Root, names: Sequence[bytes | None]) -> bool:
        """Whether it is the access time that keeps files from being opened."""
        for name in filter(None, names):
            try:
                path = root.path + b"/" + name
                os.close(cautious.open_seen(path, OPEN_FLAGS | self._no_atime, self._judge)[0])
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno == errno.EPERM:
                    return True
        return False

    def _read(
        self,
        root: Root,
        names: Sequence[bytes | None],
        unit_no: int,
        first: int,
        algorithms: Algorithms,
        most_bytes: int,
    ) -> Sequence[Small | None] | None:
        if self.native is None or files.between_looks is not None:
            contents = self._read_in_python(root, names, unit_no, first, most_bytes)
            return None if contents is None else [_digested(c, algorithms) for c in contents]
        others = algorithms._replace(sha256=False)
        wanted = _WANT_SHA256 * algorithms.sha256 + _WANT_CONTENT * any(others)
        found: list[Any] | None = self.native.read_and_hash(
            root.path, (root.device, root.inode, root.mount_id), names, self._notes.memory, first,
            (OPEN_FLAGS | self._no_atime, most_bytes, files.RACY_NS), self._arena, wanted,
        )  # fmt: skip
        if found is not None and any(others):
            return [f and (*f[:-1], digests(f[-1], others)) for f in found]
        return found

    def _read_in_python(
        self,
        root: Root,
        names: Sequence[bytes | None],
        unit_no: int,
        first: int,
        most_bytes: int,
    ) -> list[_Content | None] | None:
        if not is_unmoved(root):
            return None
        read: list[_Content | None] = []
        for i, name in enumerate(names):
            if name is None:
                read.append(None)
                continue
            self._notes.note(unit_no, first + i)
            read.append(self._read_one(root.path + b"/" + name, most_bytes))
        return read

    def _read_one(self, path: bytes, most_bytes: int) -> _Content | None:
        read_at_ns = time.time_ns()
        try:
            flags = OPEN_FLAGS | self._no_atime
            descriptor, facts = cautious.open_seen(path, flags, self._judge)
        except (OSError, ValueError):
            return None
        try:
            content = self._content(descriptor, facts, most_bytes)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        racy = read_at_ns - facts.st_ctime_ns < files.RACY_NS
        return None if content is None or racy else _Content(content, facts, read_at_ns)

    def _judge(self, real_path: bytes, facts: os.stat_result) -> None:
        """Raises OSError for what is looked at one by one, where it gets its verdict."""
        plain = stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1
        if not (plain and is_inside(real_path, self.roots)):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def _content(self, descriptor: int, facts: os.stat_result, most_bytes: int) -> bytes | None:
        """What a small file holds, if it holds still."""
        size_bytes = facts.st_size
        if size_bytes > most_bytes:
            return None
        if files.between_looks is not None:
            files.between_looks(descriptor)
        content = os.read(descriptor, size_bytes + 1)
        still = len(content) == size_bytes and not moved(facts, os.fstat(descriptor))
        return content if still else None


class _Content(NamedTuple):
    """What was read of a small file, and its facts before."""

    content: bytes
    facts: os.stat_result
    read_at_ns: int


def _digested(read: _Content | None, algorithms: Algorithms) -> Small | None:
    if read is None:
        return None
    facts, made = read.facts, digests(read.content, algorithms)
    times = (bounded(facts.st_mtime_ns), read.read_at_ns)
    return made.sha256, facts.st_size, *times, stamps_of(facts), made
