"""Pruning against what happens at the same moment, and how it reads the journal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import Database
from oracle import until

from fasthash.config import CatalogNames
from fasthash.errors import ConfigError
from fasthash.store import pruning, reverting
from fasthash.store.catalog import Catalog, find_catalog
from fasthash.store.queries import query
from fasthash.store.session import Session, connect_once

ROWS = 2_000
HASH = "decode(repeat('ab', 32), 'hex')"


@pytest.fixture
def old(database: Database) -> Database:
    """A backfill and three scrubs, each with an entry for each row."""
    database.make_table()
    database.sql("INSERT INTO fasthash.catalog (name) VALUES ('public.artifacts')")
    for run_id in range(1, 5):
        kind, before = ("backfill", "NULL") if run_id == 1 else ("scrub", HASH)
        database.sql(
            "INSERT INTO fasthash.run (catalog, kind, state, options, host, plan_done, started_at, "
            "finished_at) VALUES ('public.artifacts', %s, 'complete', '{}', 'h', true, "
            "'2026-01-01', now())",
            kind,
        )
        database.sql(
            "INSERT INTO fasthash.journal (run_id, size_bytes, at, row_id, new_sha256, old_sha256, "
            "old_keys, read_at_ns, path_hash, stamps) "
            f"SELECT %s, 7, now(), n::text, {HASH}, {before}, CASE WHEN %s > 1 THEN "
            '\'{"file_size_bytes": 7, "file_sha256_computed_at": "2026-02-02T00:00:00Z"}\'::jsonb '
            f"END, 1, n, '' FROM generate_series(1, {ROWS}) n",
            run_id,
            run_id,
        )
    return database


@pytest.fixture
def session(old: Database) -> Iterator[Session]:
    found = Session(old.dsn, "prune", 30.0, timeouts=pruning.TIMEOUTS)
    yield found
    found.close()


def catalog_of(old: Database) -> Catalog:
    with connect_once(old.dsn, "test") as connection:
        return find_catalog(connection, CatalogNames())


def entries(old: Database) -> list[int]:
    rows = old.sql("SELECT run_id FROM fasthash.journal GROUP BY 1 ORDER BY 1")
    return [row["run_id"] for row in rows]


def test_a_revert_that_begins_meanwhile_is_seen(
    old: Database, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not there when it was decided which runs go."""
    monkeypatch.setattr(pruning, "STEP_BLOCKS", 1)
    steps = pruning.prune(session, catalog_of(old), [2, 3], ())
    next(steps)  # nothing of run 2 or 3 lies in the first block
    with connect_once(old.dsn, "revert") as connection:
        by = reverting.open_revert(connection, catalog_of(old), 2, "h")
        pruning.hold_whole(connection, 2, by)
        list(steps)
        assert (
            old.sql("SELECT count(*) AS n FROM fasthash.journal WHERE run_id = 2")[0]["n"] == ROWS
        )
        assert entries(old) == [1, 2, 4]


def test_a_revert_that_comes_too_late_ends_at_once(
    old: Database, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its first look and its beginning the journal was pruned."""
    catalog = catalog_of(old)
    with connect_once(old.dsn, "revert") as connection:
        pruning.require_whole(connection, 2)
        by = reverting.open_revert(connection, catalog, 2, "h")
        old.sql("UPDATE fasthash.run SET pruned_at = now() WHERE run_id = 2")
        with pytest.raises(ConfigError, match="cannot be undone any more"):
            pruning.hold_whole(connection, 2, by)
    state = old.sql("SELECT state FROM fasthash.run WHERE run_id = %s", by)[0]["state"]
    assert state == "complete", "no unfinished one is in the way of the next"


def test_a_revert_waits_for_the_step_under_way(old: Database, session: Session) -> None:
    """It sees what that step has dropped."""
    catalog = catalog_of(old)
    with connect_once(old.dsn, "revert") as connection:
        by = reverting.open_revert(connection, catalog, 2, "h")
        with old.connect() as step, step.transaction():
            step.execute(query("prune", "hold_runs"), {"run_ids": [2]})
            connection.execute("SET lock_timeout = '50ms'")
            with pytest.raises(Exception, match="lock timeout"):
                pruning.hold_whole(connection, 2, by)


@pytest.mark.parametrize("analyzed", [False, True])
def test_a_step_reads_its_own_blocks_and_looks_up_by_key(
    old: Database, session: Session, analyzed: bool
) -> None:
    """Whatever the statistics say: the whole is linear in the journal's size."""
    if analyzed:
        old.sql("VACUUM ANALYZE")
    statement = query("prune", "drop_confirmations", confirms=query("prune", "confirms"))
    values = {
        "run_ids": [2, 3], "reverts": [], "two_digests": [], "catalog_no": 1,
        "first_marker": "2026", "from_place": "(3,0)", "to_place": "(5,0)",
    }  # fmt: skip
    with connect_once(old.dsn, "plans") as connection, connection.transaction():
        connection.execute(query("prune", "by_place"))
        text = "EXPLAIN " + statement.as_string(connection)
        lines = [row["QUERY PLAN"] for row in connection.execute(text, values)]
    plan = "\n".join(lines)
    assert "Tid Range Scan on journal" in plan, plan
    assert "Index Scan using file_state_pkey1 on file_state" in plan or (
        "Index Scan using file_state_pkey on file_state" in plan
    ), plan


def test_residual_and_samples_go_in_steps(
    old: Database, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in the order of its key, with the empty id and samples of one time among them."""
    monkeypatch.setattr(pruning, "STEP_ROWS", 10)
    old.sql(
        "INSERT INTO fasthash.residual SELECT r, CASE WHEN n > 0 THEN n::text ELSE '' END, 't', "
        "'p', 'no_file', NULL FROM generate_series(2, 4) r, generate_series(0, 34) n"
    )
    old.sql(
        "INSERT INTO fasthash.sample SELECT r, 1, '2026-01-01'::timestamptz "
        "+ n / 7 * '1 s'::interval, 1, 1 FROM generate_series(2, 4) r, generate_series(1, 35) n"
    )
    dropped = [step.dropped for step in pruning.prune(session, catalog_of(old), [2, 3], ())]
    for name, table in (("residual_rows", "residual"), ("samples", "sample")):
        counts = [c[name] for d in dropped for c in d.values() if c[name]]
        assert sum(counts) == 70
        assert max(counts) <= 10
        left = old.sql(f"SELECT run_id, count(*) AS n FROM fasthash.{table} GROUP BY 1")
        assert left == [{"run_id": 4, "n": 35}]


def test_another_server_process_can_go_on_writing(old: Database, session: Session) -> None:
    """What a run does to the ledger is not waited for, nor does it wait."""
    with old.connect() as run, run.transaction():
        run.execute(
            "INSERT INTO fasthash.journal (run_id, size_bytes, at, row_id, new_sha256) "
            f"VALUES (4, 1, now(), 'new', {HASH})"
        )
        run.execute("INSERT INTO fasthash.residual VALUES (4, '1', 't', 'p', 'no_file')")
        run.execute("INSERT INTO fasthash.sample VALUES (4, 1, now(), 1, 1)")
        list(pruning.prune(session, catalog_of(old), [2, 3], ()))
    assert until(lambda: entries(old) == [1, 4], "it is pruned")
