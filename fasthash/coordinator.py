"""A run from beginning to end: open, lease, dispatch, drain, finish."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fasthash import files, logs
from fasthash.commits import Commits
from fasthash.config import Settings
from fasthash.desk import Desk
from fasthash.errors import DatabaseLost, FasthashError
from fasthash.fixity import Counts, LeasedRange, Part, Root, RootGone, Task
from fasthash.lease import SAMPLE_EVERY_S, LeaseClock, ranges_wanted
from fasthash.opening import Opened, open_run
from fasthash.pool import Pool
from fasthash.progress import Position, Progress
from fasthash.store import catalog as catalogs
from fasthash.store import leases, reports
from fasthash.store.catalog import Catalog
from fasthash.store.leases import RunIdentity
from fasthash.store.results import Target
from fasthash.store.session import Connection, Session
from fasthash.summary import RunSummary
from fasthash.supply import Supply
from fasthash.worker import WorkerSetup
from fasthash.writer import WriterSetup

log = logging.getLogger("fasthash")

POLL_S = 0.2
# A stop has to be over within seconds: so long for workers to flush, and for the writer to commit.
WORKERS_STOP_S = 1.0
WRITER_STOP_S = 1.2
LEAVE_S = 1.0
# A read that takes longer than this without a byte is named in progress and status.
STUCK_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended here: its summary, and the signal that stopped it, if one did."""

    summary: RunSummary
    stopped_by: int | None = None
    error: FasthashError | None = None


class Coordinator:
    """One process's part in a run."""

    def __init__(
        self, settings: Settings, catalog: Catalog, roots: Sequence[Root], progress: Progress
    ) -> None:
        self.settings = settings
        self.catalog = catalog
        self.roots = tuple(roots)
        self.progress = progress
        self.host = socket.gethostname()
        self.supply = Supply(settings.workers)
        self.ledger = Desk(Session(settings.dsn, "coordinator", settings.db_timeout_s, self._back))
        self.pulse = Desk(
            Session(settings.dsn, "heartbeat", settings.db_timeout_s, self._claim_alive)
        )
        self.holder_id: int | None = None
        self.run_id = 0
        self.before = Counts()  # what the run had come to without this process
        self.rows_expected: int | None = None
        self.stopped_by: int | None = None
        self._lost_connection = False
        self._connections = 0
        self._missing_root: str | None = None
        self._only_unmet = False
        self._clock = LeaseClock(settings.lease_ttl_s, time.monotonic())

    async def run(self) -> Finished:
        """The program. Errors of the database after the start come back in the result.

        Raises:
            FasthashError: nothing was begun.
        """
        opened = await self._open()
        self._announce(opened)
        self.commits = Commits(self._writer_setup(), self.supply)
        self.pool = Pool(self._worker_setup(), self.supply, self._deliver, self._root_gone)
        self._take_signals()
        error: FasthashError | None = None
        try:
            await self._work()
        except* FasthashError as group:
            error = _first(group)
        finally:
            self.progress.close()
        return Finished(await self._leave(error), self.stopped_by, error)

    async def _open(self) -> Opened:
        settings = self.settings
        identity = RunIdentity("backfill", settings.types)
        opened = await self.ledger.call(
            open_run,
            self.catalog,
            identity,
            settings.limit,
            restart=settings.restart,
            host=self.host,
        )
        self.run_id = opened.run_id
        self.holder_id = await self.ledger.call(
            leases.add_holder, self.run_id, self.host, os.getpid()
        )
        await self.pulse.call(leases.live_holders, self.run_id)  # connects, and claims to be alive
        counts = await self.ledger.call(reports.read_counts, self.run_id)
        self.before = sum(counts.values(), Counts())
        run = await self.ledger.call(reports.read_run, self.run_id)
        self.rows_expected = run["rows_expected"]
        self._only_unmet = run["pass_no"] > 0
        return opened

    def _announce(self, opened: Opened) -> None:
        log.info(
            "run %d %s: %d workers on %s",
            opened.run_id,
            {"new": "begins", "resumed": "goes on", "joined": "is joined"}[opened.how],
            self.settings.workers,
            self.catalog.key,
            extra=logs.event("run_opened", run_id=opened.run_id, how=opened.how),
        )

    @property
    def _me(self) -> int:
        if self.holder_id is None:
            raise LookupError("the run is not open")
        return self.holder_id

    def _back(self, connection: Connection) -> None:
        """A new ledger connection: the second one means that the first was lost."""
        self._connections += 1
        self._lost_connection = self._connections > 1

    def _claim_alive(self, connection: Connection) -> None:
        leases.claim_alive(connection, self._me)

    def _worker_setup(self) -> WorkerSetup:
        settings = self.settings
        return WorkerSetup(
            self.roots,
            settings.root_sentinel,
            settings.chunk_bytes,
            settings.reader == "mmap",
            settings.resolver,
            settings.log_format,
        )

    def _writer_setup(self) -> WriterSetup:
        settings = self.settings
        target = Target(
            self.catalog, self.run_id, self._me, overwrite_drift=settings.on_drift == "overwrite"
        )
        return WriterSetup(settings.dsn, settings.db_timeout_s, target, settings.log_format)

    async def _work(self) -> None:
        """Leasing, hashing and committing side by side, until the run is done or stopped."""
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self.commits.run())
            leasing = tasks.create_task(self._lease_ranges())
            beating = tasks.create_task(self._beat())
            showing = tasks.create_task(self._show())
            counting = tasks.create_task(self._count())
            hashing = tasks.create_task(self.pool.run())
            watching = tasks.create_task(self._stop_in_time(hashing))
            try:
                await hashing
                if self.stopped_by is not None:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self.commits.drain(), WRITER_STOP_S)
            finally:
                for task in (writing, leasing, beating, showing, counting, watching):
                    task.cancel()

    # -- leasing -------------------------------------------------------------------------------

    async def _lease_ranges(self) -> None:
        """Keeps the supply filled, finishes ranges, and ends the run when all is done."""
        while not self.supply.stopped:
            self.supply.changed.clear()
            if self._lost_connection:
                await self._reload()
            finished = self.supply.finished()
            if finished:
                await self.ledger.call(leases.finish, self.run_id, finished)
                self.supply.wake()
            if await self._lease_more():
                continue
            idle = self.supply.running_out and not self.supply.holdings
            if idle and await self.ledger.call(leases.is_planned_and_done, self.run_id):
                self.supply.close()
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.supply.changed.wait(), POLL_S)

    async def _lease_more(self) -> bool:
        """Leases what the workers will need next; whether there was any."""
        settings, supply = self.settings, self.supply
        wanted = ranges_wanted(
            supply.queued_rows, settings.range_rows, settings.workers, supply.unit_size.rows
        )
        if not wanted or supply.held is not None:
            return False
        granted = await self._grant(wanted)
        if not granted and await self.ledger.call(
            leases.plan_more,
            self.catalog,
            self.run_id,
            settings.types,
            settings.range_rows,
            2 * wanted,
        ):
            granted = await self._grant(wanted)
        supply.running_out = not granted
        for leased in granted:
            supply.add(leased, await self._read(leased, with_segments=leased.term > 1))
        return bool(granted)

    async def _grant(self, wanted: int) -> list[LeasedRange]:
        return await self.ledger.call(
            leases.grant, self.run_id, self._me, wanted, self.settings.lease_ttl_s
        )

    async def _read(self, leased: LeasedRange, *, with_segments: bool) -> list[Task]:
        return await self.ledger.call(
            catalogs.read_range, self.catalog, self.run_id, leased, with_segments=with_segments
        )

    async def _reload(self) -> None:
        """After a lost connection the ledger is the truth: a crash may have undone commits."""
        self._lost_connection = False
        held = await self.ledger.call(
            leases.renew, self.run_id, self._me, self.settings.lease_ttl_s
        )
        for leased in held:
            tasks = await self._read(leased, with_segments=True)
            if leased.range_no in self.supply.holdings:
                self.supply.reconcile(leased, tasks)
            else:
                self.supply.add(leased, tasks)

    # -- heartbeat -----------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Renews leases, reports, and watches what holds the run."""
        reported_at_s = 0.0
        while True:
            now_s = time.monotonic()
            if self._clock.due(now_s):
                await self._renew()
                self._clock = LeaseClock(self._clock.ttl_s, now_s)
            if now_s - reported_at_s >= SAMPLE_EVERY_S:
                reported_at_s = now_s
                await self._report()
            if self._missing_root is not None:
                await self._look_for_root()
            await asyncio.sleep(min(1.0, self._clock.renew_every_s / 4))

    async def _renew(self) -> None:
        held_before = {n: h.leased.term for n, h in self.supply.holdings.items()}
        held = await self.pulse.call(leases.renew, self.run_id, self._me, self.settings.lease_ttl_s)
        terms = {r.range_no: r.term for r in held}
        lost = [n for n, term in held_before.items() if terms.get(n) != term]
        lost = [n for n in lost if n in self.supply.holdings]
        if lost:
            log.warning(
                "%d leases were lost to another coordinator",
                len(lost),
                extra=logs.event("leases_lost", ranges=lost),
            )
            self.supply.drop(lost)

    async def _report(self) -> None:
        counts = self.commits.counts
        await self.pulse.call(
            leases.report,
            self.run_id,
            self._me,
            self._facts(),
            counts.scanned,
            counts.bytes_hashed,
        )
        by_type = await self.pulse.call(reports.read_counts, self.run_id)
        others = zip(
            sum(by_type.values(), Counts()).as_tuple(), self.commits.counts.as_tuple(), strict=True
        )
        self.before = Counts(*(max(0, all_ - own) for all_, own in others))

    def _facts(self) -> dict[str, Any]:
        workers = []
        for worker in self.pool.workers.values():
            current = worker.current()
            entry: dict[str, Any] = {"pid": worker.pid}
            if current is not None:
                activity, task = current
                entry |= {
                    "path": task.path,
                    "seconds": round(time.time() - activity.since_s, 1),
                    "read_bytes": activity.read_bytes,
                }
            workers.append(entry)
        return {
            "workers": workers,
            "held": self.supply.held,
            "queued_rows": self.supply.queued_rows,
        }

    def _reason_to_hold(self) -> str | None:
        if self._missing_root is not None:
            return self._missing_root
        if not self._clock.may_hand_out(time.monotonic()):
            return "the leases cannot be renewed"
        return None

    def _root_gone(self, message: RootGone) -> None:
        if self._missing_root is None:
            self._missing_root = f"root {message.root} is gone: {message.detail}"
            log.error(
                "%s; holding until it is back",
                self._missing_root,
                extra=logs.event("root_gone", root=message.root, detail=message.detail),
            )
        self.supply.hold(self._missing_root)

    async def _look_for_root(self) -> None:
        # In a thread: a dead network mount would block for minutes.
        missing = await asyncio.to_thread(
            files.missing_root, self.roots, self.settings.root_sentinel
        )
        if missing is None:
            log.info("the root is back; going on", extra=logs.event("root_back"))
            self._missing_root = None

    # -- progress ------------------------------------------------------------------------------

    async def _show(self) -> None:
        while True:
            self.supply.hold(self._reason_to_hold())
            self.progress.show(
                Position(
                    self.before + self.commits.counts,
                    self.rows_expected,
                    self.commits.read_bytes,
                    self.supply.held,
                    self._stuck(),
                )
            )
            await asyncio.sleep(POLL_S)

    def _stuck(self) -> str | None:
        now_s = time.time()
        for worker in self.pool.workers.values():
            current = worker.current()
            if current is not None and now_s - current[0].since_s > STUCK_AFTER_S:
                activity, task = current
                if activity.read_bytes == 0:
                    return task.path
        return None

    async def _count(self) -> None:
        """Counts what is to come, beside the work, for the progress bar and the ETA."""

        if self.rows_expected is not None:
            return

        def count() -> int:
            session = Session(self.settings.dsn, "counter", self.settings.db_timeout_s)
            try:
                return session.call(
                    lambda c: catalogs.count_rows(
                        c,
                        self.catalog,
                        self.run_id,
                        self.settings.types,
                        unmet=self._only_unmet,
                    )
                )
            finally:
                session.close()

        with contextlib.suppress(FasthashError):
            rows = await asyncio.to_thread(count)
            limit = self.settings.limit
            self.rows_expected = rows if limit is None else min(rows, limit)
            await self.pulse.call(leases.expect_rows, self.run_id, self.rows_expected)

    # -- parts ---------------------------------------------------------------------------------

    async def _deliver(self, part: Part, tasks: Sequence[Task]) -> None:
        await self.commits.deliver(part)

    # -- the end -------------------------------------------------------------------------------

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)

    def _stop(self, number: int) -> None:
        if self.stopped_by is not None:
            self.pool.kill()
            os._exit(128 + number)  # the kernel takes the writer with us; the leases are free
        self.stopped_by = number
        log.info("stopping: finishing what is in hand", extra=logs.event("stopping"))
        self.supply.stop()
        self.pool.stop()

    async def _stop_in_time(self, hashing: asyncio.Task[None]) -> None:
        """Once stopped, workers that do not end by themselves are killed."""
        while self.stopped_by is None:
            await asyncio.sleep(0.05)
        await asyncio.sleep(WORKERS_STOP_S)
        if not hashing.done():
            self.pool.kill()

    async def _leave(self, error: FasthashError | None) -> RunSummary:
        """Gives back what is held and reads the summary, as far as the database lets us."""
        lost = isinstance(error, DatabaseLost)
        try:
            if not lost and (error is not None or self.stopped_by is not None):
                text = None if error is None else str(error)
                leave = self.ledger.call(leases.leave, self.run_id, self._me, text)
                await asyncio.wait_for(leave, LEAVE_S)
            if not lost:
                await asyncio.wait_for(self._report(), LEAVE_S)
                reading = self.ledger.call(reports.read_summary, self.run_id)
                return await asyncio.wait_for(reading, LEAVE_S)
        except (TimeoutError, DatabaseLost):
            log.warning("the database did not answer in time; the leases expire by themselves")
        finally:
            self.ledger.close()
            self.pulse.close()
        return self._own_summary()

    def _own_summary(self) -> RunSummary:
        """What this process knows, when the database cannot be asked."""
        counts = self.before + self.commits.counts
        return RunSummary(
            self.run_id, "backfill", "interrupted", None, None, 0.0, {None: counts}, {}
        )


def _first(group: BaseExceptionGroup[FasthashError]) -> FasthashError:
    """The first error of a group of groups."""
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("a group is never empty")
