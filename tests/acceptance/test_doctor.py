"""`fasthash doctor`: it finds what is wrong, and what it says mends it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Database
from fuse import Answer, FaultyFiles
from test_mistakes import interrupted
from test_nothing_yet import Unconfigured

from fasthash import main_job
from fasthash.config import CatalogNames
from fasthash.errors import PreflightFailed
from fasthash.store import diagnose, schema, session, tallies

Findings = list[dict[str, str]]


def examine(database: Database, *arguments: str, status: int | None = None) -> dict[str, Any]:
    """What `fasthash doctor --json` says."""
    done = database.fasthash(
        "doctor", "--json", "--root", str(database.root), *arguments, status=status
    )
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def of(found: dict[str, Any], check: str) -> Findings:
    """The findings of a check that are worse than ok."""
    return [f for f in found["findings"] if f["check"] == check and f["level"] != "ok"]


def only(found: dict[str, Any], check: str) -> dict[str, str]:
    [one] = of(found, check)
    return one


def mend(database: Database, finding: dict[str, str]) -> None:
    """Does what the remedy says, line by line, as a superuser."""
    assert finding["remedy"], finding
    for line in finding["remedy"].splitlines():
        if not line.startswith("--"):
            database.sql(line)


def afterwards(database: Database, finding: dict[str, str]) -> None:
    """Does what it says is to be done after the run."""
    [line] = [x for x in finding["remedy"].splitlines() if x.startswith("-- afterwards: ")]
    database.sql(line.removeprefix("-- afterwards: "))


@pytest.fixture
def catalog(database: Database) -> Database:
    """Three rows with files, in a healthy database."""
    database.make_table()
    for n in range(3):
        (database.root / f"f{n}").write_text(str(n))
        database.add(n, f"f{n}", {"title": "t"})
    database.sql("ANALYZE artifacts")
    return database


@pytest.mark.usefixtures("durable")
def test_a_healthy_catalog(catalog: Database) -> None:
    before = catalog.sql("SELECT xmin::text, ctid::text, * FROM artifacts ORDER BY id")
    found = examine(catalog, status=0)
    assert not [f for f in found["findings"] if f["level"] in ("warning", "problem")]
    [rows] = [f for f in found["findings"] if f["check"] == "run.rows"]
    assert rows["text"] == ("`run` would hash 3 of 3 rows with a path, `scrub` 0 (counted)")
    assert found["facts"]["files"]["verdicts"] == {"ok": 3}
    assert found["facts"]["roots"][0]["real_path"] == str(catalog.root)
    assert found["facts"]["machine"]["digests_bytes_per_s"]["sha256"] > 1e7
    assert catalog.sql("SELECT xmin::text, ctid::text, * FROM artifacts ORDER BY id") == before
    assert catalog.sql("SELECT count(*) AS n FROM fasthash.run")[0]["n"] == 0
    catalog.run()
    found = examine(catalog, status=0)
    assert found["facts"]["database"]["rows"]["marked"] == 3


ILLS = {
    "catalog.metadata_index": 'CREATE INDEX "Odd ""name" ON artifacts USING gin (metadata)',
    "catalog.autovacuum": "ALTER TABLE artifacts SET (autovacuum_enabled = off)",
    "catalog.triggers": """
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER "Touch" BEFORE UPDATE ON artifacts FOR EACH ROW EXECUTE FUNCTION touch()""",
    "catalog.key": "ALTER TABLE artifacts DROP CONSTRAINT artifacts_pkey",
    "catalog.metadata_type": "ALTER TABLE artifacts ALTER metadata TYPE text",
    "catalog.identity": """
        CREATE PUBLICATION doctors FOR TABLE artifacts;
        ALTER TABLE artifacts REPLICA IDENTITY NOTHING""",
    "catalog.statistics": "CREATE TABLE other (LIKE artifacts INCLUDING ALL); "
    "INSERT INTO other SELECT * FROM artifacts; DROP TABLE artifacts; "
    "ALTER TABLE other RENAME TO artifacts",
}


@pytest.mark.parametrize("check", ILLS)
def test_what_is_said_mends_it(catalog: Database, check: str) -> None:
    assert not of(examine(catalog), check)
    catalog.sql(ILLS[check])
    ill = only(examine(catalog), check)
    mend(catalog, ill)
    assert not of(examine(catalog), check), ill
    if "-- afterwards" in ill["remedy"]:
        afterwards(catalog, ill)
        assert only(examine(catalog), check)["text"] == ill["text"]


def test_problems_are_those_that_stop_a_run(catalog: Database) -> None:
    catalog.sql(ILLS["catalog.metadata_type"])
    examine(catalog, status=4)
    catalog.fasthash("run", "--root", str(catalog.root), status=4)


def test_an_invalid_index_is_only_dropped(catalog: Database) -> None:
    catalog.sql("UPDATE artifacts SET metadata = '{}'")
    with pytest.raises(psycopg.errors.UniqueViolation):
        catalog.sql("CREATE UNIQUE INDEX CONCURRENTLY half ON artifacts (metadata)")
    ill = only(examine(catalog), "catalog.metadata_index")
    assert ill["remedy"] == "DROP INDEX CONCURRENTLY public.half;"
    mend(catalog, ill)
    assert not of(examine(catalog), "catalog.metadata_index")


def test_a_partitioned_catalog(database: Database) -> None:
    """It has no storage parameters and no concurrent indexes of its own."""
    database.sql("""
        CREATE TABLE artifacts (id bigint, artifact_type text, file_path text, metadata jsonb,
            content_hash text) PARTITION BY HASH (id);
        CREATE TABLE "Part 0" PARTITION OF artifacts FOR VALUES WITH (MODULUS 2, REMAINDER 0)
            WITH (autovacuum_enabled = off);
        CREATE TABLE part_1 PARTITION OF artifacts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        CREATE INDEX by_metadata ON artifacts USING gin (metadata)""")
    for n in range(4):
        (database.root / f"f{n}").write_text(str(n))
        database.add(n, f"f{n}")
    for check in ("catalog.key", "catalog.metadata_index", "catalog.autovacuum"):
        mend(database, only(examine(database), check))
        assert not of(examine(database), check)
    assert examine(database)["facts"]["database"]["rows"]["with_path"] == 4


def test_what_only_a_partition_has(database: Database) -> None:
    """Its own index and trigger, whose remedies name it; copies of the parent's are told once."""
    database.sql("""
        CREATE TABLE artifacts (id bigint PRIMARY KEY, artifact_type text, file_path text,
            metadata jsonb, content_hash text) PARTITION BY HASH (id);
        CREATE TABLE "Part 0" PARTITION OF artifacts FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER everywhere BEFORE UPDATE ON artifacts FOR EACH ROW EXECUTE FUNCTION touch();
        CREATE TRIGGER here BEFORE UPDATE ON "Part 0" FOR EACH ROW EXECUTE FUNCTION touch();
        ALTER TABLE "Part 0" ENABLE ALWAYS TRIGGER here;
        CREATE INDEX by_metadata ON "Part 0" USING gin (metadata)""")
    index = only(examine(database), "catalog.metadata_index")
    assert "DROP INDEX CONCURRENTLY public.by_metadata;" in index["remedy"]
    mend(database, index)
    everywhere, here = of(examine(database), "catalog.triggers")
    assert "everywhere" in everywhere["text"]
    assert here["remedy"].splitlines() == [
        'ALTER TABLE public."Part 0" DISABLE TRIGGER here;',
        '-- afterwards: ALTER TABLE public."Part 0" ENABLE ALWAYS TRIGGER here;',
    ]
    for trigger in (everywhere, here):
        mend(database, trigger)
    found = examine(database)
    assert not [f for f in found["findings"] if f["check"].startswith("catalog.") and f["remedy"]]
    afterwards(database, here)
    fires = "SELECT tgenabled FROM pg_trigger WHERE tgname = 'here'"
    assert database.sql(fires)[0]["tgenabled"] in ("A", b"A")


MARKED = (
    "jsonb_build_object('file_sha256', repeat('a', 64), "
    "'file_sha256_computed_at', '2026-01-01T00:00:00Z')"
)


def test_room_on_pages(catalog: Database) -> None:
    catalog.sql(
        "INSERT INTO artifacts SELECT n, 'figure', 'x' || n FROM generate_series(10, 110000) n"
    )
    catalog.sql("ANALYZE artifacts")
    for check in ("catalog.fillfactor", "catalog.type_index"):
        ill = only(examine(catalog, "--type", "figure"), check)
        assert ill["level"] == "note"
        mend(catalog, ill)
        assert not of(examine(catalog), check)
    catalog.sql("ALTER TABLE artifacts RESET (fillfactor)")
    catalog.sql(f"UPDATE artifacts SET metadata = {MARKED}")
    assert not of(examine(catalog), "catalog.fillfactor"), "there is nothing to write"


def test_dead_rows(catalog: Database) -> None:
    catalog.sql("ALTER TABLE artifacts SET (autovacuum_enabled = off)")
    catalog.sql("INSERT INTO artifacts (id) SELECT generate_series(10, 20000)")
    with catalog.connect() as connection:
        connection.execute("UPDATE artifacts SET content_hash = 'x'")
        connection.execute("SELECT pg_stat_force_next_flush()")
    ill = only(examine(catalog), "catalog.dead_rows")
    mend(catalog, ill)
    assert not of(examine(catalog), "catalog.dead_rows")


def as_role(catalog: Database, name: str, grants: str = "") -> Database:
    """The same database as another role."""
    for statement in filter(None, (f"CREATE ROLE {name} LOGIN", *grants.split(";"))):
        catalog.sql(statement)
    dsn = psycopg.conninfo.make_conninfo(catalog.dsn, user=name)
    return Database(dsn, catalog.root)


@pytest.fixture
def role(catalog: Database) -> Any:
    """A role of no rights, gone with the test."""
    name = f"poor_{catalog.root.name}"
    yield as_role(catalog, name)
    catalog.sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.usefixtures("durable")
def test_a_role_without_rights(catalog: Database, role: Database) -> None:
    found = examine(role, status=4)
    assert "permission denied" in " ".join(f["text"] for f in of(found, "database.visibility"))
    for check in ("catalog.privileges", "ledger.privileges"):
        mend(catalog, only(found, check))
    found = examine(role, status=0)
    assert not of(found, "catalog.privileges")
    assert not of(found, "ledger.privileges")
    role.run()
    user = psycopg.conninfo.conninfo_to_dict(role.dsn)["user"]
    catalog.sql(f"REVOKE INSERT ON fasthash.journal FROM {user}")
    ill = only(examine(role, status=4), "ledger.privileges")
    assert ill["remedy"] == f'GRANT INSERT ON fasthash."journal" TO "{user}";'
    mend(catalog, ill)
    examine(role, status=0)
    granted = catalog.fasthash("grants", str(user)).stdout.splitlines()
    catalog.sql(f"DROP OWNED BY {user}")
    asked = only(examine(role), "ledger.privileges")["remedy"].splitlines()
    assert asked == [line for line in granted if "fasthash" in line and "DATABASE" not in line]


def test_what_is_set_for_a_role(catalog: Database, role: Database) -> None:
    user = psycopg.conninfo.conninfo_to_dict(role.dsn)["user"]
    catalog.sql(f"ALTER ROLE {user} SET idle_session_timeout = '50s'")
    catalog.sql(f"ALTER ROLE {user} SET statement_timeout = '5s'")
    catalog.sql(f"ALTER ROLE {user} SET default_transaction_read_only = on")
    catalog.sql(f"ALTER ROLE {user} CONNECTION LIMIT 2")
    found = examine(role, status=4)
    kept, note = of(found, "database.timeouts")
    assert (kept["level"], note["level"]) == ("warning", "note")
    assert "statement_timeout 5000 ms" in note["text"]
    mend(catalog, kept)
    mend(catalog, only(found, "database.primary"))
    mend(catalog, only(found, "database.connections"))
    found = examine(role)
    assert len(of(found, "database.timeouts")) == 1
    assert not of(found, "database.primary") + of(found, "database.connections")


def test_rows_that_are_hidden(catalog: Database, role: Database) -> None:
    user = psycopg.conninfo.conninfo_to_dict(role.dsn)["user"]
    for check in ("catalog.privileges", "ledger.privileges"):
        mend(catalog, only(examine(role), check))
    catalog.sql("ALTER TABLE artifacts ENABLE ROW LEVEL SECURITY")
    hidden = only(examine(role, status=1), "catalog.row_security")
    mend(catalog, hidden)
    assert not of(examine(role), "catalog.row_security")
    assert not of(examine(catalog), "catalog.row_security"), "owners see all"
    assert str(user) in hidden["remedy"]


def test_a_catalog_that_takes_too_long(catalog: Database, role: Database) -> None:
    """Every look at it is given up in time, and what came before and after is there."""
    for check in ("catalog.privileges", "ledger.privileges"):
        mend(catalog, only(examine(role), check))
    catalog.sql("INSERT INTO artifacts (id, file_path) SELECT n, 'f' FROM generate_series(9, 99) n")
    catalog.sql(
        "ALTER TABLE artifacts ENABLE ROW LEVEL SECURITY; "
        "CREATE POLICY slow ON artifacts USING (pg_sleep(0.5)::text = '')"
    )
    found = examine(role)
    seen = " ".join(f["text"] for f in of(found, "database.visibility"))
    assert "the number of rows: even some pages of the catalog take too long" in seen
    assert found["facts"]["database"]["rows"] is None
    assert found["facts"]["database"]["ledger"]["version"] == schema.VERSION


def test_rows_are_estimated(catalog: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are too many to count, some pages have to do."""
    catalog.sql(
        "INSERT INTO artifacts SELECT n, 'figure', 'f' || n, "
        f"CASE WHEN n % 2 = 0 THEN {MARKED} ELSE '{{}}' END "
        "FROM generate_series(10, 40000) n"
    )
    monkeypatch.setattr(tallies, "COUNT_PAGES", 0)
    monkeypatch.setattr(tallies, "SAMPLE_PAGES", 200)
    with session.connect_once(catalog.dsn, "test") as connection:
        table = diagnose.table_facts(connection, CatalogNames())
        bound = diagnose.bind(connection, CatalogNames())
        assert table is not None
        assert not isinstance(bound, str)
        assert table.heaps[0].size_bytes > 300 * tallies.PAGE_BYTES
        rows = tallies.row_facts(connection, bound, (), table.heaps)
        paths = tallies.sample_paths(connection, bound, (), table.heaps, 100)
        no_such = tallies.row_facts(connection, bound, ("other",), table.heaps)
    assert rows.how == "sample"
    assert rows.with_path == pytest.approx(40_000, rel=0.5)
    assert rows.marked == pytest.approx(20_000, rel=0.5)
    assert no_such.with_path == 0
    assert len(set(paths)) == 100
    assert max(int(path[1:]) for path in paths) > 10_000, "they are from all over the table"


def test_old_transactions_are_seen(catalog: Database) -> None:
    """How old is too old is judged elsewhere; here is that they are seen, and can be ended."""
    with catalog.connect() as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM artifacts")
        [held] = examine(catalog)["facts"]["database"]["server"]["held_back"]
        assert str(other.info.backend_pid) in held["what"]
        catalog.sql(held["remedy"])
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")
    assert not examine(catalog)["facts"]["database"]["server"]["held_back"]


def test_a_locked_catalog_is_no_crash(catalog: Database) -> None:
    with catalog.connect() as other, other.transaction():
        other.execute("LOCK TABLE artifacts")
        found = examine(catalog)
        assert "lock timeout" in " ".join(f["text"] for f in of(found, "database.visibility"))


@pytest.mark.parametrize(
    ("arguments", "check", "says"),
    [
        (["--table", "artefacts"], "catalog.table", "did you mean artifacts?"),
        (["--path-column", "path"], "catalog.columns", "did you mean file_path?"),
        (["--type", "figures"], "run.options", "did you mean figure?"),
        (["--update-function", "nope"], "run.options", "there is no function nope("),
        (["--resolver", "nope:nope"], "roots.resolver", "--resolver nope:nope"),
    ],
)
def test_options_that_lead_nowhere(
    catalog: Database, arguments: list[str], check: str, says: str
) -> None:
    found = examine(catalog, *arguments, status=4)
    assert says in only(found, check)["text"]
    done = catalog.fasthash("run", "--root", str(catalog.root), *arguments, status=None)
    assert done.returncode in (2, 4), "a run does not begin"


def test_a_view_is_no_catalog(catalog: Database) -> None:
    catalog.sql("CREATE VIEW seen AS SELECT * FROM artifacts")
    found = examine(catalog, "--table", "seen", status=4)
    assert "public.seen is a view" in only(found, "catalog.table")["text"]


@pytest.mark.usefixtures("durable")
def test_before_init(catalog: Database) -> None:
    catalog.sql("DROP SCHEMA fasthash CASCADE")
    ill = only(examine(catalog, status=4), "ledger.version")
    assert ill["remedy"] == "fasthash init"
    catalog.fasthash(*ill["remedy"].split()[1:])
    examine(catalog, status=0)


def test_without_a_database(tmp_path: Path) -> None:
    database = Unconfigured("", tmp_path)
    found = examine(database, status=0)
    assert only(found, "database.reach")["level"] == "note"
    assert found["facts"]["roots"][0]["error"] is None
    assert not (tmp_path / "home").exists()


def test_a_database_that_is_not_there(database: Database) -> None:
    database.dsn = f"host={database.root} dbname=x password=s3cret"
    found = examine(database, status=3)
    assert only(found, "database.reach")["text"].startswith("cannot reach database x on ")
    assert "s3cret" not in json.dumps(found)
    assert found["facts"]["roots"][0]["error"] is None


def test_a_malformed_option_is_a_usage_error(database: Database) -> None:
    assert "malformed" in database.fasthash("doctor", "--dsn", "a=b=c'", status=2).stderr


@pytest.mark.usefixtures("durable")
def test_roots(catalog: Database, tmp_path: Path) -> None:
    inner = catalog.root / "inner"
    inner.mkdir()
    missing = tmp_path / "missing"
    found = examine(catalog, "--root", str(inner), "--root", str(missing), status=4)
    assert only(found, "roots.exists")["text"] == f"{missing}: No such file or directory"
    nested = only(found, "roots.nested")
    assert nested["remedy"] == f'roots = ["{catalog.root}"]'
    found = examine(catalog, "--root-sentinel", ".mounted", status=4)
    ill = only(found, "roots.sentinel")
    subprocess.run(ill["remedy"], shell=True, check=True)
    examine(catalog, "--root-sentinel", ".mounted", status=0)


def test_a_wrong_root(catalog: Database, tmp_path: Path) -> None:
    for n in range(3):
        (catalog.root / f"f{n}").unlink()
    (catalog.root / "f0").symlink_to("/etc/passwd")
    catalog.add(10, "/etc/passwd")
    found = examine(catalog, status=1)
    assert only(found, "roots.files")["text"].startswith("0 of 4 sampled rows")
    assert only(found, "roots.files.no_file")["text"].startswith("2 of 4")
    assert only(found, "roots.files.outside_root")["text"].startswith("2 of 4")


def ordinary(database: Database) -> None:
    """Has it run as an ordinary user, whom modes concern: root without its capabilities is one."""
    if os.geteuid() == 0:
        database.prefix = ("setpriv", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs")


@pytest.fixture
def folder(tmp_path: Path) -> Database:
    """A root of mode 0700 in a closed-off place, and no database."""
    root = tmp_path / "way" / "root"
    root.mkdir(parents=True, mode=0o700)
    database = Unconfigured("", tmp_path)
    ordinary(database)
    database.root = root
    return database


@pytest.mark.parametrize(("mode", "level"), [(0o600, "problem"), (0o300, "note"), (0, "problem")])
def test_a_root_of_too_few_rights(folder: Database, mode: int, level: str) -> None:
    folder.root.chmod(mode)
    ill = only(examine(folder), "roots.access")
    assert ill["level"] == level
    for _ in range(1 if mode else 2):  # first to enter, then to list
        subprocess.run(only(examine(folder), "roots.access")["remedy"], shell=True, check=True)
    assert not of(examine(folder), "roots.access")


def test_a_way_that_is_closed(folder: Database) -> None:
    folder.root.parent.chmod(0o600)
    ill = only(examine(folder, status=4), "roots.access")
    assert str(folder.root.parent) in ill["text"]
    subprocess.run(ill["remedy"], shell=True, check=True)
    examine(folder, status=0)


def test_a_run_begins_where_it_may_enter(catalog: Database) -> None:
    """As the doctor says: listing is not needed, entering is."""
    ordinary(catalog)
    catalog.root.chmod(0o600)
    done = catalog.fasthash("run", "--root", str(catalog.root), status=4)
    assert "this user may not open anything in it" in done.stderr
    catalog.root.chmod(0o300)
    assert catalog.run("--limit", "2")["outcomes"]["hashed"] == 2


@pytest.fixture
def storage(catalog: Database) -> Iterator[FaultyFiles]:
    """The root of the catalog's files as a file system with faults."""
    try:
        file_system = FaultyFiles(catalog.root)
    except OSError as error:
        pytest.skip(f"wants to mount a FUSE file system: {error.strerror}")
    yield file_system
    file_system.close()


def never(count: int, answer: Answer) -> None:
    """Is not answered."""


def test_a_file_system_that_does_not_answer(catalog: Database, storage: FaultyFiles) -> None:
    """Its root is not waited for for ever, nor are its files; all else is looked at."""
    for n in range(3):
        storage.add(f"f{n}", b"x", open=never)
    found = examine(catalog, status=4)
    assert "while catalog files are looked for" in only(found, "roots.files")["text"]
    storage.release()
    storage.root_faults = {"getattr": never}
    found = examine(catalog, "--pause-file", str(catalog.root), status=4)
    assert "of the pause file" in only(found, "run.hold")["text"]
    ill = only(found, "roots.exists")
    assert "does not answer" in ill["text"]
    assert ill["remedy"] == f"umount -l {catalog.root} && mount {catalog.root}"
    assert found["facts"]["database"]["rows"]["with_path"] == 3
    storage.release()


def test_a_run_does_not_wait_for_a_dead_root_for_ever(
    catalog: Database, storage: FaultyFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the root that is dead, of several, and leaves no process that can still end."""
    monkeypatch.setattr(main_job, "ROOTS_ANSWER_S", 1.0)
    well = catalog.root.parent
    assert len(main_job.find_roots([str(well), str(catalog.root)], None)) == 2
    storage.root_faults = {"getattr": never}
    with pytest.raises(PreflightFailed, match=f"root {catalog.root}: .* not answer for 1 s"):
        main_job.find_roots([str(well), str(catalog.root)], None)
    storage.release()


@pytest.mark.usefixtures("durable")
def test_what_the_next_run_meets(database: Database) -> None:
    interrupted(database)
    found = examine(database)
    assert only(found, "run.open")["remedy"] == "fasthash run"
    other = examine(database, "--type", "figure", status=4)
    ill = only(other, "run.open")
    assert ill["remedy"].startswith("fasthash run")
    assert "is unfinished" in ill["text"]
    pause = database.root.parent / "stop it"
    pause.touch()
    held = only(examine(database, "--pause-file", str(pause), status=1), "run.hold")
    subprocess.run(held["remedy"], shell=True, check=True)
    assert not of(examine(database, "--pause-file", str(pause)), "run.hold")
    now = time.strftime("%H")
    window = f"{(int(now) + 2) % 24:02d}:00-{(int(now) + 3) % 24:02d}:00"
    held = only(examine(database, "--window", window, status=0), "run.hold")
    assert "outside the window" in held["text"]


def test_open_drift(catalog: Database) -> None:
    catalog.sql(
        "UPDATE artifacts SET metadata = %s WHERE id = 1", json.dumps({"file_sha256": "0" * 64})
    )
    catalog.run("--on-drift", "hold", status=1)
    ill = only(examine(catalog, status=1), "run.drifts")
    assert "drift 1" in catalog.fasthash(*ill["remedy"].split()[1:]).stdout


def test_machine(catalog: Database) -> None:
    catalog.environment["FASTHASH_NATIVE"] = "off"
    ill = only(examine(catalog, status=1), "machine.native")
    assert ill["remedy"] == "unset FASTHASH_NATIVE"
    found = examine(catalog, "--workers", "500")
    assert found["facts"]["workers"] == 500


def test_for_people(catalog: Database) -> None:
    catalog.sql(ILLS["catalog.metadata_index"])
    catalog.environment["COLUMNS"] = "80"
    done = catalog.fasthash("doctor", "--root", str(catalog.root), status=1)
    lines = done.stdout.splitlines()
    assert [x for x in lines if x and not x.startswith(" ")][:4] == [
        "this machine",
        "roots",
        "database",
        "the next run",
    ]
    remedies = [x for x in lines if x.startswith(" " * 12)]
    assert 'DROP INDEX CONCURRENTLY public."Odd ""name";' in [x.strip() for x in remedies]
    assert all(len(x) <= 80 for x in lines if x not in remedies)
    assert lines[-1].endswith("a run would work, but not as well as it could")
