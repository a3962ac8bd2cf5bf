"""What holds a run for the sake of others: a real archiver that fails, a real standby that lags."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Database
from oracle import ends, until
from pgserver import PgServer, embedded_binaries
from test_scrub import fill

from fasthash import manners
from fasthash.config import Courtesy
from fasthash.gate import Gate
from fasthash.manners import Manners, read_io_pressure

PAUSE = ("--resolver", "site_resolvers:slow", "--workers", "1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PgServer]:
    own = PgServer(tmp_path / "own", embedded_binaries())
    own.start()
    yield own
    own.stop("immediate")


@pytest.fixture
def catalog(server: PgServer, tmp_path: Path) -> Database:
    root = tmp_path / "root"
    root.mkdir()
    database = Database(server.dsn, root, {"PYTHONPATH": str(Path(__file__).parents[1])})
    fill(database, 60)
    database.hold("f57")  # the last one, by its type
    database.fasthash("init")
    return database


def held(database: Database) -> str:
    rows = database.sql(
        "SELECT report ->> 'held' AS held FROM fasthash.holder ORDER BY holder_id DESC LIMIT 1"
    )
    return (rows[0]["held"] if rows else None) or ""


def configure(server: PgServer, **settings: str) -> None:
    own = Database(server.dsn, Path())
    for name, value in settings.items():
        own.sql(f"ALTER SYSTEM SET {name} = '{value}'")


def test_wal_that_waits_for_the_archiver(server: PgServer, catalog: Database) -> None:
    configure(server, archive_mode="on", archive_command="/bin/true")
    server.restart()
    catalog.sql("SELECT pg_switch_wal()")
    until(
        lambda: catalog.sql("SELECT 1 FROM pg_stat_archiver WHERE last_archived_wal IS NOT NULL"),
        "one is archived",
    )
    configure(server, archive_command="/bin/false")
    catalog.sql("SELECT pg_reload_conf()")
    for n in range(4):
        catalog.sql(f"CREATE TABLE wal_{n} ()")
        catalog.sql("SELECT pg_switch_wal()")
    process = catalog.start(*PAUSE, "--max-wal-backlog", "2")
    until(lambda: "WAL segments wait for the archiver" in held(catalog), "it is held")
    done: dict[str, Any] = json.loads(catalog.fasthash("status", "--json").stdout)
    configure(server, archive_command="/bin/true")
    catalog.sql("SELECT pg_reload_conf()")
    summary, err = ends(process, 0)
    assert summary["outcomes"]["hashed"] == 60
    assert done["rows_scanned"] < 60
    assert "held: " in err
    assert "going on" in err


def test_a_standby_that_is_behind(server: PgServer, catalog: Database, tmp_path: Path) -> None:
    home = tmp_path / "standby"
    home.mkdir()
    standby = object.__new__(PgServer)
    standby.home, standby.data = home, home / "data"
    standby.binaries, standby.prefix = server.binaries, server.prefix
    if server.prefix:
        import os

        os.chown(home, 65534, 65534)
    subprocess.run(
        [*server.prefix, str(server.binaries / "pg_basebackup"), "-h", str(server.home), "-U",
         "postgres", "-D", str(standby.data), "-R", "-c", "fast"],
        check=True, cwd="/", capture_output=True,
    )  # fmt: skip
    with open(standby.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
        file.write("recovery_min_apply_delay = '1h'\n")
    standby.start()
    try:
        until(
            lambda: catalog.sql("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"),
            "it follows",
        )
        catalog.sql("CREATE TABLE news ()")
        process = catalog.start(*PAUSE, "--max-replication-lag", "1s", "--rate", "4kB/s")
        until(lambda: "replication lags" in held(catalog), "it is held")
    finally:
        standby.stop("immediate")
    summary, _ = ends(process, 0)
    assert summary["outcomes"]["hashed"] == 60


def test_a_role_that_cannot_see_the_lag_is_told(catalog: Database, server: PgServer) -> None:
    catalog.sql("CREATE ROLE plain LOGIN")
    out = catalog.fasthash("grants", "plain").stdout
    catalog.sql(out)
    catalog.dsn = catalog.dsn.replace("user=postgres", "user=plain")
    assert catalog.run("--max-replication-lag", "1s")["state"] == "complete", "there is no standby"


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        (
            "some avg10=12.50 avg60=3.00 avg300=1.00 total=7\nfull avg10=1.00 avg60=0 total=3\n",
            12.5,
        ),
        ("some avg10=nonsense\n", None),
        ("", None),
    ],
)
def test_pressure_as_the_kernel_tells_it(tmp_path: Path, text: str, percent: float | None) -> None:
    (tmp_path / "io").write_text(text)
    assert read_io_pressure(str(tmp_path / "io")) == percent
    assert read_io_pressure(str(tmp_path / "nothing")) is None


def test_pressure_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [80.0]
    monkeypatch.setattr(manners, "read_io_pressure", lambda: found[0])
    monkeypatch.setattr(manners, "LOOK_AT_DISKS_EVERY_S", 0)
    gate = Gate.create()
    one = Manners(Courtesy(most_io_pressure=50), gate, None)  # type: ignore[arg-type]
    hold = one.look()
    assert hold is not None
    assert "wait for disks 80 %" in hold.reason
    assert gate.closed
    found[0] = 20.0
    assert one.look() is None
    assert not gate.closed


def test_a_rate_that_another_command_brings_is_told_in_both(
    database: Database, tmp_path: Path
) -> None:
    pause, log = tmp_path / "pause", tmp_path / "log"
    pause.touch()
    database.make_table()
    (database.root / "f").write_text("x")
    database.add(1, "f")
    first = database.start("--pause-file", str(pause), stderr_file=log)
    until(lambda: "run 1 begins" in log.read_text(), "it has begun")
    second = database.start("--pause-file", str(pause), "--rate", "1MB/s")
    until(lambda: "the rate is 1.0 MB/s now" in log.read_text(), "the first says so")
    pause.unlink()
    _, said = second.communicate(timeout=PATIENCE_S)
    assert "the rate is 1.0 MB/s now, for the whole run on this host" in said
    first.wait(PATIENCE_S)
    assert log.read_text().count("the rate is") == 1
