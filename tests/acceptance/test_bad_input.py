"""What bad input gets: one clear line, the right exit status, nothing half-written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from conftest import Database


@pytest.fixture
def small(database: Database) -> Database:
    """A catalog of one row."""
    database.environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    database.make_table()
    (database.root / "f").write_text("x")
    database.add(1, "f")
    return database


def complaint(database: Database, *arguments: str, status: int) -> str:
    """The one line that a command says on stderr."""
    done = database.fasthash(*arguments, status=status)
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1, lines
    assert lines[0].startswith("fasthash: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--table", "artifact"], 4, ["no table artifact", "artifacts"]),
        (["--table", "public.artifactz"], 4, ["public.artifactz", "public.artifacts"]),
        (["--table", "a.b.c"], 2, ["no table name"]),
        (["--path-column", "filepath"], 4, ["no column filepath", "file_path"]),
        (["--metadata-column", "content_hash"], 4, ["text", "jsonb"]),
        (["--id-column", "file_path"], 4, ["unique"]),
        (["--chunk-size", "12 parsecs"], 2, ["no size"]),
        (["--chunk-size", "1"], 2, ["out of bounds"]),
        (["--db-timeout", "soon"], 2, ["no duration"]),
        (["--type", "figur"], 4, ["figur", "figure"]),
        (["--workers", "0"], 2, ["--workers"]),
        (["--limit", "-3"], 2, ["--limit"]),
        (["--reader", "magic"], 2, ["readinto", "mmap"]),
        (["--resolver", "nothing"], 2, ["package.module:function"]),
        (["--resolver", "no_such_module:f"], 2, ["no_such_module"]),
        (["--resolver", "os:no_such_function"], 2, ["no_such_function"]),
        (["--resolver", "os:sep"], 2, ["not a function"]),
        (["--update-function", "no_such_function"], 4, ["no_such_function"]),
        (["--config", "/no/such.toml"], 2, ["/no/such.toml"]),
        (["--no-such-option"], 2, ["--no-such-option"]),
    ],
)
def test_run_refuses(small: Database, arguments: list[str], status: int, words: list[str]) -> None:
    line = complaint(small, "run", "--root", str(small.root), *arguments, status=status)
    for word in words:
        assert word in line, line
    assert small.sql("SELECT count(*) AS n FROM fasthash.run")[0]["n"] == 0
    assert small.metadata(1) is None


def test_roots(small: Database) -> None:
    assert "no root" in complaint(small, "run", status=4)
    line = complaint(small, "run", "--root", "/no/such/dir", status=4)
    assert "/no/such/dir" in line
    line = complaint(small, "run", "--root", str(small.root / "f"), status=4)
    assert "Not a directory" in line
    line = complaint(
        small, "run", "--root", str(small.root), "--root-sentinel", ".mounted", status=4
    )
    assert ".mounted" in line


def test_unknown_command(small: Database) -> None:
    assert "summary" in complaint(small, "sumary", status=2)


def test_run_before_init(small: Database) -> None:
    small.sql("DROP SCHEMA fasthash CASCADE")
    assert "fasthash init" in complaint(small, "run", "--root", str(small.root), status=4)
    assert "fasthash init" in complaint(small, "status", status=4)


def test_unreachable_database(small: Database) -> None:
    for dsn in ("host=/no/such/socket", "host=127.0.0.1 port=1 password=hunter2 user=u"):
        small.environment["FASTHASH_DSN"] = dsn
        line = complaint(small, "run", "--root", str(small.root), status=4)
        assert "cannot reach" in line
        assert "hunter2" not in line
    small.environment["FASTHASH_DSN"] = "host= = hunter2"
    line = complaint(small, "run", "--root", str(small.root), status=2)
    assert "hunter2" not in line


def test_missing_privileges_name_the_grant(small: Database) -> None:
    role = f'o"dd {small.root.name}'
    quoted = '"' + role.replace('"', '""') + '"'
    small.sql(f"CREATE ROLE {quoted} LOGIN")
    user = Database(psycopg.conninfo.make_conninfo(small.dsn, user=role), small.root)
    try:
        # One privilege at a time, until the kinds of them have all been named; then the others.
        for n in range(25):
            if n == 15:
                for line in small.fasthash("grants", role).stdout.splitlines():
                    small.sql(line)
            done = user.fasthash("run", "--root", str(small.root), status=None)
            if done.returncode == 0:
                break
            assert done.returncode == 4, done.stderr
            if "GRANT" in done.stderr:
                grant = "GRANT" + done.stderr.split("GRANT", 1)[1].split(";")[0]
            else:
                assert "fasthash grants" in done.stderr
                grant = f"GRANT USAGE ON SCHEMA fasthash TO {quoted}"
            small.sql(grant)
        else:
            raise AssertionError("the named grants never sufficed")
    finally:
        small.sql(f"DROP OWNED BY {quoted}")
        small.sql(f"DROP ROLE {quoted}")
    assert small.metadata(1)["file_size_bytes"] == 1


def test_configuration_file(small: Database, tmp_path: Path) -> None:
    file = tmp_path / "fasthash.toml"
    file.write_text('tabel = "artifacts"\n')
    arguments = ("run", "--config", str(file))
    assert "table" in complaint(small, *arguments, status=2)
    file.write_text("not toml")
    assert "TOML" in complaint(small, *arguments, status=2)
    file.write_text(f'roots = ["{small.root}"]\n')
    file.chmod(0o666)
    assert "everybody can write" in complaint(small, *arguments, status=2)
    file.chmod(0o600)
    small.fasthash(*arguments)
    assert small.metadata(1)["file_size_bytes"] == 1


def test_flags_beat_environment_beats_file(small: Database, tmp_path: Path) -> None:
    file = tmp_path / "fasthash.toml"
    file.write_text('table = "from_file"\n')
    arguments = ["run", "--config", str(file), "--root", str(small.root)]
    assert "from_file" in complaint(small, *arguments, status=4)
    small.environment["FASTHASH_TABLE"] = "from_environment"
    assert "from_environment" in complaint(small, *arguments, status=4)
    small.fasthash(*arguments, "--table", "artifacts")


def test_resolver_from_a_writable_place_is_refused(small: Database, tmp_path: Path) -> None:
    module = tmp_path / "loose_resolver.py"
    module.write_text("def f(text):\n    return text\n")
    module.chmod(0o666)
    small.environment["PYTHONPATH"] = str(tmp_path)
    line = complaint(
        small, "run", "--root", str(small.root), "--resolver", "loose_resolver:f", status=2
    )
    assert "everybody can write" in line


def test_resolvers(small: Database) -> None:
    (small.root / "by-name").mkdir()
    (small.root / "by-name" / "n").write_text("named")
    small.add(2, "store:n")
    small.add(3, "ftp:n")
    root = str(small.root)
    summary = small.run("--resolver", "site_resolvers:prefixed", status=1)
    assert summary["outcomes"]["hashed"] == 1
    assert summary["outcomes"]["no_file"] == 2
    assert small.metadata(2)["file_size_bytes"] == 5
    small.sql("UPDATE artifacts SET metadata = NULL, file_path = 'f'")
    done = small.fasthash("run", "--root", root, "--resolver", "site_resolvers:shouting")
    assert "resolving" not in done.stdout
    assert small.metadata(3)["file_size_bytes"] == 1
    small.sql("UPDATE artifacts SET metadata = NULL, file_path = 'f2'")
    summary = small.run("--resolver", "site_resolvers:raising", status=1)
    assert summary["residual"] == {"unreadable": 3}


def test_metadata_of_the_wrong_type(small: Database) -> None:
    for row_id, value in enumerate(([1], "text", 5, True), start=10):
        small.add(row_id, "f", value)
    small.sql("INSERT INTO artifacts VALUES (20, 'figure', 'f', 'null', '')")
    summary = small.run(status=1)
    assert summary["residual"] == {"bad_metadata": 5}
    assert summary["outcomes"]["hashed"] == 1
    assert [small.metadata(n) for n in (10, 11, 12, 13, 20)] == [[1], "text", 5, True, None]


def test_help_names_the_exit_statuses(make_database: Callable[[], Database]) -> None:
    database = make_database()
    for arguments in ([], ["run"]):
        text = database.fasthash(*arguments, "--help").stdout
        for status in ("0  ", "1  ", "2  ", "3  ", "4  ", "130/143"):
            assert status in text


def test_runs_as_a_module(small: Database) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "fasthash", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    )
    assert done.stdout.startswith("fasthash, version ")
