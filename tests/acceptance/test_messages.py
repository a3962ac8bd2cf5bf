"""What is typed wrong is answered with what, why, and what to write in its place."""

from __future__ import annotations

from conftest import Database
from test_scrub import fill


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
    fill(database, 2)
    database.run()
    assert "run 1 is not under way" in complains(database, "rate", "1MB/s", "--run", "1")
