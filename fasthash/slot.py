"""What a worker is doing, in memory it shares with the coordinator: readable after its death.

One writer a field and no lock, so a process killed at any point leaves nothing locked. A torn
read of a live worker's slot shows a wrong number for a moment, which only progress displays.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass

from fasthash.watching import Stopped

_FIELDS = struct.Struct("<qqqq")  # unit no., index in the unit (-1: none), since (ns), bytes read
_WAITS_AT = 32
_STOP_AT = 64
_SIZE_BYTES = 128


@dataclass(frozen=True, slots=True)
class Activity:
    """The file a worker is in: the unit's number, the task's index in it, since when, how far.

    `waits` counts how often it was made to wait: it moves where nothing else does.
    """

    unit_no: int
    index: int
    since_s: float
    read_bytes: int
    waits: int = 0


class Slot:
    """Shared memory of one worker, named by a descriptor that is inherited."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.memory = mmap.mmap(descriptor, _SIZE_BYTES)
        self._read_bytes = 0

    @classmethod
    def create(cls) -> Slot:
        """A new slot, idle."""
        descriptor = os.memfd_create("fasthash-slot", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _SIZE_BYTES)
        slot = cls(descriptor)
        slot.idle()
        return slot

    def note(self, unit_no: int, index: int) -> None:
        """The worker is about to read this file."""
        self._read_bytes = 0
        _FIELDS.pack_into(self.memory, 0, unit_no, index, time.time_ns(), 0)

    def switch(self, unit_no: int, index: int, since_ns: int, read_bytes: int) -> None:
        """The worker goes on with a file that it has read a part of.

        Raises:
            Stopped: the coordinator asked for it.
        """
        self._read_bytes = read_bytes
        _FIELDS.pack_into(self.memory, 0, unit_no, index, since_ns, read_bytes)
        if self.stopping:
            raise Stopped

    def idle(self) -> None:
        """The worker is in no file."""
        _FIELDS.pack_into(self.memory, 0, 0, -1, 0, 0)

    def advance(self, read_bytes: int) -> None:
        """The worker has read further bytes of its file.

        Raises:
            Stopped: the coordinator asked for it.
        """
        self._read_bytes += read_bytes
        struct.pack_into("<q", self.memory, 24, self._read_bytes)
        if self.stopping:
            raise Stopped

    def wait(self) -> None:
        """The worker is alive, and has to wait for its turn.

        Raises:
            Stopped: the coordinator asked for it.
        """
        (waits,) = struct.unpack_from("<q", self.memory, _WAITS_AT)
        struct.pack_into("<q", self.memory, _WAITS_AT, waits + 1)
        if self.stopping:
            raise Stopped

    @property
    def stopping(self) -> bool:
        """Whether the coordinator asked the worker to stop."""
        return self.memory[_STOP_AT] != 0

    def stop(self) -> None:
        """The coordinator asks the worker to stop, in the middle of a file too."""
        self.memory[_STOP_AT] = 1

    def activity(self) -> Activity | None:
        """The file the worker is (or died) in."""
        unit_no, index, since_ns, read_bytes = _FIELDS.unpack_from(self.memory, 0)
        (waits,) = struct.unpack_from("<q", self.memory, _WAITS_AT)
        return Activity(unit_no, index, since_ns / 1e9, read_bytes, waits) if index >= 0 else None

    def close(self) -> None:
        """Gives the memory back."""
        self.memory.close()
        os.close(self.descriptor)
