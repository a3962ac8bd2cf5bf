"""What old runs have left goes, and nothing else: no value, no drift, nothing a kept run needs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Database, check_sums, close_sessions, drop_database, sha256
from oracle import until
from test_resume import summary_of
from test_scrub import drifts, fill, rot

from fasthash import retention

HOOKS = str(Path(__file__).parents[1] / "hooks")
TESTS = str(Path(__file__).parents[1])
KEPT_FOR_EVER = "SELECT * FROM fasthash.{} ORDER BY 1, 2"


def prune(database: Database, *arguments: str, **kwargs: Any) -> dict[str, Any]:
    done = database.fasthash("prune", *arguments, "--json", **kwargs)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def old_scrub(database: Database, *arguments: str, status: int = 0) -> int:
    """A scrub as earlier versions made it: with a journal entry for each row it confirmed."""
    database.sql("DROP TABLE IF EXISTS before")
    database.sql("CREATE TABLE before AS SELECT * FROM artifacts")
    run_id: int = database.scrub(*arguments, status=status)["run_id"]
    database.sql(
        "DELETE FROM fasthash.journal WHERE run_id = %s AND new_sha256 = old_sha256", run_id
    )
    database.sql(
        """
        INSERT INTO fasthash.journal (run_id, size_bytes, at, row_id, new_sha256, old_sha256,
                                      old_keys, read_at_ns, stamps, path_hash)
        SELECT %s, (a.metadata ->> 'file_size_bytes')::bigint, clock_timestamp(), a.id::text,
               decode(a.metadata ->> 'file_sha256', 'hex'),
               decode(b.metadata ->> 'file_sha256', 'hex'),
               b.metadata - 'title', (extract(epoch FROM (
                   a.metadata ->> 'file_sha256_computed_at')::timestamptz) * 1e6)::bigint * 1000,
               f.stamps, f.path_hash
        FROM artifacts a JOIN before b USING (id)
        LEFT JOIN fasthash.file_state f ON f.row_id = a.id::text
        WHERE a.metadata -> 'file_sha256' = b.metadata -> 'file_sha256'
          AND a.metadata <> b.metadata
        """,
        run_id,
    )
    database.sql("UPDATE fasthash.run SET unfolded_since = '-infinity' WHERE run_id = %s", run_id)
    return run_id


def entries(database: Database) -> dict[int, int]:
    """How many journal entries each run has."""
    rows = database.sql("SELECT run_id, count(*) AS n FROM fasthash.journal GROUP BY 1 ORDER BY 1")
    return {row["run_id"]: row["n"] for row in rows}


def journal(database: Database, row_id: int) -> list[tuple[int, str]]:
    found = json.loads(database.fasthash("journal", str(row_id), "--json").stdout)
    return [(entry["run_id"], entry["new_sha256"]) for entry in found]


def everything(database: Database) -> list[Any]:
    return [r["metadata"] for r in database.sql("SELECT metadata FROM artifacts ORDER BY id")]


@pytest.fixture(scope="module")
def old_style(
    server_dsn: str, ledger_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A ledger of old style: a backfill and three scrubs, the second of which finds a drift."""
    name = f"old_{os.getpid()}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {ledger_template}")
    dsn = psycopg.conninfo.make_conninfo(server_dsn, dbname=name)
    database = Database(dsn, tmp_path_factory.mktemp("old"))
    paths = fill(database, 40)
    database.add(90, "missing", artifact_type="notebook")
    database.run(status=1)
    assert old_scrub(database) == 2
    paths[7].write_bytes(b"x" * paths[7].stat().st_size)
    assert old_scrub(database, status=1) == 3
    assert old_scrub(database) == 4
    assert entries(database) == {1: 40, 2: 40, 3: 40, 4: 40}
    close_sessions()
    yield database
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        drop_database(admin, name)


@pytest.fixture
def old(old_style: Database, server_dsn: str, tmp_path: Path) -> Iterator[Database]:
    """A copy of it."""
    name = f"copy_{os.getpid()}"
    source = psycopg.conninfo.conninfo_to_dict(old_style.dsn)["dbname"]
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {source}")
    root = shutil.copytree(old_style.root, tmp_path / "root")
    yield Database(psycopg.conninfo.make_conninfo(server_dsn, dbname=name), root)
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        drop_database(admin, name)


def test_only_what_merely_confirms_goes(old: Database) -> None:
    values = journal(old, 7)
    before = {t: old.sql(KEPT_FOR_EVER.format(t)) for t in ("drift", "bad_row", "catalog")}
    catalog = everything(old)
    found = prune(old, "--keep-last", "1")
    assert entries(old) == {1: 40, 3: 1, 4: 40}, "first and changed values stay"
    assert found["dropped"]["journal_entries"] == 79
    assert [r["dropped"]["journal_entries"] for r in found["runs"]] == [0, 40, 39, 0]
    assert [r["kept"] for r in found["runs"]] == [True, False, False, True]
    assert found["runs"][0]["reasons"] == ["last_complete", "keep_last"]
    assert journal(old, 7) == [value for value in values if value[0] != 2]
    assert {t: old.sql(KEPT_FOR_EVER.format(t)) for t in before} == before
    assert everything(old) == catalog
    marked = old.sql("SELECT run_id FROM fasthash.run WHERE pruned_at IS NOT NULL ORDER BY 1")
    assert [row["run_id"] for row in marked] == [2, 3]
    again = prune(old, "--keep-last", "1")
    assert set(again["dropped"].values()) == {0}, "done once it is done"


def test_it_says_what_it_did(old: Database) -> None:
    said = old.fasthash("prune", "--keep-last", "1", "--keep-within", "0s").stdout
    lines = [line.split() for line in said.splitlines()]
    assert said.startswith("public.artifacts: 2 of 4 runs are kept whole\n")
    assert lines[3][:3] == ["1", "backfill", "complete"]
    assert " ".join(lines[3][5:]) == "keep the last complete backfill, one of the last 1"
    assert "prune  40 journal entries that only confirmed" in said
    assert "after the next (auto)vacuum" in said


def test_a_dry_run_writes_nothing(old: Database) -> None:
    tables = [
        row["t"]
        for row in old.sql("SELECT tablename AS t FROM pg_tables WHERE schemaname = 'fasthash'")
    ]

    def everything_in_ledger() -> dict[str, Any]:
        return {t: old.sql(f"SELECT t::text FROM fasthash.{t} t ORDER BY 1") for t in tables}

    before = everything_in_ledger()
    would = prune(old, "--keep-last", "1", "--dry-run")
    assert everything_in_ledger() == before
    done = prune(old, "--keep-last", "1")
    assert would["dry_run"] is True
    assert {**would, "dry_run": False} == done


def test_kept_runs_are_undone_exactly_and_others_not_at_all(old: Database) -> None:
    before = [r["metadata"] for r in old.sql("SELECT metadata FROM before ORDER BY id")]
    prune(old, "--keep-last", "1")
    now = everything(old)
    for arguments in (["2"], ["3", "--dry-run"]):
        done = old.fasthash("revert", *arguments, status=2)
        assert "cannot be undone any more" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert everything(old) == now
    assert old.sql("SELECT 1 FROM fasthash.run WHERE kind = 'revert'") == []
    assert json.loads(old.fasthash("revert", "4", "--json").stdout)["reverted"] == 40
    assert everything(old) == before


def test_a_run_that_is_being_undone_is_left_alone(old: Database) -> None:
    old.sql(
        "INSERT INTO fasthash.run (catalog, kind, options, host) "
        "VALUES ('public.artifacts', 'revert', '{\"of\": 2}', 'elsewhere')"
    )
    found = prune(old, "--keep-last", "1")
    reasons = {r["run_id"]: r["reasons"] for r in found["runs"]}
    assert reasons[2] == ["being_reverted"]
    assert reasons[5] == ["unfinished"]
    assert entries(old)[2] == 40


def test_lists_that_were_dropped_are_no_all_clear(old: Database) -> None:
    old.sql("INSERT INTO fasthash.sample (run_id, holder_id, rows, bytes) VALUES (1, 1, 5, 5)")
    old.add(91, "missing too")
    old.run(status=1)
    assert old.sql("SELECT 1 FROM fasthash.residual WHERE run_id = 1")
    found = prune(old, "--keep-last", "1")
    first = found["runs"][0]
    assert first["dropped"]["residual_rows"] == 1
    assert first["dropped"]["samples"] >= 1
    assert first["dropped"]["holder_reports"] == 1
    assert not old.sql("SELECT 1 FROM fasthash.residual WHERE run_id = 1")
    done = old.fasthash("residual", "1")
    assert "1 row of run 1 without a verdict cannot be listed any more" in done.stderr
    assert done.stdout == ""
    summary = json.loads(old.fasthash("summary", "1", "--json").stdout)
    assert summary["outcomes"]["no_file"] == 1
    assert summary["residual"] == {}
    assert "dropped by `fasthash prune`" in old.fasthash("summary", "1").stdout
    status = json.loads(old.fasthash("status", "1", "--json").stdout)
    assert (status["rows_scanned"], status["rows_skipped_no_file"]) == (41, 1)
    assert old.fasthash("status", "1").stdout
    page = old.fasthash("report", "1", "-o", "-").stdout
    assert "This run left none" not in page
    assert "has dropped the list" in page
    assert json.loads(old.fasthash("report", "1", "--json").stdout)["residual"] == []
    assert len(drifts(old, "--run", "3")) == 1
    # The others say it as before.
    assert "2 " not in old.fasthash("residual", "5").stderr
    assert old.fasthash("revert", "1", "--dry-run").stdout, "its journal is whole"


def test_ranges_become_one_row_a_type(old: Database) -> None:
    old.run("--restart", "--range-rows", "5", "--type", "notebook", "--missing-ok")
    before = json.loads(old.fasthash("summary", "1", "--json").stdout)
    prune(old, "--keep-last", "1")
    ranges = old.sql("SELECT artifact_type, state FROM fasthash.checkpoint WHERE run_id = 1")
    assert len(ranges) == 2
    after = json.loads(old.fasthash("summary", "1", "--json").stdout)
    assert {**after, "residual": before["residual"]} == before


def test_a_run_that_was_given_up_leaves_its_counts(database: Database, tmp_path: Path) -> None:
    fill(database, 60)
    first = database.run("--limit", "20", "--range-rows", "10")
    assert first["rows_scanned"] == 20
    database.sql(
        "UPDATE fasthash.run SET state = 'interrupted', superseded = true WHERE run_id = 1"
    )
    database.sql("UPDATE fasthash.checkpoint SET state = 'pending' WHERE range_no = 2")
    database.sql("INSERT INTO fasthash.met VALUES (1, '{1,2}'), (7, '{1}')")
    database.sql("INSERT INTO fasthash.left_over VALUES (1, 'x')")
    database.run()
    found = prune(database, "--keep-last", "1")
    assert [r["kept"] for r in found["runs"]] == [False, True]
    assert database.sql("SELECT run_id FROM fasthash.met") == [{"run_id": 7}]
    assert database.sql("SELECT run_id FROM fasthash.left_over") == []
    assert json.loads(database.fasthash("summary", "1", "--json").stdout)["rows_scanned"] == 20


def test_what_the_ledger_has_not_taken_over_stays(old: Database) -> None:
    """Entries that `file_state` does not know, whatever is said of their run."""
    old.sql("UPDATE fasthash.run SET state = 'interrupted', superseded = true WHERE run_id = 3")
    old.sql("DELETE FROM fasthash.file_state WHERE row_id IN ('1', '2')")
    old.sql("UPDATE fasthash.run SET unfolded_since = NULL")
    prune(old, "--keep-last", "1")
    left = old.sql("SELECT row_id FROM fasthash.journal WHERE run_id = 2 ORDER BY row_id")
    assert [row["row_id"] for row in left] == ["1", "2"]


def test_the_first_to_tell_of_a_row_stays(database: Database) -> None:
    """Rows that somebody else had hashed: their first entry is a confirmation."""
    paths = fill(database, 10)
    for n, path in enumerate(paths):
        keys = {
            "file_sha256": sha256(path),
            "file_size_bytes": path.stat().st_size,
            "file_sha256_computed_at": "2020-01-01T00:00:00Z",
        }
        database.sql("UPDATE artifacts SET metadata = %s WHERE id = %s", json.dumps(keys), n)
    for _ in range(3):
        old_scrub(database)
    prune(database, "--keep-last", "1")
    assert entries(database) == {1: 10, 3: 10}


def test_other_catalogs_are_left_alone(old: Database) -> None:
    old.sql("CREATE TABLE other (LIKE artifacts INCLUDING ALL)")
    old.sql("INSERT INTO other SELECT * FROM artifacts")
    old.sql(
        "INSERT INTO fasthash.run (catalog, kind, state, options, host, finished_at) SELECT "
        "'public.other', kind, state, options, host, finished_at FROM fasthash.run "
        "WHERE kind = 'scrub' ORDER BY run_id"
    )
    old.sql(
        "INSERT INTO fasthash.journal (run_id, size_bytes, at, row_id, new_sha256, old_sha256, "
        "old_keys, read_at_ns) SELECT run_id + 3, size_bytes, at, row_id, new_sha256, "
        "old_sha256, old_keys, read_at_ns FROM fasthash.journal WHERE run_id > 1"
    )
    found = prune(old, "--keep-last", "1")
    assert {r["run_id"] for r in found["runs"]} == {1, 2, 3, 4}
    assert entries(old) == {1: 40, 3: 1, 4: 40, 5: 40, 6: 40, 7: 40}
    prune(old, "--keep-last", "1", "--table", "other")
    assert entries(old)[7] == 40
    assert entries(old)[6] == 1


@pytest.mark.parametrize("point", ["prune_commit", "prune_step"])
def test_killed_in_the_middle_it_goes_on(old: Database, tmp_path: Path, point: str) -> None:
    old.environment |= {"PYTHONPATH": HOOKS, "TEST_STEP_BLOCKS": "1"}
    assert old.sql("SELECT pg_relation_size('fasthash.journal') / 8192 AS n")[0]["n"] > 2
    fault = {"FASTHASH_FAULT": f"{point}:kill:{tmp_path / 'once'}"}
    killed = subprocess.run(
        old.command("prune", "--keep-last", "1"),
        env={**old.env(), **fault},
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL
    left = entries(old)
    if point == "prune_commit":
        assert left == {1: 40, 2: 40, 3: 40, 4: 40}
    marked = {
        r["run_id"] for r in old.sql("SELECT run_id FROM fasthash.run WHERE pruned_at IS NOT NULL")
    }
    assert marked >= {run_id for run_id in (2, 3) if left.get(run_id, 0) < 40}
    prune(old, "--keep-last", "1")
    assert entries(old) == {1: 40, 3: 1, 4: 40}
    assert json.loads(old.fasthash("revert", "4", "--json").stdout)["reverted"] == 40


def test_beside_a_run(old: Database, tmp_path: Path) -> None:
    """A run that is at work is kept whole, waits for nothing, and comes to its exact end."""
    old.environment |= {"PYTHONPATH": TESTS, "GATE": str(tmp_path / "gate")}
    (old.root / "gate").write_text("last")
    os.utime(old.root / "gate", (1_600_000_000, 1_600_000_000))
    for n in range(100, 120):
        old.add(n, f"f{n - 100}")
    old.add(120, "gate")
    process = old.start("--resolver", "site_resolvers:gated", "--range-rows", "5", "--workers", "1")
    until(lambda: entries(old).get(5, 0) >= 5, "it is at work")
    found = prune(old, "--keep-last", "1")
    assert {r["run_id"]: r["reasons"] for r in found["runs"]}[5] == ["under_way"]
    assert found["dropped"]["journal_entries"] == 79
    (tmp_path / "gate").touch()
    summary = summary_of(process, 1)  # a file is missing
    assert summary["state"] == "complete"
    assert summary["outcomes"]["hashed"] == 21
    assert entries(old)[5] == 21
    check_sums(summary)


def test_nobody_is_waited_for_long_and_a_step_comes_again(old: Database) -> None:
    with old.connect() as other:
        with other.transaction():
            other.execute("SELECT 1 FROM fasthash.run WHERE run_id = 2 FOR UPDATE")
            process = subprocess.Popen(
                old.command("prune", "--keep-last", "1", "--json"),
                env=old.env(),
                stdout=subprocess.PIPE,
                text=True,
            )
            until(
                lambda: old.sql(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND application_name = 'fasthash prune'"
                ),
                "it waits",
            )
        out, _ = process.communicate(timeout=60)
    assert json.loads(out)["dropped"]["journal_entries"] == 79


def test_kinds_of_drift_and_lost_hashes_afterwards(old: Database) -> None:
    """What was dropped is told by `file_state`: rot from change, and hashes that rows have lost."""
    paths = [old.root / f"f{n}" for n in range(40)]
    prune(old, "--keep-last", "1")
    rot(old, 1, paths[1])
    paths[2].write_bytes(b"changed")
    was = old.metadata(3)["file_sha256"]
    paths[3].write_bytes(b"changed after its row had lost the hash")
    old.sql("UPDATE artifacts SET metadata = '{}' WHERE id = 3")
    before = len(drifts(old))
    old.scrub(status=1)
    old.run(status=1)
    found = {d["row_id"]: d for d in drifts(old)[before:]}
    assert {row_id: d["kind"] for row_id, d in found.items()} == {
        "1": "corrupt",
        "2": "modified",
        "3": "modified",
    }
    assert found["3"]["old_hash"] == was
    assert found["1"]["old_mtime"] == found["1"]["file_mtime"]


def test_a_role_of_the_night_is_told_what_it_lacks(old: Database, server_dsn: str) -> None:
    role = f"night_{os.getpid()}"
    old.sql(f"CREATE ROLE {role} LOGIN")
    grants = json.loads(old.fasthash("grants", role, "--json").stdout)["statements"]
    owner = old.dsn
    try:
        for statement in grants:
            old.sql(statement)
        old.dsn = psycopg.conninfo.make_conninfo(owner, user=role)
        done = old.fasthash("prune", "--keep-last", "1", status=4)
        assert len(done.stderr.splitlines()) == 1
        for table in ("journal", "residual", "sample"):
            assert f'GRANT DELETE ON fasthash."{table}" TO "{role}";' in done.stderr
        assert prune(old, "--keep-last", "1", "--dry-run")["dropped"]["journal_entries"] == 79
        missing = done.stderr.split("grant it with: ")[1]
        old.dsn = owner
        old.sql(missing)
        old.dsn = psycopg.conninfo.make_conninfo(owner, user=role)
        assert prune(old, "--keep-last", "1")["dropped"]["journal_entries"] == 79
    finally:
        old.dsn = owner
        old.sql(f"DROP OWNED BY {role}")
        old.sql(f"DROP ROLE {role}")


def test_progress_as_lines(old: Database) -> None:
    old.environment |= {"PYTHONPATH": HOOKS, "TEST_STEP_BLOCKS": "1", "TEST_LINE_EVERY_S": "0"}
    done = old.fasthash("prune", "--keep-last", "1", "--log-format", "json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["event"] for line in lines} == {"pruning"}
    assert lines[-1]["blocks"] == lines[-1]["of_blocks"] > 2
    assert lines[-1]["journal_entries"] == 79
    assert [line["blocks"] for line in lines] == sorted(line["blocks"] for line in lines)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ((), 2, "say what to keep"),
        (("--dry-run",), 2, "say what to keep"),
        (("--keep-last", "0"), 2, "0 is not in the range"),
        (("--keep-within", "soon"), 2, "is no duration"),
        (("--keep-last", "1", "--table", "nowhere"), 4, "nowhere"),
    ],
)
def test_mistakes(database: Database, arguments: tuple[str, ...], status: int, says: str) -> None:
    database.make_table()
    done = database.fasthash("prune", *arguments, status=status)
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_nothing_there_yet(database: Database) -> None:
    database.make_table()
    found = prune(database, "--keep-within", "1y")
    assert (found["runs"], set(found["dropped"].values())) == ([], {0})
    assert "nothing" in database.fasthash("prune", "--keep-last", "3").stdout


def test_reasons_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
    assert all(f"`{reason}`" in text for reason in retention.Reason)
