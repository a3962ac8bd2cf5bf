"""The database away, silent or full: the run waits, says so, goes on, or ends with status 3."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from conftest import PATIENCE_S, Database
from oracle import SLOW, Oracle, ends, until
from pgserver import PgServer
from proxy import Proxy


@pytest.fixture
def proxy(own_server: PgServer) -> Iterator[Proxy]:
    with Proxy(own_server.home / ".s.PGSQL.5432") as running:
        yield running


def impatient(database: Database) -> None:
    """Silence is looked into after a second, though the database may be away for minutes."""
    database.environment["PYTHONPATH"] += f":{Path(__file__).parents[1] / 'hooks'}"
    database.environment["TEST_SILENCE_S"] = "1"


def through(proxy: Proxy, database: Database) -> dict[str, str]:
    """The environment in which fasthash reaches the database through the proxy."""
    dsn = psycopg.conninfo.make_conninfo(database.dsn, host="127.0.0.1", port=proxy.port)
    return {"FASTHASH_DSN": dsn, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}


@pytest.mark.parametrize("at_least_s", [0, pytest.param(30, marks=pytest.mark.long)])
def test_away_for_a_while(
    own_server: PgServer, own_database: Database, tmp_path: Path, at_least_s: float
) -> None:
    """Long enough for all who talk to it to notice."""
    purposes = ("writer", "coordinator", "heartbeat")
    oracle = Oracle(own_database)
    log = tmp_path / "log"
    process = own_database.start(*SLOW, stderr_file=log)
    oracle.wait_for_rows(100)
    own_server.stop("immediate")
    until(lambda: all(said(log, p, "for the database") for p in purposes), "all have noticed")
    time.sleep(at_least_s)
    own_server.start()
    until(lambda: all(said(log, p, "the database is back") for p in purposes), "all are back")
    process.let_go()
    assert process.wait(PATIENCE_S) == 1, log.read_text()
    assert "Traceback" not in log.read_text()
    oracle.check()


def said(log: Path, purpose: str, words: str) -> bool:
    """Whether somebody has said something."""
    return any(f"{purpose}: " in line and words in line for line in log.read_text().splitlines())


def test_away_for_longer_than_it_may_be(own_server: PgServer, own_database: Database) -> None:
    oracle = Oracle(own_database)
    process = own_database.start(*SLOW, "--db-timeout", "2s")
    oracle.wait_for_rows(100)
    own_server.stop("fast")
    summary, err = ends(process, 3)
    assert summary["state"] == "interrupted"
    last = err.strip().splitlines()[-1]
    assert last.startswith("fasthash: "), err
    assert "stayed away for 2 s" in last
    assert "the same command goes on from there" in last
    oracle.expect_no_process()
    own_server.start()
    oracle.check(own_database.run(status=1))


def test_a_dry_run_without_a_database_ends_in_one_line(
    own_server: PgServer, own_database: Database
) -> None:
    Oracle(own_database)
    process = own_database.start(*SLOW, "--dry-run", "--db-timeout", "2s", "--range-rows", "20")
    until(lambda: own_server.backends("fasthash dry run"), "it has begun")
    own_server.stop("immediate")
    _, err = ends(process, 3)
    assert "stayed away for 2 s" in err.strip().splitlines()[-1]
    own_server.start()


def test_silent_in_the_middle(proxy: Proxy, own_database: Database) -> None:
    """Nothing is closed and nothing answers; then all is well again."""
    oracle = Oracle(own_database)
    own_database.environment |= through(proxy, own_database)
    impatient(own_database)
    process = own_database.start(*SLOW)
    oracle.wait_for_rows(100)
    proxy.silent = True
    log = until(lambda: process.stderr, "")
    for line in log:
        if "does not answer any more" in line:
            break
    else:
        raise AssertionError("the silence was not noticed")
    proxy.silent = False
    summary, _ = ends(process, 1)
    oracle.check(summary)


def test_silent_for_good(proxy: Proxy, own_database: Database) -> None:
    oracle = Oracle(own_database)
    reachable = dict(own_database.environment)
    own_database.environment |= through(proxy, own_database)
    process = own_database.start(*SLOW, "--db-timeout", "2s")
    oracle.wait_for_rows(100)
    proxy.silent = True
    _, err = ends(process, 3)
    assert "stayed away for 2 s" in err
    oracle.expect_no_process()
    own_database.environment = reachable
    oracle.check(own_database.run(status=1))


def test_silent_from_the_start(proxy: Proxy, own_database: Database) -> None:
    oracle = Oracle(own_database, rows=10)
    own_database.environment |= through(proxy, own_database)
    proxy.silent = True
    _, err = ends(own_database.start("--db-timeout", "2s"), 4)
    assert err.startswith("fasthash: cannot reach database")
    oracle.expect_no_process()


@pytest.mark.parametrize("when", ["start", "middle"])
def test_a_signal_while_it_is_silent(proxy: Proxy, own_database: Database, when: str) -> None:
    oracle = Oracle(own_database)
    own_database.environment |= through(proxy, own_database)
    proxy.silent = when == "start"
    process = own_database.start(*SLOW)
    if when == "start":
        until(lambda: proxy.unanswered, "it waits for an answer")
    else:
        oracle.wait_for_rows(100)
        proxy.silent = True
    process.send_signal(signal.SIGINT)
    ends(process, 130)
    oracle.expect_no_process()


def test_a_long_statement_is_no_silence(own_database: Database) -> None:
    """Slow is not dead: a batch takes longer than silence is believed, and is waited for."""
    oracle = Oracle(own_database, rows=60)
    impatient(own_database)
    own_database.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(4); RETURN NULL; END'"
    )
    own_database.sql("CREATE TRIGGER slow AFTER INSERT ON fasthash.journal EXECUTE FUNCTION slow()")
    process = own_database.start("--workers", "1")
    summary, err = ends(process, 1)
    assert "does not answer" not in err
    oracle.check(summary)


@pytest.fixture
def small_disk(own_server: PgServer, tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB that the server may write to."""
    place = own_server.home / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=777", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        place.rmdir()
        pytest.skip("wants to mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


@pytest.mark.parametrize("ends_well", [True, False])
def test_disk_full(
    own_server: PgServer, own_database: Database, small_disk: Path, ends_well: bool
) -> None:
    """No room for new versions of the catalog's rows."""
    space = own_server.tablespace(small_disk, f"small_{ends_well}")
    oracle = Oracle(own_database)
    own_database.sql(f"ALTER TABLE artifacts SET TABLESPACE {space}")
    own_database.sql("ALTER TABLE artifacts SET (autovacuum_enabled = off)")
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, _free_bytes(small_disk) - 16 * 1024)
    process = own_database.start(*SLOW, "--db-timeout", "60s" if ends_well else "1s")
    if ends_well:
        for line in process.stderr or ():
            if "No space left on device" in line:
                assert "waiting up to 60 s for the database" in line
                break
        else:
            raise AssertionError("nothing was said")
        ballast.unlink()
    else:
        _, err = ends(process, 3)
        assert "No space left on device" in err.strip().splitlines()[-1]
        assert "the same command goes on from there" in err
        ballast.unlink()
        process = own_database.start()
    summary, _ = ends(process, 1)
    oracle.check(summary)
    own_database.sql("DROP TABLE artifacts")
    own_database.sql(f"DROP TABLESPACE {space}")


def _free_bytes(place: Path) -> int:
    facts = os.statvfs(place)
    return facts.f_bavail * facts.f_frsize
