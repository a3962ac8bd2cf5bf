"""From what was read of a file to the result for its row: pure."""

from __future__ import annotations

import struct
from typing import Protocol

from fasthash.fixity import Known, Result, Task, Verdict
from fasthash.hashing import Digests

BIGINT_MAX = 2**63 - 1  # what PostgreSQL stores
# mtime and ctime in nanoseconds, device, inode: in the order of bytes that SQL can take apart.
STAMPS = struct.Struct(">qqqq")


class Facts(Protocol):
    """What `os.stat` tells of a file."""

    @property
    def st_size(self) -> int:
        """Bytes."""

    @property
    def st_mtime_ns(self) -> int:
        """When it was modified, nanoseconds since the epoch."""

    @property
    def st_ctime_ns(self) -> int:
        """When that, or anything else about it, changed."""

    @property
    def st_dev(self) -> int:
        """The device's number."""

    @property
    def st_ino(self) -> int:
        """The file's number on it."""


def differs(task: Task, sha256: bytes) -> bool:
    """Whether a file's hash is another one than the row has."""
    return task.stored_sha256 is not None and task.stored_sha256.lower() != sha256.hex()


def hashed(
    task: Task,
    sha256: bytes | None,
    size_bytes: int,
    mtime_ns: int,
    read_at_ns: int,
    stamps: bytes,
    others: Digests | None = None,
) -> Result:
    """The result of a file that was hashed, from the facts as `small.Small` has them."""
    if not -BIGINT_MAX <= mtime_ns <= BIGINT_MAX:
        mtime_ns = bounded(mtime_ns)
    if others is None:
        return Result(
            task.row_id, task.path, task.marker, "hashed", sha256, size_bytes, mtime_ns,
            read_at_ns, None, None, stamps,
        )  # fmt: skip
    return Result(
        task.row_id, task.path, task.marker, "hashed", sha256, size_bytes, mtime_ns, read_at_ns,
        None, None, stamps, others.blake3, others.xxh3,
    )  # fmt: skip


def unhashed(task: Task, verdict: str, detail: str | None) -> Result:
    """The result of a row without a hash, and why."""
    return Result(task.row_id, task.path, task.marker, str(verdict), detail=detail)


def prechecked(task: Task, size_bytes: int) -> Result:
    """The result of a file that is what it was, as far as the pre-check can see."""
    stored = bytes.fromhex(task.stored_sha256 or "")
    return Result(task.row_id, task.path, task.marker, str(Verdict.PRECHECKED), stored, size_bytes)


def stamps_of(facts: Facts) -> bytes:
    """What tells a file's state from another without reading it, packed."""
    times = bounded(facts.st_mtime_ns), bounded(facts.st_ctime_ns)
    return STAMPS.pack(*times, facts.st_dev, signed(facts.st_ino))


def same_stamps(known: Known, facts: Facts) -> bool:
    """Whether a file's facts are those that are known; only the size, where nothing else is.

    The device is none of them: it is a number that this machine gives out when a file system is
    mounted. With the same path beneath a root (see `sameness`), the inode and the times are the
    file's own.
    """
    if known.size_bytes != facts.st_size:
        return False
    if known.mtime_ns is None:
        return True
    mtime_ns, ctime_ns, _, inode = STAMPS.unpack(stamps_of(facts))
    return (mtime_ns, ctime_ns, inode) == (known.mtime_ns, known.ctime_ns, known.inode)


def bounded(time_ns: int) -> int:
    """A time that PostgreSQL can store: there are some before 1677 or after 2262."""
    return max(-BIGINT_MAX, min(time_ns, BIGINT_MAX))


def signed(inode: int) -> int:
    """An inode number as a signed one of 64 bits: network file systems use all of them."""
    return inode - 2**64 if inode > BIGINT_MAX else inode
