"""A dry run: reads and hashes as a run does, judges in memory, writes nothing anywhere."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from fasthash import logs, parts
from fasthash.config import Settings
from fasthash.controls import Controls
from fasthash.coordinator import Finished
from fasthash.desk import Desk
from fasthash.errors import FasthashError, PreflightFailed, first_error
from fasthash.fixity import (
    RESIDUAL_REASONS,
    Counts,
    LeasedRange,
    Outcome,
    Part,
    Result,
    Returned,
    Root,
    RootGone,
    Task,
    Verdict,
)
from fasthash.gate import Gate, HostRate
from fasthash.manners import Manners
from fasthash.pool import Pool
from fasthash.progress import Position, Progress
from fasthash.seat import find_due, worker_setup
from fasthash.store import catalog as catalogs
from fasthash.store import ranges, rows, schema
from fasthash.store.catalog import Catalog
from fasthash.store.due import Due
from fasthash.store.session import UNHURRIED, Connection, Session
from fasthash.summary import RunSummary
from fasthash.supply import Supply

log = logging.getLogger("fasthash")

POLL_S = 0.2


class DryRun:
    """A pass over the whole catalog without a ledger."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        roots: Sequence[Root],
        progress: Progress,
        controls: Controls,
    ) -> None:
        self.settings = settings
        self.controls = controls
        self.catalog = catalog
        self.progress = progress
        self.desk = Desk(
            Session(settings.dsn, "dry run", settings.db_timeout_s, timeouts=UNHURRIED)
        )
        self.supply = Supply(settings.workers)
        self.gate = Gate.create(settings.courtesy.budget_bytes)
        self.manners = Manners(settings.courtesy, self.gate, self.desk)
        self.host_rate = HostRate.private()  # no other takes part in it
        self.pool = Pool(
            worker_setup(settings, roots),
            self.supply,
            self._judge,
            self.gate,
            self._root_gone,
            self._returned,
            self.host_rate,
        )
        self.due = Due()
        self.by_type: dict[str | None, Counts] = defaultdict(Counts)
        self.residual: Counter[str] = Counter()
        self.read_bytes = 0
        self.stopped_by: int | None = None
        self._types: dict[int, str | None] = {}
        self._last_part_no = 0

    async def run(self) -> Finished:
        """The program."""
        started_at, started_s = datetime.now(UTC), time.monotonic()
        courtesy = self.settings.courtesy
        self.host_rate.set_rates(courtesy.rate_bytes_per_s, courtesy.files_per_s)
        self.controls.attach(self)
        error: FasthashError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                works = (
                    self._show(started_s),
                    self._feed(started_at),
                    self.manners.watch_database(),
                )
                beside = [tasks.create_task(work) for work in works]
                await self.pool.run()
                for task in beside:
                    task.cancel()
        except* FasthashError as group:
            error = first_error(group)  # raised in here, it would come out in a group again
        finally:
            self.controls.detach()
            self.progress.close()
            self.desk.close()
            self.host_rate.close()
            self.gate.close()
        if error is not None:
            raise error
        state = "interrupted" if self.supply.stopped else "complete"
        summary = RunSummary(
            None,
            self.settings.kind,
            state,
            started_at,
            datetime.now(UTC),
            time.monotonic() - started_s,
            dict(self.by_type),
            dict(sorted(self.residual.items())),
            dry_run=True,
            missing_ok=self.settings.missing_ok,
            catalog=self.catalog.full_name,
        )
        return Finished(summary, self.stopped_by)

    async def _feed(self, started_at: datetime) -> None:
        self.due = await self.desk.call(self._find_due, started_at)
        await self._count_rows_without_id()
        number = 0
        async for leased in self._ranges():
            while self.supply.queued_rows > 2 * self.settings.range_rows:
                self.supply.changed.clear()
                await self.supply.change(POLL_S)
                self.supply.finished()
            number += 1
            self._types[number] = leased.artifact_type
            tasks = await self.desk.call(
                ranges.read_range, self.catalog, self.due, leased, with_segments=False
            )
            self.supply.add(replace(leased, range_no=number), tasks)
        self.supply.running_out = True
        while self.supply.holdings:
            self.supply.finished()
            await asyncio.sleep(POLL_S / 10)
        self.supply.close()

    async def _count_rows_without_id(self) -> None:
        n = await self.desk.call(rows.count_rows_without_id, self.catalog, self.settings.types)
        if n and not self.due.is_scrub:
            self.by_type[None] += Counts(failed=n)
            self.residual[Verdict.UNREADABLE_ROW] += n

    def _find_due(self, connection: Connection, started_at: datetime) -> Due:
        if not schema.is_readable(connection):
            return Due(since=self.settings.since)  # for a scrub or a pre-check it has to be
        older = timedelta(seconds=self.settings.scrub.older_than_s if self.settings.scrub else 0)
        facts = {"run_id": 0, "started_at": started_at, "cutoff": started_at - older}
        return find_due(connection, self.catalog, self.settings, facts)

    async def _ranges(self) -> AsyncIterator[LeasedRange]:
        """The catalog in planning order, up to the limit."""
        left = self.settings.limit
        types = await self.desk.call(catalogs.read_types, self.catalog, self.settings.types)
        for artifact_type in types:
            after_id = None
            while left is None or left > 0:
                most = self.settings.range_rows
                most = most if left is None else min(left, most)
                cuts = await self.desk.call(
                    catalogs.read_boundaries, self.catalog, artifact_type, after_id, most, most
                )
                if not cuts:
                    break
                through_id, count = cuts[0]
                # A scrub looks at what is due alone, as any run does in its sweeps.
                pass_no = int(self.due.is_scrub)
                yield LeasedRange(0, artifact_type, after_id, through_id, pass_no, 0)
                after_id = through_id
                left = None if left is None else left - count

    async def _judge(self, part: Part, tasks: Sequence[Task]) -> None:
        self.read_bytes += part.read_bytes
        counts = Counts()
        for task, result in zip(tasks, parts.results(part), strict=True):
            outcome = judge(task, result)
            if result.verdict in RESIDUAL_REASONS:
                self.residual[result.verdict] += 1
            counts += counted(outcome, result, overwrite=self.settings.drift_policy == "overwrite")
            if outcome == Outcome.DRIFTED:
                log.warning(
                    "DRIFT row %s: file_sha256 is %s, the file has %s; path %s",
                    task.row_id,
                    task.stored_sha256,
                    (result.sha256 or b"").hex(),
                    task.path,
                    extra=logs.event(
                        "dry_run_drift",
                        row_id=task.row_id,
                        path=task.path,
                        old_hash=task.stored_sha256,
                        new_hash=(result.sha256 or b"").hex(),
                    ),
                )
        self.by_type[self._types[part.range_no]] += counts

    def _root_gone(self, message: RootGone) -> None:
        raise PreflightFailed(f"root {message.root} is gone: {message.detail}")

    def _returned(self, message: Returned) -> None:
        if message.out_of_budget:
            self.supply.stop()
        else:
            self._look()

    def _look(self) -> None:
        hold = self.manners.look()
        self.supply.hold(None if hold is None else hold.reason)
        if hold is not None and hold.is_long and not self.settings.courtesy.waits:
            self.supply.stop()
            self.pool.stop()

    async def _show(self, started_s: float) -> None:
        for_s = self.settings.courtesy.for_s
        while True:
            self._look()
            if for_s and time.monotonic() - started_s >= for_s:
                self.gate.end()
                self.supply.stop()
            total = sum(self.by_type.values(), Counts())
            expected = None if self.due.is_scrub else self.catalog.estimated_rows
            self.progress.show(Position(total, expected, self.read_bytes, self.supply.held))
            await asyncio.sleep(POLL_S)

    def tell(self) -> None:
        """Logs how far it is."""
        total = sum(self.by_type.values(), Counts())
        log.info("dry run: %s rows", f"{total.scanned:,}", extra=logs.event("activity"))

    def set_rates(self, bytes_per_s: float | None, files_per_s: float | None) -> None:
        """Reads at these rates from now on; 0 is for none, None for what it is."""
        self.host_rate.set_rates(bytes_per_s, files_per_s)

    def stop(self, number: int) -> None:
        """For a signal. Once: no new units. Twice: at once."""
        if self.stopped_by is not None:
            self.pool.kill()
            self.progress.close()
            os._exit(128 + number)
        self.stopped_by = number
        self.supply.stop()
        self.pool.stop()


def judge(task: Task, result: Result) -> Outcome:
    """The outcome a run would come to, if nobody changes the row meanwhile."""
    if result.verdict == Verdict.FRESH:
        return Outcome.FRESH
    if result.verdict == Verdict.PRECHECKED:
        return Outcome.CONFIRMED
    if result.verdict == Verdict.NO_FILE:
        return Outcome.NO_FILE
    if result.sha256 is None:
        return Outcome.FAILED
    if task.stored_sha256 is None:
        return Outcome.HASHED
    same = task.stored_sha256.lower() == result.sha256.hex()
    return Outcome.CONFIRMED if same else Outcome.DRIFTED


def counted(outcome: Outcome, result: Result, *, overwrite: bool) -> Counts:
    """One row of an outcome as counts.

    Args:
        outcome: of the row.
        result: what the worker found.
        overwrite: whether a run would overwrite a hash that drifted.
    """
    held = outcome == Outcome.DRIFTED and not overwrite
    would_write = int(result.verdict == Verdict.HASHED and not held)
    if result.verdict == Verdict.PRECHECKED:
        return Counts(confirmed=1, prechecked=1)
    return Counts(**{str(outcome): 1}, updated=would_write, bytes_hashed=result.size_bytes)
