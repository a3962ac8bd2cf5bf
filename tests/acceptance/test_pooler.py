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
SETTINGS = "SELECT name, setting FROM pg_settings WHERE source = 'session' ORDER BY name"


@pytest.fixture
def oracle(database: Database, tmp_path: Path) -> Iterator[Oracle]:
    """A catalog that is reached through the pooler alone."""
    for parent in (tmp_path, *tmp_path.parents[:3]):
        if parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o055)  # its user has to get through
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
