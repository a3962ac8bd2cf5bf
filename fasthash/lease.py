"""What the holder of leases does when: pure decisions over times and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

RENEWALS_A_LEASE = 5
SAMPLE_EVERY_S = 5.0
# A coordinator gives a sign of life this often; one without a session and without a sign for the
# grace is dead: its ranges are free at once, and a run that had no other is nobody's. Two that had
# lost only their connections took each other's ranges, again and again, before there was a grace.
SEEN_EVERY_S = 0.5
RECONNECT_GRACE_S = 1.5
# A range that was lost so often is leased last, and alone, so that no other is suspected with it.
# Lost alone it is halved, each half alone again, down to the row that does the harm.
ATTEMPTS_BEFORE_ALONE = 3
ATTEMPTS_ALONE = 3
# Leased at once, where they are small.
RANGES_AT_MOST = 64
# A last sweep that still finds rows is followed by another, so often.
SWEEPS_AT_MOST = 10


@dataclass(frozen=True, slots=True)
class LeaseClock:
    """When leases were last known to be held; times are monotonic seconds."""

    ttl_s: float
    renewed_at_s: float

    @property
    def renew_every_s(self) -> float:
        """The time between renewals."""
        return self.ttl_s / RENEWALS_A_LEASE

    def due(self, now_s: float) -> bool:
        """Whether it is time to renew."""
        return now_s - self.renewed_at_s >= self.renew_every_s

    def may_hand_out(self, now_s: float) -> bool:
        """Whether new work may be begun: not when renewing has failed for half a lease."""
        return now_s - self.renewed_at_s < self.ttl_s / 2


class Silence:
    """Who has given no sign of life for how long, by this process's own clock.

    A coordinator that is stopped, or whose host hangs, keeps its session: what it holds is free
    when it has been silent for a lease's life. The server's clock says nothing about that, for it
    may be set: whether a sign is another one than before counts, and for how long it is not.
    """

    def __init__(self) -> None:
        self._signs: dict[int, tuple[datetime, float]] = {}  # the last one, and our time of it

    def silent(self, seen_at: Mapping[int, datetime], now_s: float, ttl_s: float) -> set[int]:
        """Those whose last sign has been the same for so long; one met first may go on.

        Args:
            seen_at: of each holder the last sign of life, by whatever clock.
            now_s: monotonic.
            ttl_s: a lease's life.
        """
        known = self._signs
        self._signs = {
            holder: known[holder] if holder in known and known[holder][0] == at else (at, now_s)
            for holder, at in seen_at.items()
        }
        return {holder for holder, (_, since_s) in self._signs.items() if now_s - since_s >= ttl_s}


def rows_to_keep(attempts: int, rows: int) -> int | None:
    """How many of its rows a range keeps that was lost with its holders; the others go elsewhere.

    Halving finds the one row that brings whole hosts down, and a row is given up only when it was
    lost alone so often: holders die of other things too.

    Args:
        attempts: holders lost with the range; from ATTEMPTS_BEFORE_ALONE on they had no other.
        rows: rows of it that are not committed.

    Returns:
        A number of rows from the first on, or None to give up its only row.
    """
    lost_alone = attempts - ATTEMPTS_BEFORE_ALONE
    if lost_alone <= 0 or rows == 0:
        return rows
    if rows > 1:
        return rows // 2
    return 1 if lost_alone < ATTEMPTS_ALONE else None


def ranges_wanted(
    queued_rows: int, range_rows: int, workers: int, unit_rows: int, rows_a_range: float
) -> int:
    """How many more ranges to lease so that workers never wait, and no more than that.

    Where they are small, for there are many types of few rows, more of them go at once: 3,000 types
    of a row each took five round trips a row.

    Args:
        queued_rows: rows read but not handed out.
        range_rows: rows a range at the most.
        workers: worker processes.
        unit_rows: rows the next unit will have.
        rows_a_range: how many they had lately.
    """
    enough = 2 * workers * unit_rows
    if queued_rows >= enough:
        return 0
    most = RANGES_AT_MOST if rows_a_range * RANGES_AT_MOST < range_rows else 8
    return min(most, -(-(enough - queued_rows) // max(1, min(range_rows, round(rows_a_range)))))
