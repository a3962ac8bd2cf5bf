"""Leaves the page cache as it was: what a read brought in goes again, what was there stays.

A plain DONTNEED after the read throws out pages that others are using; so the cache is asked
first, a window at a time and well ahead of the kernel's own read-ahead.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from collections.abc import Iterator

PAGE_BYTES = mmap.PAGESIZE
WINDOW_BYTES = 8 * 1024 * 1024
# Windows looked at before they are read: the kernel reads ahead by 128 KiB, by 16 MiB on some
# storage servers, twice that where a file is read in sequence, and begins the next stretch while
# this one is read. What it has read before we look counts as another's and stays.
WINDOWS_AHEAD = 10
# Shorter runs of absent pages are left: between cached pages they were probably cached, too.
_ABSENT = re.compile(rb"\0{8,}")

_LOWEST_BIT = bytes(byte & 1 for byte in range(256))  # the others are not defined

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
_FAILED = ctypes.c_void_p(-1).value


def resident_pages(descriptor: int, offset: int, size_bytes: int) -> bytes:
    """Which pages of a piece of a file are in the page cache: a byte a page, 1 if it is.

    The kernel tells only owners and those who may write the file; others see every page as there.
    A piece that cannot be looked at counts as there, too.

    Args:
        descriptor: of the file.
        offset: where the piece begins, a multiple of the page size.
        size_bytes: its length.
    """
    pages = -(-size_bytes // PAGE_BYTES)
    address = _libc.mmap(None, size_bytes, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, offset)
    if address == _FAILED:
        return b"\1" * pages
    vector = ctypes.create_string_buffer(pages)
    failed = _libc.mincore(address, size_bytes, vector)
    _libc.munmap(address, size_bytes)
    return b"\1" * pages if failed else vector.raw.translate(_LOWEST_BIT)


class Visit:
    """One read of a file from its beginning to its end."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self._size_bytes = size_bytes
        self._absent: dict[int, list[tuple[int, int]]] = {}  # by window: offset, length
        self._looked_to = 0
        self._left_to = 0
        self.at(0)

    def at(self, offset: int) -> None:
        """Everything before the offset has been read."""
        while self._looked_to < min(offset + WINDOWS_AHEAD * WINDOW_BYTES, self._size_bytes):
            self._look(self._looked_to)
            self._looked_to += WINDOW_BYTES
        while self._left_to + WINDOW_BYTES <= offset:
            self._leave(self._left_to)
            self._left_to += WINDOW_BYTES

    def end(self) -> None:
        """The read is over: what it brought in goes."""
        for window in list(self._absent):
            self._leave(window)

    def _look(self, window: int) -> None:
        size_bytes = min(WINDOW_BYTES, self._size_bytes - window)
        there = resident_pages(self._descriptor, window, size_bytes)
        self._absent[window] = [(window + at, length) for at, length in _runs(there)]

    def _leave(self, window: int) -> None:
        for offset, length in self._absent.pop(window, ()):
            os.posix_fadvise(self._descriptor, offset, length, os.POSIX_FADV_DONTNEED)


def _runs(there: bytes) -> Iterator[tuple[int, int]]:
    """Runs of absent pages, as offset and length in bytes."""
    if 1 not in there:
        yield 0, len(there) * PAGE_BYTES
        return
    for run in _ABSENT.finditer(there):
        yield run.start() * PAGE_BYTES, (run.end() - run.start()) * PAGE_BYTES
