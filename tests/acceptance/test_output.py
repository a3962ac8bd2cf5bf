"""Standard streams that are full, closed, or read by nobody: one line, silence, and the status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Database

ZEROS = "0" * 64
FULL = "fasthash: cannot write to standard output: No space left on device"
CLOSED = "fasthash: cannot write to standard output: Bad file descriptor"
COMMANDS = [
    ["--help"],
    ["run", "--help"],
    ["--version"],
    ["demo", "--help"],
    ["init"],
    ["init", "--print-sql"],
    ["grants", "pg_monitor"],
    ["register", "ROOT"],
    ["register", "ROOT", "--json"],
    ["run", "--quiet", "--root", "ROOT"],
    ["run", "--quiet", "--root", "ROOT", "--json"],
]


def prepare(database: Database) -> None:
    """A catalog of one row, in a table that `register` can add to."""
    (database.root / "f").write_text("x")
    database.fasthash("register", str(database.root))


@pytest.fixture
def catalog(copy_of: Callable[[Callable[[Database], None]], Database]) -> Database:
    return copy_of(prepare)


def write_to(
    database: Database, arguments: list[str], descriptor: int
) -> subprocess.CompletedProcess[str]:
    """Runs a command with this standard output."""
    words = [str(database.root) if word == "ROOT" else word for word in arguments]
    return subprocess.run(
        database.command(*words),
        env=database.env(),
        stdout=descriptor,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def into_full_disk(database: Database, arguments: list[str]) -> tuple[int, list[str]]:
    with Path("/dev/full").open("w") as full:
        done = write_to(database, arguments, full.fileno())
    return done.returncode, done.stderr.splitlines()


def into_closed_pipe(database: Database, arguments: list[str]) -> tuple[int, str]:
    """As with `| head -1` when `head` has gone already."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = write_to(database, arguments, writer)
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_line(catalog: Database, arguments: list[str]) -> None:
    assert into_full_disk(catalog, arguments) == (2, [FULL])


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_reader_who_has_gone_is_no_error(catalog: Database, arguments: list[str]) -> None:
    assert into_closed_pipe(catalog, arguments) == (0, "")


def by_shell(database: Database, arguments: list[str], to: str) -> tuple[int, str, str]:
    """Runs a command as a shell starts it with these redirections."""
    words = [str(database.root) if word == "ROOT" else word for word in arguments]
    script = f'"$@" {to}'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *database.command(*words)],
        env=database.env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_closed_standard_output_is_one_line(catalog: Database, arguments: list[str]) -> None:
    assert by_shell(catalog, arguments, ">&-") == (2, "", f"{CLOSED}\n")


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_without_an_input_and_a_log(catalog: Database, arguments: list[str]) -> None:
    status, said, _ = by_shell(catalog, arguments, "<&- 2>&-")
    assert status == 0
    assert said


@pytest.mark.parametrize("to", ["2>/dev/full", "2>&-", "<&- 2>&-"])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_that_nobody_gets_ends_nothing(catalog: Database, to: str, log_format: str) -> None:
    """Not the run, nor one of its processes: the interpreter's own flush would exit with 120."""
    (catalog.root / "g").write_text("y")
    catalog.fasthash("register", str(catalog.root))
    catalog.sql(
        "UPDATE artifacts SET metadata = %s::jsonb WHERE file_path LIKE '%%g'",
        f'{{"file_sha256": "{ZEROS}"}}',
    )
    catalog.environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    arguments = ["run", "--json", "--root", "ROOT", "--log-format", log_format]
    resolver = ["--resolver", "site_resolvers:talking", "--workers", "2"]
    status, out, _ = by_shell(catalog, [*arguments, *resolver], to)
    summary = json.loads(out)
    assert status == 1, "of the drift"
    assert summary["outcomes"]["hashed"] == 1
    assert summary["outcomes"]["drifted"] == 1


@pytest.mark.parametrize("to", ["2>/dev/full", "2>&-", ">/dev/full 2>/dev/full", ">&- 2>&-"])
def test_an_error_that_nobody_reads_has_its_status(catalog: Database, to: str) -> None:
    assert by_shell(catalog, ["nonsense"], to)[0] == 2
    assert by_shell(catalog, ["summary", "77"], to)[0] == 2
    catalog.dsn = "host=127.0.0.1 port=1 dbname=nowhere"
    assert by_shell(catalog, ["run", "--root", "ROOT"], to)[0] == 4


def test_what_was_lost_at_the_end_is_no_success(catalog: Database) -> None:
    """What is buffered when a signal ends it goes nowhere, and the status is the signal's."""
    reader, writer = os.pipe()
    with os.fdopen(reader), Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", WRITES_AND_ENDS], stdout=full, stderr=writer, check=False
        )
        os.close(writer)
    assert done.returncode == 143


WRITES_AND_ENDS = """
import click, os, signal, sys
from fasthash import cli

def write(*_args, **_kwargs):
    sys.stdout.write("not flushed")
    os.kill(os.getpid(), signal.SIGTERM)

cli.cli.main = write
cli.main([])
"""


def test_how_a_run_ended_goes_before_who_reads_of_it(catalog: Database) -> None:
    catalog.sql("UPDATE artifacts SET metadata = %s::jsonb", f'{{"file_sha256": "{ZEROS}"}}')
    status, said = into_closed_pipe(catalog, ["run", "--quiet", "--root", "ROOT"])
    assert status == 1
    assert "DRIFT" in said
    assert len(said.splitlines()) == 1


def test_a_run_that_cannot_say_so_is_done_nevertheless(catalog: Database) -> None:
    assert into_full_disk(catalog, ["run", "--quiet", "--root", "ROOT"]) == (2, [FULL])
    assert catalog.sql("SELECT metadata ? 'file_sha256' AS done FROM artifacts") == [{"done": True}]
    assert catalog.run()["rows_scanned"] == 0


def test_scripts_are_in_utf_8_whatever_the_locale(catalog: Database) -> None:
    catalog.sql('CREATE ROLE "größe 図"')
    catalog.environment["PYTHONIOENCODING"] = "latin-1"
    try:
        done = subprocess.run(
            catalog.command("grants", "größe 図"),
            env=catalog.env(),
            capture_output=True,
            check=True,
        )
    finally:
        catalog.sql('DROP ROLE "größe 図"')
    assert '"größe 図";' in done.stdout.decode("utf-8")
