"""Undoing a run: only what still stands is put back, and every other key survives."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from conftest import Database, sha256
from test_scrub import fill
from test_signals import on_a_terminal, shown

OLD = {"file_sha256": "ab" * 32, "file_size_bytes": 7, "title": "t"}


def revert(database: Database, *arguments: str, status: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        database.fasthash("revert", *arguments, "--json", status=status).stdout
    )
    return found


def everything(database: Database) -> list[Any]:
    return [r["metadata"] for r in database.sql("SELECT metadata FROM artifacts ORDER BY id")]


@pytest.mark.parametrize("kind", ["jsonb", "json"])
def test_all_is_as_it_was(database: Database, kind: str) -> None:
    fill(database, 2_500)
    database.sql(f"ALTER TABLE artifacts ALTER metadata TYPE {kind} USING metadata::{kind}")
    database.sql("UPDATE artifacts SET metadata = %s WHERE id < 5", json.dumps(OLD))
    before = everything(database)
    database.fasthash("init")
    database.run("--algorithm", "sha256,blake3", status=1)
    written = everything(database)
    found = revert(database, "1", "--dry-run")
    assert found == {"run_id": None, "of": 1, "dry_run": True, "reverted": 2_500, "changed": 0,
                     "gone": 0, "locked": 0, "refused": 0, "left": []}  # fmt: skip
    assert everything(database) == written
    assert revert(database, "1")["reverted"] == 2_500
    assert everything(database) == before
    again = revert(database, "1")
    assert (again["reverted"], again["changed"]) == (0, 2_500)
    assert database.run(status=1)["outcomes"]["hashed"] == 2_495, "they are hashed anew"


def test_only_what_still_stands(database: Database) -> None:
    paths = fill(database, 10)
    database.fasthash("init")
    database.run()
    paths[3].write_bytes(b"changed")
    # The stamps of all were old when they were read: a scrub has no news of them but for one.
    database.sql("UPDATE fasthash.journal SET read_at_ns = read_at_ns + 10000000000")
    database.scrub(status=1)  # writes all markers anew
    database.sql("UPDATE artifacts SET metadata = metadata || '{\"note\": 1}' WHERE id = 4")
    database.sql("DELETE FROM artifacts WHERE id = 5")
    before = everything(database)
    assert revert(database, "1") | {"run_id": 0} == {
        "run_id": 0, "of": 1, "dry_run": False, "reverted": 0, "changed": 9, "gone": 1, "locked": 0,
        "refused": 0, "left": [],
    }  # fmt: skip
    assert everything(database) == before
    found = revert(database, "2")
    assert found["reverted"] == 1, "what was only confirmed keeps its newer marker"
    after = everything(database)
    assert all("file_sha256" in row for row in after), "as they were after the first run"
    assert after[4]["note"] == 1
    journal = json.loads(database.fasthash("journal", "3", "--json").stdout)
    assert [row["kind"] for row in journal] == ["backfill", "scrub", "revert"]
    assert journal[2]["old_keys"] == {k: v for k, v in before[3].items() if k != "title"}


def test_locked_rows_are_not_waited_for(database: Database) -> None:
    fill(database, 10)
    database.fasthash("init")
    database.run()
    with database.connect() as other, other.transaction():
        other.execute("SELECT 1 FROM artifacts WHERE id = 3 FOR UPDATE")
        found = revert(database, "1", status=1)
        assert (found["reverted"], found["locked"]) == (9, 1)
    assert revert(database, "1")["reverted"] == 1
    assert all("file_sha256" not in row for row in everything(database))


def test_an_interrupted_one_goes_on(database: Database) -> None:
    fill(database, 3_000)
    database.fasthash("init")
    database.run()
    database.sql(
        "INSERT INTO fasthash.run (catalog, kind, options, host) "
        "VALUES ('public.artifacts', 'revert', '{\"of\": 1}', 'elsewhere')"
    )
    database.sql("UPDATE artifacts SET metadata = '{}' WHERE id < 1200")  # as if it had got there
    found = revert(database, "1")
    assert (found["run_id"], found["reverted"], found["changed"]) == (2, 1_800, 1_200)
    assert database.fasthash("revert", "99", status=2).stderr.strip().endswith("no run 99")


def test_another_is_refused_while_one_is_unfinished(database: Database) -> None:
    fill(database, 5)
    database.fasthash("init")
    database.run()
    database.scrub()
    database.sql(
        "INSERT INTO fasthash.run (catalog, kind, options, host) "
        "VALUES ('public.artifacts', 'revert', '{\"of\": 1}', 'elsewhere')"
    )
    assert "`fasthash revert 1` first" in database.fasthash("revert", "2", status=2).stderr


def test_later_runs_are_named_the_latest_first(database: Database) -> None:
    paths = fill(database, 10)
    database.run()
    for n in (3, 4):
        paths[n].write_bytes(b"changed %d" % n)
        database.scrub(status=1)
    done = database.fasthash("revert", "1", "--dry-run")
    assert "later runs have written, too: 3 (scrub), 2 (scrub); " in done.stderr
    assert done.stderr.endswith("revert the latest first: 3, 2\n")
    assert done.stdout.startswith("0 rows would be put back")
    assert "10 have another hash or marker since" in done.stdout
    assert database.fasthash("revert", "3").stderr == ""
    assert database.metadata(4)["file_sha256"] != sha256(paths[4])
    assert "undone by run 4: what it wrote was put back" in database.fasthash("summary", "3").stdout
    notes = json.loads(database.fasthash("report", "3", "--json").stdout)["verdict"]["notes"]
    assert "What this run wrote was put back as it was before, by run 4." in notes
    assert "too: 2 (scrub); " in database.fasthash("revert", "1", "--dry-run").stderr


@pytest.mark.parametrize("answer", ["n", "y", None])
def test_it_asks_on_a_terminal(database: Database, answer: str | None) -> None:
    fill(database, 3)
    before = everything(database)
    database.run()
    written = everything(database)
    command = database.command("revert", "1", *([] if answer else ["--yes"]))
    with on_a_terminal(command, database.env()) as (pid, terminal):
        text = b""
        if answer:
            text = shown(terminal, lambda text: b"[y/N]" in text)
            assert b"run 1: 3 rows would be put back, 0 have another hash or marker" in text
            assert everything(database) == written
            os.write(terminal, f"{answer}\n".encode())
        text += shown(terminal, lambda _: False)
        _, status = os.waitpid(pid, 0)
    if answer == "n":
        assert b"not confirmed: nothing was changed" in text
        assert (os.waitstatus_to_exitcode(status), everything(database)) == (2, written)
    else:
        assert b"3 rows put back" in text
        assert (os.waitstatus_to_exitcode(status), everything(database)) == (0, before)
