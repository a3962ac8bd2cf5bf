"""Roots as they are now: whether a directory is still the one it was at the start."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fasthash import child, paths, shortage
from fasthash.fixity import Root
from fasthash.sameness import difference
from fasthash.shortage import ShortageError

# Follows an automount, needs no right to list, and opens nothing that could act.
_LOOK = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_AT_EMPTY_PATH = 0x1000
# <linux/stat.h>: what is asked for, and where it lies in struct statx.
_STATX_INO, _STATX_BTIME, _STATX_MNT_ID_UNIQUE = 0x100, 0x800, 0x4000
_STATX_BYTES = 256
_MASK, _INODE, _BIRTH, _DEVICE, _MOUNT = (
    struct.Struct("=I"), struct.Struct("=32xQ"), struct.Struct("=80xqI"),
    struct.Struct("=136xII"), struct.Struct("=144xQ"),
)  # fmt: skip
_NFS_SUPER_MAGIC = 0x6969
_STATFS_BYTES = 256
_HANDLE = struct.Struct("=Ii")  # <fcntl.h>, struct file_handle: length, type; the handle follows
_MOST_HANDLE_BYTES = 128

_libc = ctypes.CDLL(None, use_errno=True)


class RootMissingError(Exception):
    """A root is not what it was at the start."""

    def __init__(self, root: Root, detail: str) -> None:
        super().__init__(detail)
        self.root = root
        self.detail = detail


def find_root(path: str, sentinel: str | None = None) -> Root:
    """The facts of a root as it is now.

    Args:
        path: a directory.
        sentinel: a name that has to exist beneath it, or None.

    Raises:
        OSError: it is missing, not a directory, or lacks the sentinel.
        ShortageError: nothing can be opened, which says nothing of the root.
    """
    absolute = os.path.abspath(os.fsencode(path))
    real_path = os.path.realpath(absolute)
    try:
        folder = os.open(real_path, _LOOK)
        try:
            return _facts(folder, absolute, real_path, sentinel)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno in shortage.ERRORS:
            raise ShortageError(error) from error
        raise


def _facts(folder: int, absolute: bytes, real_path: bytes, sentinel: str | None) -> Root:
    device, inode, mount_id, birth_ns = _statx(folder)
    known = None
    if sentinel is not None:
        facts = os.stat(os.fsencode(sentinel), dir_fd=folder)
        known = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
    file_system = file_system_of(folder, device, birth_ns)
    return Root(absolute, real_path, device, inode, mount_id, birth_ns, file_system, known)


def _statx(folder: int) -> tuple[int, int, int, int]:
    """Device, inode, the mount's unique number and the time of birth; 0 for what is not known."""
    found = ctypes.create_string_buffer(_STATX_BYTES)
    wanted = _STATX_INO | _STATX_BTIME | _STATX_MNT_ID_UNIQUE
    statx = getattr(_libc, "statx", None)  # glibc 2.28, musl 1.2.5
    if statx is None or statx(folder, b"", _AT_EMPTY_PATH, wanted, found):
        facts = os.fstat(folder)
        return facts.st_dev, facts.st_ino, 0, 0
    (told,) = _MASK.unpack_from(found)
    seconds, nanoseconds = _BIRTH.unpack_from(found)
    return (
        os.makedev(*_DEVICE.unpack_from(found)),
        _INODE.unpack_from(found)[0],
        _MOUNT.unpack_from(found)[0] if told & _STATX_MNT_ID_UNIQUE else 0,
        seconds * 1_000_000_000 + nanoseconds if told & _STATX_BTIME else 0,
    )


def file_system_of(folder: int, device: int, birth_ns: int) -> bytes:
    """A name for the file system of an open directory that it keeps wherever it is mounted.

    That is the number that statvfs(3) tells, where it is made of the file system's UUID (ext4,
    Btrfs, ZFS, tmpfs, CephFS, CIFS) and not of the device (XFS, F2FS, SquashFS); on NFS, which
    tells none, the server's own handle of the directory, in which the server names its file
    system; else the directory's time of birth, if that is finer than a second: two made in the same
    nanosecond, with one inode number, are copies of one image.

    Returns:
        empty where there is none of them (FUSE).
    """
    number = _file_system_number(folder)
    if number and number != device:
        return b"fsid %x" % number
    if not number and _is_nfs(folder):
        handle = _handle(folder)
        return b"nfs " + handle if handle else b""
    return b"birth %d" % birth_ns if birth_ns % 1_000_000_000 else b""


def _file_system_number(folder: int) -> int:
    try:
        return os.fstatvfs(folder).f_fsid
    except OSError as error:
        if error.errno in shortage.ERRORS:
            raise
        return 0  # some FUSE file systems have no such call


def _is_nfs(folder: int) -> bool:
    facts = ctypes.create_string_buffer(_STATFS_BYTES)
    failed = _libc.fstatfs(folder, facts)
    return not failed and struct.unpack_from("=I", facts)[0] == _NFS_SUPER_MAGIC


def _handle(folder: int) -> bytes:
    """The handle of an open directory as name_to_handle_at(2) gives it; empty where it does not."""
    found = ctypes.create_string_buffer(_HANDLE.size + _MOST_HANDLE_BYTES)
    _HANDLE.pack_into(found, 0, _MOST_HANDLE_BYTES, 0)
    mount = ctypes.c_int()
    if _libc.name_to_handle_at(folder, b"", found, ctypes.byref(mount), _AT_EMPTY_PATH):
        return b""
    length, _ = _HANDLE.unpack_from(found)
    return found.raw[: _HANDLE.size + length]


def look_again(roots: Sequence[Root], sentinel: str | None = None) -> tuple[Root, ...]:
    """The same roots as they are now; one that was mounted anew has other facts.

    Raises:
        RootMissingError: one is not what it was.
        ShortageError: nothing can be opened, so that none can be looked at.
    """
    found = []
    for root in roots:
        try:
            now = find_root(os.fsdecode(root.path), sentinel)
        except OSError as error:
            raise RootMissingError(root, os.strerror(error.errno or 0)) from error
        detail = difference(root, now)
        if detail is not None:
            raise RootMissingError(root, detail)
        found.append(now)
    return tuple(found)


def missing_root(roots: Sequence[Root], sentinel: str | None = None) -> tuple[Root, str] | None:
    """The first root that is not what it was at the start, and what is wrong with it."""
    try:
        look_again(roots, sentinel)
    except RootMissingError as missing:
        return missing.root, missing.detail
    return None


def is_unmoved(root: Root) -> bool:
    """Whether a root is there and on the very mount that it was on: what is asked of every group.

    A root for which this is not so may still be the same one, see `look_again`.
    """
    try:
        folder = os.open(root.path, _LOOK)
    except OSError:
        return False
    try:
        return _statx(folder)[:3] == (root.device, root.inode, root.mount_id)
    finally:
        os.close(folder)


def find_roots(names: Sequence[str], sentinel: str | None) -> Iterator[Root | str]:
    """The roots as they are now, one after the other; a text says what is wrong with one."""
    for name in names:
        try:
            root = find_root(os.fsdecode(paths.decode(name)), sentinel)
        except (OSError, ValueError, ShortageError) as error:  # a NUL is no part of a name
            what = f" (sentinel {sentinel})" if sentinel is not None else ""
            yield f"root {name}{what}: {_why(error)}"
            continue
        if os.access(root.real_path, os.X_OK, effective_ids=True):
            yield root
        else:
            yield f"root {name}: this user may not open anything in it (chmod +x)"


def _why(error: Exception) -> str:
    if isinstance(error, ShortageError):
        return shortage.describe(error.error)
    return os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)


def main() -> None:
    """A helper process of a coordinator, which must not touch a dead mount itself."""
    child.answer(_answer)


def _answer(question: tuple[str, Any, str | None]) -> Iterable[object]:
    _, roots, sentinel = question
    try:
        return [(missing_root(roots, sentinel),)]
    except ShortageError as short:  # nothing is known: it is asked again
        return [((roots[0], shortage.describe(short.error)),)]
