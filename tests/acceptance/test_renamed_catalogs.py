"""A catalog is the table that it is, whatever it is called: its history goes with it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Database, drop_database
from pgserver import PgServer

from fasthash.config import CatalogNames
from fasthash.store import naming, session
from fasthash.store.catalog import find_catalog


@pytest.fixture
def database(each_database: Database) -> Database:
    return each_database


def make(database: Database, table: str, content: str, *, rows: int = 3) -> None:
    """A catalog whose files are of its own, all of it hashed."""
    database.sql(
        f"CREATE TABLE {table} (id bigint PRIMARY KEY, artifact_type text, file_path text, "
        "metadata jsonb)"
    )
    for n in range(rows):
        (database.root / f"{content}{n}").write_text(content)
        database.sql(f"INSERT INTO {table} VALUES (%s, 'a', %s, '{{}}')", n, f"{content}{n}")
    database.run("--table", table)


def journal(database: Database, table: str) -> list[int]:
    """The runs that have written row 1 of a table."""
    done = database.fasthash("journal", "1", "--table", table, "--json")
    return [row["run_id"] for row in json.loads(done.stdout)]


def summary(database: Database, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(database.fasthash("summary", *arguments, "--json").stdout)
    return found


def names(database: Database) -> list[tuple[str, str | None]]:
    rows = database.sql("SELECT name, table_name FROM fasthash.catalog ORDER BY catalog_no")
    return [(row["name"], row["table_name"]) for row in rows]


def test_renamed_and_moved(database: Database) -> None:
    make(database, "artifacts", "x")
    (database.root / "x1").write_text("rotten")
    database.scrub("--on-drift", "hold", status=1)
    before = names(database)
    database.sql("CREATE SCHEMA other")
    database.sql("ALTER TABLE artifacts SET SCHEMA other")
    database.sql('ALTER TABLE other.artifacts RENAME TO "New one"')
    table = 'other."New one"'
    assert journal(database, table) == [1]
    assert summary(database, "--table", table)["catalog"] == table
    assert f"of {table}" in database.fasthash("status", "2").stdout
    database.fasthash("report", "2", "--output", str(database.root / "page.html"))
    assert names(database) == before, "whoever only looks writes nothing"
    database.fasthash("drift", "reject", "--all", "--table", table)
    again = database.run("--table", table)
    assert again["rows_scanned"] == 0, "it was hashed before"
    assert names(database) == [("public.artifacts", "New one")]
    found = json.loads(database.fasthash("revert", "1", "--table", table, "--json").stdout)
    assert found["reverted"] == 1, "two were confirmed since"


def test_swapped_names(database: Database) -> None:
    make(database, "a", "x")
    make(database, "b", "y")
    for old, new in (("a", "old"), ("b", "a")):
        database.sql(f"ALTER TABLE {old} RENAME TO {new}")
    assert (journal(database, "a"), journal(database, "old")) == ([2], [1])
    assert database.run("--table", "a")["rows_scanned"] == 0
    assert names(database) == [("public.a", "old"), ("public.b", "a")]
    database.sql("ALTER TABLE old RENAME TO b")
    make(database, "c", "z")
    assert database.run("--table", "b")["rows_scanned"] == 0
    assert names(database)[:2] == [("public.a", "b"), ("public.b", "a")]
    refused = database.fasthash("revert", "1", "--table", "a", status=2)
    assert "run 1 is of public.b: name it with --table" in refused.stderr
    latest = [summary(database, "--table", table)["run_id"] for table in ("a", "b", "c")]
    assert latest == [3, 5, 4]


def test_a_new_table_of_an_old_name(database: Database) -> None:
    make(database, "a", "x")
    database.sql("ALTER TABLE a RENAME TO old")
    make(database, "a", "y")
    assert names(database) == [("public.a", "old"), ("public.a #2", "a")]
    assert (journal(database, "a"), journal(database, "old")) == ([2], [1])
    assert summary(database, "2")["catalog"] == "public.a"


def test_a_table_that_was_made_anew(database: Database) -> None:
    make(database, "a", "x")
    database.sql("CREATE TABLE b (LIKE a INCLUDING ALL)")
    database.sql("DROP TABLE a")
    database.sql("ALTER TABLE b RENAME TO a")
    done = database.fasthash("run", "--table", "a", "--root", str(database.root))
    assert "public.a is another table than before" in done.stderr
    assert journal(database, "a") == [1]
    again = database.fasthash("run", "--table", "a", "--root", str(database.root))
    assert "another table" not in again.stderr


def test_names_with_dots(database: Database) -> None:
    database.sql('CREATE SCHEMA a; CREATE SCHEMA "a.b"')
    for schema, table, content in (('"a.b"', "c", "x"), ("a", '"b.c"', "y")):
        make(database, f"{schema}.{table}", content)
    assert [n for n, _ in names(database)] == ['"a.b".c', 'a."b.c"']
    assert (journal(database, '"a.b".c'), journal(database, 'a."b.c"')) == ([1], [2])


@pytest.fixture
def server_database(each_server: PgServer, tmp_path: Path) -> Iterator[Database]:
    """A database on a server whose tools are known."""
    with psycopg.connect(each_server.dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE dumped")
    (tmp_path / "dumped").mkdir()
    dsn = psycopg.conninfo.make_conninfo(each_server.dsn, dbname="dumped")
    database = Database(dsn, tmp_path / "dumped")
    database.fasthash("init")
    yield database
    with psycopg.connect(each_server.dsn, autocommit=True) as admin:
        drop_database(admin, "dumped")


def test_dump_and_restore(server_database: Database, each_server: PgServer) -> None:
    """Its names go with it; the oids are others, and may be those of any table."""
    database = server_database
    make(database, "a", "x")
    make(database, "b", "y")
    for old, new in (("a", "swap"), ("b", "a"), ("swap", "b")):
        database.sql(f"ALTER TABLE {old} RENAME TO {new}")
    for table in ("a", "b"):
        database.run("--table", table)
    dump = each_server.binaries / "pg_dump"
    text = subprocess.run(
        [str(dump), database.dsn], check=True, capture_output=True, text=True
    ).stdout
    with psycopg.connect(each_server.dsn, autocommit=True) as admin:
        drop_database(admin, "restored")
        admin.execute("CREATE DATABASE restored")
    copy = Database(
        psycopg.conninfo.make_conninfo(each_server.dsn, dbname="restored"), database.root
    )
    subprocess.run(
        [str(each_server.binaries / "psql"), "-q", "-v", "ON_ERROR_STOP=1", copy.dsn],
        input=text, check=True, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    # As if the tables had got the oids that the others had.
    copy.sql(
        "UPDATE fasthash.catalog SET table_oid = "
        "CASE table_name WHEN 'a' THEN 'b' ELSE 'a' END::regclass"
    )
    assert (journal(copy, "a"), journal(copy, "b")) == ([2], [1])
    done = copy.fasthash("run", "--table", "a", "--root", str(copy.root))
    assert "another table" not in done.stderr
    copy.sql("ALTER TABLE a RENAME TO new")
    assert journal(copy, "new") == [2]


def test_a_ledger_of_an_earlier_version(database: Database) -> None:
    """Names were not quoted: they are taken where only one table can be meant."""
    database.sql('CREATE SCHEMA a; CREATE SCHEMA "a.b"')
    for table in ("public.plain", 'a."x.y"', 'a."b.c"', '"a.b".c'):
        database.sql(f"CREATE TABLE {table} (id int)")
    database.sql("DROP SCHEMA fasthash CASCADE")
    from fasthash.store.queries import script
    from fasthash.store.schema import MIGRATIONS

    with database.connect() as connection:
        for migration in MIGRATIONS[:4]:
            connection.execute(script(migration, migration).encode())
    for name in ("public.plain", "a.x.y", "a.b.c", "public.gone"):
        database.sql(
            "INSERT INTO fasthash.run (catalog, kind, options, host) "
            "VALUES (%s, 'backfill', '{}', 'h')",
            name,
        )
    database.fasthash("init")
    found = database.sql(
        "SELECT name, table_schema, table_name, table_oid IS NOT NULL AS known "
        "FROM fasthash.catalog ORDER BY name"
    )
    assert [tuple(row.values()) for row in found] == [
        ("a.b.c", None, None, False),
        ("a.x.y", "a", "x.y", True),
        ("public.gone", "public", "gone", False),
        ("public.plain", "public", "plain", True),
    ]


def test_two_that_meet_a_table_first_call_it_the_same(database: Database) -> None:
    """One notes the table just after the other has looked for it for the first time."""
    database.make_table()
    names_of = CatalogNames("artifacts")
    with (
        session.connect_once(database.dsn, "a") as one,
        session.connect_once(database.dsn, "b") as other,
    ):
        execute, looks = one.execute, []

        def interrupted(statement: Any, key: Any = None) -> Any:
            found = execute(statement, key)
            if "fasthash.catalog c" in str(statement) and not looks:
                looks.append(statement)
                naming.note(other, find_catalog(other, names_of))
            return found

        one.execute = interrupted  # type: ignore[method-assign]
        naming.note(one, find_catalog(one, names_of))
    assert looks
    assert names(database) == [("public.artifacts", "artifacts")]
