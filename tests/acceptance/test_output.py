"""Standard output that cannot be written, or that nobody reads: one line or silence."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import Database

ZEROS = "0" * 64
FULL = "fasthash: cannot write to standard output: No space left on device"
COMMANDS = [
    ["init"],
    ["init", "--print-sql"],
    ["grants", "pg_monitor"],
    ["register", "ROOT"],
    ["register", "ROOT", "--json"],
    ["run", "--quiet", "--root", "ROOT"],
    ["run", "--quiet", "--root", "ROOT", "--json"],
]


@pytest.fixture
def catalog(database: Database) -> Database:
    """A catalog of one row, in a table that `register` can add to."""
    (database.root / "f").write_text("x")
    database.fasthash("register", str(database.root))
    return database


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
        timeout=60,
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
