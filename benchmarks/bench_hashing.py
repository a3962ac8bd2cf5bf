"""Digest, reader and size of the buffer: gigabytes a second of one core, warm.

.venv/bin/python benchmarks/bench_hashing.py [--short]
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import measure
from corpus import make_sized, warm

from fasthash.files import Reader
from fasthash.roots import find_root

MIB = 1 << 20
CHUNKS = (16, 64, 256, 1_024, 8_192)  # KiB
DIGESTS = ("sha256", "sha512", "blake2b", "md5")


class NoWatch:
    """Takes no notice."""

    def advance(self, read_bytes: int) -> None:
        """Nothing."""


def read(folder: Path, name: str, chunk_bytes: int, use_mmap: bool) -> None:
    """One file by the product's own reader."""
    reader = Reader((find_root(str(folder)),), chunk_bytes, use_mmap)
    reader.digest([str(folder / name).encode()], NoWatch())


def main() -> None:
    """In memory, then by both readers."""
    options = measure.options(__doc__)
    size = 64 * MIB if options.short else 256 * MIB
    folder = options.folder / f"hashing-{size}"
    (name,) = make_sized(folder, 1, size)
    warm(folder)
    content = (folder / name).read_bytes()
    contenders: dict[str, Callable[[], object]] = {
        f"{digest} in memory": partial(hashlib.new, digest, content) for digest in DIGESTS
    }
    for kib in CHUNKS:
        contenders[f"readinto, {kib} KiB"] = partial(read, folder, name, kib * 1024, False)
    contenders["mmap"] = partial(read, folder, name, 256 * 1024, True)
    found = measure.in_turn(
        options.rounds,
        {title: partial(measure.timed, work) for title, work in contenders.items()},
    )
    rates = {title: size / statistics.median(times) / 1e9 for title, times in found.items()}
    measure.save("hashing", "One core, warm", "GB/s", rates)


if __name__ == "__main__":
    main()
