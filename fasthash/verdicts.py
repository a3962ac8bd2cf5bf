"""From what was read of a file to the result for its row: pure."""

from __future__ import annotations

from fasthash.fixity import Known, Result, Task, Verdict
from fasthash.hashing import Digests

BIGINT_MAX = 2**63 - 1  # what PostgreSQL stores


def differs(task: Task, sha256: bytes) -> bool:
    """Whether a file's hash is another one than the row has."""
    return task.stored_sha256 is not None and task.stored_sha256.lower() != sha256.hex()


def hashed(
    task: Task,
    sha256: bytes | None,
    size_bytes: int,
    mtime_ns: int,
    read_at_ns: int,
    ctime_ns: int,
    device: int,
    inode: int,
    others: Digests | None = None,
) -> Result:
    """The result of a file that was hashed, from the facts as `small.Small` has them."""
    _, blake3, xxh3 = others or (None, None, None)
    return Result(
        task.row_id, task.path, task.marker, "hashed", sha256, size_bytes, bounded(mtime_ns),
        read_at_ns, False, None, bounded(ctime_ns), device, signed(inode), blake3, xxh3,
    )  # fmt: skip


def unhashed(task: Task, verdict: str, detail: str | None) -> Result:
    """The result of a row without a hash, and why."""
    return Result(task.row_id, task.path, task.marker, str(verdict), detail=detail)


def prechecked(task: Task, size_bytes: int) -> Result:
    """The result of a file that is what it was, as far as the pre-check can see."""
    stored = bytes.fromhex(task.stored_sha256 or "")
    return Result(task.row_id, task.path, task.marker, str(Verdict.PRECHECKED), stored, size_bytes)


def same_stamps(
    known: Known, size_bytes: int, mtime_ns: int, ctime_ns: int, device: int, inode: int
) -> bool:
    """Whether a file's facts are those that are known; only the size, where nothing else is."""
    if known.mtime_ns is None:
        return known.size_bytes == size_bytes
    found = (size_bytes, bounded(mtime_ns), bounded(ctime_ns), device, signed(inode))
    return known[:5] == found


def bounded(time_ns: int) -> int:
    """A time that PostgreSQL can store: there are some before 1677 or after 2262."""
    return max(-BIGINT_MAX, min(time_ns, BIGINT_MAX))


def signed(inode: int) -> int:
    """An inode number as a signed one of 64 bits: network file systems use all of them."""
    return inode - 2**64 if inode > BIGINT_MAX else inode
