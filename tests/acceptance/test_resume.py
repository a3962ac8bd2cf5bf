"""Interrupted, joined, limited and restarted runs: one end state, exact counts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Database, Run, check_sums, sha256
from oracle import ends, until

FILES = 1_200
SLOW = ("--resolver", "site_resolvers:slow", "--range-rows", "100", "--workers", "2")


@pytest.fixture
def corpus(database: Database) -> Database:
    """Rows of three types, each with a small file; a few have none."""
    database.environment |= {
        "PYTHONPATH": str(Path(__file__).parents[1]), "FASTHASH_MISSING_OK": "true",
    }  # fmt: skip
    database.hold(f"f{FILES - 1}")
    database.make_table()
    with (
        database.connect() as connection,
        connection.cursor() as cursor,
        cursor.copy("COPY artifacts (id, artifact_type, file_path, metadata) FROM STDIN") as copy,
    ):
        for n in range(FILES):
            (database.root / f"f{n}").write_bytes(os.urandom(n))
            copy.write_row((n, f"t{n % 3}", f"f{n}" if n % 60 else f"missing{n}", '{"k": 1}'))
    return database


def expect_all(database: Database) -> None:
    """Every row with a file has its hash, no other has one."""
    for row in database.sql("SELECT * FROM artifacts"):
        metadata = row["metadata"]
        assert metadata["k"] == 1
        if row["id"] % 60:
            assert metadata["file_sha256"] == sha256(database.root / f"f{row['id']}")
        else:
            assert metadata == {"k": 1}


def wait_for_progress(database: Database, rows: int = 1) -> None:
    """Waits until so many rows are committed."""
    count = "SELECT count(*) AS n FROM fasthash.journal"
    until(lambda: database.sql(count)[0]["n"] >= rows, f"{rows} rows committed")


def summary_of(process: Run, status: int) -> dict[str, Any]:
    """The summary that a process prints at its end."""
    summary: dict[str, Any] = ends(process, status)[0]
    check_sums(summary)
    return summary


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_and_resumed(corpus: Database, number: signal.Signals, status: int) -> None:
    process = corpus.start(*SLOW)
    wait_for_progress(corpus, 100)
    process.send_signal(number)
    first = summary_of(process, status)
    assert first["state"] == "interrupted"
    assert corpus.sql("SELECT count(*) AS n FROM fasthash.journal")[0]["n"] == first["rows_updated"]
    assert not corpus.sql(
        "SELECT 1 FROM fasthash.checkpoint WHERE state = 'leased' OR attempts > 0"
    )
    before = {r["row_id"] for r in corpus.sql("SELECT row_id FROM fasthash.journal")}
    assert 0 < len(before) < FILES

    second = corpus.run("--workers", "2", "--range-rows", "100")

    assert second["run_id"] == first["run_id"]
    assert second["state"] == "complete"
    assert second["outcomes"] == {
        "hashed": FILES - 20,
        "confirmed": 0,
        "drifted": 0,
        "fresh": 0,
        "no_file": 20,
        "failed": 0,
    }
    expect_all(corpus)
    rows = corpus.sql("SELECT row_id FROM fasthash.journal")
    assert len(rows) == len({r["row_id"] for r in rows}) == FILES - 20, "hashed twice"


def test_second_run_joins(corpus: Database) -> None:
    gate = corpus.root.with_name("gate")
    corpus.environment["GATE"] = str(gate)
    shut = ("--resolver", "site_resolvers:shut", "--range-rows", "20", "--workers", "2")
    first = corpus.start(*shut)
    leased = "SELECT DISTINCT holder_id FROM fasthash.checkpoint WHERE state = 'leased'"
    until(lambda: corpus.sql(leased), "the first has begun")
    second = corpus.start(*shut)
    until(lambda: len(corpus.sql(leased)) == 2, "both of them hold something")
    gate.touch()
    summaries = [summary_of(p, 0) for p in (first, second)]
    assert {s["run_id"] for s in summaries} == {1}
    for summary in summaries:
        assert summary["state"] == "complete"
        assert summary["rows_scanned"] == FILES
        assert summary["rows_updated"] == FILES - 20
    expect_all(corpus)


def test_new_rows_behind_and_ahead_are_met(corpus: Database) -> None:
    process = corpus.start(*SLOW)
    wait_for_progress(corpus, 300)
    for row_id in (-5, FILES + 5):
        (corpus.root / f"new{row_id}").write_text("new")
        corpus.add(row_id, f"new{row_id}", {"k": 1}, "t0")
    summary = summary_of(process, 0)
    assert summary["rows_scanned"] == FILES + 2
    for row_id in (-5, FILES + 5):
        assert corpus.metadata(row_id)["file_sha256"] == sha256(corpus.root / f"new{row_id}")


def test_after_a_complete_run_only_what_is_new(corpus: Database) -> None:
    assert corpus.run()["run_id"] == 1
    (corpus.root / "later").write_text("later")
    corpus.add(5000, "later", None, None)
    (corpus.root / "missing60").write_text("found again")
    second = corpus.run()
    assert second["run_id"] == 2
    assert second["rows_updated"] == 2
    assert second["rows_scanned"] == 21, "19 are missing still"
    assert second["by_type"]["(none)"]["rows_updated"] == 1


def test_other_filter_than_the_interrupted_run(corpus: Database) -> None:
    corpus.hold(f"f{FILES - 2}")  # the last of its type
    process = corpus.start("--type", "t1", *SLOW)
    wait_for_progress(corpus, 20)
    process.send_signal(signal.SIGINT)
    summary_of(process, 130)
    done = corpus.fasthash("run", "--root", str(corpus.root), status=2)
    assert "run 1" in done.stderr
    assert "fasthash run --type t1" in done.stderr
    assert "--restart" in done.stderr
    restarted = corpus.run("--restart")
    assert restarted["run_id"] == 2
    assert restarted["rows_scanned"] == FILES
    expect_all(corpus)


def test_type_filter(corpus: Database) -> None:
    summary = corpus.run("--type", "t2")
    assert list(summary["by_type"]) == ["t2"]
    assert summary["rows_scanned"] == FILES // 3
    rest = corpus.run()
    assert rest["outcomes"]["fresh"] + rest["outcomes"]["hashed"] == FILES - 20
    expect_all(corpus)


def test_limit_takes_some_and_then_others(corpus: Database) -> None:
    first = corpus.run("--limit", "250")
    assert first["rows_scanned"] == 250
    second = corpus.run("--limit", "250")
    assert second["rows_scanned"] == 250
    assert second["outcomes"]["fresh"] == 0
    last = corpus.run()
    assert last["state"] == "complete"
    expect_all(corpus)


def test_a_limit_completes_no_run_that_was_begun_without(database: Database) -> None:
    """It pauses there; the rows beyond are still the run's."""
    rows = 3_000
    database.make_table()
    (database.root / "f").write_text("content")
    database.sql("INSERT INTO artifacts SELECT n, 't', 'f' FROM generate_series(1, %s) n", rows)
    options = ("--range-rows", "5", "--workers", "1")
    first = database.run("--budget", "70", *options)
    assert (first["state"], first["ended_for"]) == ("interrupted", "budget")
    before = first["rows_scanned"]
    for _ in range(3):
        paused = database.run("--limit", "100", *options)
        assert (paused["state"], paused["ended_for"]) == ("interrupted", "limit")
        assert paused["run_id"] == first["run_id"]
        assert before + 100 <= paused["rows_scanned"] < rows
        before = paused["rows_scanned"]
    last = database.run(*options)
    assert (last["run_id"], last["state"]) == (first["run_id"], "complete")
    assert last["rows_scanned"] == rows


def test_dry_run_writes_nothing(corpus: Database) -> None:
    corpus.sql('UPDATE artifacts SET metadata = metadata || \'{"file_sha256": "00"}\' WHERE id = 1')
    before = corpus.sql("SELECT id, xmin::text, metadata FROM artifacts ORDER BY id")
    done = corpus.fasthash("run", "--dry-run", "--json", "--root", str(corpus.root), status=1)
    summary = json.loads(done.stdout)
    check_sums(summary)
    assert summary["dry_run"] is True
    assert summary["outcomes"] == {
        "hashed": FILES - 21,
        "confirmed": 0,
        "drifted": 1,
        "fresh": 0,
        "no_file": 20,
        "failed": 0,
    }
    assert corpus.sql("SELECT id, xmin::text, metadata FROM artifacts ORDER BY id") == before
    for table in ("run", "checkpoint", "journal", "drift", "residual", "holder", "sample"):
        assert corpus.sql(f"SELECT count(*) AS n FROM fasthash.{table}")[0]["n"] == 0


def test_killed_coordinator(corpus: Database) -> None:
    process = corpus.start(*SLOW, "--lease-ttl", "1h")
    wait_for_progress(corpus, 200)
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(children) == 3
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in children),
        "children outlive the coordinator",
    )
    # The server finds out by itself that its sessions are gone.
    until(
        lambda: json.loads(corpus.fasthash("summary", "--json").stdout)["state"] == "interrupted",
        "the run is taken for alive",
    )
    # It would be waiting for the lease of a dead holder if it did not know that this one is dead.
    summary = corpus.run("--lease-ttl", "1h")
    assert summary["run_id"] == 1
    assert summary["rows_scanned"] == FILES
    assert summary["rows_updated"] == FILES - 20
    expect_all(corpus)


def test_a_row_that_takes_whole_runs_down_is_found_and_left_out(database: Database) -> None:
    database.environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    database.make_table()
    for n in range(6):
        name = "deadly" if n == 3 else f"f{n}"
        (database.root / name).write_text(name)
        database.add(n, name)
    arguments = ("--resolver", "site_resolvers:deadly", "--range-rows", "4", "--workers", "1")
    for _ in range(30):
        process = database.start(*arguments)
        process.communicate(timeout=PATIENCE_S)
        if process.returncode != -signal.SIGKILL:
            break
    assert process.returncode == 1
    summary = json.loads(database.fasthash("summary", "--json").stdout)
    check_sums(summary)
    assert summary["outcomes"]["hashed"] == 5
    assert summary["residual"] == {"unreadable": 1}
    (left,) = database.sql("SELECT row_id, detail FROM fasthash.residual")
    assert left["row_id"] == "3"
    assert "coordinators were lost" in left["detail"]
