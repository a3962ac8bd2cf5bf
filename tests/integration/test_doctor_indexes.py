"""What the doctor says of an index agrees with what the server counts: HOT updates, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from conftest import drop_database
from pgserver import PgServer, older_binaries

from fasthash.config import CatalogNames
from fasthash.doctor.judging.catalog import SUMMARIZING_SINCE
from fasthash.store import diagnose, session

INDEXES = {
    "none": "",
    "type": "CREATE INDEX probe ON artifacts (artifact_type, id)",
    "gin": "CREATE INDEX probe ON artifacts USING gin (metadata)",
    "gin_path": "CREATE INDEX probe ON artifacts USING gin ((metadata -> 'tags'))",
    "expression": "CREATE INDEX probe ON artifacts ((metadata ->> 'title'))",
    "partial": "CREATE INDEX probe ON artifacts (id) WHERE metadata ? 'x'",
    "partial_other": "CREATE INDEX probe ON artifacts (id) WHERE artifact_type = 'x'",
    "included": "CREATE INDEX probe ON artifacts (id) INCLUDE (metadata)",
    "generated": "CREATE INDEX probe ON artifacts (title)",
    "brin": "CREATE INDEX probe ON artifacts USING brin ((metadata ->> 'title'))",
    "unique": "ALTER TABLE artifacts ADD CONSTRAINT probe UNIQUE (id, metadata)",
}
MAKE = """
    CREATE TABLE artifacts (id bigint PRIMARY KEY, artifact_type text, file_path text,
        metadata jsonb, title text GENERATED ALWAYS AS (metadata ->> 'title') STORED)
        WITH (fillfactor = 20, autovacuum_enabled = off);
    INSERT INTO artifacts
        SELECT n, 'figure', 'f' || n, '{"title": "t"}' FROM generate_series(1, 20) n
"""


@pytest.fixture(scope="module", params=["embedded", "older"])
def dsn(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], str]]:
    """Makes databases on the embedded server and, where the machine has one, on an older one."""
    if request.param == "embedded":
        maintenance: str = request.getfixturevalue("server_dsn")
        yield lambda: _fresh(maintenance)
        return
    binaries = older_binaries()
    if binaries is None:
        pytest.skip("wants an older PostgreSQL (make test-tools)")
    server = PgServer(Path(tmp_path_factory.mktemp("older")) / "pg", binaries)
    server.start()
    yield lambda: _fresh(server.dsn)
    server.stop("immediate")


def _fresh(maintenance: str) -> str:
    with psycopg.connect(maintenance, autocommit=True) as admin:
        drop_database(admin, "doctor_indexes")
        admin.execute("CREATE DATABASE doctor_indexes")
    return psycopg.conninfo.make_conninfo(maintenance, dbname="doctor_indexes")


@pytest.mark.parametrize("kind", INDEXES)
def test_the_server_agrees(dsn: Callable[[], str], kind: str) -> None:
    where = dsn()
    with psycopg.connect(where, autocommit=True) as owner:
        owner.execute(MAKE)
        if INDEXES[kind]:
            owner.execute(INDEXES[kind])
        owner.execute('UPDATE artifacts SET metadata = metadata || \'{"file_sha256": "x"}\'')
        if owner.info.server_version >= 150000:
            owner.execute("SELECT pg_stat_force_next_flush()")
        counted = owner.execute("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables")
        assert counted.fetchone() == (20, 0 if _hurts(where, owner) else 20)


def _hurts(dsn: str, owner: psycopg.Connection[tuple[object, ...]]) -> bool:
    with session.connect_once(dsn, "test") as connection:
        table = diagnose.table_facts(connection, CatalogNames())
    assert table is not None
    summarizes = owner.info.server_version >= SUMMARIZING_SINCE
    return any(
        i.touches_metadata and not (i.method == "brin" and summarizes) for i in table.indexes
    )
