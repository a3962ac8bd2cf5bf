"""kill -9 of anything at any moment: the end is that of an undisturbed run, and nothing is left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg
import pytest
from conftest import Database
from oracle import SLOW, Oracle, ends, kill, until
from pgserver import PgServer


@pytest.fixture
def oracle(database: Database) -> Oracle:
    return Oracle(database)


def backends(oracle: Oracle, purpose: str) -> list[int]:
    """The server's processes for our sessions of a purpose."""
    rows = oracle.database.sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name = %s "
        "AND datname = current_database()",
        f"fasthash {purpose}",
    )
    return [row["pid"] for row in rows]


@pytest.mark.parametrize("kinds", [("worker",), ("writer",), ("worker", "worker", "writer")])
def test_a_helper_is_replaced_and_the_run_goes_on(oracle: Oracle, kinds: tuple[str, ...]) -> None:
    # Of two types the last files are held: so there is work for two workers, however late it is.
    oracle.database.hold("f597 f598")
    process = oracle.database.start(*SLOW)
    oracle.wait_for_rows(30)
    victims = {kind: oracle.pids(kind)[: kinds.count(kind)] for kind in set(kinds)}
    for pids in victims.values():
        kill(pids, signal.SIGKILL)
    for kind, pids in victims.items():
        whole = 2 if kind == "worker" else 1
        until(
            lambda k=kind, n=whole, p=pids: len(set(oracle.pids(k)) - set(p)) >= n,
            f"the dead {kind} is replaced",
        )
    summary, err = ends(process, 1)
    assert err.count(" died (") == len(kinds), err
    oracle.check(summary)
    oracle.expect_no_process()


def test_a_dead_coordinator_takes_its_children_along(oracle: Oracle) -> None:
    process = oracle.database.start(*SLOW)
    oracle.wait_for_rows(30)
    assert sorted(oracle.processes().values()) == ["coordinator", "worker", "worker", "writer"]
    process.kill()
    process.communicate()
    oracle.expect_no_process()
    oracle.check(oracle.database.run("--range-rows", "60", status=1))


def test_a_dead_coordinator_takes_a_busy_worker_along(database: Database) -> None:
    """It is inside a file of a terabyte, and would not look at its pipe for minutes."""
    oracle = Oracle(database, rows=0)
    with open(database.root / "huge", "wb") as file:
        file.truncate(10**12)
    database.add(1, "huge")
    process = database.start("--workers", "1")
    until(lambda: b"huge" in status_of(database), "the worker is in the file")
    process.kill()
    process.communicate()
    oracle.expect_no_process()


def status_of(database: Database) -> bytes:
    """What the coordinators have told the ledger."""
    return str(database.sql("SELECT report FROM fasthash.holder")).encode()


@pytest.mark.parametrize("action", ["kill", "disconnect"])
@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
def test_at_the_commit(oracle: Oracle, point: str, action: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    oracle.database.environment["FASTHASH_FAULT"] = f"{point}:{action}:{token}"
    summary, err = ends(oracle.database.start(*SLOW), 1)
    assert token.exists(), "the fault did not happen"
    assert ("the writer died" in err) == (action == "kill")
    oracle.check(summary)


# Stays inside COMMIT, once, until it is told to go on: a constraint trigger that is deferred to the
# end of the transaction. A sequence is not undone with the transaction.
STAY_IN_COMMIT = """
CREATE SEQUENCE commits;
CREATE TABLE go_on ();
CREATE FUNCTION stay_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('commits') = 3 THEN
        WHILE NOT EXISTS (SELECT 1 FROM go_on) LOOP PERFORM pg_sleep(0.05); END LOOP;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER staying AFTER INSERT ON fasthash.segment
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stay_once();
"""


@pytest.mark.parametrize("victim", ["writer", "session"])
def test_inside_the_commit(oracle: Oracle, victim: str) -> None:
    """The writer dies while its COMMIT goes through; or the session, and it does not."""
    oracle.database.sql(STAY_IN_COMMIT)
    process = oracle.database.start(*SLOW)
    in_commit = until(
        lambda: oracle.database.sql(
            "SELECT pid FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'PgSleep' "
            "AND datname = current_database()"
        ),
        "a commit under way",
    )
    if victim == "writer":
        kill(oracle.pids("writer"), signal.SIGKILL)
    else:
        oracle.database.sql("SELECT pg_terminate_backend(%s)", in_commit[0]["pid"])
    oracle.database.sql("INSERT INTO go_on DEFAULT VALUES")
    summary, _ = ends(process, 1)
    oracle.check(summary)


@pytest.mark.parametrize("purpose", ["writer", "coordinator", "heartbeat"])
def test_a_terminated_session_is_opened_again(oracle: Oracle, purpose: str) -> None:
    process = oracle.database.start(*SLOW)
    oracle.wait_for_rows(30)
    (pid,) = backends(oracle, purpose)
    oracle.database.sql("SELECT pg_terminate_backend(%s)", pid)
    until(lambda: set(backends(oracle, purpose)) - {pid}, "a new session")
    summary, err = ends(process, 1)
    assert f"{purpose}: the database is back" in err
    oracle.check(summary)


@pytest.mark.parametrize("purpose", ["writer", "coordinator", "heartbeat"])
def test_a_killed_server_process(
    own_server: PgServer, own_database: Database, purpose: str
) -> None:
    """The server goes through crash recovery, and may forget what it had acknowledged."""
    oracle = Oracle(own_database)
    process = own_database.start(*SLOW)
    oracle.wait_for_rows(100)
    assert own_server.kill_a_backend(f"fasthash {purpose}")
    summary, _ = ends(process, 1)
    oracle.check(summary)
    oracle.expect_no_process()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_server_restarts(own_server: PgServer, own_database: Database, mode: str) -> None:
    oracle = Oracle(own_database)
    process = own_database.start(*SLOW)
    oracle.wait_for_rows(100)
    own_server.restart(mode)
    summary, err = ends(process, 1)
    assert "the database is back" in err
    oracle.check(summary)


def test_everything_at_once(own_server: PgServer, own_database: Database) -> None:
    """Power goes: all of our processes and the server. What comes back is consistent."""
    oracle = Oracle(own_database)
    process = own_database.start(*SLOW)
    oracle.wait_for_rows(100)
    kill(list(oracle.processes()), signal.SIGKILL)
    own_server.restart("immediate")
    process.communicate()
    oracle.expect_no_process()
    oracle.check(own_database.run(status=1))


def test_a_commit_that_a_crash_undoes(
    own_server: PgServer, own_database: Database, tmp_path: Path
) -> None:
    """Acknowledged, then lost: the write-ahead log of asynchronous commits had not reached the
    disk. The ledger knows, and the rows are done again."""
    with psycopg.connect(own_server.dsn, autocommit=True) as admin:
        for name in ("autovacuum", "bgwriter_lru_maxpages"):  # nobody else writes pages meanwhile
            admin.execute(f"ALTER SYSTEM SET {name} = 0")
        admin.execute("SELECT pg_reload_conf()")
    oracle = Oracle(own_database)
    wal_writer = own_database.sql(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'"
    )[0]["pid"]
    os.kill(wal_writer, signal.SIGSTOP)
    process = own_database.start(*SLOW)
    oracle.wait_for_rows(150)
    before = own_database.sql("SELECT count(*) AS n FROM fasthash.journal")[0]["n"]
    kill(oracle.pids("writer"), signal.SIGSTOP)  # so that what is lost is not done again at once
    for number in (signal.SIGQUIT, signal.SIGCONT):  # it dies before it does anything else
        os.kill(wal_writer, number)
    own_server.restart("immediate")
    after = own_database.sql("SELECT count(*) AS n FROM fasthash.journal")[0]["n"]
    kill(oracle.pids("writer"), signal.SIGCONT)
    summary, _ = ends(process, 1)
    assert after < before, "the crash undid nothing: the test shows nothing"
    oracle.check(summary)
    with psycopg.connect(own_server.dsn, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM RESET ALL")
        admin.execute("SELECT pg_reload_conf()")
