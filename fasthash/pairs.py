"""Large files two at a time: the SHA unit takes two messages side by side a third faster."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import ModuleType

from fasthash import files
from fasthash.files import WHOLE_FILE_BYTES, FileState, Opened, Reader, advise, moved
from fasthash.hashing import ONLY_SHA256, Digests
from fasthash.pagecache import Visit
from fasthash.problems import FileProblemError
from fasthash.shortage import ShortageError
from fasthash.watching import Watch

BLOCK_BYTES = 64
# FIPS 180-4, 5.3.3, in the order that the processor keeps the words in: FEBA HGDC.
_INITIAL = struct.pack(
    "<8I", 0x9B05688C, 0x510E527F, 0xBB67AE85, 0x6A09E667,
    0x5BE0CD19, 0x1F83D9AB, 0xA54FF53A, 0x3C6EF372,
)  # fmt: skip

# Told which of the two is being read (0 or 1), since when (time.time_ns) and how far (bytes).
Note = Callable[[int, int, int], None]


@dataclass(slots=True)
class _Half:
    """One of the two files on its way."""

    opened: Opened
    visit: Visit
    buffer: memoryview
    state: bytearray = field(default_factory=lambda: bytearray(_INITIAL))
    read_bytes: int = 0
    since_ns: int = field(default_factory=time.time_ns)
    failed: bool = False  # it is not as simple as that

    @property
    def size_bytes(self) -> int:
        return self.opened.facts.st_size

    @property
    def ended(self) -> bool:
        return self.failed or self.read_bytes >= self.size_bytes

    def next_blocks(self, pace: Watch) -> memoryview | bytes:
        """What is to be hashed next: whole blocks, with the padding at the end."""
        if self.ended:
            return b""
        most = pace.allow(len(self.buffer))  # a multiple of a page
        try:
            got = os.readv(self.opened.descriptor, [self.buffer[:most]])
        except OSError:
            got = 0
        self.read_bytes += got
        if self.read_bytes == self.size_bytes:
            return bytes(self.buffer[:got]) + padding(self.size_bytes)
        if got == 0 or got % BLOCK_BYTES or self.read_bytes > self.size_bytes:
            self.failed = True
            return b""
        return self.buffer[:got]

    def result(self) -> FileState | None:
        """Its state, if it held still."""
        if self.failed or moved(self.opened.facts, os.fstat(self.opened.descriptor)):
            return None
        f, e, b, a, h, g, d, c = struct.unpack("<8I", self.state)
        digest = struct.pack(">8I", a, b, c, d, e, f, g, h)
        return FileState(
            Digests(digest), self.opened.facts, self.opened.read_at_ns, self.read_bytes
        )


def padding(size_bytes: int) -> bytes:
    """What SHA-256 puts behind a message (FIPS 180-4, 5.1.1)."""
    zeros = -(size_bytes + 9) % BLOCK_BYTES
    return b"\x80" + bytes(zeros) + struct.pack(">Q", size_bytes * 8)


class Pairs:
    """Reads two files in turn and hashes them together, where the machine can."""

    def __init__(self, reader: Reader, native: ModuleType | None, pace: Watch) -> None:
        self._reader = reader
        self._native = native if reader.algorithms == ONLY_SHA256 else None
        self._pace = pace
        self._buffers: list[bytearray] = []

    def digest(
        self, one: Sequence[bytes], other: Sequence[bytes], note: Note
    ) -> tuple[FileState | None, FileState | None]:
        """One state of each of two large files; None for one that is to be read by itself.

        That is everything but a file that is still, was not changed a moment ago, has one name
        and can be read at once.

        Args:
            one: paths to try, as for `Reader.open`.
            other: the same for the second.
            note: told before each opening and each read.

        Raises:
            Stopped: by `note`.
        """
        if self._native is None or self._reader.use_mmap or files.between_looks is not None:
            return None, None
        with ExitStack() as stack:
            halves: list[_Half] = []
            for paths in (one, other):
                note(len(halves), time.time_ns(), 0)  # to open it may take long, too
                half = self._begin(stack, paths, len(halves))
                if half is None:
                    return None, None
                halves.append(half)
            while not all(half.ended for half in halves):
                self._step(halves, note)
            first, second = (half.result() for half in halves)
        return first, second

    def _begin(self, stack: ExitStack, paths: Sequence[bytes], place: int) -> _Half | None:
        try:
            opened = self._reader.open(paths)
        except (FileProblemError, ShortageError):
            return None
        stack.callback(os.close, opened.descriptor)
        facts = opened.facts
        if facts.st_size <= WHOLE_FILE_BYTES or facts.st_nlink != 1 or opened.racy:
            return None
        advise(opened.descriptor, self._pace)
        visit = Visit(opened.descriptor, facts.st_size)
        stack.callback(visit.end)
        while len(self._buffers) <= place:
            self._buffers.append(bytearray(self._reader.chunk_bytes))
        return _Half(opened, visit, memoryview(self._buffers[place]))

    def _step(self, halves: Sequence[_Half], note: Note) -> None:
        blocks = []
        for place, half in enumerate(halves):
            if not half.ended:
                note(place, half.since_ns, half.read_bytes)
            blocks.append(half.next_blocks(self._pace))
        if self._native is not None:
            self._native.hash_blocks(halves[0].state, blocks[0], halves[1].state, blocks[1])
        for half in halves:
            half.visit.at(half.read_bytes)
