"""A run from beginning to end: open, lease, dispatch, drain, finish."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fasthash import logs, survey
from fasthash.commits import Commits
from fasthash.config import Settings
from fasthash.controls import Controls
from fasthash.errors import DatabaseLost, FasthashError, RunLeftOpen, first_error
from fasthash.evidence import Evidence
from fasthash.fixity import Part, Returned, Root, Task
from fasthash.heartbeat import Heartbeat
from fasthash.leasing import Leasing
from fasthash.manners import Manners
from fasthash.metrics import Metrics
from fasthash.opening import announce
from fasthash.pool import Pool
from fasthash.progress import Progress
from fasthash.seat import Seat, Start
from fasthash.store import reports, runs
from fasthash.store.catalog import Catalog
from fasthash.summary import ENDINGS, RunSummary
from fasthash.supply import Supply

log = logging.getLogger("fasthash")

# A stop has to be over within 3 s: so long for workers to flush, the writer to commit, and the
# leases to be given back.
WORKERS_STOP_S = 0.6
WRITER_STOP_S = 0.8
LEAVE_S = 0.6
# In place of a type where the ledger cannot be asked.
ALL_TYPES = "(all types)"


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended here: its summary, the signal that stopped it, the error that did."""

    summary: RunSummary
    stopped_by: int | None = None
    error: FasthashError | None = None

    @property
    def exit_status(self) -> int:
        """Of the command."""
        if self.error is not None:
            return self.error.exit_status
        return self.summary.exit_status if self.stopped_by is None else 128 + self.stopped_by


async def run(
    settings: Settings,
    catalog: Catalog,
    roots: Sequence[Root],
    found: tuple[Evidence, ...],
    progress: Progress,
    controls: Controls,
    metrics: Metrics,
) -> Finished:
    """The program: one process's part in a run.

    An error after the start is in the result, beside the summary of what was done until then.

    Args:
        settings: of the run.
        catalog: its rows.
        roots: where its files are.
        found: some of them, as they were just now.
        progress: shown to whoever waits.
        controls: from where it may be stopped.
        metrics: told to whoever watches.

    Raises:
        FasthashError: nothing was begun.
    """
    seat = Seat(settings, catalog, roots, found)
    try:
        await survey.tell_history(seat, metrics)
        start = await seat.take()
        metrics.opened(start.run_id, start.how, start.started_at)
        await survey.tell_old_drifts(seat)
        coordinator = Coordinator(seat, start, progress, controls, metrics)
        error = await coordinator.work()
        return await coordinator.leave(error)
    finally:
        controls.detach()
        progress.close()
        seat.close()


class Coordinator:
    """What works side by side while a run goes on."""

    def __init__(
        self, seat: Seat, start: Start, progress: Progress, controls: Controls, metrics: Metrics
    ) -> None:
        self.seat = seat
        self.controls = controls
        self.start = start
        self.supply = Supply(seat.settings.workers)
        self.progress = progress
        self.commits = Commits(seat.writer_setup(), self.supply, metrics)
        self.manners = Manners(seat.settings.courtesy, seat.gate, seat.ledger)
        self.heartbeat = Heartbeat(
            seat, start, self.supply, self.commits, self.manners, progress, metrics
        )
        self.pool = Pool(
            seat.worker_setup(),
            self.supply,
            self._deliver,
            seat.gate,
            self.heartbeat.root_gone,
            self._returned,
            seat.host_rate,
        )
        self.heartbeat.pool = self.pool
        self.leasing = Leasing(seat, self.supply, self.commits, self.manners, self._end)
        self.stopped_by: int | None = None
        self.ended_for: str | None = None
        self._left_in: str | None = None  # the run's state in the ledger when we had left it
        self._began_at = time.monotonic()
        self._stopping = asyncio.Event()

    async def work(self) -> FasthashError | None:
        """Leases, hashes and commits until the run is done, stopped, or an error ends it."""
        seat, start = self.seat, self.start
        announce(start.run_id, start.how, seat.settings, seat.catalog)
        self.controls.attach(self)
        error: FasthashError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                beside = [
                    tasks.create_task(work)
                    for work in (
                        self.commits.run(),
                        self.leasing.run(),
                        self.heartbeat.beat(),
                        self.heartbeat.show(),
                        self.manners.watch_database(),
                        self._survey(),
                        self._end_in_time(),
                    )
                ]
                hashing = tasks.create_task(self.pool.run())
                beside.append(tasks.create_task(self._stop_in_time(hashing)))
                await asyncio.wait([hashing])
                if self.supply.stopped:
                    await self._drain()
                for task in beside:
                    task.cancel()
        except* FasthashError as group:
            error = first_error(group)
        self.heartbeat.tell_metrics()
        if not self.seat.proof.evidence:
            survey.look_for_files(self.heartbeat.others + self.commits.counts, self.seat.roots)
        return error

    async def _drain(self) -> None:
        """What was read is committed; once stopped, it is not waited for for long."""
        draining = asyncio.ensure_future(self.commits.drain())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([draining, stopping], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([draining], timeout=WRITER_STOP_S)
        draining.cancel()
        stopping.cancel()

    def _end(self, reason: str) -> None:
        """By plan: no new file; those in hand are finished."""
        if not self.supply.stopped:
            self.ended_for = reason
            event = logs.event("ending", reason=reason)
            log.info("%s: finishing what is in hand", ENDINGS[reason], extra=event)
            self.seat.gate.end()
            self.supply.stop()

    async def _end_in_time(self) -> None:
        """Ends the run when its time is over, or a window is closed that is not waited for."""
        courtesy = self.seat.settings.courtesy
        while courtesy.for_s or not courtesy.waits:
            if courtesy.for_s and time.monotonic() - self._began_at >= courtesy.for_s:
                return self._end("time")
            if not courtesy.waits and self.manners.hold is not None and self.manners.hold.is_long:
                self.pool.stop()  # in the middle of a file, too
                return self._end("window")
            await asyncio.sleep(0.1)
        return None

    def _returned(self, message: Returned) -> None:
        if message.out_of_budget:
            self._end("budget")
        else:
            self.heartbeat.look()

    async def _deliver(self, part: Part, tasks: Sequence[Task]) -> None:
        await self.commits.deliver(part)

    async def _survey(self) -> None:
        """Looks at the catalog as a whole, beside the work."""
        await survey.look_at_digests(self.seat)
        if self.start.rows_expected is None:
            self.heartbeat.rows_expected = await survey.count_ahead(self.seat, self.start)
            if self.seat.due.is_scrub or self.seat.due.since is not None:
                await survey.look_at_clocks(self.seat)

    def tell(self) -> None:
        """Logs what every worker is doing."""
        self.heartbeat.tell()

    def set_rates(self, bytes_per_s: float | None, files_per_s: float | None) -> None:
        """Sets the rates of reading; 0 stands for no limit, None for no change."""
        if self.seat.host_rate is not None:
            self.seat.host_rate.set_rates(bytes_per_s, files_per_s)
            self.heartbeat.tell_rates()

    def stop(self, number: int) -> None:
        """For a signal. Once: no new units, what is in hand is flushed. Twice: at once."""
        if self.stopped_by is not None:
            self.pool.kill()
            self.progress.close()
            os._exit(128 + number)  # the kernel takes the writer along; nobody thinks we live
        self.stopped_by = number
        self._stopping.set()
        event = logs.event("stopping", signal=number)
        log.info("stopping: committing what is in hand", extra=event)
        self.supply.stop()
        self.pool.stop()

    async def _stop_in_time(self, hashing: asyncio.Task[None]) -> None:
        """Once stopped, workers that do not end by themselves are killed.

        Nor is anything waited for after that: not for room in the writer's queue, which a dead
        database never makes, and not for a worker that not even a kill can end.
        """
        await self._stopping.wait()
        await asyncio.wait([hashing], timeout=WORKERS_STOP_S)
        if not hashing.done():
            self.pool.kill()
            hashing.cancel()

    async def leave(self, error: FasthashError | None) -> Finished:
        """Gives back what is held and reads the summary, as far as the database lets us.

        Once stopped, the database is not waited for any longer.
        """
        if not isinstance(error, DatabaseLost):
            leaving = asyncio.create_task(self._leave(error))
            stopping = asyncio.create_task(self._stopping.wait())
            await asyncio.wait([leaving, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            await asyncio.wait([leaving], timeout=LEAVE_S)
            if leaving.done():
                return self._left(leaving, error)
            leaving.cancel()
            log.warning(
                "the database did not answer in time; the leases are free when it sees that we "
                "are gone",
                extra=logs.event("not_released", seconds=LEAVE_S),
            )
        return self._finished(self._own_summary(), error)

    def _left(self, leaving: asyncio.Task[RunSummary], error: FasthashError | None) -> Finished:
        """How it ended, when the ledger was told so, or could not be.

        What ended the run goes before what kept us from telling; a defect goes before both.
        """
        try:
            return self._finished(leaving.result(), error)
        except FasthashError as unsaid:
            log.warning(
                "the ledger could not be told of the end: %s",
                unsaid,
                extra=logs.event("not_told", reason=str(unsaid)),
            )
            unsaid_counts = error is None and self.stopped_by is None
            return self._finished(self._own_summary(), unsaid if unsaid_counts else error)
        except Exception as defect:
            raise defect from error

    def _finished(self, summary: RunSummary, error: FasthashError | None) -> Finished:
        left_open = summary.state != "complete" and self.ended_for is None
        if error is None and self.stopped_by is None and left_open:
            error = RunLeftOpen(
                f"run {summary.run_id} is {summary.state}, not complete; what is committed is "
                "kept: the same command goes on from there"
            )
        return Finished(summary, self.stopped_by, error)

    def _own_summary(self) -> RunSummary:
        """What this process knows; the types and reasons are in the ledger."""
        return RunSummary(
            self.seat.run_id,
            self.seat.settings.kind,
            self._left_in or ("complete" if self.supply.closed else "interrupted"),
            None,
            None,
            time.monotonic() - self._began_at,
            {ALL_TYPES: self.heartbeat.others + self.commits.counts},
            {},
            catalog=self.seat.catalog.full_name,
            missing_ok=self.seat.settings.missing_ok,
        )

    async def _leave(self, error: FasthashError | None) -> RunSummary:
        seat = self.seat
        text = None if error is None else str(error)
        self._left_in = await seat.ledger.call(
            runs.leave, seat.run_id, seat.holder_id, text, self.ended_for
        )
        await self.heartbeat.report()
        if seat.due.is_scrub and error is None and self.stopped_by is None:
            await survey.note_freshness(
                seat,
                self.heartbeat.others + self.commits.counts,
                self.heartbeat.rows_expected,
                ended_early=self.ended_for is not None,
            )
        found = await seat.ledger.call(reports.read_summary, seat.run_id)
        return replace(found, missing_ok=seat.settings.missing_ok)
