"""How large the next unit of work should be: pure arithmetic over what units have cost."""

from __future__ import annotations

from dataclasses import dataclass

TARGET_S = 1.0  # one unit: long enough that messages cost nothing, short enough to spread
QUICK_S = 0.1
MOST_ROWS = 1_000
LEAST_ROWS = 2  # large files are read two at a time
FIRST_ROWS = 64
GROWTH_AT_MOST = 1.2
SMOOTHING = 0.3


@dataclass(frozen=True, slots=True)
class UnitSize:
    """The current unit size in rows, and the smoothed seconds a row it rests on."""

    rows: int = FIRST_ROWS
    seconds_a_row: float | None = None

    @property
    def is_quick(self) -> bool:
        """Whether a unit is known to take so little that the next one should lie ready."""
        return self.seconds_a_row is not None and self.rows * self.seconds_a_row < QUICK_S

    def after(self, rows: int, seconds: float) -> UnitSize:
        """The next size, from the rows of a unit and the time it took.

        It grows by at most a fifth at a time and shrinks at once: a run of huge files after a
        million small ones must not be handed out by the thousand.
        """
        if rows <= 0:
            return self
        latest = max(seconds, 1e-6) / rows
        before = self.seconds_a_row
        smooth = latest if before is None else before + SMOOTHING * (latest - before)
        # What just happened counts in full when it was slower than what we thought.
        wanted = TARGET_S / max(smooth, latest)
        most = max(self.rows * GROWTH_AT_MOST, self.rows + 1)
        return UnitSize(int(max(LEAST_ROWS, min(wanted, most, MOST_ROWS))), smooth)


def share(rows: int, queued_rows: int, shares: int) -> int:
    """Rows to hand out now: no more than a fair share of what waits.

    Args:
        rows: the unit size.
        queued_rows: rows that wait.
        shares: units that should come of them: one a worker, and more at the end of a run, so
            that one slow unit does not keep the others waiting for long.
    """
    fair = -(-queued_rows // max(1, shares))
    if queued_rows >= shares:
        fair += fair % 2
    got = max(1, min(rows, fair))
    return got - got % 2 if got > 1 else got
