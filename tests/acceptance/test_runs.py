"""`fasthash runs`, and which of them `status` means; what is known to be bad belongs to none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Database
from oracle import until
from test_scrub import fill


def runs(database: Database, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(database.fasthash("runs", "--json", *arguments).stdout)
    return found


def test_none_yet(database: Database) -> None:
    assert runs(database) == []
    assert "there is no run yet" in database.fasthash("runs").stdout
    assert "there is no run 7" in database.fasthash("runs", "show", "7", status=2).stderr


def test_what_each_came_to(database: Database) -> None:
    paths = fill(database, 10)
    database.run()
    paths[2].write_bytes(b"changed")
    paths[4].unlink()
    database.scrub("--type", "figure", "--limit", "8", status=1)
    database.fasthash("revert", "1", status=None)
    undoing, scrub, first = runs(database)
    assert [first["rows_updated"], first["undone_by"]] == [10, undoing["run_id"]]
    assert (undoing["kind"], undoing["options"]) == ("revert", {"of": 1})
    assert (scrub["drift_events"], scrub["rows_skipped_no_file"]) == (1, 1)
    assert "evidence" not in first["options"]
    assert runs(database, "--last", "1") == [undoing]
    lines = database.fasthash("runs").stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["3", "revert", "complete"], ["2", "scrub", "complete"], ["1", "backfill", "complete"],
    ]  # fmt: skip
    assert lines[3].endswith("; undone by run 3")
    shown = database.fasthash("runs", "show", "2").stdout
    assert "run 2 (scrub) of public.artifacts: complete" in shown
    assert "  limit     8\n" in shown
    assert "  types     figure\n" in shown
    assert "`fasthash revert 2 --dry-run`" in shown
    assert "undone by run 3" in database.fasthash("runs", "show", "1").stdout
    database.fasthash("prune", "--keep-last", "1")
    assert runs(database)[2]["pruned_at"] is None, "the last complete one of a kind is kept"


def test_a_live_one_is_not_hidden_by_a_later_one(database: Database, tmp_path: Path) -> None:
    fill(database, 10)
    pause = tmp_path / "pause"
    pause.touch()
    live = database.start("--pause-file", str(pause))
    until(lambda: database.sql("SELECT 1 FROM fasthash.run"), "it has begun")
    database.scrub(status=None)
    assert [(r["run_id"], r["is_live"]) for r in runs(database)] == [(1, True), (2, False)]
    assert json.loads(database.fasthash("status", "--json").stdout)["run_id"] == 1
    assert json.loads(database.fasthash("status", "2", "--json").stdout)["run_id"] == 2
    pause.unlink()
    live.communicate(timeout=PATIENCE_S)
    assert json.loads(database.fasthash("status", "--json").stdout)["run_id"] == 2


@pytest.mark.parametrize("part", [["--sample", "1%"], ["--type", "nothing"]])
def test_a_scrub_of_a_part_gives_no_all_clear(database: Database, part: list[str]) -> None:
    paths = fill(database, 12)
    database.add(100, "other", artifact_type="nothing")
    (database.root / "other").write_text("x")
    database.run()
    paths[3].write_bytes(b"changed")
    paths[4].unlink()
    database.scrub("--on-drift", "hold", status=1)
    database.fasthash("drift", "reject", "1")
    done = database.scrub(*part, status=1)
    assert (done["drift_open"], done["residual"], done["freshness"]["rows_bad"]) == (0, {}, 2)
    text = database.fasthash("summary").stdout
    assert "11 of 13 rows with a hash were verified at " in text
    assert "2 rows are known to be bad: `fasthash residual --known-bad`" in text
    report = json.loads(database.fasthash("report", "--json").stdout)
    assert report["verdict"]["level"] == "bad"
    assert "2 files that an earlier scrub found damaged" in report["verdict"]["sentence"]
    assert any("for a part of the catalog" in note for note in report["verdict"]["notes"])
    assert report["catalog"]["rows_known_bad"] == 2
    bad = json.loads(database.fasthash("residual", "--known-bad", "--json").stdout)
    assert [(row["row_id"], row["reason"]) for row in bad] == [("4", "no_file"), ("3", "modified")]
    assert bad[1]["detail"] == "drift 1, rejected"
    some = database.fasthash("residual", "--known-bad", "--reason", "no_file", "--json").stdout
    assert [row["row_id"] for row in json.loads(some)] == ["4"]
    database.sql("DELETE FROM artifacts WHERE id IN (3, 4)")
    assert database.scrub()["freshness"]["rows_bad"] == 0
    assert "no row is known to be bad" in database.fasthash("residual", "--known-bad").stdout


def test_the_next_step_names_a_table_that_is_not_the_default_one(database: Database) -> None:
    fill(database, 20)
    database.sql("CREATE TABLE other (LIKE artifacts INCLUDING ALL)")
    database.sql("INSERT INTO other SELECT * FROM artifacts")
    database.run("--table", "other", "--budget", "2000", "--range-rows", "5")
    command = json.loads(database.fasthash("status", "--json").stdout)["goes_on_by"]
    assert command == f"fasthash run --root {database.root} --table public.other"
    assert f"`{command}` goes on from here" in database.fasthash("summary").stdout
    database.fasthash(*command.split()[1:])
    assert runs(database)[0]["state"] == "complete"
