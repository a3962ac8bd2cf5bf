"""Results are judged against what a row holds when they are written: races, step by step."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from conftest import Database

from fasthash import parts
from fasthash.config import CatalogNames
from fasthash.fixity import Part, Result
from fasthash.store import leases, planning, results, runs, session, states
from fasthash.store.applying import Tally, Target
from fasthash.store.catalog import find_catalog
from fasthash.store.due import Due
from fasthash.store.queries import query
from fasthash.store.runs import RunIdentity
from fasthash.store.transactions import transaction

BEFORE, FOUND, FOREIGN = (hashlib.sha256(bytes([n])).digest() for n in range(3))


class Job:
    """One range of a run, leased, whose results are handed to the writer's code by hand."""

    def __init__(self, database: Database, kind: str, policy: str = "overwrite") -> None:
        self.database = database
        self.connection = session.connect_once(database.dsn, "job")
        self.catalog = find_catalog(self.connection, CatalogNames())
        identity = RunIdentity(kind, ())
        run_id = runs.create_run(self.connection, self.catalog, identity, None)
        assert run_id is not None
        self.holder_id = leases.add_holder(self.connection, run_id, "host", 1)
        number = states.find_catalog_no(self.connection, self.catalog)
        past = {"started": "2100", "cutoff": "2100"} if kind == "scrub" else {}
        self.due = Due(kind, run_id, number, has_history=True, **past)
        states.fold_journals(self.connection, self.catalog, number, run_id)
        self.target = Target(
            self.catalog, run_id, self.holder_id, policy, number, kind == "scrub", has_history=True
        )
        self.parts = 0

    def lease(self) -> None:
        """Plans and leases everything there is."""
        planning.plan_more(self.connection, self.catalog, self.due, (), 100, 1)
        self.ranges = leases.grant(
            self.connection, self.target.run_id, self.holder_id, 1, 9, 3600.0,
            silent=lambda _seen: (),
        )  # fmt: skip

    def write(self, *found: Result, sweep: bool = False) -> Tally:
        """The writer's transaction."""
        self.parts += 1
        leased = self.ranges[0]
        part = Part(
            1, leased.range_no, leased.term, None, found[-1].row_id, len(found),
            parts.pack(found), 0, part_no=self.parts, sweep=sweep,
        )  # fmt: skip
        with transaction(self.connection):
            held = results.fence(self.connection, self.target, [part])
            new = results.claim_parts(self.connection, self.target, held)
            return results.apply(self.connection, self.target, new)

    def counts(self, tally: Tally) -> Any:
        return tally.counts[self.ranges[0].range_no]


@pytest.fixture
def row(database: Database) -> Database:
    """A catalog of one row, with a hash."""
    database.make_table()
    marker = "2026-01-01T00:00:00.000000Z"
    database.add(1, "f", {"file_sha256": BEFORE.hex(), "file_sha256_computed_at": marker})
    return database


def read(row: Database, sha256: bytes, compared: bytes | None) -> Result:
    """What a worker says of the row as it is now."""
    marker = row.metadata(1).get("file_sha256_computed_at")
    text = compared.hex() if compared else None
    stamps = bytes(32)
    return Result("1", "f", marker, "hashed", sha256, 5, 1, 10**18, text, None, stamps)


def set_hash(row: Database, value: str | None) -> None:
    """What an application does, which knows nothing of markers."""
    row.sql("UPDATE artifacts SET metadata = metadata - 'file_sha256' WHERE id = 1")
    if value is not None:
        row.sql(
            "UPDATE artifacts SET metadata = metadata || "
            "jsonb_build_object('file_sha256', %s::text) WHERE id = 1",
            value,
        )


@pytest.mark.parametrize("policy", ["overwrite", "careful", "hold"])
def test_a_hash_that_came_between_read_and_commit_is_not_overwritten(
    row: Database, policy: str
) -> None:
    """The second read was made for the hash before it: that of a file that is there no more."""
    job = Job(row, "scrub", policy)
    job.lease()
    found = read(row, FOUND, compared=BEFORE)
    set_hash(row, FOREIGN.hex())
    tally = job.write(found)
    assert (tally.moved, tally.counts) == (1, {})
    assert row.metadata(1)["file_sha256"] == FOREIGN.hex()
    assert row.sql("SELECT 1 FROM fasthash.drift") == []
    assert row.sql("SELECT row_id FROM fasthash.left_over") == [{"row_id": "1"}], "it comes again"
    # And it does: the next pass has that one row, and its hash is judged by what it holds then.
    leases.finish(job.connection, job.target.run_id, job.holder_id, job.ranges)
    job.lease()
    assert row.sql("SELECT 1 FROM fasthash.left_over") == []
    tally = job.write(read(row, FOREIGN, compared=None))
    assert job.counts(tally).confirmed == 1


def test_the_hash_that_was_compared_is_a_drift(row: Database) -> None:
    job = Job(row, "scrub")
    job.lease()
    tally = job.write(read(row, FOUND, compared=BEFORE))
    assert job.counts(tally).drifted == 1
    assert row.metadata(1)["file_sha256"] == FOUND.hex()
    (drift,) = row.sql("SELECT old_hash, resolution, was_lost, is_logged FROM fasthash.drift")
    assert drift == {
        "old_hash": BEFORE.hex(), "resolution": "overwritten", "was_lost": False,
        "is_logged": False,
    }  # fmt: skip


def test_the_file_s_own_hash_confirms_whatever_was_compared(row: Database) -> None:
    """The application was quicker, and right."""
    job = Job(row, "scrub")
    job.lease()
    found = read(row, FOUND, compared=BEFORE)
    set_hash(row, FOUND.hex().upper())
    assert job.counts(job.write(found)).confirmed == 1
    assert row.metadata(1)["file_sha256"] == FOUND.hex().upper()


def test_a_marker_that_is_taken_away_is_not_fresh(row: Database) -> None:
    job = Job(row, "scrub")
    job.lease()
    found = read(row, BEFORE, compared=None)
    row.sql("UPDATE artifacts SET metadata = metadata - 'file_sha256_computed_at'")
    tally = job.write(found)
    assert (tally.moved, tally.counts) == (1, {})


def known(row: Database) -> None:
    """A run that has hashed the row, and whose journal the next one takes over."""
    row.sql("UPDATE artifacts SET metadata = '{}'")
    job = Job(row, "backfill")
    job.lease()
    assert job.counts(job.write(read(row, BEFORE, compared=None))).hashed == 1
    row.sql("UPDATE fasthash.run SET state = 'complete'")


def test_a_lost_hash_is_compared_with_the_last_that_was_written(row: Database) -> None:
    known(row)
    row.sql("UPDATE artifacts SET metadata = '{\"k\": 1}'")
    job = Job(row, "backfill")
    job.lease()
    (task,) = tasks(job)
    assert task.stored_sha256 == BEFORE.hex(), "so that the worker reads twice"
    tally = job.write(read(row, FOUND, compared=BEFORE))
    assert job.counts(tally).drifted == 1
    (drift,) = row.sql("SELECT old_hash, was_lost, resolution FROM fasthash.drift")
    assert drift == {"old_hash": BEFORE.hex(), "was_lost": True, "resolution": "overwritten"}
    assert row.metadata(1)["k"] == 1
    assert row.metadata(1)["file_sha256"] == FOUND.hex()


def test_a_lost_hash_that_is_the_file_s_is_written_again(row: Database) -> None:
    known(row)
    row.sql("UPDATE artifacts SET metadata = NULL")
    job = Job(row, "backfill")
    job.lease()
    assert job.counts(job.write(read_unmarked(row, BEFORE))).hashed == 1
    assert row.sql("SELECT 1 FROM fasthash.drift") == []
    assert row.metadata(1)["file_sha256"] == BEFORE.hex()


def read_unmarked(row: Database, sha256: bytes) -> Result:
    return Result("1", "f", None, "hashed", sha256, 5, 1, 10**18, None, None, bytes(32))


def test_what_is_added_while_a_journal_is_taken_over_is_not_forgotten(row: Database) -> None:
    """Somebody accepts a drift of a complete run meanwhile: that writes to that run's journal."""
    known(row)
    job = Job(row, "scrub", "hold")
    (before,) = row.sql("SELECT unfolded_since FROM fasthash.run WHERE run_id = 1")
    assert before["unfolded_since"] is None, "taken over when the scrub began"
    job.lease()
    assert job.counts(job.write(read(row, FOUND, compared=BEFORE))).drifted == 1
    row.sql("UPDATE fasthash.run SET state = 'complete'")
    key = {"catalog": job.catalog.key, "run_id": 99}
    (unfolded,) = job.connection.execute(query("lease", "unfolded_runs"), key).fetchall()
    # From here on the other one has begun; now the drift is accepted.
    (row.root / "f").write_bytes(b"accepted")
    accepted = hashlib.sha256(b"accepted").digest()
    row.sql("UPDATE fasthash.drift SET new_sha256 = %s", accepted)
    row.fasthash("drift", "accept", "--all", "--root", str(row.root))
    row.sql(
        "ALTER TABLE fasthash.journal RENAME TO seen; CREATE TABLE fasthash.journal "
        "(LIKE fasthash.seen INCLUDING ALL)"
    )  # the commit is not to be seen yet
    states.fold(job.connection, job.target.catalog_no, unfolded)
    row.sql("DROP TABLE fasthash.journal; ALTER TABLE fasthash.seen RENAME TO journal")
    states.fold_journals(job.connection, job.catalog, job.target.catalog_no, 99)
    (state,) = row.sql("SELECT sha256 FROM fasthash.file_state")
    assert bytes(state["sha256"]) == accepted


def test_another_file_under_the_same_id_is_a_first_hash(row: Database) -> None:
    """A table that was emptied and filled anew gives its ids again."""
    known(row)
    row.sql("DELETE FROM artifacts")
    row.add(1, "another")
    job = Job(row, "backfill")
    job.lease()
    (task,) = tasks(job)
    assert task.stored_sha256 is None
    found = replace_path(read_unmarked(row, FOUND), "another")
    assert job.counts(job.write(found)).hashed == 1
    assert row.sql("SELECT 1 FROM fasthash.drift") == []


def replace_path(found: Result, path: str) -> Result:
    return found._replace(path=path)


def test_what_a_revert_took_away_is_not_known_any_more(row: Database) -> None:
    known(row)
    row.fasthash("revert", "1")
    assert "file_sha256" not in row.metadata(1)
    job = Job(row, "backfill")
    job.lease()
    (task,) = tasks(job)
    assert task.stored_sha256 is None
    assert job.counts(job.write(read_unmarked(row, FOUND))).hashed == 1


def test_a_first_backfill_looks_nothing_up(row: Database) -> None:
    """There is nothing to be known before the first run."""
    from fasthash.store.applying import Statement, statement

    job = Job(row, "backfill")
    first = replace(job.target, has_history=False)
    text = statement(Statement(first, sweep=False, looks=False)).as_string(None)
    looked_up = text.split("SELECT j.range_no, 'drift'")[0]
    assert "file_state" not in looked_up
    assert "bad_row" not in text
    assert not states.has_history(job.connection, job.catalog, job.target.run_id)


def test_what_becomes_of_a_counted_row_is_noted_and_not_counted(row: Database) -> None:
    """It was hashed in this run; then the application took its metadata, and its file, away."""
    row.sql("UPDATE artifacts SET metadata = NULL")
    job = Job(row, "backfill")
    job.lease()
    assert job.counts(job.write(read_unmarked(row, BEFORE))).hashed == 1
    leases.finish(job.connection, job.target.run_id, job.holder_id, job.ranges)
    row.sql("UPDATE artifacts SET metadata = NULL")
    job.lease()
    assert row.sql("SELECT met_ids FROM fasthash.checkpoint WHERE range_no = 2") == [
        {"met_ids": ["1"]}
    ]
    tally = job.write(Result("1", "f", None, "no_file", detail="ENOENT"), sweep=True)
    assert tally.counts == {}
    (found,) = row.sql("SELECT row_id, reason, is_counted FROM fasthash.residual")
    assert found == {"row_id": "1", "reason": "no_file", "is_counted": False}
    leases.finish(job.connection, job.target.run_id, job.holder_id, job.ranges)
    job.lease()
    assert job.ranges == [], "and it is not met again"


def tasks(job: Job) -> list[Any]:
    from fasthash.store import ranges

    leased = job.ranges[0]
    return ranges.read_range(job.connection, job.catalog, job.due, leased, with_segments=False)
