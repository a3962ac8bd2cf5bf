"""A dry run: reads and hashes as a run does, judges in memory, writes nothing anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from fasthash import logs, parts
from fasthash.config import NO_TYPE, Settings
from fasthash.coordinator import Finished
from fasthash.desk import Desk
from fasthash.errors import FasthashError, PreflightFailed, first_error
from fasthash.fixity import (
    Counts,
    LeasedRange,
    Outcome,
    Part,
    Result,
    Root,
    RootGone,
    Task,
    Verdict,
)
from fasthash.pool import Pool
from fasthash.progress import Position, Progress
from fasthash.seat import worker_setup
from fasthash.store import catalog as catalogs
from fasthash.store.catalog import Catalog
from fasthash.store.session import Session
from fasthash.summary import RunSummary
from fasthash.supply import Supply

log = logging.getLogger("fasthash")

POLL_S = 0.2


class DryRun:
    """A pass over the whole catalog without a ledger."""

    def __init__(
        self, settings: Settings, catalog: Catalog, roots: Sequence[Root], progress: Progress
    ) -> None:
        self.settings = settings
        self.catalog = catalog
        self.progress = progress
        self.desk = Desk(Session(settings.dsn, "dry run", settings.db_timeout_s))
        self.supply = Supply(settings.workers)
        setup = worker_setup(settings, roots)
        self.pool = Pool(setup, self.supply, self._judge, self._root_gone)
        self.by_type: dict[str | None, Counts] = defaultdict(Counts)
        self.residual: Counter[str] = Counter()
        self.read_bytes = 0
        self.stopped_by: int | None = None
        self._types: dict[int, str | None] = {}
        self._last_part_no = 0

    async def run(self) -> Finished:
        """The program."""
        started_at, started_s = datetime.now(UTC), time.monotonic()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        error: FasthashError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                showing = tasks.create_task(self._show())
                feeding = tasks.create_task(self._feed())
                await self.pool.run()
                showing.cancel()
                feeding.cancel()
        except* FasthashError as group:
            error = first_error(group)  # raised in here, it would come out in a group again
        finally:
            self.progress.close()
            self.desk.close()
        if error is not None:
            raise error
        state = "complete" if self.stopped_by is None else "interrupted"
        summary = RunSummary(
            None,
            "backfill",
            state,
            started_at,
            datetime.now(UTC),
            time.monotonic() - started_s,
            dict(self.by_type),
            dict(sorted(self.residual.items())),
            dry_run=True,
            catalog=self.catalog.key,
        )
        return Finished(summary, self.stopped_by)

    async def _feed(self) -> None:
        number = 0
        async for leased in self._ranges():
            while self.supply.queued_rows > 2 * self.settings.range_rows:
                self.supply.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.supply.changed.wait(), POLL_S)
                self.supply.finished()
            number += 1
            self._types[number] = leased.artifact_type
            tasks = await self.desk.call(
                catalogs.read_range, self.catalog, 0, leased, with_segments=False
            )
            self.supply.add(replace(leased, range_no=number), tasks)
        self.supply.running_out = True
        while self.supply.holdings:
            self.supply.finished()
            await asyncio.sleep(POLL_S / 10)
        self.supply.close()

    async def _ranges(self) -> AsyncIterator[LeasedRange]:
        """The catalog in planning order, up to the limit."""
        left = self.settings.limit
        wanted = self.settings.types
        for artifact_type in await self.desk.call(catalogs.read_types, self.catalog):
            if wanted and (NO_TYPE if artifact_type is None else artifact_type) not in wanted:
                continue
            after_id = None
            while left is None or left > 0:
                rows = (
                    self.settings.range_rows
                    if left is None
                    else min(left, self.settings.range_rows)
                )
                cuts = await self.desk.call(
                    catalogs.read_boundaries, self.catalog, artifact_type, after_id, rows, rows
                )
                if not cuts:
                    break
                through_id, count = cuts[0]
                yield LeasedRange(0, artifact_type, after_id, through_id, 0, 0)
                after_id = through_id
                left = None if left is None else left - count

    async def _judge(self, part: Part, tasks: Sequence[Task]) -> None:
        self.read_bytes += part.read_bytes
        counts = Counts()
        for task, result in zip(tasks, parts.results(part), strict=True):
            outcome = judge(task, result)
            if result.verdict not in (Verdict.HASHED, Verdict.FRESH):
                self.residual[result.verdict] += 1
            counts += counted(outcome, result, overwrite=self.settings.on_drift == "overwrite")
            if outcome == Outcome.DRIFTED:
                log.warning(
                    "DRIFT row %s: file_sha256 is stored as %s, would become %s; path %s",
                    task.row_id,
                    task.stored_sha256,
                    (result.sha256 or b"").hex(),
                    task.path,
                    extra=logs.event("drift", row_id=task.row_id, path=task.path),
                )
        self.by_type[self._types[part.range_no]] += counts

    def _root_gone(self, message: RootGone) -> None:
        raise PreflightFailed(f"root {message.root} is gone: {message.detail}")

    async def _show(self) -> None:
        while True:
            total = sum(self.by_type.values(), Counts())
            self.progress.show(Position(total, self.catalog.estimated_rows, self.read_bytes))
            await asyncio.sleep(POLL_S)

    def _stop(self, number: int) -> None:
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
    return Counts(**{str(outcome): 1}, updated=would_write, bytes_hashed=result.size_bytes)
