"""Some of a directory's files, drawn evenly, and how much of them is in the page cache."""

from __future__ import annotations

import os
import random
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass

from fasthash.errors import ConfigError
from fasthash.files import RACY_NS, WHOLE_FILE_BYTES
from fasthash.fixity import Root
from fasthash.pagecache import resident_pages
from fasthash.roots import find_root

# The sample is drawn from the first so many files, found within so long.
LOOKED_AT_MOST = 300_000
LOOK_S = 5.0
FILES_AT_MOST = 20_000
# What is made where no directory is given: sizes like those of a store of figures and notebooks.
MADE_FILES, MADE_MEAN_BYTES = 4_000, 8_000
MADE_LARGE_FILES, MADE_LARGE_BYTES = 4, 64 * 1024 * 1024
_LOOK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """Files beneath a root, in random order: relative names and sizes in bytes."""

    root: Root
    files: tuple[tuple[str, int], ...]
    resident_share: float  # of their bytes, when they were drawn

    @property
    def size_bytes(self) -> int:
        """All together."""
        return sum(size for _, size in self.files)

    @property
    def mean_bytes(self) -> float:
        """Of a file."""
        return self.size_bytes / len(self.files)

    @property
    def large_share(self) -> float:
        """How much of the bytes is in files that are streamed."""
        large = sum(size for _, size in self.files if size > WHOLE_FILE_BYTES)
        return large / max(1, self.size_bytes)


def draw(directory: str, most_bytes: int, seed: int = 1) -> Sample:
    """A sample of the regular files of a directory, the same each time if they are the same.

    Args:
        directory: it and all below it; links are not followed.
        most_bytes: all files of the sample together, but for the first.
        seed: of the order.

    Raises:
        ConfigError: there is no file.
    """
    try:
        root = find_root(directory)
    except OSError as error:
        raise ConfigError(f"directory {directory}: {error.strerror}") from error
    found = sorted(_walk(root.real_path))
    if not found:
        raise ConfigError(f"directory {directory} holds no regular file to read")
    random.Random(seed).shuffle(found)  # noqa: S311
    files: list[tuple[str, int]] = []
    total = there = 0
    for name, size in found[:FILES_AT_MOST]:
        if files and total + size > most_bytes:
            continue
        files.append((os.fsdecode(name), size))
        total += size
        there += _resident_bytes(os.path.join(root.real_path, name), size)
    return Sample(root, tuple(files), there / max(1, total))


def _walk(folder: bytes) -> Iterator[tuple[bytes, int]]:
    """Relative names and sizes of readable files, for as long as it may take."""
    until_s = time.monotonic() + LOOK_S
    seen = 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            try:
                facts = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISREG(facts.st_mode) and os.access(path, os.R_OK):
                seen += 1
                yield os.path.relpath(path, folder), facts.st_size
        if seen >= LOOKED_AT_MOST or time.monotonic() > until_s:
            return


def _resident_bytes(path: bytes, size: int) -> int:
    """How much of a file is in the page cache, by its first megabytes."""
    looked = min(size, _LOOK_BYTES)
    if looked == 0:
        return 0
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        pages = resident_pages(descriptor, 0, looked)
    finally:
        os.close(descriptor)
    return round(size * sum(pages) / len(pages))


def make(folder: str, seed: int = 1) -> None:
    """Files to try where no directory is given: many small ones and a few large ones."""
    chance = random.Random(seed)  # noqa: S311
    for n in range(MADE_FILES):
        size = round(chance.lognormvariate(0, 1) * MADE_MEAN_BYTES / 1.65)
        with open(os.path.join(folder, f"small{n}"), "wb") as file:
            file.write(chance.randbytes(size))
    for n in range(MADE_LARGE_FILES):
        with open(os.path.join(folder, f"large{n}"), "wb") as file:
            file.write(chance.randbytes(MADE_LARGE_BYTES))
    time.sleep(RACY_NS / 1e9)  # files that were written a moment ago are read twice


def warm(sample: Sample) -> None:
    """Reads every file, so that it is in the page cache."""
    buffer = bytearray(1 << 20)
    for name, _ in sample.files:
        try:
            with open(os.path.join(sample.root.real_path, os.fsencode(name)), "rb", 0) as file:
                while file.readinto(buffer):
                    pass
        except OSError:
            continue  # it has gone since: the trials do without it
