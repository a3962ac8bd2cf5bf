"""Who works on a run, who joins and leaves it, and what the server's clock may do meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from conftest import Database
from oracle import until
from pgserver import PgServer

from fasthash.config import CatalogNames
from fasthash.errors import ConfigError
from fasthash.lease import RECONNECT_GRACE_S, Silence
from fasthash.opening import Opened, open_run
from fasthash.store import catalog as catalogs
from fasthash.store import leases, planning, reports, runs, session, transactions
from fasthash.store.due import Due
from fasthash.store.runs import RunIdentity
from fasthash.store.status import read_status
from fasthash.widths import human_time

BACKFILL = RunIdentity("backfill", (), host="here")
LONG_AGO, SOON = "clock_timestamp() - interval '1 hour'", "clock_timestamp() + interval '1 hour'"


@dataclass
class Coordinator:
    """One that has joined a run; its pulse is a session of its own, and may be lost."""

    database: Database
    opened: Opened
    ledger: session.Connection
    pulse: session.Connection | None = None

    @property
    def holder_id(self) -> int:
        return self.opened.holder_id

    def connect(self) -> None:
        self.pulse = session.connect(self.database.dsn, "pulse")[0]
        leases.claim_alive(self.pulse, self.holder_id)

    def lose_pulse(self) -> None:
        assert self.pulse is not None
        pid = self.pulse.info.backend_pid
        self.pulse.close()
        gone = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        until(lambda: not self.database.sql(gone, pid), "its session ends")

    def seen(self, when: str) -> None:
        """Moves its last sign of life."""
        self.database.sql(
            f"UPDATE fasthash.holder SET seen_at = {when} WHERE holder_id = %s", self.holder_id
        )

    def die(self) -> None:
        self.lose_pulse()
        self.seen(LONG_AGO)

    def grant(self, silent: Silence | None = None, now_s: float = 0.0) -> list[int]:
        watch = silent or Silence()
        found = leases.grant(
            self.ledger, self.opened.run_id, self.holder_id, 1, 10, 60.0,
            silent=lambda seen: watch.silent(seen, now_s, 60.0),
        )  # fmt: skip
        return [leased.range_no for leased in found]

    def leave(self, error: str | None = None) -> None:
        runs.leave(self.ledger, self.opened.run_id, self.holder_id, error)


Join = Callable[..., Coordinator]


@pytest.fixture
def join(database: Database) -> Iterator[Join]:
    """Lets a coordinator join the run of a small catalog."""
    database.make_table()
    for n in range(9):
        database.add(n, f"f{n}")
    joined: list[Coordinator] = []

    def do(*, connect: bool = True) -> Coordinator:
        opened, ledger = try_to_open(database)
        assert opened is not None
        coordinator = Coordinator(database, opened, ledger)
        joined.append(coordinator)
        if connect:
            coordinator.connect()
        return coordinator

    yield do
    for coordinator in joined:
        coordinator.ledger.close()
        if coordinator.pulse is not None:
            coordinator.pulse.close()


def try_to_open(
    database: Database, *, restart: bool = False
) -> tuple[Opened | None, session.Connection]:
    ledger = session.connect(database.dsn, "ledger")[0]
    catalog = catalogs.find_catalog(ledger, CatalogNames())
    return open_run(ledger, catalog, BACKFILL, None, restart=restart, pid=1), ledger


def state(database: Database) -> str:
    (run,) = database.sql("SELECT state FROM fasthash.run WHERE NOT superseded")
    return str(run["state"])


def plan(coordinator: Coordinator) -> None:
    catalog = catalogs.find_catalog(coordinator.ledger, CatalogNames())
    due = Due(run_id=coordinator.opened.run_id)
    assert planning.plan_more(coordinator.ledger, catalog, due, (), 3, 3)


# -- who ends a run --------------------------------------------------------------------------------


def test_one_leaves_while_the_others_session_is_lost(database: Database, join: Join) -> None:
    one, other = join(), join()
    other.lose_pulse()
    one.leave()
    assert state(database) == "running", "the other was seen a moment ago"
    status = read_status(other.ledger, other.opened.run_id)
    assert status["state"] == "running"
    assert {h["holder_id"]: h["alive"] for h in status["holders"]} == {
        one.holder_id: False,
        other.holder_id: True,
    }
    assert reports.runs_under_way(other.ledger) == [other.opened.run_id]


def test_one_leaves_when_the_other_has_just_joined(database: Database, join: Join) -> None:
    one = join()
    join(connect=False)
    one.leave()
    assert state(database) == "running"


def test_of_two_that_leave_at_once_the_last_interrupts_the_run(
    database: Database, join: Join
) -> None:
    one, other = join(), join()
    one.leave()  # its session lives on for a moment, and it was seen a moment ago
    assert state(database) == "running"
    other.leave("a reason")
    (run,) = database.sql("SELECT state, error, finished_at FROM fasthash.run")
    assert (run["state"], run["error"]) == ("failed", "a reason")
    assert run["finished_at"] is not None


def test_a_late_report_does_not_bring_back_one_who_has_left(database: Database, join: Join) -> None:
    one = join()
    one.leave()
    runs.report(one.ledger, one.opened.run_id, one.holder_id, {"held": None}, 0, 0)
    assert leases.live_holders(one.ledger, one.opened.run_id) == []


def test_joining_and_leaving_take_turns(database: Database, join: Join) -> None:
    """One leaves while another looks whether it is there: the run goes on all the same."""
    one = join()
    found: list[Any] = []
    with transactions.transaction(one.ledger):
        runs.one_by_one(one.ledger, one.opened.run_id)
        thread = threading.Thread(target=lambda: found.append(try_to_open(database)))
        thread.start()
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until(lambda: database.sql(waiting), "the other waits for its turn")
        one.leave()
    thread.join(10)
    ((opened, ledger),) = found
    ledger.close()
    assert opened is not None
    assert opened.how == "resumed"
    assert state(database) == "running"


def test_whoever_works_on_a_run_keeps_it_running(database: Database, join: Join) -> None:
    one, other = join(), join()
    other.lose_pulse()
    other.seen(LONG_AGO)  # for longer than the grace
    one.leave()
    assert state(database) == "interrupted"
    other.connect()
    assert not runs.is_complete(other.ledger, other.opened.run_id)
    seen = leases.be_seen(other.ledger, other.holder_id)
    assert seen is not None
    assert (seen.state, seen.superseded) == ("interrupted", False)
    assert runs.keep_running(other.ledger, other.opened.run_id, other.holder_id)
    assert state(database) == "running"
    assert not runs.keep_running(other.ledger, other.opened.run_id, other.holder_id)
    other.leave()
    assert not runs.keep_running(other.ledger, other.opened.run_id, other.holder_id)
    assert state(database) == "interrupted"


# -- opening ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("restart", [False, True])
def test_whether_one_is_dead_is_waited_for(database: Database, join: Join, restart: bool) -> None:
    one = join()
    one.lose_pulse()
    opened, ledger = try_to_open(database, restart=restart)
    ledger.close()
    assert opened is None, "it may be connecting again"
    one.seen(LONG_AGO)
    opened, ledger = try_to_open(database, restart=restart)
    ledger.close()
    assert opened is not None
    assert opened.how == ("new" if restart else "resumed")
    assert (opened.run_id == one.opened.run_id) is not restart


def test_a_run_that_is_worked_on_is_not_given_up(database: Database, join: Join) -> None:
    one = join()
    one.seen(LONG_AGO)
    with pytest.raises(ConfigError, match="is being worked on"):
        try_to_open(database, restart=True)
    opened, ledger = try_to_open(database)
    ledger.close()
    assert opened is not None
    assert opened.how == "joined"


def test_a_run_is_on_the_disk_before_it_is_worked_on(
    own_server: PgServer, own_database: Database
) -> None:
    """A crash neither takes it away nor gives its number to another."""
    own_database.make_table()
    with own_database.connect() as admin:
        admin.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        admin.execute("SELECT pg_reload_conf()")
    try:
        opened, ledger = try_to_open(own_database)
        assert opened is not None
        own_server.restart("immediate")
        ledger.close()
        found = own_database.sql("SELECT run_id FROM fasthash.run")
        assert [row["run_id"] for row in found] == [opened.run_id]
        again, ledger = try_to_open(own_database)
        ledger.close()
    finally:
        with own_database.connect() as admin:
            admin.execute("ALTER SYSTEM RESET wal_writer_delay")
            admin.execute("SELECT pg_reload_conf()")
    assert again is None or again.run_id == opened.run_id


# -- the clock -------------------------------------------------------------------------------------


def test_a_dead_one_of_the_future_is_dead(database: Database, join: Join) -> None:
    """The clock was set back by an hour after its last sign: its leases are free at once."""
    one, other = join(), join()
    plan(one)
    assert one.grant() == [1, 2, 3]
    one.lose_pulse()
    one.seen(SOON)
    database.sql(f"UPDATE fasthash.checkpoint SET expires_at = {SOON}")
    (dead, _) = read_status(other.ledger, other.opened.run_id)["holders"]
    assert (dead["alive"], dead["seen_ago_s"], dead["leases"]) == (False, None, 3)
    shown = database.fasthash("status").stdout
    assert f"pid 1: DEAD, last heard of at {human_time(dead['seen_at'])}" in shown
    assert other.grant() == [1, 2, 3]
    other.die()
    opened, ledger = try_to_open(database)
    ledger.close()
    assert opened is not None
    assert opened.how == "resumed"


def test_a_live_one_keeps_its_leases_when_the_clock_jumps(database: Database, join: Join) -> None:
    one, other = join(), join()
    plan(one)
    assert one.grant() == [1, 2, 3]
    one.seen(LONG_AGO)
    database.sql(f"UPDATE fasthash.checkpoint SET expires_at = {LONG_AGO}")
    assert other.grant() == []


def test_one_that_is_silent_for_a_leases_life_loses_its_leases(
    database: Database, join: Join
) -> None:
    """Whatever the server's clock says: it is stopped, or its host hangs, and its session lives."""
    one, other = join(), join()
    plan(one)
    assert one.grant() == [1, 2, 3]
    database.sql(f"UPDATE fasthash.checkpoint SET expires_at = {SOON}")
    watch = Silence()
    assert other.grant(watch, 1000.0) == []
    assert other.grant(watch, 1059.0) == []
    one.seen("seen_at - interval '1 hour'")  # a sign is a sign, whatever the clock
    assert other.grant(watch, 1061.0) == []
    assert other.grant(watch, 1120.0) == []
    assert other.grant(watch, 1121.5) == [1, 2, 3]


def test_the_grace_has_bounds_on_both_sides(database: Database, join: Join) -> None:
    one, other = join(), join()
    one.lose_pulse()
    both = sorted([one.holder_id, other.holder_id])
    for seconds, found in ((0.0, both), (-5.0, [other.holder_id]), (5.0, [other.holder_id])):
        one.seen(f"clock_timestamp() + make_interval(secs => {seconds})")
        assert leases.live_holders(other.ledger, other.opened.run_id) == found
    assert RECONNECT_GRACE_S < 5


def test_rates_are_of_samples_in_the_order_of_what_they_count(
    database: Database, join: Join
) -> None:
    """Two steps of 5 s before the clock was set back by 30 s, and two after it: all at one rate."""
    one = join()
    for rows, ago_s in ((100, 20), (600, 15), (1100, 10), (1600, 35), (2100, 30), (2600, 25)):
        database.sql(
            "INSERT INTO fasthash.sample VALUES "
            "(%s, %s, clock_timestamp() - make_interval(secs => %s), %s, 0)",
            one.opened.run_id, one.holder_id, ago_s, rows,
        )  # fmt: skip
    database.sql(
        f"INSERT INTO fasthash.sample VALUES (%s, %s, {SOON}, 50, 0)",
        one.opened.run_id,
        one.holder_id,
    )
    status = read_status(one.ledger, one.opened.run_id)
    assert status["rows_per_s"] == pytest.approx(100.0, rel=0.05)
    assert status["eta_s"] is None or status["eta_s"] >= 0
    assert all(0 <= piece["rows_per_s"] <= 101 for piece in status["history"])
    assert status["seconds"] >= 0


def test_a_run_of_the_future_has_no_negative_time(database: Database, join: Join) -> None:
    one = join()
    database.sql(f"UPDATE fasthash.run SET started_at = {SOON}")
    database.sql(f"UPDATE fasthash.holder SET started_at = {SOON}")
    status = read_status(one.ledger, one.opened.run_id)
    assert status["seconds"] >= 0
    one.leave()
    assert reports.read_summary(one.ledger, one.opened.run_id).seconds >= 0


# -- statements that do not end --------------------------------------------------------------------


def test_a_stuck_statement_ends_and_is_done_again(database: Database) -> None:
    asked: list[str] = []

    def work(connection: session.Connection) -> str:
        asked.append("")
        connection.execute("SELECT pg_sleep(%s)", (30 if len(asked) == 1 else 0,))
        return "done"

    timeouts = session.Timeouts(lock_s=1, statement_s=0.2)
    ledger = session.Session(database.dsn, "coordinator", 30.0, timeouts=timeouts)
    assert ledger.call(work) == "done"
    assert len(asked) == 2
    ledger.close()
    assert 0 < session.LEDGER.lock_s < session.LEDGER.statement_s


def test_what_may_take_its_time_does(database: Database) -> None:
    timeouts = session.Timeouts(lock_s=1, statement_s=0.05)
    ledger = session.Session(database.dsn, "coordinator", 30.0, timeouts=timeouts)

    def work(connection: session.Connection) -> None:
        with transactions.patient(connection):
            connection.execute("SELECT pg_sleep(0.2)")

    ledger.call(work)
    with pytest.raises(psycopg.errors.QueryCanceled):
        assert ledger.connection is not None
        ledger.connection.execute("SELECT pg_sleep(0.2)")
    ledger.close()
