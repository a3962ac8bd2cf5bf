"""The lease protocol by random histories: nothing is counted twice, nothing is left out.

The ledger, the writer and the supply are the real ones; only the hashing is made up.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field

import psycopg
import pytest
from conftest import Database
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fasthash import parts
from fasthash.batches import Writer
from fasthash.config import CatalogNames
from fasthash.fixity import LeasedRange, Part, Result, Task, Unit, Verdict
from fasthash.lease import ATTEMPTS_BEFORE_ALONE, rows_to_keep
from fasthash.store import catalog as catalogs
from fasthash.store import leases, planning, ranges, runs, session
from fasthash.store.applying import Target
from fasthash.store.due import Due
from fasthash.store.runs import RunIdentity
from fasthash.supply import Supply

ROWS = 14
RANGE_ROWS = 6
TTL_S = 3600.0
MARKED = """'{"file_sha256_computed_at": "2026-01-01T00:00:00Z"}'::jsonb"""
_moves = itertools.count()
COUNTED = "hashed + confirmed + drifted + fresh + no_file + failed + gone"


@dataclass
class Holder:
    """A coordinator reduced to its decisions."""

    database: Database
    catalog: catalogs.Catalog
    run_id: int
    others: list[Holder]  # itself among them
    alive: bool = True
    late: bool = False
    highest_term: int = 0
    supply: Supply = field(default_factory=lambda: Supply(workers=3))
    units: list[tuple[Unit, int]] = field(default_factory=list)
    sent: list[Part] = field(default_factory=list)
    outbox: list[Part] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = session.connect(self.database.dsn, "model")[0]
        self.pulse = session.connect(self.database.dsn, "model pulse")[0]
        self.holder_id = leases.add_holder(self.ledger, self.run_id, "host", os.getpid())
        leases.claim_alive(self.pulse, self.holder_id)
        target = Target(self.catalog, self.run_id, self.holder_id, "overwrite")
        self.writer = Writer(self.database.dsn, 5.0, target)

    def lease(self) -> bool:
        """Leases a range, planning if nothing waits; narrows it if it was lost often."""
        granted = self.grant()
        if not granted and planning.plan_more(
            self.ledger, self.catalog, Due(run_id=self.run_id), (), RANGE_ROWS, 1
        ):
            granted = self.grant()
        for found in granted:
            leased, tasks = found, self.read(found)
            # Every loss counts as one alone: four of one range are rare in a short history.
            attempts = leased.attempts and max(leased.attempts, ATTEMPTS_BEFORE_ALONE + 1)
            keep = rows_to_keep(attempts, len(tasks))
            if keep is None:
                tasks = [tasks[0]._replace(preset=str(Verdict.UNREADABLE))]
            elif keep < len(tasks):
                rows = (keep, len(tasks) - keep)
                last_id = tasks[keep - 1].row_id
                narrowed = leases.narrow(
                    self.ledger, self.catalog, self.run_id, self.holder_id, leased, last_id, rows
                )
                assert narrowed is not None
                leased, tasks = narrowed, tasks[:keep]
            self.supply.add(leased, tasks)
        return bool(granted)

    def grant(self) -> list[LeasedRange]:
        granted: list[LeasedRange] = []
        for alone in (False, True):
            granted = granted or leases.grant(
                self.ledger, self.run_id, self.holder_id, self.highest_term + 1, 1, TTL_S,
                silent=lambda _: [h.holder_id for h in self.others if h.late], alone=alone,
            )  # fmt: skip
        self.highest_term = max([self.highest_term, *(r.term for r in granted)])
        return granted

    def read(self, leased: LeasedRange) -> list[Task]:
        due = Due(run_id=self.run_id)
        return ranges.read_range(self.ledger, self.catalog, due, leased, with_segments=True)

    def work(self, rows: int) -> None:
        """One of the workers answers the next rows of its unit."""
        while len(self.units) < 3 and (new := self.supply.take()) is not None:
            self.units.append((new, 0))
        if not self.units:
            return
        unit, done = self.units.pop(0)
        tasks = unit.tasks[done : done + rows]
        part = Part(
            unit.unit_no, unit.range_no, unit.term,
            unit.tasks[done - 1].row_id if done else unit.after_id, tasks[-1].row_id,
            len(tasks), parts.pack([answer(t) for t in tasks]), 0,
            part_no=len(self.sent) + len(self.outbox) + 1, sweep=unit.sweep,
        )  # fmt: skip
        self.outbox.append(part)
        self.supply.delivered(part)
        if done + len(tasks) < len(unit.tasks):
            self.units.append((unit, done + len(tasks)))
        else:
            self.supply.done(unit, 1.0)

    def lose_worker(self) -> None:
        """The worker dies; what it has not answered waits again."""
        if self.units:
            self.supply.give_back(*self.units.pop())

    def send(self, part: Part) -> None:
        """The writer commits a part, or learns that it may not."""
        settled = self.writer.settle([part])
        (self.supply.fenced if settled.fenced else self.supply.settled)(part)

    def send_next(self, which: int = 0) -> None:
        if self.outbox:
            self.sent.append(self.outbox.pop(which % len(self.outbox)))
            self.send(self.sent[-1])

    def finish(self) -> None:
        leases.finish(self.ledger, self.run_id, self.holder_id, self.supply.finished())

    def renew(self) -> None:
        """As the heartbeat does: what is no longer ours is dropped."""
        self.late = False
        held = leases.renew(self.ledger, self.run_id, self.holder_id, TTL_S)
        terms = {r.range_no: r.term for r in held}
        holdings = self.supply.holdings
        self.supply.drop([n for n, h in holdings.items() if terms.get(n) != h.leased.term])

    def expire(self) -> None:
        """It gives no sign of life for a lease's time, though its session lives."""
        self.late = True

    def die(self) -> None:
        """Its sessions end; what lies in its outbox may still reach the database."""
        self.alive = False
        self.pulse.close()
        self.database.sql(
            "UPDATE fasthash.holder SET seen_at = 'epoch' WHERE holder_id = %s", self.holder_id
        )

    def close(self) -> None:
        self.ledger.close()
        self.pulse.close()
        self.writer.session.close()


def answer(task: Task) -> Result:
    """What a worker would say."""
    if task.preset is not None:
        return Result(task.row_id, task.path, task.marker, task.preset)
    return Result(task.row_id, task.path, task.marker, "hashed", bytes(32), 1, 1, 1)


class Protocol(RuleBasedStateMachine):
    """Holders come, work, stall and die in any order."""

    database: Database

    @initialize()
    def begin(self) -> None:
        self.database.sql(
            "TRUNCATE fasthash.run, fasthash.checkpoint, fasthash.segment, fasthash.journal, "
            "fasthash.residual, fasthash.holder, fasthash.met"
        )
        self.database.sql("UPDATE artifacts SET metadata = NULL")
        with session.connect_once(self.database.dsn, "model") as connection:
            self.catalog = catalogs.find_catalog(connection, CatalogNames())
            run_id = runs.create_run(connection, self.catalog, RunIdentity("backfill", ()), None)
        assert run_id is not None
        self.run_id = run_id
        self.holders: list[Holder] = []
        self.join()

    @rule()
    @precondition(lambda self: sum(h.alive for h in self.holders) < 3)
    def join(self) -> None:
        self.holders.append(Holder(self.database, self.catalog, self.run_id, self.holders))

    @rule(n=st.integers(0, 2), rows=st.lists(st.integers(1, 4), min_size=1, max_size=4))
    def go_on(self, n: int, rows: list[int]) -> None:
        """Leases if there is nothing to do, works, and commits all but the last answer."""
        if (holder := self.one(n)) is None:
            return
        if not (holder.units or holder.supply.queued_rows):
            holder.lease()
        for count in rows:
            holder.send_next(count)
            holder.work(count)

    @rule(n=st.integers(0, 2))
    def lease_more(self, n: int) -> None:
        if (holder := self.one(n)) is not None:
            holder.lease()

    @rule(n=st.integers(0, 9))
    def wake(self, n: int) -> None:
        """A stopped host goes on where it was, knowing nothing."""
        holder = self.holders[n % len(self.holders)]
        holder.send_next()
        holder.work(1)
        holder.send_next()
        holder.finish()

    @rule(n=st.integers(0, 9), which=st.integers(0, 30))
    def send_again(self, n: int, which: int) -> None:
        holder = self.holders[n % len(self.holders)]
        if holder.sent:
            holder.send(holder.sent[which % len(holder.sent)])

    @rule(n=st.integers(0, 2))
    def lose_worker(self, n: int) -> None:
        if (holder := self.one(n)) is not None:
            holder.lose_worker()

    @rule(n=st.integers(0, 2))
    def finish_and_renew(self, n: int) -> None:
        if (holder := self.one(n)) is not None:
            holder.finish()
            holder.renew()

    @rule(n=st.integers(0, 2))
    def expire(self, n: int) -> None:
        if (holder := self.one(n)) is not None:
            holder.expire()

    @rule(n=st.integers(0, 2), rows=st.integers(0, 3))
    def wrest(self, n: int, rows: int) -> None:
        """The leases of one run out; another takes a range and dies; the first comes back."""
        if (holder := self.one(n)) is not None:
            holder.expire()
            self.join()
            other = self.holders[-1]
            other.lease()
            for _ in range(rows):
                other.work(1)
                other.send_next(1)
            other.die()
            # The first comes back, with answers of its old term that are still on their way.
            holder.lease()
            for count in range(2 * rows):
                holder.send_next(count)
                holder.work(2)

    @rule(n=st.integers(0, 2))
    def die(self, n: int) -> None:
        if (holder := self.one(n)) is not None:
            holder.die()

    def one(self, n: int) -> Holder | None:
        alive = [h for h in self.holders if h.alive]
        return alive[n % len(alive)] if alive else None

    @invariant()
    def counted_once(self) -> None:
        (found,) = self.database.sql(
            f"SELECT (SELECT sum({COUNTED}) FROM fasthash.checkpoint) AS counted, "
            "(SELECT count(*) FROM fasthash.journal) + (SELECT count(*) FROM fasthash.residual) "
            "AS recorded, (SELECT count(DISTINCT row_id) FROM (SELECT row_id FROM fasthash.journal "
            "UNION ALL SELECT row_id FROM fasthash.residual) r) AS rows, "
            "(SELECT count(*) FROM artifacts WHERE metadata IS NOT NULL) AS written"
        )
        assert (found["counted"] or 0) == found["recorded"] == found["rows"]
        assert found["written"] <= found["rows"]

    def teardown(self) -> None:
        """One more holder finishes the run; then everything late arrives."""
        if not hasattr(self, "holders"):
            return
        for holder in self.holders:
            if holder.alive:
                holder.die()
        self.join()
        last = self.holders[-1]
        for _ in range(200):
            while last.supply.queued_rows or last.units:
                last.work(3)
            while last.outbox:
                last.send_next()
            last.finish()
            if not last.lease() and runs.is_complete(last.ledger, self.run_id):
                break
        else:
            raise AssertionError("the run does not end")
        for holder in self.holders:
            while holder.outbox:
                holder.send_next()
            for part in holder.sent:
                holder.send(part)
            holder.close()
        self.counted_once()
        self.check_end()

    def check_end(self) -> None:
        """What a complete run has to leave."""
        (found,) = self.database.sql(
            "SELECT sum(hashed) AS hashed, sum(failed) AS failed FROM fasthash.checkpoint"
        )
        assert found["hashed"] + found["failed"] == ROWS


class Meddled(Protocol):
    """The same beside an application that marks rows, moves them, and takes markers away again."""

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.database.sql(f"UPDATE artifacts SET metadata = {MARKED} WHERE id % 3 = 0")

    @rule(row_id=st.integers(0, ROWS - 1))
    def take_marker_away(self, row_id: int) -> None:
        self.database.sql("UPDATE artifacts SET metadata = NULL WHERE id = %s", row_id)

    @rule(row_id=st.integers(0, ROWS - 1))
    def mark(self, row_id: int) -> None:
        self.database.sql(f"UPDATE artifacts SET metadata = {MARKED} WHERE id = %s", row_id)

    @rule(row_id=st.integers(0, ROWS - 1))
    def move(self, row_id: int) -> None:
        path = f"moved{next(_moves)}"
        self.database.sql("UPDATE artifacts SET file_path = %s WHERE id = %s", path, row_id)

    @invariant()
    def counted_once(self) -> None:
        (found,) = self.database.sql(f"SELECT sum({COUNTED}) AS n FROM fasthash.checkpoint")
        assert (found["n"] or 0) <= ROWS

    def check_end(self) -> None:
        (found,) = self.database.sql(f"SELECT sum({COUNTED}) AS n FROM fasthash.checkpoint")
        assert found["n"] == ROWS
        without = self.database.sql(
            "SELECT id FROM artifacts a WHERE metadata ->> 'file_sha256_computed_at' IS NULL "
            "AND NOT EXISTS (SELECT FROM fasthash.residual r WHERE r.row_id = a.id::text)"
        )
        assert not without, "a row lost its marker after it was counted, and was not hashed again"
        lists = (
            "SELECT 1 FROM fasthash.met UNION ALL SELECT 1 FROM fasthash.checkpoint WHERE row_ids"
        )
        assert not self.database.sql(f"{lists} IS NOT NULL")


@pytest.fixture
def catalog(database: Database) -> Database:
    """A few rows; the files are never looked at."""
    database.make_table()
    with (
        psycopg.connect(database.dsn, autocommit=True) as connection,
        connection.cursor().copy("COPY artifacts (id, artifact_type, file_path) FROM STDIN") as out,
    ):
        for n in range(ROWS):
            out.write_row((n, f"t{n % 2}", f"f{n}"))
    return database


# Other histories at every run, so that a few each time become many.
@pytest.mark.parametrize("histories", [10, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.parametrize("machine", [Protocol, Meddled])
def test_no_history_counts_a_row_twice_or_leaves_one_out(
    catalog: Database, machine: type[Protocol], histories: int
) -> None:
    class OfThisDatabase(machine):  # type: ignore[valid-type,misc]
        database = catalog

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        OfThisDatabase,
        settings=settings(
            max_examples=histories,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
