"""Bytes to digests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple


class Algorithms(NamedTuple):
    """Which digests are made of the same bytes, in one read."""

    sha256: bool = True
    blake3: bool = False
    xxh3: bool = False


class Digests(NamedTuple):
    """Digests of the same bytes; None where one was not asked for."""

    sha256: bytes | None = None
    blake3: bytes | None = None
    xxh3: bytes | None = None


ONLY_SHA256 = Algorithms()
ONLY_XXH3 = Algorithms(sha256=False, xxh3=True)


def _sha256() -> Any:
    return hashlib.sha256(usedforsecurity=False)


def _blake3() -> Any:
    from blake3 import blake3  # noqa: PLC0415

    return blake3()


def _xxh3() -> Any:
    from xxhash import xxh3_128  # noqa: PLC0415

    return xxh3_128()


_NEW: tuple[Callable[[], Any], ...] = (_sha256, _blake3, _xxh3)


class Stream:
    """Digests of bytes that come in pieces."""

    def __init__(self, algorithms: Algorithms = ONLY_SHA256) -> None:
        self._states = [new() if on else None for new, on in zip(_NEW, algorithms, strict=True)]
        self._updates = [state.update for state in self._states if state is not None]

    def update(self, piece: memoryview | bytes) -> None:
        """Takes the next bytes; the interpreter lock is free meanwhile."""
        for update in self._updates:
            update(piece)

    def digests(self) -> Digests:
        """The digests of all that was taken."""
        return Digests(*(state and state.digest() for state in self._states))


@cache
def _at_once(algorithms: Algorithms) -> tuple[Callable[[bytes], bytes] | None, ...]:
    def of(new: Callable[[], Any]) -> Callable[[bytes], bytes]:
        kind = type(new()) if new is not _sha256 else _sha256_of
        return lambda content: kind(content).digest()

    return tuple(of(new) if on else None for new, on in zip(_NEW, algorithms, strict=True))


def _sha256_of(content: bytes) -> Any:
    return hashlib.sha256(content, usedforsecurity=False)


def digests(content: bytes, algorithms: Algorithms) -> Digests:
    """Digests of bytes that are at hand: without a stream it costs a third for small files."""
    return Digests(*(make and make(content) for make in _at_once(algorithms)))
