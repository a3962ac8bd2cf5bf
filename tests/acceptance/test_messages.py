"""What is typed wrong is answered with what, why, and what to write in its place."""

from __future__ import annotations

from unittest import mock

from conftest import Database
from test_scrub import fill

from fasthash.store import preflight


def complains(database: Database, *arguments: str, status: int = 2) -> str:
    (line,) = database.fasthash(*arguments, status=status).stderr.splitlines()
    assert line.startswith("fasthash: ")
    return line


def test_values(database: Database) -> None:
    root = ("--root", str(database.root))
    assert "'fast' is no rate: write 50MB/s, or off" in complains(
        database, "run", *root, "--rate", "fast"
    )
    said = complains(database, "scrub", *root, "--older-than", "90")
    assert "'90' has no unit: write 90s, 5min, 12h, 90d, 12w, 3mo or 1y" in said
    assert "did you mean register?" in complains(database, "list")
    database.environment["FASTHASH_ROOT"] = str(database.root)
    said = complains(database, "run")
    assert "FASTHASH_ROOT sets nothing; did you mean FASTHASH_ROOTS?" in said


def test_connection_strings(database: Database) -> None:
    dsn, secret = database.dsn, "s3cret word"
    for text, says in {
        f"{dsn} usr=me": "libpq knows no option usr; did you mean user?",
        f"{dsn} password={secret}": "write key=value pairs",
        f"{dsn} password='{secret}": "write key=value pairs",
    }.items():
        said = complains(database, "status", "--dsn", text)
        assert (
            f"the database connection string (--dsn) is malformed: {says}" in said or says in said
        )
        assert "s3cret" not in said
        assert "word'" not in said
    said = complains(database, "status", "--dsn", f"{dsn} dbname=no_such", status=4)
    assert said.endswith("; check --dsn (or FASTHASH_DSN, PGHOST, PGSERVICE)")
    said = complains(database, "status", "--dsn", f"{dsn} user=nobody_here", status=4)
    assert "; check user and password in --dsn " in said
    said = complains(database, "status", "--dsn", "host=127.0.0.1 port=1", status=4)
    assert said.endswith(" and that the server runs")


def test_tables_and_runs(database: Database) -> None:
    name = database.sql("SELECT current_database() AS name")[0]["name"]
    root = ("--root", str(database.root))
    said = complains(database, "run", *root, "--table", "figures", status=4)
    assert f"there is no table figures in database {name}" in said
    with mock.patch.object(preflight, "OLDEST_SERVER", 990_000):
        said = complains(database, "run", *root, status=4)
        version = database.sql("SHOW server_version")[0]["server_version"]
        assert f"the server is version {version}; fasthash needs PostgreSQL" in said
    fill(database, 2)
    said = complains(database, "run", *root, "--id-column", "file_path", status=4)
    assert "columns that have one: id (--id-column)" in said
    database.sql("CREATE TABLE bare (LIKE artifacts)")
    said = complains(database, "run", *root, "--table", "bare", status=4)
    assert "; `fasthash doctor` shows how to create one" in said
    database.run()
    assert "run 1 is not under way" in complains(database, "rate", "1MB/s", "--run", "1")
