"""Leased ranges into units: what waits, what is in flight, what is settled."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from fasthash import parts
from fasthash.fixity import LeasedRange, Part, Task, Unit, Verdict
from fasthash.units import UnitSize, share

# A file that was being read when this many workers died is not read again.
DEATHS_A_FILE = 2


@dataclass(slots=True)
class Piece:
    """Rows that wait, in key order, beginning behind `after_id` without a gap."""

    after_id: str | None
    tasks: Sequence[Task]
    position: int = 0

    @property
    def waiting(self) -> int:
        """How many of its rows wait."""
        return len(self.tasks) - self.position


@dataclass(slots=True)
class Holding:
    """A leased range: its waiting pieces, its units in flight, its parts not yet committed."""

    leased: LeasedRange
    pieces: deque[Piece] = field(default_factory=deque)
    in_flight: dict[int, Unit] = field(default_factory=dict)
    delivered_rows: Counter[int] = field(default_factory=Counter)  # by unit in flight
    unsettled: dict[int, Part] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether every row is committed."""
        return not (self.pieces or self.in_flight or self.unsettled)

    def known_ids(self) -> Iterator[str]:
        """The rows that this process still has in hand."""
        for piece in self.pieces:
            yield from (t.row_id for t in piece.tasks[piece.position :])
        for unit in self.in_flight.values():
            yield from (t.row_id for t in unit.tasks[self.delivered_rows[unit.unit_no] :])
        for part in self.unsettled.values():
            yield from parts.row_ids(part)


class Supply:
    """All ranges this coordinator holds; hands out units and learns what became of them.

    Everything runs in one event loop, so there is nothing to lock.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.holdings: dict[int, Holding] = {}
        self.unit_size = UnitSize()
        self.queued_rows = 0
        self.closed = False  # no range will come any more
        self.running_out = False  # none is there to be leased at the moment
        self.stopped = False
        self.held: str | None = None  # why no unit is handed out now
        self.changed = asyncio.Event()
        self._last_unit_no = 0
        self._deaths: Counter[str] = Counter()
        self._waiters: set[asyncio.Future[None]] = set()

    def add(self, leased: LeasedRange, tasks: Sequence[Task]) -> None:
        """Takes over a range with the rows of it that are not committed.

        A crash of the server may have undone an earlier lease of it: that one is forgotten. The
        term has to be one that the range never had here, which tells their units apart.
        """
        self.drop([leased.range_no])
        holding = Holding(leased)
        self.holdings[leased.range_no] = holding
        if tasks:
            self._queue(holding, Piece(leased.after_id, tasks))
        self.wake()

    def in_hand(self, range_no: int) -> set[str]:
        """The rows of a range that wait, are in flight, or are not settled."""
        holding = self.holdings.get(range_no)
        return set() if holding is None else set(holding.known_ids())

    def reconcile(self, leased: LeasedRange, known: set[str], tasks: Sequence[Task]) -> None:
        """Queues rows that are neither committed nor in hand: a commit that a crash undid.

        Args:
            known: what was in hand before the tasks were read; rows may have been settled since.
            tasks: all rows of the range that the database has as not committed, in key order.
        """
        holding = self.holdings.get(leased.range_no)
        if holding is None:
            return  # lost to another coordinator meanwhile
        run: list[Task] = []
        run_after = before = leased.after_id
        for task in tasks:
            if task.row_id in known:
                if run:
                    self._queue(holding, Piece(run_after, run))
                run = []
            else:
                if not run:
                    run_after = before
                run.append(task)
            before = task.row_id
        if run:
            self._queue(holding, Piece(run_after, run))
        self.wake()

    def drop(self, range_nos: Iterable[int]) -> None:
        """Forgets ranges that somebody else holds now; late results are fenced off."""
        for range_no in range_nos:
            holding = self.holdings.pop(range_no, None)
            if holding is not None:
                self.queued_rows -= sum(p.waiting for p in holding.pieces)
        self.wake()

    def take(self) -> Unit | None:
        """The next unit, if one may be handed out now."""
        if self.stopped or self.held is not None:
            return None
        holding = next((h for h in self.holdings.values() if h.pieces), None)
        if holding is None:
            return None
        spread = self.workers
        if self.unit_size.seconds_a_row is None and self.workers > 1:
            spread *= 4  # they may be huge files
        elif self.running_out:
            spread *= 2
        rows = share(self.unit_size.rows, self.queued_rows, spread)
        piece = holding.pieces[0]
        tasks = tuple(piece.tasks[piece.position : piece.position + rows])
        self._last_unit_no += 1
        unit = Unit(
            self._last_unit_no,
            holding.leased.range_no,
            holding.leased.term,
            piece.after_id,
            tasks,
            holding.leased.pass_no > 0,
        )
        piece.position += len(tasks)
        piece.after_id = tasks[-1].row_id
        if piece.position >= len(piece.tasks):
            holding.pieces.popleft()
        holding.in_flight[unit.unit_no] = unit
        self.queued_rows -= len(tasks)
        self.changed.set()
        return unit

    async def next(self) -> Unit | None:
        """The next unit, waiting for one; None when there will be none any more."""
        while not self.stopped:
            unit = self.take()
            if unit is not None:
                return unit
            if self.closed and not self.holdings:
                return None
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        return None

    async def change(self, within_s: float) -> None:
        """Waits until something changes, but no longer than that.

        (Not by `wait_for`: up to Python 3.11 it swallows a cancellation that comes with the change,
        and whoever is cancelled once is then waited for in vain.)
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.changed.wait()

    def wake(self) -> None:
        """Something changed: whoever waits for a unit looks again."""
        self.changed.set()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def delivered(self, part: Part) -> None:
        """A part is on its way to the writer."""
        holding = self._holding(part)
        if holding is not None:
            holding.unsettled[part.part_no] = part
            holding.delivered_rows[part.unit_no] += part.rows

    def fenced(self, part: Part) -> None:
        """A part was refused because its lease is over: the range is not ours under that term."""
        if self._holding(part) is not None:
            self.drop([part.range_no])

    def settled(self, part: Part) -> None:
        """A part is committed."""
        holding = self._holding(part)
        if holding is not None:
            holding.unsettled.pop(part.part_no, None)
            if holding.finished:
                self.wake()

    def done(self, unit: Unit, seconds: float) -> None:
        """All parts of a unit were delivered."""
        self.unit_size = self.unit_size.after(len(unit.tasks), seconds)
        holding = self._holding(unit)
        if holding is not None:
            holding.in_flight.pop(unit.unit_no, None)
            holding.delivered_rows.pop(unit.unit_no, None)
            if holding.finished:
                self.wake()

    def give_back(self, unit: Unit, done: int, blamed: int | None = None) -> None:
        """A unit that will not be finished: its rows wait again.

        Args:
            done: its first rows whose results were delivered.
            blamed: the task its worker died in: read more carefully, the second time not at all.
        """
        holding = self._holding(unit)
        if holding is None or holding.in_flight.pop(unit.unit_no, None) is None:
            return
        holding.delivered_rows.pop(unit.unit_no, None)
        tasks = list(unit.tasks)
        if blamed is not None and done <= blamed < len(tasks):
            tasks[blamed] = self._after_death(tasks[blamed])
        if done < len(tasks):
            after_id = tasks[done - 1].row_id if done else unit.after_id
            piece = Piece(after_id, tasks[done:])
            holding.pieces.appendleft(piece)
            self.queued_rows += piece.waiting
        self.wake()

    def take_back(self, unit: Unit, done: int, kept: int) -> Unit:
        """Of a unit whose worker does not get on, all but one row: they wait again, for others.

        Args:
            done: its first rows whose results were delivered; they are before the one kept.
            kept: the row that its worker is in.

        Returns:
            what is left of the unit.
        """
        tasks = unit.tasks
        ids = [unit.after_id, *(t.row_id for t in tasks)]  # ids[n] is where row n begins
        left = replace(unit, after_id=ids[kept], tasks=tasks[kept : kept + 1])
        holding = self._holding(unit)
        if holding is not None and unit.unit_no in holding.in_flight:
            holding.in_flight[unit.unit_no] = left
            holding.delivered_rows.pop(unit.unit_no, None)
            for begin, end in ((done, kept), (kept + 1, len(tasks))):
                if begin < end:
                    self._queue(holding, Piece(ids[begin], tasks[begin:end]))
            self.wake()
        return left

    def finished(self) -> list[LeasedRange]:
        """Ranges whose rows are all committed; they are no longer held here."""
        found = [h.leased for h in self.holdings.values() if h.finished]
        for leased in found:
            del self.holdings[leased.range_no]
        return found

    def idle_ranges(self) -> list[int]:
        """Ranges of which nothing is in flight or on its way to the writer."""
        return [n for n, h in self.holdings.items() if not (h.in_flight or h.unsettled)]

    def close(self) -> None:
        """No range will come any more: the pool ends when what is held is done."""
        self.closed = True
        self.wake()

    def stop(self) -> None:
        """No unit is handed out any more."""
        self.stopped = True
        self.wake()

    def hold(self, reason: str | None) -> None:
        """Hands out nothing until `hold(None)`."""
        if reason != self.held:
            self.held = reason
            self.wake()

    def _queue(self, holding: Holding, piece: Piece) -> None:
        holding.pieces.append(piece)
        self.queued_rows += piece.waiting

    def _holding(self, item: Part | Unit) -> Holding | None:
        holding = self.holdings.get(item.range_no)
        return holding if holding is not None and holding.leased.term == item.term else None

    def _after_death(self, task: Task) -> Task:
        self._deaths[task.row_id] += 1
        if self._deaths[task.row_id] >= DEATHS_A_FILE:
            detail = f"{DEATHS_A_FILE} workers died while reading it"
            return task._replace(preset=str(Verdict.UNREADABLE), detail=detail)
        return task._replace(careful=True)
