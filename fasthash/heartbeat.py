"""Renews the leases, tells the ledger what goes on, and holds the run when it has to."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from fasthash import logs
from fasthash.commits import Commits
from fasthash.errors import RunGivenUp
from fasthash.fixity import Counts, RootGone, Why
from fasthash.lease import SAMPLE_EVERY_S, SEEN_EVERY_S, LeaseClock
from fasthash.manners import Hold, Manners
from fasthash.metrics import Metrics, Moment
from fasthash.pool import Pool
from fasthash.process import Child
from fasthash.progress import Position, Progress
from fasthash.rates import note_rates
from fasthash.seat import Seat, Start
from fasthash.store import leases, reports, runs
from fasthash.summary import human_bytes, human_seconds
from fasthash.supply import Supply

log = logging.getLogger("fasthash")

SHOW_EVERY_S = 0.2


class Heartbeat:
    """What has to go on whatever the files are doing."""

    def __init__(
        self,
        seat: Seat,
        start: Start,
        supply: Supply,
        commits: Commits,
        manners: Manners,
        progress: Progress,
        metrics: Metrics,
    ) -> None:
        self.seat = seat
        self.manners = manners
        self._orders = start.orders
        self.supply = supply
        self.commits = commits
        self.progress = progress
        self.metrics = metrics
        self.pool: Pool | None = None
        self.others = start.counts  # what the run came to without this process
        self.rows_expected = start.rows_expected
        self._clock = LeaseClock(seat.settings.lease_ttl_s, time.monotonic())
        self.hold: Hold | None = None
        self._missing_root: Hold | None = None
        self._drifted = -1  # of which the metrics know
        self._stuck: str | None = None
        self._rates = seat.host_rate.rates if seat.host_rate is not None else (0.0, 0.0)
        if start.how == "joined" and any(self._rates):
            note_rates(*self._rates)  # they may be another one's

    async def beat(self) -> None:
        """Renews and reports until cancelled."""
        reported_at_s, reported_held = 0.0, self.supply.held
        looking: asyncio.Task[None] | None = None  # not waited for: leases have to be renewed
        while True:
            now_s = time.monotonic()
            if self._clock.due(now_s):
                await self._renew()
                self._clock = LeaseClock(self._clock.ttl_s, now_s)
            # That it is held, and no longer, is known to everybody at once.
            if now_s - reported_at_s >= SAMPLE_EVERY_S or self.supply.held != reported_held:
                reported_at_s, reported_held = now_s, self.supply.held
                await self.report()
            if self._missing_root is not None and (looking is None or looking.done()):
                if looking is not None:
                    looking.result()  # what went wrong with it ends the run
                looking = asyncio.create_task(self._look_for_root())
            await self._look_at_run()
            self.tell_rates()
            await asyncio.sleep(min(SEEN_EVERY_S, self._clock.renew_every_s / 4))

    @property
    def read_bytes(self) -> int:
        """What this process has read, those files included that it is in."""
        return self.commits.read_bytes + (self.pool.read_bytes() if self.pool else 0)

    def look(self) -> None:
        """Holds the run where something holds it."""
        self.hold = self._find_hold()
        self.supply.hold(None if self.hold is None else self.hold.reason)

    async def show(self) -> None:
        """Shows the progress, and what holds it, until cancelled."""
        while True:
            self.look()
            self._stuck = self.pool.stuck() if self.pool else None
            self.progress.show(
                Position(
                    self.others + self.commits.counts,
                    self.rows_expected,
                    self.read_bytes,
                    self.supply.held,
                    self._stuck,
                )
            )
            self.tell_metrics()
            await asyncio.sleep(SHOW_EVERY_S)

    async def _look_at_run(self) -> None:
        """Gives a sign of life, and sees to it that the run goes on as long as we work on it.

        Others may have ended it when they saw nothing of us for a while.

        Raises:
            RunGivenUp: it is not to go on.
        """
        seat = self.seat
        seen = await seat.pulse.call(leases.be_seen, seat.holder_id)
        if seen is None:
            raise RunGivenUp(
                f"the ledger knows nothing of run {seat.run_id} any more: was it removed, or the "
                "database put back to an earlier state?"
            )
        if seen.superseded:
            raise RunGivenUp(
                f"run {seat.run_id} was given up for another one by --restart; what it has "
                "committed is kept: `fasthash status` shows the run that took its place"
            )
        self._obey(seen.orders)
        if seen.state in ("interrupted", "failed") and await seat.pulse.call(
            runs.keep_running, seat.run_id, seat.holder_id
        ):
            log.warning(
                "run %d was marked as %s by another coordinator, which did not see this one; it "
                "goes on",
                seat.run_id,
                seen.state,
                extra=logs.event("run_kept", state=seen.state),
            )

    def _obey(self, orders: dict[str, Any]) -> None:
        """Does what `fasthash rate` wants, where that is new."""
        if orders != self._orders and "rates" in orders and self.seat.host_rate is not None:
            self.seat.host_rate.set_rates(*orders["rates"])
        self._orders = orders

    def tell_rates(self) -> None:
        """Says so where the rates are others than before, whoever has changed them.

        They hold for all of this run on this host: one that joins it with a rate slows the others.
        """
        if self.seat.host_rate is not None and self._rates != self.seat.host_rate.rates:
            self._rates = self.seat.host_rate.rates
            note_rates(*self._rates)

    async def report(self) -> None:
        """Stores how far this process is, and learns how far the others are."""
        seat, counts = self.seat, self.commits.counts
        await seat.pulse.call(
            runs.report,
            seat.run_id,
            seat.holder_id,
            self._facts(),
            counts.scanned,
            self.read_bytes,
        )
        by_type = await seat.pulse.call(reports.read_counts, seat.run_id)
        total = sum(by_type.values(), Counts()).as_tuple()
        own = self.commits.counts.as_tuple()
        self.others = Counts(*(max(0, a - b) for a, b in zip(total, own, strict=True)))
        await self._tell_counts(by_type)

    async def _tell_counts(self, by_type: dict[str | None, Counts]) -> None:
        """Tells the metrics what the run has come to; its drifts only where there are more."""
        self.metrics.counted(by_type)
        drifted = sum(counts.drifted for counts in by_type.values())
        if self.metrics.wanted and drifted != self._drifted:
            seat = self.seat
            kinds = await seat.pulse.call(reports.count_drifts, seat.run_id)
            waiting = await seat.pulse.call(reports.open_drifts, seat.catalog.key)
            self.metrics.drifted(kinds, waiting)
            self._drifted = drifted  # only now: the heartbeat may be cancelled while it asks

    def root_gone(self, message: RootGone) -> None:
        """A worker found a root missing: hold, and say so."""
        if self._missing_root is None:
            text = f"root {message.root} is gone: {message.detail}"
            self._missing_root = Hold(Why.ROOT_GONE, text)
            log.error(
                "%s; holding until it is back",
                text,
                extra=logs.event("root_gone", root=message.root, detail=message.detail),
            )
        self.look()

    async def _renew(self) -> None:
        seat, supply = self.seat, self.supply
        before = {n: h.leased.term for n, h in supply.holdings.items()}
        held = await seat.pulse.call(
            leases.renew, seat.run_id, seat.holder_id, seat.settings.lease_ttl_s
        )
        terms = {r.range_no: r.term for r in held}
        lost = [n for n, t in before.items() if terms.get(n) != t and n in supply.holdings]
        if lost:
            log.warning(
                "%d leases were lost to another coordinator",
                len(lost),
                extra=logs.event("leases_lost", ranges=lost),
            )
            supply.drop(lost)

    async def _look_for_root(self) -> None:
        """Looks by way of a process of its own: a dead network mount may block it for ever."""
        process = await Child.start("fasthash.roots", with_secrets=False)
        try:
            await process.send(("missing", self.seat.roots, self.seat.settings.root_sentinel))
            answer = await process.receive()
        finally:
            process.kill()
        if answer == (None,):
            log.info("the root is back; going on", extra=logs.event("root_back"))
            self._missing_root = None

    def _find_hold(self) -> Hold | None:
        if self._missing_root is not None:
            return self._missing_root
        if not self._clock.may_hand_out(time.monotonic()):
            return Hold(Why.LEASES, "the leases cannot be renewed")
        return self.manners.look()

    def tell(self) -> None:
        """What goes on, as log lines: one for the run and one for each worker."""
        facts = self._facts()
        rows = (self.others + self.commits.counts).scanned
        log.info(
            "run %d: %s rows, %s",
            self.seat.run_id,
            f"{rows:,}",
            f"held: {facts['held']}" if facts["held"] else "at work",
            extra=logs.event("activity", rows_scanned=rows, held=facts["held"]),
        )
        for worker in facts["workers"]:
            file = "idle"
            if "path" in worker:
                read = human_bytes(worker["read_bytes"])
                file = f"{read} in {human_seconds(worker['seconds'])} of {worker['path']}"
            log.info(
                "worker %d: %s",
                worker["pid"],
                file,
                extra=logs.event(
                    "worker_activity",
                    pid=worker["pid"],
                    path=worker.get("path"),
                    seconds=worker.get("seconds"),
                    read_bytes=worker.get("read_bytes"),
                ),
            )

    def tell_metrics(self) -> None:
        """Tells the metrics what goes on now."""
        if self.metrics.wanted:
            self.metrics.show(self._moment())

    def _moment(self) -> Moment:
        seat, commits, pool = self.seat, self.commits, self.pool
        desks = (seat.ledger, seat.pulse, seat.counter)
        reconnects = {desk.session.purpose: desk.session.reconnects for desk in desks}
        return Moment(
            read_bytes=commits.read_bytes + (pool.read_bytes() if pool else 0),
            rows_expected=self.rows_expected,
            rows_queued=self.supply.queued_rows,
            rows_unsettled=commits.unsettled_rows,
            leases=len(self.supply.holdings),
            leases_until_s=self._clock.renewed_at_s + self._clock.ttl_s,
            workers=pool.states() if pool else {},
            oldest_read_since_s=pool.oldest_read_since_s() if pool else None,
            rates=seat.host_rate.rates if seat.host_rate is not None else (0.0, 0.0),
            held=self.hold.why if self.hold is not None else None,
            worker_deaths=pool.deaths if pool else 0,
            writer_deaths=commits.deaths,
            reconnects={**reconnects, "writer": commits.reconnects},
        )

    def _facts(self) -> dict[str, Any]:
        workers = []
        for worker in self.pool.workers.values() if self.pool else ():
            entry: dict[str, Any] = {"pid": worker.pid}
            current = worker.current()
            if current is not None:
                activity, task = current
                entry |= {
                    "path": task.path,
                    # Not below 0 where this host's clock was set back.
                    "seconds": max(0.0, round(time.time() - activity.since_s, 1)),
                    "read_bytes": activity.read_bytes,
                }
            workers.append(entry)
        return {
            "workers": workers,
            "held": self.supply.held,
            "rates": self.seat.host_rate.rates if self.seat.host_rate is not None else None,
            "stuck": self._stuck,
            "queued_rows": self.supply.queued_rows,
        }
