"""What a trigger does not let be written is not counted, journaled or told as written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import Database, sha256

OLD = (1_600_000_000, 1_600_000_000)
STUBBORN = (3, 4)
CHANGED = {
    "skips": "RETURN NULL;",
    "restores": "NEW.metadata := OLD.metadata; RETURN NEW;",
    "strips": "NEW.metadata := NEW.metadata - 'file_sha256'; RETURN NEW;",
    "alters": "NEW.metadata := NEW.metadata || '{\"file_size_bytes\": 7}'; RETURN NEW;",
    "takes marker": "NEW.metadata := NEW.metadata - 'file_sha256_computed_at'; RETURN NEW;",
}
AFTER = (
    "IF pg_trigger_depth() < 2 THEN "
    "UPDATE artifacts SET metadata = OLD.metadata WHERE id = NEW.id; END IF; RETURN NULL;"
)


def stand_in_the_way(database: Database, how: str) -> None:
    """Rows 3 and 4 do not take what is written to them."""
    body = CHANGED.get(how, AFTER)
    database.sql(
        f"CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} "
        "END $$"
    )
    condition = "WHEN (NEW.id IN (3, 4)) EXECUTE FUNCTION meddle()"
    if how == "at commit":
        database.sql(
            "CREATE CONSTRAINT TRIGGER meddle AFTER UPDATE ON artifacts DEFERRABLE INITIALLY "
            f"DEFERRED FOR EACH ROW {condition}"
        )
    else:
        when = "AFTER" if how == "after" else "BEFORE"
        database.sql(f"CREATE TRIGGER meddle {when} UPDATE ON artifacts FOR EACH ROW {condition}")


HOW = [*CHANGED, "after", "at commit"]


def fill(database: Database) -> list[Path]:
    database.make_table()
    paths = []
    for n in range(10):
        path = database.root / f"f{n}"
        path.write_bytes(b"content %d" % n)
        os.utime(path, OLD)
        database.add(n, path.name, {"title": "t"})
        paths.append(path)
    return paths


def journaled(database: Database, run_id: int) -> set[str]:
    rows = database.sql("SELECT row_id FROM fasthash.journal WHERE run_id = %s", run_id)
    return {row["row_id"] for row in rows}


def residual(database: Database, run_id: int) -> dict[str, str]:
    rows = database.fasthash("residual", str(run_id), "--json").stdout
    return {row["row_id"]: f"{row['reason']}: {row['detail']}" for row in json.loads(rows)}


@pytest.mark.parametrize("how", HOW)
def test_a_run_counts_what_the_rows_hold(database: Database, how: str) -> None:
    fill(database)
    before = {n: database.metadata(n) for n in STUBBORN}
    stand_in_the_way(database, how)
    summary = database.run(status=1)
    assert summary["rows_updated"] == summary["outcomes"]["hashed"] == 8
    assert summary["outcomes"]["failed"] == 2
    assert journaled(database, summary["run_id"]) == {str(n) for n in range(10)} - {"3", "4"}
    assert {n: database.metadata(n) for n in STUBBORN} == before
    said = residual(database, summary["run_id"])
    assert set(said) == {"3", "4"}
    assert all(text.startswith("write_refused: the row did not take") for text in said.values())
    # Once nothing is in the way they are written as any others.
    database.sql("DROP TRIGGER meddle ON artifacts")
    assert database.run()["outcomes"]["hashed"] == 2


@pytest.mark.parametrize(
    ("how", "policy"),
    [
        *((how, "careful") for how in ("skips", "alters", "after", "at commit")),
        *((how, "overwrite") for how in ("restores", "after")),
    ],
)
def test_a_drift_that_could_not_be_overwritten_waits(
    database: Database, how: str, policy: str
) -> None:
    paths = fill(database)
    database.run()
    before = {n: database.metadata(n) for n in range(10)}
    for n in (2, 3):
        paths[n].write_bytes(b"changed %d" % n)
    stand_in_the_way(database, how)
    arguments = ("--on-drift", "overwrite") if policy == "overwrite" else ()
    summary = database.scrub(*arguments, status=1)
    assert summary["outcomes"] == {
        "hashed": 0, "confirmed": 7, "drifted": 2, "fresh": 0, "no_file": 0, "failed": 1,
    }  # fmt: skip
    assert summary["rows_updated"] == 8
    assert summary["drift_open"] == 1
    found: list[dict[str, Any]] = json.loads(database.fasthash("drift", "list", "--json").stdout)
    drifts = {d["row_id"]: d for d in found}
    assert drifts["2"]["resolution"] == "overwritten"
    assert database.metadata(2)["file_sha256"] == sha256(paths[2])
    assert drifts["3"]["resolution"] == "open"
    assert "did not take" in drifts["3"]["comment"]
    assert database.metadata(3) == before[3]
    assert set(residual(database, summary["run_id"])) == {"4"}
    # Nor is it accepted while the trigger is in the way.
    number = str(drifts["3"]["drift_id"])
    decided = database.fasthash(
        "drift", "accept", number, "--root", str(database.root), "--json", status=1
    )
    (answer,) = json.loads(decided.stdout)
    assert not answer["accepted"]
    assert "did not take" in answer["reason"]
    assert database.metadata(3) == before[3]
    shown = json.loads(database.fasthash("drift", "show", number, "--json").stdout)
    assert (shown["resolution"], shown["resolved_by"]) == ("open", None)
    database.sql("DROP TRIGGER meddle ON artifacts")
    database.fasthash("drift", "accept", number, "--root", str(database.root))
    assert database.metadata(3)["file_sha256"] == sha256(paths[3])


# What strips keys does what a revert does.
@pytest.mark.parametrize("how", ["skips", "restores", "alters", "after", "at commit"])
def test_a_revert_counts_what_it_put_back(database: Database, how: str) -> None:
    fill(database)
    run = database.run()
    after = {n: database.metadata(n) for n in range(10)}
    stand_in_the_way(database, how)
    done = database.fasthash("revert", str(run["run_id"]), "--json", status=1)
    found = json.loads(done.stdout)
    assert (found["reverted"], found["refused"]) == (8, 2)
    assert {n: database.metadata(n) for n in STUBBORN} == {n: after[n] for n in STUBBORN}
    assert journaled(database, found["run_id"]) == {str(n) for n in range(10)} - {"3", "4"}


def test_an_update_function_that_leaves_rows_out(database: Database) -> None:
    """It returns as if all was well; its two rows are named, the others written."""
    fill(database)
    database.sql(
        "CREATE FUNCTION merge(ids bigint[], patches jsonb[]) RETURNS void LANGUAGE sql AS $$ "
        "UPDATE artifacts a SET metadata = a.metadata || p.patch "
        "FROM unnest(ids, patches) AS p (id, patch) WHERE a.id = p.id AND a.id NOT IN (3, 4) $$"
    )
    summary = database.run("--update-function", "merge", status=1)
    assert summary["rows_updated"] == summary["outcomes"]["hashed"] == 8
    said = residual(database, summary["run_id"])
    assert set(said) == {"3", "4"}
    assert all("the update function did not write" in text for text in said.values())
    assert journaled(database, summary["run_id"]) == {str(n) for n in range(10)} - {"3", "4"}
