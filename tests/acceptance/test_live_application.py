"""Other clients change the catalog while a run goes: none of their changes is lost, none blocks."""

from __future__ import annotations

import json
import os
import random
import threading
from pathlib import Path

import psycopg
import pytest
from conftest import PATIENCE_S, Database, Run, check_sums, sha256
from oracle import until
from test_resume import summary_of, wait_for_progress

ROWS = 1_000
SLOW = ("--resolver", "site_resolvers:gated", "--range-rows", "150", "--workers", "2")


@pytest.fixture
def corpus(database: Database) -> Database:
    """Rows with a file each, and twice as many files to move to."""
    database.hold(f"f{ROWS - 1}")
    database.environment |= {"PYTHONPATH": str(Path(__file__).parents[1]), "SLOW_S": "0.004"}
    database.make_table()
    with (
        database.connect() as connection,
        connection.cursor().copy("COPY artifacts FROM STDIN") as copy,
    ):
        for n in range(ROWS):
            (database.root / f"f{n}").write_bytes(os.urandom(100))
            (database.root / f"moved{n}").write_bytes(os.urandom(50))
            copy.write_row((n, f"t{n % 3}", f"f{n}", json.dumps({"n": n, "edits": 0}), "dedup"))
    return database


class Application(threading.Thread):
    """A client that edits rows at random and remembers what it did."""

    def __init__(self, dsn: str, seed: int, rows: range, rare: float) -> None:
        super().__init__()
        self.dsn = dsn
        self.chance = random.Random(seed)
        self.rows = rows
        self.rare = rare  # how much rarer than 2 in 100 rows are deleted, and so on
        self.ended = threading.Event()
        self.edits = 0
        self.values: dict[int, int] = {}
        self.dropped: set[int] = set()
        self.moved: set[int] = set()
        self.deleted: set[int] = set()
        self.failures: list[str] = []

    def run(self) -> None:
        """Edits until told to end."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not self.ended.is_set():
                try:
                    self.edit(connection)
                except psycopg.Error as error:
                    self.failures.append(str(error))

    def edit(self, connection: psycopg.Connection) -> None:
        """One edit of one row of its own, as an application would make it."""
        row = self.chance.choice(self.rows)
        if row in self.deleted:
            return
        what = self.chance.random() if self.chance.random() < self.rare else 0.0
        if what < 0.9:
            self.edits += 1
            connection.execute(
                "UPDATE artifacts SET metadata = metadata || jsonb_build_object('edits', %s::int) "
                "WHERE id = %s",
                (self.edits, row),
            )
            self.values[row] = self.edits
        elif what < 0.95:
            connection.execute(
                "UPDATE artifacts SET metadata = metadata - 'n' WHERE id = %s", (row,)
            )
            self.dropped.add(row)
        elif what < 0.98:
            connection.execute(
                "UPDATE artifacts SET file_path = 'moved' || id, metadata = metadata "
                "- 'file_sha256' - 'file_size_bytes' - 'file_sha256_computed_at' WHERE id = %s",
                (row,),
            )
            self.moved.add(row)
        else:
            connection.execute("DELETE FROM artifacts WHERE id = %s", (row,))
            self.deleted.add(row)


@pytest.mark.parametrize("edits", [1_000, pytest.param(100_000, marks=pytest.mark.long)])
@pytest.mark.timeout(900)
def test_no_foreign_change_is_lost(corpus: Database, edits: int) -> None:
    applications = [Application(corpus.dsn, n, range(n, ROWS, 3), 1_000 / edits) for n in range(3)]
    # The last row waits, so that the run is not over before the applications are.
    gate = corpus.root.with_name("gate_is_open")
    corpus.environment["GATE"] = str(gate)
    (corpus.root / "gate").write_text("gate")
    corpus.add(ROWS, "gate", {"n": ROWS}, "t9")
    process = corpus.start(*SLOW)
    wait_for_progress(corpus, 5)
    for application in applications:
        application.start()
    until(lambda: sum(a.edits for a in applications) > edits, "the applications have edited")
    for n in range(5):
        (corpus.root / f"late{n}").write_text("late")
        corpus.add(-1 - n, f"late{n}", {"n": -1 - n}, "t0")
    enough = sum(a.edits for a in applications) + 20
    until(lambda: sum(a.edits for a in applications) > enough, "they go on, beside the late rows")
    for application in applications:
        application.ended.set()
        application.join()
    gate.touch()
    summary = summary_of(process, 0)
    check_sums(summary)
    assert sum(a.edits for a in applications) > edits
    for application in applications:
        assert not application.failures, application.failures[:3]
        check_rows(corpus, application)
    for n in range(5):
        assert corpus.metadata(-1 - n)["file_sha256"] == sha256(corpus.root / f"late{n}")
    journal = corpus.sql("SELECT count(DISTINCT row_id) AS n FROM fasthash.journal")[0]["n"]
    assert summary["rows_scanned"] == journal, "each row counts once, however often it was met"
    deleted = sum(len(a.deleted) for a in applications)
    assert summary["rows_gone"] <= deleted
    assert ROWS + 6 - deleted <= summary["rows_scanned"] <= ROWS + 6


def check_rows(corpus: Database, application: Application) -> None:
    """Every row of one application holds its edits and the right hash of its present file."""
    for row in corpus.sql("SELECT id, file_path, metadata, content_hash FROM artifacts"):
        if row["id"] not in application.rows:
            continue
        metadata = row["metadata"]
        assert row["content_hash"] == "dedup"
        assert metadata["edits"] == application.values.get(row["id"], 0)
        assert ("n" in metadata) == (row["id"] not in application.dropped)
        assert row["file_path"].startswith("moved") == (row["id"] in application.moved)
        assert metadata["file_sha256"] == sha256(corpus.root / row["file_path"]), row


def start_shut(corpus: Database) -> tuple[Run, Path]:
    """A run that has read rows of the catalog, and reads no file before another file is there."""
    gate = corpus.root.with_name("gate_is_open")
    corpus.environment["GATE"] = str(gate)
    process = corpus.start("--resolver", "site_resolvers:shut", *SLOW[2:])
    leased = "SELECT 1 FROM fasthash.checkpoint WHERE state = 'leased'"
    until(lambda: corpus.sql(leased), "it has leased a range")
    return process, gate


def test_another_job_that_marks_a_row_first_is_left_alone(corpus: Database) -> None:
    process, gate = start_shut(corpus)
    marked = corpus.sql(
        "UPDATE artifacts SET metadata = metadata || jsonb_build_object("
        "'file_sha256', repeat('f', 64), 'file_sha256_computed_at', '2026-11-01T00:00:00Z') "
        "WHERE id < 300 RETURNING id"
    )
    gate.touch()
    summary = summary_of(process, 0)
    assert len(marked) == 300
    assert summary["outcomes"]["fresh"] == len(marked)
    assert summary["rows_scanned"] == ROWS
    for row in marked:
        assert corpus.metadata(row["id"])["file_sha256"] == "f" * 64


def test_a_hash_that_appears_after_the_lease_is_judged_when_writing(corpus: Database) -> None:
    process, gate = start_shut(corpus)
    touched = corpus.sql(
        "UPDATE artifacts SET metadata = metadata || "
        "jsonb_build_object('file_sha256', repeat('0', 64)) "
        "WHERE id < 300 RETURNING id"
    )
    gate.touch()
    summary = summary_of(process, 1)
    assert len(touched) == 300
    assert summary["drift_events"] == len(touched)
    drifts = corpus.sql("SELECT row_id, old_hash FROM fasthash.drift")
    assert {d["row_id"] for d in drifts} == {str(t["id"]) for t in touched}
    assert {d["old_hash"] for d in drifts} == {"0" * 64}


def test_a_row_that_is_locked_for_long_holds_up_no_other(corpus: Database) -> None:
    with psycopg.connect(corpus.dsn) as holder:
        holder.execute("SELECT 1 FROM artifacts WHERE id = 500 FOR UPDATE")
        process = corpus.start("--workers", "2", "--range-rows", "1000")
        wait_for_progress(corpus, ROWS - 1)  # or one locked row holds up the others
        holder.rollback()
    summary = json.loads(process.communicate(timeout=PATIENCE_S)[0])
    assert summary["rows_updated"] >= ROWS - 1
    corpus.run()
    assert corpus.metadata(500)["file_sha256"] == sha256(corpus.root / "f500")
