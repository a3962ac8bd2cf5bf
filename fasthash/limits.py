"""How much may be read when: pure arithmetic over a clock that all readers of a host share."""

from __future__ import annotations

# Whoever was late by so much may catch up, so that a rate is kept exactly; what was not used for
# longer is lost. With a piece on top a burst stays well under a quarter of a second's worth.
CATCH_UP_S = 0.1
# Reads are cut to this many seconds' worth, so that one of them is no burst either.
PIECE_S = 0.05
# Below a page nothing is read from storage.
LEAST_PIECE_BYTES = 4096


def reserve(
    paid_until_s: float, now_s: float, amount: float, per_second: float
) -> tuple[float, float]:
    """Takes a place in the queue for a number of bytes (or files).

    Args:
        paid_until_s: until when what was reserved before lasts, on the shared clock.
        now_s: the time on that clock.
        amount: bytes or files.
        per_second: how many of them a second.

    Returns:
        When reading may begin, and until when everything reserved now lasts.
    """
    begins_s = max(paid_until_s, now_s - CATCH_UP_S)
    return begins_s, begins_s + amount / per_second


def piece_bytes(most_bytes: int, bytes_per_s: float) -> int:
    """How many bytes to read by one call.

    Args:
        most_bytes: with no limit.
        bytes_per_s: the rate; 0 for none.
    """
    if not bytes_per_s:
        return most_bytes
    pages = int(bytes_per_s * PIECE_S) // LEAST_PIECE_BYTES
    return min(most_bytes, max(1, pages) * LEAST_PIECE_BYTES)


def group_files(most_files: int, files_per_s: float) -> int:
    """How many files to open together.

    Args:
        most_files: with no limit.
        files_per_s: the rate; 0 for none.
    """
    return min(most_files, max(1, int(files_per_s * PIECE_S))) if files_per_s else most_files


class Lag:
    """How far a standby is behind, by where the primary was when.

    The server measures a lag only while the standby moves: of one that stands still it says what
    was true before.
    """

    def __init__(self) -> None:
        self._written: list[tuple[float, int]] = []  # when, and how many bytes of WAL

    def seconds(self, now_s: float, written: int, replayed: int | None) -> float:
        """The lag now, as far as we have watched.

        Args:
            now_s: the time on any clock that does not jump.
            written: bytes of WAL that the primary has written.
            replayed: how many of them the slowest standby has replayed, None without one.
        """
        self._written.append((now_s, written))
        if replayed is None or replayed >= written:
            self._written = self._written[-1:]
            return 0.0
        while len(self._written) > 1 and self._written[1][1] <= replayed:
            self._written.pop(0)
        return now_s - self._written[0][0]


def fits(spent_bytes: int, size_bytes: int, budget_bytes: int) -> bool:
    """Whether a file may still be read: within the budget, or as the first, whatever its size."""
    return not budget_bytes or spent_bytes == 0 or spent_bytes + size_bytes <= budget_bytes
