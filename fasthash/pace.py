"""How fast a worker may go: waits for its turn, and stops and pauses in the middle of a file."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from fasthash import limits
from fasthash.gate import SLEEP_S, Gate, HostRate
from fasthash.slot import Slot

_BYTES, _FILES = 0, 1


class Pace:
    """A worker's view of what it may do now; the `Watch` of its reads."""

    def __init__(self, slot: Slot, gate: Gate | None = None, host: HostRate | None = None) -> None:
        self.slot = slot
        self.gate = gate
        self.host = host

    @property
    def limited(self) -> bool:
        """Whether there is a rate or a budget, for which sizes have to be known beforehand."""
        if self.gate is not None and self.gate.budget_bytes:
            return True
        return self.host is not None and any(self.host.rates)

    @property
    def slowed(self) -> bool:
        """Whether there is a rate in bytes."""
        return self.host is not None and self.host.rates[_BYTES] > 0

    @property
    def closed(self) -> bool:
        """Whether nothing may be read now."""
        return self.gate is not None and self.gate.closed

    def group_files(self, most_files: int) -> int:
        """How many files may be opened together."""
        if self.host is None:
            return most_files
        return limits.group_files(most_files, self.host.rates[_FILES])

    def piece_bytes(self, most_bytes: int) -> int:
        """How many bytes may be read by one call."""
        if self.host is None:
            return most_bytes
        return limits.piece_bytes(most_bytes, self.host.rates[_BYTES])

    def spend(self, sizes: Sequence[int]) -> int:
        """How many of some files fit into the budget, which then has so much less."""
        if self.gate is None:
            return len(sizes)
        for taken, size_bytes in enumerate(sizes):
            if not self.gate.spend(size_bytes):
                return taken
        return len(sizes)

    def together(self, sizes: Sequence[int], most_bytes: int) -> int:
        """How many of some files may be read in one go, and waits until they may.

        Args:
            sizes: of the files, in order.
            most_bytes: the size of a small file; larger ones wait for their turn while they
                are read.

        Raises:
            Stopped: the run stops.
        """
        if not self.slowed:
            return len(sizes)
        piece = self.piece_bytes(most_bytes)
        so_far = list(itertools.accumulate(size if size <= piece else 0 for size in sizes))
        count = sum(total <= max(piece, so_far[0]) for total in so_far)
        self._wait_for_turn(_BYTES, so_far[count - 1])
        return count

    def take_files(self, files: int) -> None:
        """Waits until a number of files may be opened.

        Raises:
            Stopped: the run stops.
        """
        self._wait_for_turn(_FILES, files)

    def give_back(self, read_bytes: int) -> None:
        """So many bytes were waited for, and not read."""
        if self.host is not None and read_bytes:
            self.host.reserve(_BYTES, -read_bytes)

    def allow(self, most_bytes: int) -> int:
        """Waits until something may be read of the file in hand; how many bytes, at least one.

        Raises:
            Stopped: the run stops.
        """
        piece = most_bytes
        if self.slowed:
            piece = self.piece_bytes(most_bytes)
            self._wait_for_turn(_BYTES, piece)
        while self.closed:
            self._sleep(SLEEP_S)
        return piece

    def advance(self, read_bytes: int) -> None:
        """So many more bytes were read of the file in hand.

        Raises:
            Stopped: the run stops.
        """
        self.slot.advance(read_bytes)

    def _wait_for_turn(self, which: int, amount: float) -> None:
        if self.host is None or not self.host.rates[which]:
            return
        begins_s, rate = self.host.reserve(which, amount), self.host.rates[which]
        while (left_s := begins_s - time.monotonic()) > 0:
            self._sleep(min(left_s, SLEEP_S))
            if self.host.rates[which] != rate:
                return self._wait_for_turn(which, amount)
        return None

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)
        self.slot.wait()
