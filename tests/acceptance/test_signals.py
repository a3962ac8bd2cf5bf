"""SIGINT and SIGTERM in every phase of a run: it is over, has the right status, is resumable.

What it is in the middle of never ends by itself here, so that to be over is not to have waited.
"""

from __future__ import annotations

import os
import pty
import signal
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Database, Run
from oracle import SLOW, Oracle, ends, helper, is_pending, until, waiting_bytes
from pgserver import PgServer

# The one that is typed has tests of its own: on a terminal, and by the same handler everywhere.
BOTH = pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)


@pytest.fixture
def oracle(database: Database) -> Oracle:
    return Oracle(database, rows=300)


@contextmanager
def locked(database: Database, *tables: str) -> Iterator[psycopg.Connection[Any]]:
    """Nobody gets at these tables: whoever comes there stays there."""
    with psycopg.connect(database.dsn) as connection:
        for table in tables:
            connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield connection


def wait_for_waiting(database: Database, purpose: str) -> None:
    """Waits until a session of ours waits for a lock."""
    until(
        lambda: database.sql(
            "SELECT 1 FROM pg_stat_activity WHERE application_name = %s "
            "AND wait_event_type = 'Lock' AND datname = current_database()",
            f"fasthash {purpose}",
        ),
        f"the {purpose} session waits",
    )


def stop(process: Run, number: int, *, times: int = 1) -> tuple[Any, str]:
    """Sends a signal and sees the run end as it should."""
    for n in range(times):
        if n:
            until(
                lambda: not is_pending(process.pid, number), "one is taken"
            )  # two at once are one
        process.send_signal(number)
    return ends(process, 128 + number)


def goes_on(oracle: Oracle) -> None:
    """Nothing was left behind, and the next run gets everything right."""
    oracle.expect_no_process()
    oracle.database.environment["SLOW_S"] = "0"
    oracle.check(oracle.database.run("--range-rows", "60", status=1))


@BOTH
@pytest.mark.parametrize(
    ("table", "purpose"),
    [
        ("fasthash.schema_version", "preflight"),
        ("fasthash.run", "coordinator"),  # opens the run
        ("fasthash.checkpoint", "coordinator"),  # plans and leases
    ],
)
def test_at_the_start(oracle: Oracle, number: int, table: str, purpose: str) -> None:
    with locked(oracle.database, table):
        process = oracle.database.start(*SLOW)
        wait_for_waiting(oracle.database, purpose)
        stop(process, number)
    goes_on(oracle)


def test_while_it_counts(oracle: Oracle) -> None:
    """The count for the progress bar may take minutes; nobody waits for it at the end."""
    database = oracle.database
    with locked(database, "fasthash.run") as first:
        process = database.start(*SLOW)
        wait_for_waiting(database, "coordinator")
        with locked(database, "artifacts"):
            first.rollback()
            wait_for_waiting(database, "counter")
            stop(process, signal.SIGINT)
    goes_on(oracle)


@BOTH
@pytest.mark.parametrize("times", [1, 2])
def test_while_it_hashes(oracle: Oracle, number: int, times: int) -> None:
    oracle.database.environment["SLOW_S"] = "0.02"
    process = oracle.database.start(*SLOW)
    oracle.wait_for_rows(30)
    summary, _ = stop(process, number, times=times)
    if times == 1:
        assert summary["state"] == "interrupted"
    goes_on(oracle)


def test_while_the_writer_has_more_than_it_can_take(database: Database) -> None:
    """Workers that wait for room in the writer's queue wait for a database that is stuck."""
    # What ranges are leased at a time has more parts than that, however they are cut.
    hooks = str(Path(__file__).parents[1] / "hooks")
    database.environment |= {"PYTHONPATH": hooks, "TEST_QUEUED_PARTS": "1"}
    database.make_table()
    (database.root / "f").write_text("x")
    rows = 40_000
    database.sql(
        "INSERT INTO artifacts SELECT n, 'figure', 'f', NULL FROM generate_series(1, %s) n", rows
    )
    with locked(database, "fasthash.run") as first:
        process = database.start("--workers", "2")
        wait_for_waiting(database, "coordinator")
        with psycopg.connect(database.dsn) as application:
            application.execute("LOCK TABLE artifacts IN EXCLUSIVE MODE")  # to be read only
            first.rollback()
            wait_for_waiting(database, "writer")
            writer = helper(process, "writer")
            until(lambda: waiting_bytes(writer) > 0, "its queue is full, and so is its pipe")
            stop(process, signal.SIGINT)
    assert database.run()["rows_updated"] == rows


@BOTH
def test_while_the_database_is_away(
    own_server: PgServer, own_database: Database, number: int
) -> None:
    oracle = Oracle(own_database, rows=300)
    process = own_database.start(*SLOW)
    oracle.wait_for_rows(30)
    own_server.stop("immediate")
    for line in process.stderr or ():
        if "waiting up to 300 s" in line:
            break
    stop(process, number)
    own_server.start()
    goes_on(oracle)


@BOTH
def test_while_a_root_is_missing(oracle: Oracle, number: int) -> None:
    root = oracle.database.root
    process = oracle.database.start(*SLOW)
    oracle.wait_for_rows(30)
    root.rename(root.with_name("elsewhere"))
    process.let_go()
    for line in process.stderr or ():
        if "holding until it is back" in line:
            break
    else:
        raise AssertionError("it did not notice")
    stop(process, number)
    root.with_name("elsewhere").rename(root)
    goes_on(oracle)


def test_in_the_last_sweep(oracle: Oracle) -> None:
    """The sweep waits for a row that somebody has locked."""
    database = oracle.database
    with psycopg.connect(database.dsn) as application:
        application.execute("SELECT 1 FROM artifacts WHERE id = 100 FOR UPDATE")
        process = database.start("--workers", "2")
        until(
            lambda: database.sql("SELECT 1 FROM fasthash.checkpoint WHERE pass_no = 1"),
            "the last sweep",
        )
        stop(process, signal.SIGINT)
    goes_on(oracle)


def test_before_it_hears_that_the_run_is_complete(oracle: Oracle) -> None:
    """The ledger says so already: what the summary says is what the ledger does."""
    database = oracle.database
    process = database.start(*SLOW)
    until(lambda: database.sql("SELECT 1 FROM fasthash.sample"), "the first report")
    database.sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_advisory_xact_lock(17); RETURN NULL; END'"
    )
    database.sql(
        "CREATE CONSTRAINT TRIGGER waits AFTER UPDATE ON fasthash.run "
        "DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW WHEN (NEW.state = 'complete') EXECUTE FUNCTION wait()"
    )
    with psycopg.connect(database.dsn) as ours, locked(database, "fasthash.sample"):
        ours.execute("SELECT pg_advisory_lock(17)")
        wait_for_waiting(database, "heartbeat")
        process.let_go()
        wait_for_waiting(database, "coordinator")  # at its COMMIT
        process.send_signal(signal.SIGSTOP)
        ours.execute("SELECT pg_advisory_unlock(17)")
        until(
            lambda: database.sql("SELECT 1 FROM fasthash.run WHERE state = 'complete'"),
            "the run is complete",
        )
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        summary, _ = ends(process, 128 + signal.SIGINT)
    assert summary["state"] == "complete"
    oracle.expect_no_process()
    oracle.check()


def test_during_the_summary(oracle: Oracle) -> None:
    database = oracle.database
    process = database.start(*SLOW)
    until(lambda: database.sql("SELECT 1 FROM fasthash.sample"), "the first report")
    with locked(database, "fasthash.sample"):
        wait_for_waiting(database, "heartbeat")
        process.let_go()
        until(
            lambda: database.sql("SELECT 1 FROM fasthash.run WHERE state = 'complete'"),
            "the run is complete",
        )
        summary, _ = stop(process, signal.SIGINT)
    assert summary["state"] == "complete"
    oracle.expect_no_process()
    oracle.check()


@contextmanager
def on_a_terminal(command: list[str], environment: dict[str, str]) -> Iterator[tuple[int, int]]:
    """A process whose output is a terminal: its pid and the terminal's other end."""
    pid, terminal = pty.fork()
    if pid == 0:
        termios.tcsetwinsize(0, (24, 120))
        os.execvpe(command[0], command, environment)
    try:
        yield pid, terminal
    finally:
        os.close(terminal)


def shown(terminal: int, enough: Callable[[bytes], bool]) -> bytes:
    """What the terminal shows, until that is enough or the process ends."""
    text = b""
    while not enough(text):
        try:
            text += os.read(terminal, 4096)
        except OSError:
            break  # that is how a terminal says that nobody is left
    return text


@pytest.mark.parametrize("presses", [1, 2])
def test_the_terminal_is_left_as_it_was(oracle: Oracle, presses: int) -> None:
    """Ctrl-C, typed on a terminal: it goes to all processes of the run."""
    database = oracle.database
    database.environment["SLOW_S"] = "0.02"
    command = database.command("run", "--root", str(database.root), *SLOW)
    with on_a_terminal(command, {**database.env(), "TERM": "xterm"}) as (pid, terminal):
        before = termios.tcgetattr(terminal)
        text = shown(terminal, lambda text: b"missing " in text)
        oracle.wait_for_rows(30)
        for n in range(presses):
            if n:
                until(lambda: not is_pending(pid, signal.SIGINT), "one is taken")
            os.write(terminal, b"\x03")
        text += shown(terminal, lambda _: False)
        _, status = os.waitpid(pid, 0)
        after = termios.tcgetattr(terminal)
    assert os.waitstatus_to_exitcode(status) == 130, text
    assert b"Traceback" not in text
    assert after == before
    assert after[3] & termios.ECHO
    assert text.count(b"\x1b[?25l") <= text.count(b"\x1b[?25h"), "the cursor is hidden"
    last = text.rpartition(b"\n")[2].rpartition(b"\r")[2].replace(b"\x1b[K", b"").strip()
    assert last == b"", "the last line is not ended"
    goes_on(oracle)
