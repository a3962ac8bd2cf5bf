"""Servers that take no writes: reports work on them, the rest is refused in one line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from conftest import Database
from pgserver import PgServer, embedded_binaries, older_binaries

REPORTS = [
    ["status"],
    ["status", "--json"],
    ["summary"],
    ["summary", "--json"],
    ["residual"],
    ["residual", "--csv"],
    ["drift", "list"],
    ["drift", "list", "--json"],
]
READ_ONLY = "fasthash: the database is read-only (a standby?); give the primary's --dsn\n"


def reports(database: Database) -> list[str]:
    """What the reports say, but for how long ago it was."""
    shown = [database.fasthash(*arguments).stdout for arguments in REPORTS]
    return [re.sub(r'"seen_ago_s": [0-9.]+|reported [^ ]+ s ago', "", text) for text in shown]


def writers(database: Database) -> list[list[str]]:
    root = str(database.root)
    return [["init"], ["register", root], ["run", "--root", root]]


def add_run(database: Database) -> None:
    """A run with a drift and a row without a file."""
    (database.root / "f").write_text("x")
    database.make_table()
    database.add(1, "f", {"file_sha256": "0" * 64})
    database.add(2, "missing")
    database.run(status=1)


def test_a_read_only_database(database: Database) -> None:
    add_run(database)
    before = reports(database)
    name = database.sql("SELECT current_database() AS name")[0]["name"]
    database.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with database.connect() as new, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        new.execute("DELETE FROM artifacts")
    assert reports(database) == before
    for arguments in writers(database):
        assert database.fasthash(*arguments, status=4).stderr == READ_ONLY
    assert database.run("--dry-run", "--missing-ok")["rows_scanned"] == 2


@pytest.fixture(params=["embedded", "older"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PgServer]:
    """A server that may be made a standby; the server user has to get through to it."""
    binaries = embedded_binaries() if request.param == "embedded" else older_binaries()
    if binaries is None:
        pytest.skip("wants an older PostgreSQL (make test-tools)")
    tmp_path.chmod(0o755)
    server = PgServer(tmp_path / "pg", binaries)
    server.start()
    yield server
    server.stop("immediate")


def test_a_hot_standby(server: PgServer, tmp_path: Path) -> None:
    database = Database(server.dsn, tmp_path / "data")
    database.root.mkdir()
    database.fasthash("init")
    add_run(database)
    before = reports(database)
    restart_as_standby(server)
    assert database.sql("SELECT pg_is_in_recovery() AS it_is") == [{"it_is": True}]
    assert reports(database) == before
    for arguments in writers(database):
        assert database.fasthash(*arguments, status=4).stderr == READ_ONLY
    options = ("--max-wal-backlog", "1", "--max-replication-lag", "1s")
    assert database.run("--dry-run", "--missing-ok", *options)["rows_scanned"] == 2


def test_a_standby_does_not_call_a_live_run_interrupted(server: PgServer, tmp_path: Path) -> None:
    database = Database(server.dsn, tmp_path / "data")
    database.root.mkdir()
    database.fasthash("init")
    add_run(database)
    # As if a coordinator of the primary were at it: its lock is not to be seen on a standby.
    database.sql("UPDATE fasthash.run SET state = 'running', finished_at = NULL")
    for command in ("status", "summary"):
        answer = json.loads(database.fasthash(command, "--json").stdout)
        assert answer["state"] == "interrupted"
    restart_as_standby(server)
    for command in ("status", "summary"):
        done = database.fasthash(command, status=4)
        assert done.stderr == (
            "fasthash: only the primary knows whether anybody works on run 1, and this is a "
            "standby: give the primary's --dsn\n"
        )
    assert "missing" in database.fasthash("residual").stdout
    assert "1 drift" in database.fasthash("drift", "list").stdout


def restart_as_standby(server: PgServer) -> None:
    """It follows nobody, but is in recovery for good and takes no writes."""
    server.stop()
    marker = server.data / "standby.signal"
    marker.touch()
    owner = server.data.stat()
    os.chown(marker, owner.st_uid, owner.st_gid)
    server.start()
