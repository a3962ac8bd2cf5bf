"""Leases what the workers will need next, finishes ranges, and sees the end of the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from fasthash import logs
from fasthash.commits import Commits
from fasthash.fixity import LeasedRange, Task, Verdict
from fasthash.lease import ATTEMPTS_BEFORE_ALONE, Silence, ranges_wanted, rows_to_keep
from fasthash.manners import Manners
from fasthash.seat import Seat
from fasthash.store import leases, planning, ranges, runs
from fasthash.store.session import Connection
from fasthash.store.transactions import patient
from fasthash.supply import Supply

log = logging.getLogger("fasthash")

POLL_S = 0.2


def batched(ranges: Sequence[LeasedRange], most: int) -> Iterator[Sequence[LeasedRange]]:
    """Slices up to a length."""
    for start in range(0, len(ranges), max(1, most)):
        yield ranges[start : start + max(1, most)]


class Leasing:
    """Keeps a supply filled from the checkpoint table.

    Args:
        end: told why, ends this process's part in the run by plan.
    """

    def __init__(
        self,
        seat: Seat,
        supply: Supply,
        commits: Commits,
        manners: Manners,
        end: Callable[[str], None],
    ) -> None:
        self.seat = seat
        self._end = end
        self.manners = manners
        self.supply = supply
        self.commits = commits
        self._connection_no = seat.connections  # whose view of the ledger ours rests on
        self._highest_term = 0
        self._rows_a_range = float(seat.settings.range_rows)  # of those that were leased last
        self._silence = Silence()

    async def run(self) -> None:
        """Until the run is done by everybody, or the supply is stopped."""
        seat, supply = self.seat, self.supply
        while not supply.stopped:
            supply.changed.clear()
            if seat.connections != self._connection_no:
                await self._reload()
                continue
            finished = supply.finished()
            if finished:
                await self._finish(finished)
                supply.wake()
            if self.manners.hold is not None and self.manners.hold.is_long:
                await self._give_back()
            if await self._lease_more():
                continue
            idle = supply.running_out and not supply.holdings and supply.held is None
            if idle and await seat.ledger.call(runs.is_complete, seat.run_id):
                supply.close()
                return
            if idle and await seat.ledger.call(planning.is_paused, seat.run_id):
                self._end("limit")
                return
            await supply.change(POLL_S)

    async def _give_back(self) -> None:
        """Leaves to others what cannot be worked on for long; a file half read is kept."""
        idle = self.supply.idle_ranges()
        if idle:
            seat = self.seat
            self.supply.drop(idle)
            await seat.ledger.call(leases.give_back, seat.run_id, seat.holder_id, idle)

    async def _lease_more(self) -> bool:
        """Leases what will be needed next, planning more where nothing waits; whether it did."""
        supply, settings = self.supply, self.seat.settings
        wanted = ranges_wanted(
            supply.queued_rows,
            settings.range_rows,
            settings.workers,
            supply.unit_size.rows,
            self._rows_a_range,
        )
        alone = any(h.leased.attempts >= ATTEMPTS_BEFORE_ALONE for h in supply.holdings.values())
        if not wanted or alone or supply.held is not None:
            return False
        granted = await self._grant(wanted)
        if not granted and await self._plan(2 * wanted):
            granted = await self._grant(wanted)
        supply.running_out = not granted
        if not granted and not supply.holdings:
            granted = await self._grant(1, alone=True)
        # The first rows of large ranges do not wait for the last ones; small ones come together.
        together = len(granted) if self._rows_a_range * len(granted) <= settings.range_rows else 1
        rows_read = 0
        for some in batched(granted, together):
            for leased, tasks in await self._read_all(some):
                await self._add(leased, tasks)
                rows_read += len(tasks)
        if granted:
            self._rows_a_range = rows_read / len(granted)
        return bool(granted)

    async def _plan(self, ranges: int) -> bool:
        """Cuts at least this number of further ranges if there are rows; whether it did."""
        seat, settings = self.seat, self.seat.settings

        def plan(connection: Connection) -> bool:
            with patient(connection):
                return planning.plan_more(
                    connection,
                    seat.catalog,
                    seat.due,
                    settings.types,
                    settings.range_rows,
                    ranges,
                )

        return await seat.ledger.call(plan)

    async def _add(self, leased: LeasedRange, tasks: list[Task]) -> None:
        """Takes a range over: only half of it, if a holder was lost that had no other."""
        keep = rows_to_keep(leased.attempts, len(tasks))
        if keep is None:
            detail = f"{leased.attempts} coordinators were lost while they read it"
            tasks = [tasks[0]._replace(preset=str(Verdict.UNREADABLE), detail=detail)]
        elif keep < len(tasks):
            log.warning(
                "range %d was lost %d times; %d of its rows go on alone",
                leased.range_no,
                leased.attempts,
                keep,
                extra=logs.event(
                    "range_narrowed",
                    range_no=leased.range_no,
                    attempts=leased.attempts,
                    rows=keep,
                ),
            )
            seat = self.seat
            narrowed = await seat.ledger.call(
                leases.narrow,
                seat.catalog,
                seat.run_id,
                seat.holder_id,
                leased,
                tasks[keep - 1].row_id,
                (keep, len(tasks) - keep),
            )
            if narrowed is None:
                return
            leased, tasks = narrowed, tasks[:keep]
        self.supply.add(leased, tasks)

    async def _grant(self, wanted: int, *, alone: bool = False) -> list[LeasedRange]:
        seat = self.seat
        granted = await seat.ledger.call(
            leases.grant,
            seat.run_id,
            seat.holder_id,
            self._highest_term + 1,
            wanted,
            seat.settings.lease_ttl_s,
            silent=self._silent,
            alone=alone,
        )
        self._highest_term = max([self._highest_term, *(r.term for r in granted)])
        return granted

    def _silent(self, seen_at: Mapping[int, datetime]) -> set[int]:
        return self._silence.silent(seen_at, time.monotonic(), self.seat.settings.lease_ttl_s)

    async def _read_all(self, some: Sequence[LeasedRange]) -> list[tuple[LeasedRange, list[Task]]]:
        """The rows of ranges that are new here."""
        seat = self.seat

        def read(connection: Connection) -> list[tuple[LeasedRange, list[Task]]]:
            with patient(connection):
                return [
                    (
                        leased,
                        ranges.read_range(
                            connection,
                            seat.catalog,
                            seat.due,
                            leased,
                            with_segments=leased.leased_before,
                        ),
                    )
                    for leased in some
                ]

        return await seat.ledger.call(read)

    async def _read(self, leased: LeasedRange, *, with_segments: bool) -> list[Task]:
        seat = self.seat

        def read(connection: Connection) -> list[Task]:
            with patient(connection):  # a catalog without an index over type and id
                return ranges.read_range(
                    connection, seat.catalog, seat.due, leased, with_segments=with_segments
                )

        return await seat.ledger.call(read)

    async def _finish(self, finished: list[LeasedRange]) -> None:
        """Marks ranges as done, unless the connection is lost over it.

        A crash may have undone commits that were reported to us; the ranges are then found
        again, still leased, when the ledger is read anew.
        """
        seat = self.seat

        def finish(connection: Connection) -> None:
            if seat.connections == self._connection_no:
                leases.finish(connection, seat.run_id, seat.holder_id, finished)

        await seat.ledger.call(finish)

    async def _reload(self) -> None:
        """After a lost connection the ledger is the truth: a crash may have undone commits.

        Also commits that the writer has reported, or is about to: so what it was sent is
        settled first, and then compared with what the ledger knows.
        """
        seat = self.seat
        self._connection_no = seat.connections
        await self.commits.settle_sent()
        held = await seat.ledger.call(
            leases.renew, seat.run_id, seat.holder_id, seat.settings.lease_ttl_s
        )
        terms = {leased.range_no: leased.term for leased in held}
        holdings = self.supply.holdings
        self.supply.drop([n for n, h in holdings.items() if terms.get(n) != h.leased.term])
        # Leases whose answer was lost, or that were dropped before a crash gave them back to us:
        # under their old terms late parts would count, so they have to be leased again.
        strange = [leased.range_no for leased in held if leased.range_no not in holdings]
        if strange:
            await seat.ledger.call(leases.give_back, seat.run_id, seat.holder_id, strange)
        for leased in held:
            if leased.range_no in holdings:
                known = self.supply.in_hand(leased.range_no)
                tasks = await self._read(leased, with_segments=True)
                self.supply.reconcile(leased, known, tasks)
