"""What `fasthash doctor` says of a server of the test's own, and that it helps; two versions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from conftest import Database, drop_database
from oracle import until
from pgserver import PgServer, embedded_binaries, older_binaries
from test_doctor import examine, mend, of, only
from test_throttles import configure


@pytest.fixture(scope="module", params=["embedded", "older"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PgServer]:
    """One that may be restarted, with what logical replication and two-phase commit need."""
    binaries = embedded_binaries() if request.param == "embedded" else older_binaries()
    if binaries is None:
        pytest.skip("wants an older PostgreSQL (make test-tools)")
    own = PgServer(Path(tmp_path_factory.mktemp("own")) / "pg", binaries)
    own.start()
    configure(own, wal_level="logical", max_prepared_transactions="5", archive_mode="on")
    configure(own, archive_command="/bin/true")
    own.restart()
    yield own
    own.stop("immediate")


@pytest.fixture
def catalog(server: PgServer, tmp_path: Path) -> Iterator[Database]:
    """A healthy catalog on it."""
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE doctors")
    root = tmp_path / "root"
    root.mkdir()
    database = Database(psycopg.conninfo.make_conninfo(server.dsn, dbname="doctors"), root)
    database.make_table()
    (root / "f").write_text("x")
    database.add(1, "f")
    database.fasthash("init")
    database.sql("ANALYZE artifacts")
    yield database
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        drop_database(admin, "doctors")


def test_healthy_but_for_fsync(catalog: Database) -> None:
    """The tests' servers do without, which is said, and that no ALTER SYSTEM would help."""
    found = examine(catalog, status=1)
    [ill] = [f for f in found["findings"] if f["level"] in ("warning", "problem")]
    assert ill["check"] == "database.durability"
    assert ill["remedy"] == "-- restart the server without fsync on its command line"


def test_a_forgotten_slot(catalog: Database) -> None:
    catalog.sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
    assert not of(examine(catalog), "database.horizon"), "it keeps next to nothing yet"
    for n in range(5):
        catalog.sql(f"CREATE TABLE wal_{n} ()")
        catalog.sql("SELECT pg_switch_wal()")
    found = examine(catalog)
    [held] = found["facts"]["database"]["server"]["held_back"]
    assert "unused replication slot forgotten" in held["what"]
    # From 17 on the server knows since when, and a subscriber that restarts is no finding.
    knows = catalog.sql("SHOW server_version_num")[0]["server_version_num"] >= "170000"
    assert (held["age_s"] is not None) is knows
    assert bool(of(found, "database.horizon")) is not knows
    assert "only if nobody" in held["remedy"]
    catalog.sql(held["remedy"])
    assert not examine(catalog)["facts"]["database"]["server"]["held_back"]


def test_a_prepared_transaction(catalog: Database) -> None:
    with psycopg.connect(catalog.dsn) as other:
        other.execute("UPDATE artifacts SET content_hash = 'y'")
        other.execute("PREPARE TRANSACTION 'it''s mine'")
    [held] = examine(catalog)["facts"]["database"]["server"]["held_back"]
    assert held["what"] == "prepared transaction it's mine of postgres"
    catalog.sql(held["remedy"])
    assert not examine(catalog)["facts"]["database"]["server"]["held_back"]


def test_an_archiver_that_fails(server: PgServer, catalog: Database) -> None:
    configure(server, archive_command="/bin/false")
    catalog.sql("SELECT pg_reload_conf()")
    failing = (
        "SELECT 1 FROM pg_stat_archiver "
        "WHERE last_failed_time > coalesce(last_archived_time, '-infinity')"
    )

    def has_failed() -> bool:
        """The archiver may take a segment before it reads the configuration again."""
        catalog.sql("SELECT pg_logical_emit_message(true, '', ''), pg_switch_wal(), pg_sleep(0.5)")
        return bool(catalog.sql(failing))

    until(has_failed, "it fails")
    ill = only(examine(catalog), "database.archiver")
    ill["remedy"] = ill["remedy"].replace("'..'", "'/bin/true'")
    mend(catalog, ill)
    until(lambda: not catalog.sql(failing), "it works again")
    assert not of(examine(catalog), "database.archiver")


@pytest.mark.parametrize("setting", ["autovacuum", "track_counts", "full_page_writes"])
def test_settings(server: PgServer, catalog: Database, setting: str) -> None:
    check = "database.durability" if setting == "full_page_writes" else "database.autovacuum"
    configure(server, **{setting: "off"})
    catalog.sql("SELECT pg_reload_conf()")
    until(lambda: catalog.sql(f"SHOW {setting}")[0][setting] == "off", "it is off")
    [ill] = [f for f in of(examine(catalog), check) if "fsync" not in f["text"]]
    mend(catalog, ill)
    until(lambda: catalog.sql(f"SHOW {setting}")[0][setting] == "on", "it is on")
    assert not [f for f in of(examine(catalog), check) if "fsync" not in f["text"]]


def test_a_synchronous_standby_that_is_away(server: PgServer, catalog: Database) -> None:
    configure(server, synchronous_standby_names="elsewhere")
    catalog.sql("SELECT pg_reload_conf()")
    shown = "SHOW synchronous_standby_names"
    until(lambda: catalog.sql(shown)[0]["synchronous_standby_names"], "it is set")
    ill = only(examine(catalog), "database.standby")
    assert ill["level"] == "warning"
    mend(catalog, ill)
    until(lambda: not catalog.sql(shown)[0]["synchronous_standby_names"], "it is reset")
    assert not of(examine(catalog), "database.standby")


def test_few_connections(server: PgServer, catalog: Database) -> None:
    others = [psycopg.connect(catalog.dsn) for _ in range(56)]
    try:
        ill = only(examine(catalog, status=4), "database.connections")
    finally:
        for other in others:
            other.close()
    assert ill["remedy"] == "-- restart the server with more max_connections on its command line"


def test_a_standby(server: PgServer, catalog: Database, tmp_path: Path) -> None:
    """Nothing is asked of it that only a primary answers."""
    copy = PgServer.__new__(PgServer)
    copy.home, copy.data = tmp_path / "standby", tmp_path / "standby" / "data"
    copy.binaries, copy.prefix = server.binaries, server.prefix
    copy.home.mkdir()
    tmp_path.chmod(0o755)
    server.stop()
    subprocess.run(["cp", "-a", str(server.data), str(copy.data)], check=True)
    subprocess.run(["chown", "-R", "nobody", str(copy.home)], check=False)
    server.start()
    (copy.data / "standby.signal").touch()
    copy.start()
    try:
        away = Database(psycopg.conninfo.make_conninfo(copy.dsn, dbname="doctors"), catalog.root)
        found = examine(away, status=4)
        assert "is a standby" in only(found, "database.primary")["text"]
        assert not of(found, "database.visibility"), json.dumps(found["findings"], indent=1)
        assert found["facts"]["database"]["rows"]["with_path"] == 1
    finally:
        copy.stop("immediate")
