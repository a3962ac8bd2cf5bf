"""Bytes to digests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def digest_many(buffers: Sequence[bytes]) -> list[bytes]:
    """SHA-256 of each buffer.

    One call for a group of files: a hasher that works on several buffers at a time (two
    interleaved streams use the SHA unit twice as well) can take the place of this loop.
    """
    sha256 = hashlib.sha256
    return [sha256(buffer, usedforsecurity=False).digest() for buffer in buffers]


class Sha256Stream:
    """SHA-256 of bytes that come in pieces."""

    def __init__(self) -> None:
        self._state = hashlib.sha256(usedforsecurity=False)

    def update(self, piece: memoryview | bytes) -> None:
        """Takes the next bytes; the interpreter lock is free meanwhile."""
        self._state.update(piece)

    def digest(self) -> bytes:
        """The 32 bytes of the digest of all that was taken."""
        return self._state.digest()
