"""A pooler in session mode between fasthash and its server: nothing is different."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Database
from oracle import SLOW, Oracle, ends, until
from pooler import PGBOUNCER, pooled

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="wants pgbouncer (make test-tools)")
SETTINGS = (
    "SELECT name, setting FROM pg_settings WHERE source = 'session' "
    "AND name NOT LIKE 'transaction%' ORDER BY name"
)
# What an application sees of its session, and what locks are left in it.
STATE = "SELECT name, setting FROM pg_settings WHERE name <> 'application_name' ORDER BY name"
LOCKS = "SELECT pid, classid, objid FROM pg_locks WHERE locktype = 'advisory'"
NO_RESET = "server_reset_query ="


def let_through(tmp_path: Path) -> None:
    """The pooler's user has to get to the folder."""
    for parent in (tmp_path, *tmp_path.parents[:3]):
        if parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o055)


@pytest.fixture
def oracle(database: Database, tmp_path: Path) -> Iterator[Oracle]:
    """A catalog that is reached through the pooler alone."""
    let_through(tmp_path)
    with pooled(database.dsn, tmp_path / "pooler", "session") as dsn:
        database.dsn = dsn
        yield Oracle(database)


def test_a_run_and_what_it_leaves(oracle: Oracle) -> None:
    """Sessions are given back to the application as they were."""
    database = oracle.database
    database.environment["SLOW_S"] = "0"
    oracle.check(database.run("--range-rows", "60", "--workers", "2", status=1))
    for _ in range(30):
        with database.connect() as session:
            assert session.execute(SETTINGS).fetchall() == []


def test_a_dead_run_is_known_to_be_dead(oracle: Oracle) -> None:
    """The pooler ends the session whose client is gone, and with it the lock that says it lives."""
    process = oracle.database.start(*SLOW, "--lease-ttl", "1h")
    oracle.wait_for_rows(30)
    process.kill()
    process.communicate()
    oracle.expect_no_process()

    def state() -> str:
        return str(json.loads(oracle.database.fasthash("summary", "--json").stdout)["state"])

    until(lambda: state() == "interrupted", "the run is taken for alive")
    oracle.check(ends(oracle.database.start(*SLOW, "--lease-ttl", "1h"), 1)[0])


def state_of(database: Database) -> list[object]:
    with database.connect() as session:
        return [session.execute(STATE).fetchall(), session.execute(LOCKS).fetchall()]


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_an_application_s_sessions_stay_what_they_were(
    database: Database, tmp_path: Path, mode: str
) -> None:
    """Through the same pool, which has few sessions and resets nothing."""
    let_through(tmp_path)
    direct, root = database.dsn, str(database.root)
    database.make_table()
    for n in range(20):
        (database.root / f"f{n}").write_text(str(n))
        database.add(n, f"f{n}", {"file_sha256": "0" * 64} if n < 3 else None)
    with pooled(database.dsn, tmp_path / "pooler", mode, size=8, more=NO_RESET) as dsn:
        database.dsn = dsn
        before = state_of(database)
        done = database.fasthash("run", "--root", root, status=None)
        if mode == "transaction":
            assert done.returncode == 4, done.stderr
            assert "a pooler in transaction mode" in done.stderr
            assert database.sql("SELECT FROM fasthash.run") == []
            assert Database(direct, database.root).run(status=1)["rows_updated"] == 20
        else:
            assert done.returncode == 1, done.stderr
        for command in (
            ["status"], ["summary"], ["drift", "list"], ["drift", "show", "1"], ["manifest"],
            ["duplicates", "--root", root], ["journal", "1"], ["residual"], ["doctor"],
            ["run", "--dry-run", "--root", root], ["config", "check"],
        ):  # fmt: skip
            done = database.fasthash(*command, status=None)
            assert done.returncode in (0, 1, 4), (command, done.stderr)
            assert "prepared statement" not in done.stderr + done.stdout, command
        assert f"pooler, in {mode} mode" in database.fasthash("doctor", status=None).stdout
        assert [state_of(database) for _ in range(10)] == [before] * 10


def test_a_pooler_in_statement_mode_is_named(database: Database, tmp_path: Path) -> None:
    let_through(tmp_path)
    database.make_table()
    with pooled(database.dsn, tmp_path / "pooler", "statement") as dsn:
        database.dsn = dsn
        for command in (["run", "--root", str(database.root)], ["status"]):
            done = database.fasthash(*command, status=4)
            assert "statement pooling mode" in done.stderr, done.stderr
