"""A worker process as the pool knows it: the units it has, and the file it is in."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fasthash.fixity import Task, Unit
from fasthash.process import Child
from fasthash.slot import Activity, Slot

# A file without a byte for so long is named in progress and status, and waited for by its worker
# alone: the rest of its unit goes to others.
STUCK_AFTER_S = 5.0


@dataclass(slots=True)
class InFlight:
    """A unit that a worker has, or what is left of it: the rows from `first` on as it got them."""

    unit: Unit
    first: int = 0
    answered: int = 0  # of the rows as it got them

    @property
    def done(self) -> int:
        """How many rows of the unit are delivered."""
        return max(0, min(self.answered - self.first, len(self.unit.tasks)))

    def index(self, activity: Activity) -> int | None:
        """The task of the unit that the worker is in."""
        index = activity.index - self.first
        ours = activity.unit_no == self.unit.unit_no and 0 <= index < len(self.unit.tasks)
        return index if ours else None


class Worker:
    """One worker process and the units it has."""

    def __init__(self, process: Child, slot: Slot) -> None:
        self.process = process
        self.slot = slot
        self.units: dict[int, InFlight] = {}
        self.busy_since_s = time.monotonic()
        self.stuck = False  # it gets no further unit; the row it is in is waited for
        self.replaced = False  # another has its place
        self._seen: Activity | None = None
        self._seen_at_s = 0.0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.process.pid

    def current(self) -> tuple[Activity, Task] | None:
        """The file it is in."""
        activity = self.slot.activity()
        held = self.units.get(activity.unit_no) if activity is not None else None
        if activity is None or held is None:
            return None
        index = held.index(activity)
        return None if index is None else (activity, held.unit.tasks[index])

    def waits_for(self) -> Task | None:
        """The file it has been in for long without a byte; to be asked a few times a second."""
        current = self.current()
        now_s = time.monotonic()
        if current is None or current[0] != self._seen:
            self._seen, self._seen_at_s = current[0] if current else None, now_s
        return current[1] if current and now_s - self._seen_at_s > STUCK_AFTER_S else None
