"""The second run, and the thousandth: as right as the first, and without a trace of the others."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import Database, sha256
from oracle import until

OLD = (1_600_000_000, 1_600_000_000)


def fill(database: Database, files: int = 20) -> list[Path]:
    """Files with a row each, long settled."""
    database.make_table()
    paths = []
    for n in range(files):
        path = database.root / f"f{n}"
        path.write_bytes(b"content %d" % n)
        os.utime(path, OLD)
        paths.append(path)
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO artifacts VALUES (%s, 'figure', %s, '{\"title\": \"t\"}', 'untouched')",
            [(n, path.name) for n, path in enumerate(paths)],
        )
    return paths


def drifts(database: Database, *arguments: str) -> dict[str, dict[str, Any]]:
    found = json.loads(database.fasthash("drift", "list", "--json", *arguments).stdout)
    return {d["row_id"]: d for d in found}


def age(database: Database) -> None:
    """Stamps that were too young when a file was read are news once: so much later."""
    database.sql("UPDATE fasthash.journal SET read_at_ns = read_at_ns + 10000000000")


def test_what_is_only_confirmed_leaves_no_row(database: Database) -> None:
    fill(database)
    database.run()
    age(database)
    tables = ("journal", "file_state", "residual", "bad_row", "met", "left_over", "segment")
    counts = "SELECT " + ", ".join(f"(SELECT count(*) FROM fasthash.{t}) AS {t}" for t in tables)
    database.scrub()
    (first,) = database.sql(counts)
    assert (first["journal"], first["file_state"]) == (20, 20)
    for _ in range(3):
        assert database.scrub()["outcomes"]["confirmed"] == 20
    assert database.sql(counts) == [first]
    # And of ranges one row a type, but for the last of each kind.
    ranges = database.sql("SELECT run_id, range_no FROM fasthash.checkpoint ORDER BY run_id")
    assert [r["range_no"] for r in ranges] == [1, -1, -1, 1, 1]
    old = json.loads(database.fasthash("summary", "2", "--json").stdout)
    assert old["outcomes"]["confirmed"] == old["rows_scanned"] == 20


def test_news_are_journaled_once(database: Database) -> None:
    """Other stamps with the same content: what a later scrub tells rot from change by."""
    paths = fill(database)
    database.run()
    age(database)
    database.scrub()
    os.utime(paths[3], (OLD[0] + 9, OLD[1] + 9))
    database.scrub()
    # However soon it was read after the change: as if that was long ago.
    database.sql(
        "UPDATE fasthash.journal SET read_at_ns = read_at_ns + 10000000000 WHERE row_id = '3'"
    )
    for _ in range(2):
        assert database.scrub()["outcomes"]["confirmed"] == 20
    rows = database.sql("SELECT run_id FROM fasthash.journal WHERE row_id = '3' ORDER BY at")
    assert [r["run_id"] for r in rows] == [1, 3]
    text = database.fasthash("journal", "3").stdout
    assert text.count("from") == 2


@pytest.mark.parametrize("loss", ["hash", "all"])
def test_a_lost_hash_is_not_blessed_anew(database: Database, loss: str) -> None:
    paths = fill(database)
    database.run()
    before = {n: database.metadata(n) for n in range(20)}
    keys = ["file_sha256", "file_sha256_computed_at"] if loss == "hash" else list(before[0])
    database.sql("UPDATE artifacts SET metadata = metadata - %s::text[] WHERE id < 10", keys)
    paths[3].write_bytes(b"something else")
    paths[15].write_bytes(b"something else")
    summary = database.run(status=1)
    assert summary["rows_scanned"] == 10
    assert summary["outcomes"]["hashed"] == 9
    assert summary["outcomes"]["drifted"] == 1
    found = drifts(database)
    assert set(found) == {"3"}
    assert found["3"]["old_hash"] == before[3]["file_sha256"]
    assert found["3"]["kind"] == "modified"
    assert found["3"]["was_lost"]
    assert database.metadata(3)["file_sha256"] == sha256(paths[3])
    for n in (0, 9):
        assert database.metadata(n)["file_sha256"] == before[n]["file_sha256"]
    assert database.scrub(status=1)["outcomes"]["drifted"] == 1, "row 15, which has its hash still"


def test_a_lost_hash_that_is_held_is_decided_about(database: Database) -> None:
    paths = fill(database)
    database.run()
    database.sql("UPDATE artifacts SET metadata = '{}' WHERE id IN (3, 4)")
    for n in (3, 4):
        paths[n].write_bytes(b"something else")
    assert database.run("--on-drift", "hold", status=1)["drift_open"] == 2
    assert database.metadata(3) == {}
    found = drifts(database, "--open")
    accepted = str(found["3"]["drift_id"])
    database.fasthash("drift", "accept", accepted, "--root", str(database.root))
    assert database.metadata(3)["file_sha256"] == sha256(paths[3])
    assert database.run("--on-drift", "hold", status=1)["drift_open"] == 1, "and found again"
    database.scrub(status=1)
    # What was accepted is the last known hash from here on.
    database.sql("UPDATE artifacts SET metadata = '{}' WHERE id = 3")
    assert database.run("--on-drift", "hold", "--type", "figure", status=1)["outcomes"] == {
        "hashed": 1, "confirmed": 0, "drifted": 1, "fresh": 0, "no_file": 0, "failed": 0,
    }  # fmt: skip


def test_catalogs_of_other_keys_do_not_meet(database: Database) -> None:
    """What one has rejected is cast to no other's key, and no error passes for silence."""
    paths = fill(database)
    database.sql("CREATE TABLE others (LIKE artifacts INCLUDING ALL)")
    database.sql("ALTER TABLE others ALTER COLUMN id TYPE uuid USING gen_random_uuid()")
    database.sql("INSERT INTO others SELECT gen_random_uuid(), artifact_type, file_path, metadata "
                 "FROM artifacts")  # fmt: skip
    database.run()
    database.run("--table", "others")
    paths[3].write_bytes(b"something else")
    database.scrub("--table", "others", "--on-drift", "hold", status=1)
    database.fasthash("drift", "reject", "--all", "--table", "others")
    summary = database.scrub("--on-drift", "overwrite", status=1)
    assert summary["outcomes"]["confirmed"] == 19
    again = database.scrub("--older-than", "90d")
    assert (again["state"], again["rows_scanned"]) == ("complete", 0)
    assert database.scrub("--older-than", "90d", "--table", "others", status=1)["rows_scanned"] == 1


def test_a_row_that_was_fresh_and_is_reset_counts_once(database: Database) -> None:
    """Rows 0 to 9 are marked; while row 15 is written, the application takes two markers away."""
    paths = fill(database)
    fresh = '{"file_sha256": "%s", "file_sha256_computed_at": "2026-01-01T00:00:00Z"}'
    for n in range(10):
        database.sql(
            "UPDATE artifacts SET metadata = %s WHERE id = %s", fresh % sha256(paths[n]), n
        )
    database.sql(
        "CREATE FUNCTION reset() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "UPDATE artifacts SET metadata = '{}' WHERE id IN (2, 3); RETURN NULL; END $$"
    )
    database.sql(
        "CREATE TRIGGER reset AFTER UPDATE ON artifacts FOR EACH ROW WHEN (NEW.id = 15) "
        "EXECUTE FUNCTION reset()"
    )
    summary = database.run("--range-rows", "1", "--workers", "1")
    assert summary["rows_scanned"] == 20
    assert summary["outcomes"]["fresh"] == 10
    assert summary["outcomes"]["hashed"] == 10
    for n in (2, 3):
        assert database.metadata(n)["file_sha256"] == sha256(paths[n])


def lines_of(done: Any) -> list[str]:
    """The rows of the lines about drift."""
    events = [json.loads(line) for line in done.stderr.splitlines()]
    return [e["row_id"] for e in events if e["event"] == "drift"]


@pytest.mark.parametrize(
    ("point", "action"),
    [
        ("before_commit", "kill"),
        ("before_commit", "disconnect"),
        ("after_commit", "kill"),
        ("after_commit", "disconnect"),
        ("drifts_logged", "kill"),
    ],
)
def test_a_drift_has_one_line_and_it_is_true(
    database: Database, tmp_path: Path, point: str, action: str
) -> None:
    """Whatever happens around the commit; only a death between line and note may repeat it."""
    paths = fill(database)
    database.run()
    for n in (3, 4):
        paths[n].write_bytes(b"something else")
    token = tmp_path / "token"
    database.environment["FASTHASH_FAULT"] = f"{point}:{action}:{token}"
    done = database.fasthash(
        "scrub", "--root", str(database.root), "--log-format", "json", "--workers", "1", status=1
    )
    assert token.exists()
    rows = lines_of(done)
    assert sorted(set(rows)) == ["3", "4"]
    assert len(rows) == (4 if point == "drifts_logged" else 2)
    assert {d["row_id"] for d in database.sql("SELECT row_id FROM fasthash.drift")} == {"3", "4"}
    assert database.sql("SELECT 1 FROM fasthash.drift WHERE NOT is_logged") == []


def test_a_drift_that_a_crash_left_untold_is_told_at_the_next_start(
    database: Database, tmp_path: Path
) -> None:
    (path,) = fill(database, 1)  # so that the first commit is the drift's
    database.run()
    path.write_bytes(b"something else")
    # The writer stops between the commit and the line; then all of them die.
    token = tmp_path / "token"
    database.environment["FASTHASH_FAULT"] = f"after_commit:stop:{token}"
    process = database.start("--log-format", "json", command="scrub")
    until(lambda: database.sql("SELECT 1 FROM fasthash.drift"), "the drift is committed")
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate()
    assert '"event": "drift"' not in err
    del database.environment["FASTHASH_FAULT"]
    done = database.fasthash("run", "--root", str(database.root), "--log-format", "json",
                             status=None)  # fmt: skip
    assert lines_of(done) == ["0"]
    assert '"event": "drift_untold"' in done.stderr
    again = database.fasthash("run", "--root", str(database.root), "--log-format", "json",
                              status=None)  # fmt: skip
    assert lines_of(again) == []


def test_bad_rows_are_read_again_whatever_their_number(database: Database) -> None:
    """They are no list in memory: a scrub that is for nothing else reads just them."""
    paths = fill(database, 40)
    database.run()
    for path in paths[:30]:
        path.unlink()
    assert database.scrub(status=1)["outcomes"]["no_file"] == 30
    for path in paths[:29]:
        path.write_bytes(b"content %d" % paths.index(path))
    summary = database.scrub("--older-than", "90d", status=1)
    assert summary["rows_scanned"] == 30
    assert summary["outcomes"]["confirmed"] == 29
    assert summary["freshness"]["rows_bad"] == 1
    assert database.scrub("--older-than", "90d", status=1)["rows_scanned"] == 1
