"""The pool of worker processes: starts them, feeds them, replaces them when they die."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from fasthash import logs, parts
from fasthash.crew import InFlight, Worker
from fasthash.errors import OutOfResources, WorkersFailed
from fasthash.fixity import Part, Returned, RootGone, Starved, Task, Unit
from fasthash.gate import Gate, HostRate
from fasthash.process import Child
from fasthash.slot import Activity, Slot
from fasthash.supply import Supply
from fasthash.worker import WorkerSetup

log = logging.getLogger("fasthash")

# One unit is worked on while the next already lies in the pipe; but units that take long are not
# hoarded by one worker while another has none.
UNITS_A_WORKER = 2
# Workers that die before they have read anything: something is wrong with the machine or set-up.
IDLE_DEATHS_AT_MOST = 5
# How long a worker that has to end may take.
BURIAL_S = 1.0
STOPPED_BURIAL_S = 0.3
Deliver = Callable[[Part, Sequence[Task]], Awaitable[None]]


class Pool:
    """Local worker processes.

    Args:
        setup: what each worker has to know.
        supply: where units come from.
        deliver: takes each part, with the tasks it answers; it may wait, and the worker with it.
        gate: what workers look at before they read.
        host_rate: the rates they keep, if there may be any.
        root_gone: told that a root vanished.
        returned: told that a unit may not be read now.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        supply: Supply,
        deliver: Deliver,
        gate: Gate,
        root_gone: Callable[[RootGone], None],
        returned: Callable[[Returned], None],
        host_rate: HostRate | None = None,
    ) -> None:
        self.setup = setup
        self.supply = supply
        self.deliver = deliver
        self.shared = (gate.descriptor, *([host_rate.descriptor] if host_rate else []))
        self.root_gone = root_gone
        self.returned = returned
        self.workers: dict[int, Worker] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._numbers = itertools.count()
        self.deaths = 0
        self._idle_deaths = 0

    async def run(self) -> None:
        """Works until the supply ends.

        Raises:
            WorkersFailed: workers die as soon as they are started.
            OutOfResources: a worker can open no file.
        """
        async with asyncio.TaskGroup() as self._tasks:
            for _ in range(self.supply.workers):
                self._tasks.create_task(self._tend(next(self._numbers)))

    def stuck(self) -> str | None:
        """A file that gives no byte for long; its worker is left alone with it."""
        found = None
        for worker in list(self.workers.values()):
            task = worker.waits_for()
            if task is not None:
                found = task.path
                if not worker.stuck:
                    self._leave_alone(worker)
        return found

    def read_bytes(self) -> int:
        """What was read so far of the files that workers are in: those may be large."""
        activities = [worker.slot.activity() for worker in self.workers.values()]
        return sum(activity.read_bytes for activity in activities if activity is not None)

    def states(self) -> dict[str, int]:
        """How many workers are busy, idle, or stuck in a file that gives no byte."""
        found = {"busy": 0, "idle": 0, "stuck": 0}
        for worker in self.workers.values():
            found["stuck" if worker.stuck else "busy" if worker.units else "idle"] += 1
        return found

    def oldest_read_since_s(self) -> float | None:
        """When the file that is being read for longest was begun, in seconds since the epoch."""
        activities = [worker.slot.activity() for worker in self.workers.values()]
        return min((activity.since_s for activity in activities if activity), default=None)

    def _leave_alone(self, worker: Worker) -> None:
        """Takes back all but the row that a worker is in, and puts another in its place."""
        worker.stuck = True
        activity = worker.slot.activity()
        for held in reversed(list(worker.units.values())):
            index = held.index(activity) if activity is not None else None
            if index is None or index < held.done:
                del worker.units[held.unit.unit_no]
                self.supply.give_back(held.unit, held.done)
            else:
                held.unit = self.supply.take_back(held.unit, held.done, index)
                held.first += index
        # Where the whole storage hangs, it is enough to have tried twice as many.
        if self._tasks is not None and len(self.workers) < 2 * self.supply.workers:
            worker.replaced = True
            self._tasks.create_task(self._tend(next(self._numbers)))

    def stop(self) -> None:
        """Asks all workers to stop, in the middle of a file too."""
        for worker in self.workers.values():
            worker.slot.stop()

    def kill(self) -> None:
        """Ends all workers at once."""
        for worker in self.workers.values():
            worker.process.kill()

    async def _tend(self, number: int) -> None:
        """Keeps a place in the pool filled until nothing is left to do, or another is in charge."""
        while True:
            first = await self.supply.next()
            if first is None:
                return
            worker = await self._start(number)
            finished: bool | None = None
            try:
                finished = await self._serve(worker, first)
            finally:
                self.workers.pop(number, None)
                await self._bury(worker, finished)
            if finished:
                return

    async def _start(self, number: int) -> Worker:
        slot = Slot.create()
        process = await Child.start(
            "fasthash.worker",
            *map(str, (slot.descriptor, *self.shared)),
            with_secrets=False,
            descriptors=(slot.descriptor, *self.shared),
        )
        worker = Worker(process, slot)
        self.workers[number] = worker
        if self.supply.stopped:
            slot.stop()
        await process.send(self.setup)
        return worker

    async def _serve(self, worker: Worker, first: Unit) -> bool:
        """Feeds a worker; whether its place is to be left empty when it is gone."""
        await self._hand(worker, first)
        while True:
            if worker.stuck and not worker.units:
                worker.process.kill()  # it may be at rows that others have now
                return worker.replaced
            while len(worker.units) < self._units_a_worker() and not worker.stuck:
                unit = self.supply.take() if worker.units else await self.supply.next()
                if unit is None:
                    break
                await self._hand(worker, unit)
            if not worker.units:
                worker.process.close_input()
                return True
            message = await worker.process.receive()
            if isinstance(message, Part):
                await self._take_part(worker, message)
            elif isinstance(message, Starved):
                raise OutOfResources(f"worker {worker.pid}: {message.detail}")
            elif isinstance(message, RootGone | Returned):
                held = worker.units.pop(message.unit_no, None)
                if isinstance(message, RootGone):
                    self.root_gone(message)
                else:
                    self.returned(message)
                if held is not None:
                    self.supply.give_back(held.unit, held.done)
            else:
                return worker.replaced

    def _units_a_worker(self) -> int:
        return UNITS_A_WORKER if self.supply.unit_size.is_quick else 1

    async def _hand(self, worker: Worker, unit: Unit) -> None:
        if not worker.units:
            worker.busy_since_s = time.monotonic()
        worker.units[unit.unit_no] = InFlight(unit)
        await worker.process.send(unit)

    async def _take_part(self, worker: Worker, part: Part) -> None:
        self._idle_deaths = 0
        now_s = time.monotonic()
        held = worker.units.get(part.unit_no)
        if held is None:
            return  # taken back: others do these rows
        done, first_row = held.done, held.answered - held.first
        held.answered += part.rows
        if held.done > done:
            part = parts.only(part, done - first_row, held.done - first_row)
            await self.deliver(part, held.unit.tasks[done : held.done])
        if held.done < len(held.unit.tasks):
            return
        del worker.units[part.unit_no]
        if worker.stuck:  # what it took says nothing about other files
            self.supply.give_back(held.unit, held.done)
        else:
            self.supply.done(held.unit, now_s - worker.busy_since_s)
            worker.busy_since_s = now_s

    async def _bury(self, worker: Worker, finished: bool | None) -> None:
        """Takes back what a worker had, and finds out what it died of.

        Args:
            finished: whether it ended in peace; None if it is ended with the whole pool.
        """
        if not (finished or self.supply.stopped):
            worker.process.kill()
        status = await worker.process.end(STOPPED_BURIAL_S if self.supply.stopped else BURIAL_S)
        activity = worker.slot.activity()
        if worker.units and finished is False and not self.supply.stopped:
            self._report_death(worker, status, activity)
        for held in reversed(worker.units.values()):
            blamed = held.index(activity) if activity is not None else None
            self.supply.give_back(held.unit, held.done, blamed)
        worker.units.clear()
        worker.slot.close()

    def _report_death(self, worker: Worker, status: int, activity: Activity | None) -> None:
        self.deaths += 1
        current = worker.current()
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        log.warning(
            "worker %d died (%s)%s; another takes its place",
            worker.pid,
            how,
            f" while reading {current[1].path}" if current else "",
            extra=logs.event(
                "worker_died",
                pid=worker.pid,
                how=how,
                row_id=current[1].row_id if current else None,
                path=current[1].path if current else None,
            ),
        )
        if activity is None:
            self._idle_deaths += 1
            if self._idle_deaths > IDLE_DEATHS_AT_MOST:
                raise WorkersFailed(
                    f"workers die as soon as they start ({how}); everything committed is kept"
                )
