"""An application that locks what we write to: it never loses, and the run gets by."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from conftest import Database
from oracle import SLOW, Oracle, ends, until

from fasthash.store import session

# One range and one worker: all of the catalog is one batch, or few.
AT_ONCE = ("--workers", "1", "--range-rows", "1000")
EDIT = (
    "UPDATE artifacts SET metadata = metadata || jsonb_build_object("
    "'edits', coalesce((metadata ->> 'edits')::int, 0) + 1) WHERE id = %s"
)


@pytest.fixture
def oracle(database: Database) -> Oracle:
    return Oracle(database, rows=400)


def eager(database: Database) -> str:
    """An application that looks for deadlocks at once: it is the first to find one."""
    return psycopg.conninfo.make_conninfo(database.dsn, options="-c deadlock_timeout=10")


def writer_waits(database: Database) -> list[dict[str, Any]]:
    """The writer's session, while it waits for a lock."""
    return database.sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'fasthash writer' "
        "AND wait_event_type = 'Lock' AND datname = current_database()"
    )


def in_trigger(database: Database) -> list[dict[str, Any]]:
    """The writer's session, while it sleeps."""
    return database.sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'fasthash writer' "
        "AND wait_event = 'PgSleep' AND datname = current_database()"
    )


def written(database: Database) -> bool:
    """Whether anything is committed."""
    return bool(database.sql("SELECT 1 FROM fasthash.journal LIMIT 1"))


def is_past(database: Database, row_id: int) -> bool:
    """Whether a row behind this one is committed."""
    rows = "SELECT 1 FROM fasthash.journal WHERE row_id::int > %s LIMIT 1"
    return bool(database.sql(rows, row_id))


def test_a_deadlock_is_not_even_possible(database: Database, oracle: Oracle) -> None:
    """It holds a row of the batch and asks for another one of it, in the wrong order."""
    with psycopg.connect(eager(database)) as application:
        application.execute(EDIT, (301,))
        process = database.start(*AT_ONCE)
        until(lambda: writer_waits(database) or is_past(database, 301), "the writer is past it")
        application.execute(EDIT, (10,))
    oracle.rows[301][2]["edits"] = oracle.rows[10][2]["edits"] = 1
    summary, err = ends(process, 1)
    assert "1 rows are locked by other sessions; they come last" in err
    oracle.check(summary)


# A site's own trigger that counts, once it is told to: all writers wait for one row.
COUNTER = """
CREATE TABLE counter (n int);
INSERT INTO counter VALUES (0);
CREATE TABLE go_on ();
CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    WHILE NOT EXISTS (SELECT 1 FROM go_on) LOOP PERFORM pg_sleep(0.01); END LOOP;
    UPDATE counter SET n = n + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER counting AFTER UPDATE ON artifacts EXECUTE FUNCTION count_up();
"""


def test_the_victim_of_a_deadlock_are_we(database: Database, oracle: Oracle) -> None:
    """A trigger of the site's makes us wait with rows in hand, and one of them is asked for.

    The application leaves it to us to find out, for we would before it does.
    """
    assert session.WRITER.lock_s < 1, "the server looks for an application's deadlock after 1 s"
    database.sql(COUNTER)
    patient = psycopg.conninfo.make_conninfo(database.dsn, options="-c deadlock_timeout=1h")
    with psycopg.connect(patient) as application, ThreadPoolExecutor() as thread:
        application.execute("UPDATE counter SET n = n + 1")
        process = database.start(*AT_ONCE)
        until(lambda: in_trigger(database), "the writer has the rows and is in the trigger")
        wanted = thread.submit(
            application.execute, "SELECT 1 FROM artifacts WHERE id = 9 FOR UPDATE"
        )
        pid = application.info.backend_pid
        waits = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
        until(lambda: database.sql(waits, pid), "the application waits for a row of ours")
        database.sql("INSERT INTO go_on DEFAULT VALUES")
        wanted.result()
    summary, _ = ends(process, 1)
    oracle.check(summary)


class Locker(threading.Thread):
    """An application whose transactions lock rows of its own, one after the other, any order."""

    def __init__(self, dsn: str, seed: int, rows: Sequence[int]) -> None:
        super().__init__()
        self.dsn = dsn
        self.rows = rows
        self.chance = random.Random(seed)
        self.ended = threading.Event()
        self.edits: Counter[int] = Counter()
        self.failures: list[str] = []

    def run(self) -> None:
        """Transactions until told to end."""
        with psycopg.connect(self.dsn) as connection:
            while not self.ended.is_set():
                rows = self.chance.sample(self.rows, 6)
                try:
                    for row in rows:
                        connection.execute(EDIT, (row,))
                        time.sleep(self.chance.uniform(0, 0.01))
                    connection.commit()
                except psycopg.Error as error:
                    self.failures.append(str(error))
                    return
                self.edits.update(rows)


def test_transactions_in_any_order(database: Database, oracle: Oracle) -> None:
    lockers = [Locker(eager(database), n, range(n, 400, 4)) for n in range(4)]
    for locker in lockers:
        locker.start()
    process = database.start(*SLOW)
    oracle.wait_for_rows(len(oracle.written) * 8 // 10)
    for locker in lockers:
        locker.ended.set()
    for locker in lockers:
        locker.join()
    summary, _ = ends(process, 1)
    assert not [locker.failures for locker in lockers if locker.failures]
    edits = sum((locker.edits for locker in lockers), Counter())
    assert sum(edits.values()) > 100
    for row, n in edits.items():
        oracle.rows[row][2]["edits"] = n
    oracle.check(summary)


def test_a_row_that_stays_locked_is_a_residual(database: Database, oracle: Oracle) -> None:
    """Not even the last sweep gets it: the run ends without it, and says so."""
    with psycopg.connect(database.dsn) as holder:
        holder.execute("SELECT 1 FROM artifacts WHERE id = 333 FOR UPDATE")
        summary = database.run(status=1)
    assert summary["residual"]["write_refused"] == 1
    assert summary["outcomes"]["failed"] == 1
    assert summary["rows_scanned"] == 400
    listed = database.fasthash("residual", "--reason", "write_refused", "--json").stdout
    assert "another session has locked the row" in listed
    assert '"artifact_type": "t0"' in listed
    second = database.run("--missing-ok")
    assert second["outcomes"]["hashed"] == 1


def test_a_locked_table_is_waited_for(database: Database, oracle: Oracle) -> None:
    """ALTER TABLE and its like: longer than any lock_timeout of ours."""
    process = database.start(*SLOW)
    oracle.wait_for_rows(50)
    with psycopg.connect(database.dsn) as admin:
        admin.execute("LOCK TABLE artifacts IN ACCESS EXCLUSIVE MODE")
        until(lambda: writer_waits(database), "it waits")
        until(lambda: not writer_waits(database), "its lock_timeout")
        until(lambda: writer_waits(database), "it tries again")
    summary, _ = ends(process, 1)
    oracle.check(summary)


def test_a_statement_that_takes_too_long_is_tried_again(database: Database, oracle: Oracle) -> None:
    """`statement_timeout` ends a statement as `pg_cancel_backend` does."""
    database.sql(
        "CREATE SEQUENCE writes; "
        "CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN IF nextval(''writes'') = 2 THEN PERFORM pg_sleep(60); END IF; RETURN NULL; END'; "
        "CREATE TRIGGER hanging AFTER UPDATE ON artifacts EXECUTE FUNCTION hang()"
    )
    process = database.start(*SLOW)
    (hanging,) = until(lambda: in_trigger(database), "a statement that hangs")
    database.sql("SELECT pg_cancel_backend(%s)", hanging["pid"])
    summary, _ = ends(process, 1)
    oracle.check(summary)
