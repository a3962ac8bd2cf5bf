"""The pool of worker processes: starts them, feeds them, replaces them when they die."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fasthash import child, logs, wire
from fasthash.errors import WorkersFailed
from fasthash.fixity import Part, RootGone, Task, Unit
from fasthash.slot import Activity, Slot
from fasthash.supply import Supply
from fasthash.worker import WorkerSetup

log = logging.getLogger("fasthash")

# One unit is worked on while the next already lies in the pipe.
UNITS_A_WORKER = 2
# Workers that die before they have read anything: something is wrong with the machine or set-up.
IDLE_DEATHS_AT_MOST = 5
# How long a worker that has to end may take.
BURIAL_S = 1.0
STOPPED_BURIAL_S = 0.3
MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024

Deliver = Callable[[Part, Sequence[Task]], Awaitable[None]]


class Child:
    """A helper process with a message pipe in each direction and nothing shared with others."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(
        cls, module: str, *arguments: str, with_secrets: bool, descriptors: Sequence[int] = ()
    ) -> Child:
        """Starts `python -m module`; signals are blocked in it until it ignores them."""
        blocked = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        try:
            process = await asyncio.create_subprocess_exec(
                *child.command(module, *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=child.environment(os.environ, with_secrets=with_secrets),
                pass_fds=descriptors,
                limit=MESSAGE_LIMIT_BYTES,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        return cls(process)

    async def send(self, message: object) -> None:
        """Sends a message; waits while the pipe is full. A dead process swallows it."""
        pipe = self.process.stdin
        if pipe is not None and not pipe.is_closing():
            try:
                pipe.write(wire.pack(message))
                await pipe.drain()
            except ConnectionError:
                pass  # its death shows at the other pipe, where it is handled

    async def receive(self) -> object | None:
        """The next message; None when the process is gone."""
        stdout = self.process.stdout
        if stdout is None:
            return None
        try:
            head = await stdout.readexactly(wire.LENGTH.size)
            body = await stdout.readexactly(wire.LENGTH.unpack(head)[0])
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        message: object = wire.unpack(body)
        return message

    def close_input(self) -> None:
        """Tells the process that nothing more comes: it finishes and exits."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    def kill(self) -> None:
        """Ends the process at once."""
        if self.process.returncode is None:
            # Not asyncio's kill: it looks first whether the process is dead, and so takes its exit
            # status from whoever waits for it ("Unknown child process", status 255).
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """The exit status, when it is gone."""
        return await self.process.wait()

    async def end(self, within_s: float) -> int:
        """The exit status of a process that has to end, and is killed if it does not.

        Args:
            within_s: for each of the two. A process in an uninterruptible read does not even die
                when it is killed: it is left to the kernel.
        """
        for _ in range(2):
            try:
                return await asyncio.wait_for(self.process.wait(), within_s)
            except TimeoutError:
                self.kill()
        return -signal.SIGKILL


@dataclass(slots=True)
class InFlight:
    """A unit that a worker has, and how many of its rows are delivered."""

    unit: Unit
    done: int = 0


class Worker:
    """One worker process and the units it has."""

    def __init__(self, process: Child, slot: Slot) -> None:
        self.process = process
        self.slot = slot
        self.units: dict[int, InFlight] = {}
        self.busy_since_s = time.monotonic()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.process.pid

    def current(self) -> tuple[Activity, Task] | None:
        """The file it is in."""
        activity = self.slot.activity()
        if activity is None:
            return None
        held = self.units.get(activity.unit_no)
        if held is None or activity.index >= len(held.unit.tasks):
            return None
        return activity, held.unit.tasks[activity.index]


class Pool:
    """Local worker processes.

    Args:
        setup: what each worker has to know.
        supply: where units come from.
        deliver: takes each part, with the tasks it answers; it may wait, and the worker with it.
        root_gone: told that a root vanished.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        supply: Supply,
        deliver: Deliver,
        root_gone: Callable[[RootGone], None],
    ) -> None:
        self.setup = setup
        self.supply = supply
        self.deliver = deliver
        self.root_gone = root_gone
        self.workers: dict[int, Worker] = {}
        self._idle_deaths = 0

    async def run(self) -> None:
        """Works until the supply ends.

        Raises:
            WorkersFailed: workers die as soon as they are started.
        """
        async with asyncio.TaskGroup() as tasks:
            for number in range(self.supply.workers):
                tasks.create_task(self._tend(number))

    def stop(self) -> None:
        """Asks all workers to stop, in the middle of a file too."""
        for worker in self.workers.values():
            worker.slot.stop()

    def kill(self) -> None:
        """Ends all workers at once."""
        for worker in self.workers.values():
            worker.process.kill()

    async def _tend(self, number: int) -> None:
        """Keeps one place in the pool filled."""
        while True:
            first = await self.supply.next()
            if first is None:
                return
            worker = await self._start(number)
            finished = False
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
            str(slot.descriptor),
            with_secrets=False,
            descriptors=(slot.descriptor,),
        )
        worker = Worker(process, slot)
        self.workers[number] = worker
        if self.supply.stopped:
            slot.stop()
        await process.send(self.setup)
        return worker

    async def _serve(self, worker: Worker, first: Unit) -> bool:
        """Feeds a worker until the supply ends (true) or the worker does (false)."""
        await self._hand(worker, first)
        while True:
            while len(worker.units) < UNITS_A_WORKER:
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
            elif isinstance(message, RootGone):
                held = worker.units.pop(message.unit_no)
                self.supply.give_back(held.unit, held.done)
                self.root_gone(message)
            else:
                return False

    async def _hand(self, worker: Worker, unit: Unit) -> None:
        if not worker.units:
            worker.busy_since_s = time.monotonic()
        worker.units[unit.unit_no] = InFlight(unit)
        await worker.process.send(unit)

    async def _take_part(self, worker: Worker, part: Part) -> None:
        self._idle_deaths = 0
        held = worker.units[part.unit_no]
        begin, held.done = held.done, held.done + part.rows
        complete = held.done >= len(held.unit.tasks)
        now_s = time.monotonic()
        await self.deliver(part, held.unit.tasks[begin : held.done])
        if complete:
            del worker.units[part.unit_no]
            self.supply.done(held.unit, now_s - worker.busy_since_s)
            worker.busy_since_s = now_s

    async def _bury(self, worker: Worker, finished: bool) -> None:
        """Takes back what a dead (or finished) worker had, and finds out what it died of."""
        if not (finished or self.supply.stopped):
            worker.process.kill()
        status = await worker.process.end(STOPPED_BURIAL_S if self.supply.stopped else BURIAL_S)
        activity = worker.slot.activity()
        if worker.units and not self.supply.stopped:
            self._report_death(worker, status, activity)
        for held in reversed(worker.units.values()):
            in_this = activity is not None and activity.unit_no == held.unit.unit_no
            blamed = activity.index if in_this and activity is not None else None
            self.supply.give_back(held.unit, held.done, blamed)
        worker.units.clear()
        worker.slot.close()

    def _report_death(self, worker: Worker, status: int, activity: Activity | None) -> None:
        current = worker.current()
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        log.warning(
            "worker %d died (%s)%s; another takes its place",
            worker.pid,
            how,
            f" while reading {current[1].path}" if current else "",
            extra=logs.event("worker_died", pid=worker.pid, how=how),
        )
        if activity is None:
            self._idle_deaths += 1
            if self._idle_deaths > IDLE_DEATHS_AT_MOST:
                raise WorkersFailed(
                    f"workers die as soon as they start ({how}); everything committed is kept"
                )
