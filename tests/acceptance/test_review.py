"""Deciding about drifts: what is accepted is written, and nothing else ever is."""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pytest
from conftest import Database, sha256
from test_scrub import drifts, fill, rot


@pytest.fixture
def reviewed(database: Database) -> Database:
    """Six open drifts: rows 0 to 2 are corrupt, rows 3 to 5 modified."""
    paths = fill(database, 12)
    database.fasthash("init")
    database.run()
    database.scrub()
    for n in range(3):
        rot(database, n, paths[n])
    for n in range(3, 6):
        paths[n].write_bytes(b"changed %d" % n)
    database.scrub("--on-drift", "hold", status=1)
    return database


def decide(database: Database, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    roots = ("--root", str(database.root)) if arguments[0] == "accept" else ()
    done = database.fasthash("drift", *arguments, *roots, "--json", status=status)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_accept_writes_through_the_journal(reviewed: Database) -> None:
    before = reviewed.metadata(3)
    (drift,) = (d for d in drifts(reviewed, "--open") if d["row_id"] == "3")
    number = str(drift["drift_id"])
    found = decide(reviewed, "accept", number, "--by", "ann", "--why", "new figure")
    assert found == [{"drift_id": drift["drift_id"], "row_id": "3", "accepted": True,
                      "reason": None}]  # fmt: skip
    path = reviewed.root / "f3"
    after = reviewed.metadata(3)
    assert after["file_sha256"] == sha256(path)
    assert after["file_size_bytes"] == path.stat().st_size
    assert after["file_sha256_computed_at"] > before["file_sha256_computed_at"]
    assert after["title"] == "t"
    journal = reviewed.sql(
        "SELECT encode(new_sha256, 'hex') AS new, old_keys FROM fasthash.journal "
        "WHERE row_id = '3' ORDER BY at DESC LIMIT 1"
    )[0]
    assert journal["new"] == sha256(path)
    assert journal["old_keys"] == {k: v for k, v in before.items() if k != "title"}
    shown = json.loads(reviewed.fasthash("drift", "show", number, "--json").stdout)
    assert (shown["resolution"], shown["resolved_by"], shown["comment"]) == (
        "accepted", "ann", "new figure",
    )  # fmt: skip
    assert shown["resolved_at"] is not None
    assert len(drifts(reviewed, "--open")) == 5
    # A second time there is nothing to decide.
    assert decide(reviewed, "accept", number, status=1)[0]["reason"] == "it is accepted already"
    assert decide(reviewed, "reject", number, status=1)[0]["reason"] == "it is accepted already"
    summary = reviewed.scrub("--older-than", "1d", "--on-drift", "hold", status=1)
    assert summary["rows_scanned"] == 5, "what was accepted is good"


def test_reject_keeps_the_old(reviewed: Database) -> None:
    before = {n: reviewed.metadata(n) for n in range(12)}
    found = decide(reviewed, "reject", "--all", "--kind", "corrupt", "--why", "restore")
    assert {d["row_id"] for d in found} == {"0", "1", "2"}
    assert {n: reviewed.metadata(n) for n in range(12)} == before
    assert {d["kind"] for d in drifts(reviewed, "--open")} == {"modified"}
    rejected = [d for d in drifts(reviewed) if d["resolution"] == "rejected"]
    assert {d["comment"] for d in rejected} == {"restore"}
    assert all("@" in d["resolved_by"] for d in rejected)
    # They are bad all the same: the next scrub says so again.
    again = reviewed.scrub("--older-than", "90d", "--on-drift", "hold", status=1)
    assert (again["rows_scanned"], again["drift_open"]) == (6, 6)
    decide(reviewed, "reject", "--all")
    for n in range(6):  # restored from a backup: from here on they are as good as any
        (reviewed.root / f"f{n}").write_bytes(random.Random(n).randbytes(1_000 + n % 7))
    assert reviewed.scrub("--older-than", "90d")["outcomes"]["confirmed"] == 6
    assert reviewed.scrub("--older-than", "90d")["rows_scanned"] == 0


def test_all_decided_is_nothing_to_look_at(reviewed: Database) -> None:
    assert len(decide(reviewed, "accept", "--all", "--type", "figure")) == 4
    assert len(decide(reviewed, "accept", "--all")) == 2
    assert drifts(reviewed, "--open") == []
    summary = reviewed.scrub()
    assert (summary["drift_open"], summary["outcomes"]["confirmed"]) == (0, 12)
    out = reviewed.fasthash("drift", "accept", "--all", "--root", str(reviewed.root)).stdout
    assert "no open drift matches" in out


def test_only_what_still_is_as_it_was_found_is_accepted(reviewed: Database) -> None:
    before = {n: reviewed.metadata(n) for n in range(6)}
    (reviewed.root / "f0").write_bytes(b"another change")
    (reviewed.root / "f1").unlink()
    reviewed.sql("UPDATE artifacts SET file_path = 'f7' WHERE id = 2")
    reviewed.sql(
        'UPDATE artifacts SET metadata = metadata || \'{"file_sha256": "ab"}\' WHERE id = 3'
    )
    reviewed.sql("DELETE FROM artifacts WHERE id = 4")
    found = {d["row_id"]: d for d in decide(reviewed, "accept", "--all", status=1)}
    assert [n for n, d in found.items() if d["accepted"]] == ["5"]
    assert "another hash by now" in found["0"]["reason"]
    assert "no_file" in found["1"]["reason"]
    for n in ("2", "3", "4"):
        assert "changed, moved or deleted" in found[n]["reason"]
    for n in (0, 1, 2):
        assert reviewed.metadata(n) == before[n]
    assert reviewed.metadata(3)["file_sha256"] == "ab"
    assert len(drifts(reviewed, "--open")) == 5


def test_mistakes(reviewed: Database) -> None:
    for arguments, says in (
        (("accept",), "--all"),
        (("accept", "1", "--all"), "--all"),
        (("accept", "999"), "there is no drift 999"),
        (("show", "999"), "there is no drift 999"),
        (("reject", "x"), "no drift number"),
    ):
        done = reviewed.fasthash("drift", *arguments, status=2)
        assert says in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    corrupt = drifts(reviewed, "--kind", "corrupt")[0]["drift_id"]
    text = reviewed.fasthash("drift", "show", str(corrupt)).stdout
    assert "corrupt, open" in text
    assert ", before " in text


def test_a_second_digest_goes_along(database: Database) -> None:
    paths = fill(database, 6)
    database.fasthash("init")
    database.run("--algorithm", "sha256,blake3")
    paths[2].write_bytes(b"changed")
    database.scrub("--on-drift", "hold", "--algorithm", "sha256,blake3", status=1)
    old = database.metadata(2)["file_blake3"]
    decide(database, "accept", "--all")
    assert database.metadata(2)["file_blake3"] != old
    assert os.path.exists(paths[2])
