"""Reading again: rot told from change, nothing met twice, and the good hash kept."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Database, sha256
from oracle import ends, until

from fasthash import files, verdicts

OLD = (1_600_000_000, 1_600_000_000)


def fill(database: Database, files: int, *, folder: str = "", size: int = 1_000) -> list[Path]:
    """Files with a row each, of two types, long settled."""
    database.make_table() if not folder else None
    paths = []
    rows = []
    for n in range(files):
        path = database.root / f"{folder}f{n}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(random.Random(n).randbytes(size + n % 7))
        os.utime(path, OLD)
        paths.append(path)
        rows.append((n, "figure" if n % 3 else "notebook", f"{folder}f{n}", '{"title": "t"}'))
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO artifacts VALUES (%s, %s, %s, %s, 'untouched')", rows)
    return paths


def rot(database: Database, row_id: int, path: Path) -> None:
    """One bit is flipped beneath the file system: no time moves, and the recorded one is right."""
    times = os.stat(path)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[5] ^= 1
        mapping.flush()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    stamps = verdicts.stamps_of(os.stat(path))
    for table in ("file_state", "journal"):
        database.sql(
            f"UPDATE fasthash.{table} SET stamps = %s WHERE row_id = %s", stamps, str(row_id)
        )


def drifts(database: Database, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        database.fasthash("drift", "list", "--json", *arguments).stdout
    )
    return found


@pytest.mark.parametrize("precheck", ["off", "xxh3"])
def test_exactly_what_is_wrong_is_found(database: Database, precheck: str) -> None:
    paths = fill(database, 2_000)
    database.fasthash("init")
    database.run("--precheck", precheck)
    good = {n: database.metadata(n) for n in (*range(0, 100, 10), *range(5, 105, 10))}
    rotten, changed = range(0, 100, 10), range(5, 105, 10)
    for n in rotten:
        rot(database, n, paths[n])
    for n in changed:
        paths[n].write_bytes(b"rewritten %d" % n)
        os.utime(paths[n], (OLD[0] + 5, OLD[1] + 5))
    for n in range(200, 205):
        paths[n].unlink()
    summary = database.scrub("--precheck", precheck, "--range-rows", "300", status=1)
    assert summary["kind"] == "scrub"
    assert summary["state"] == "complete"
    assert summary["rows_scanned"] == 2_000
    assert summary["outcomes"] == {
        "hashed": 0, "confirmed": 1_975, "drifted": 20, "fresh": 0, "no_file": 5, "failed": 0,
    }  # fmt: skip
    assert summary["rows_prechecked"] == (1_975 if precheck == "xxh3" else 0)
    assert summary["drift_open"] == 10
    found = {int(d["row_id"]): d for d in drifts(database)}
    assert {n for n, d in found.items() if d["kind"] == "corrupt"} == set(rotten)
    assert {n for n, d in found.items() if d["kind"] == "modified"} == set(changed)
    for n in rotten:
        assert database.metadata(n) == good[n], "the good hash stays"
        assert found[n]["resolution"] == "open"
        assert found[n]["old_hash"] == good[n]["file_sha256"]
        assert found[n]["new_hash"] == sha256(paths[n])
        assert found[n]["old_mtime"] == found[n]["file_mtime"]
    for n in changed:
        assert database.metadata(n)["file_sha256"] == sha256(paths[n])
        assert found[n]["resolution"] == "overwritten"
    for n in range(200, 205):
        assert "file_sha256" in database.metadata(n), "what is missing keeps its hash"
    assert {d["row_id"] for d in drifts(database, "--open")} == {str(n) for n in rotten}
    # What is bad is read again, however young its marker is; nothing else is.
    again = database.scrub("--older-than", "90d", status=1)
    assert again["rows_scanned"] == 15
    assert again["outcomes"]["drifted"] == 10
    assert again["outcomes"]["no_file"] == 5
    assert again["drift_open"] == 10, "the later finding takes the place of the first"
    if precheck == "xxh3":  # nor does a pre-check take it for good: its stamps are those of before
        third = database.scrub("--precheck", "stat", status=1)
        assert third["outcomes"]["drifted"] == 10


def test_a_restored_file_settles_its_drift(database: Database) -> None:
    paths = fill(database, 20)
    database.fasthash("init")
    database.run()
    content = paths[3].read_bytes()
    assert database.scrub()["outcomes"]["confirmed"] == 20
    rot(database, 3, paths[3])
    assert database.scrub(status=1)["drift_open"] == 1
    assert database.run(status=1)["drift_open"] == 1, "whatever is run says that something waits"
    paths[3].write_bytes(content)
    assert database.scrub("--older-than", "1d")["outcomes"]["confirmed"] == 1
    assert drifts(database, "--open") == []
    assert database.run()["drift_open"] == 0


def test_overwrite_said_outright_in_a_scrub(database: Database) -> None:
    paths = fill(database, 20)
    database.fasthash("init")
    database.run()
    database.scrub()
    rot(database, 3, paths[3])
    summary = database.scrub("--on-drift", "overwrite", status=1)
    assert summary["drift_open"] == 0
    assert database.metadata(3)["file_sha256"] == sha256(paths[3])
    assert drifts(database)[0]["kind"] == "corrupt"
    paths[4].write_bytes(b"changed")
    assert database.scrub("--on-drift", "hold", status=1)["drift_open"] == 1
    assert database.metadata(4)["file_sha256"] != sha256(paths[4])


def test_corrupt_is_an_error_in_the_log(database: Database) -> None:
    paths = fill(database, 3)
    database.fasthash("init")
    database.run()
    database.scrub()
    rot(database, 1, paths[1])
    paths[2].write_bytes(b"changed")
    done = database.fasthash(
        "scrub", "--root", str(database.root), "--log-format", "json", status=1
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    levels = {line["row_id"]: line["level"] for line in lines if line["event"] == "drift"}
    assert levels == {"1": "ERROR", "2": "WARNING"}


def test_the_oldest_rows_come_first(database: Database) -> None:
    fill(database, 300)
    database.fasthash("init")
    database.run()
    order = list(range(300))
    random.Random(1).shuffle(order)
    for age, n in enumerate(order):
        at = f"2020-01-01T{age // 60:02d}:{age % 60:02d}:00.000000Z"
        database.sql(
            "UPDATE artifacts SET metadata = metadata || jsonb_build_object("
            "'file_sha256_computed_at', %s::text) WHERE id = %s",
            at,
            n,
        )
    summary = database.scrub("--limit", "100", "--range-rows", "30")
    assert summary["rows_scanned"] == 100
    left = database.sql(
        "SELECT id FROM artifacts WHERE metadata ->> 'file_sha256_computed_at' LIKE '2020%%'"
    )
    assert {r["id"] for r in left} == set(order[100:])


def test_stopped_by_budget_and_time_it_goes_on_from_there(database: Database) -> None:
    paths = fill(database, 400, size=10_000)
    database.fasthash("init")
    database.run()
    database.sql("UPDATE fasthash.checkpoint SET planned_rows = planned_rows")
    first = database.scrub("--budget", "1MB", "--range-rows", "50")
    assert (first["state"], first["ended_for"]) == ("interrupted", "budget")
    assert 800_000 < first["bytes_hashed"] <= 1_000_000
    assert first["freshness"]["rows_marked"] == 400
    assert first["freshness"]["verified_by"] is not None
    second = database.scrub("--budget", "1MB")
    assert second["run_id"] == first["run_id"]
    assert 1_800_000 < second["bytes_hashed"] <= 2_000_000
    third = database.scrub("--for", "0.001s")
    assert third["ended_for"] == "time"
    last = database.scrub()
    assert (last["state"], last["rows_scanned"]) == ("complete", 400)
    assert last["outcomes"]["confirmed"] == 400
    assert last["ended_for"] is None
    sizes = sum(path.stat().st_size for path in paths)
    assert last["bytes_hashed"] == sizes, "each row was read once"


def test_a_budget_smaller_than_the_next_file_allows_that_one(database: Database) -> None:
    fill(database, 3, size=400_000)
    database.fasthash("init")
    database.run()
    summary = database.scrub("--budget", "1kB", "--workers", "2")
    assert summary["outcomes"]["confirmed"] == 1
    assert summary["ended_for"] == "budget"


def test_a_sample_is_the_same_for_the_same_seed(database: Database) -> None:
    fill(database, 1_000)
    database.fasthash("init")
    database.run()
    met = []
    for seed in ("1", "1", "2"):
        before = {r["id"]: r["metadata"] for r in database.sql("SELECT * FROM artifacts")}
        summary = database.scrub("--sample", "10%", "--seed", seed)
        assert 60 < summary["rows_scanned"] < 140
        rows = database.sql("SELECT * FROM artifacts")
        met.append({r["id"] for r in rows if r["metadata"] != before[r["id"]]})
    assert met[0] == met[1] != met[2]


def test_missing_reads_nothing(database: Database) -> None:
    paths = fill(database, 50)
    database.fasthash("init")
    database.run()
    before = {n: database.metadata(n) for n in range(50)}
    paths[7].unlink()
    paths[8].write_bytes(b"longer than it was, or shorter")
    rot(database, 9, paths[9])
    summary = database.scrub("--missing", status=1)
    assert summary["outcomes"] == {
        "hashed": 0, "confirmed": 48, "drifted": 1, "fresh": 0, "no_file": 1, "failed": 0,
    }  # fmt: skip
    assert summary["rows_prechecked"] == 48
    assert {n: database.metadata(n) for n in range(50) if n != 8} == {
        n: m for n, m in before.items() if n != 8
    }, "no marker moves without a hash"


def test_crashes_change_no_count(database: Database) -> None:
    """Killed again and again, a scrub meets each row once."""
    fill(database, 3_000)
    database.fasthash("init")
    database.run()
    counted = "SELECT coalesce(sum(confirmed), 0) AS n FROM fasthash.checkpoint "
    counted += "JOIN fasthash.run USING (run_id) WHERE kind = 'scrub'"
    for n in range(6):
        process = database.start("--range-rows", "100", "--files-rate", "1000", command="scrub")
        until(lambda k=n: database.sql(counted)[0]["n"] > 100 * k, "it goes on")
        process.send_signal(signal.SIGKILL)
        process.communicate()
    summary = database.scrub()
    assert summary["rows_scanned"] == summary["outcomes"]["confirmed"] == 3_000
    journaled = "SELECT row_id FROM fasthash.journal WHERE run_id = %s"
    rows = [r["row_id"] for r in database.sql(journaled, summary["run_id"])]
    assert len(rows) == len(set(rows)), "stamps that were too young may be news, once"
    left = "SELECT 1 FROM fasthash.met UNION ALL SELECT 1 FROM fasthash.left_over"
    assert database.sql(left) == []


def test_two_jobs_one_marker(database: Database) -> None:
    """A row that another job marks meanwhile is fresh, and left alone."""
    fill(database, 200)
    database.environment |= {"PYTHONPATH": str(Path(__file__).parents[1]), "SLOW_S": "0.01"}
    database.hold("f150")
    database.run("--workers", "1")
    marker = "2090-01-01T00:00:00.000000Z"
    database.sql(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        'UPDATE artifacts SET metadata = metadata || \'{"file_sha256_computed_at": "'
        + marker
        + "\"}' WHERE id = 150; RETURN NEW; END $$"
    )
    database.sql(
        "CREATE TRIGGER meddle AFTER UPDATE ON artifacts FOR EACH ROW WHEN (NEW.id = 1) "
        "EXECUTE FUNCTION meddle()"
    )
    process = database.start("--resolver", "site_resolvers:slow", "--workers", "1", command="scrub")
    until(lambda: database.metadata(150)["file_sha256_computed_at"] == marker, "it is marked")
    summary, _ = ends(process, 0)
    assert summary["outcomes"]["fresh"] == 1
    assert summary["outcomes"]["confirmed"] == 199
    assert database.metadata(150)["file_sha256_computed_at"] == marker


def test_since_makes_older_markers_absent(database: Database) -> None:
    paths = fill(database, 30)
    database.fasthash("init")
    database.run()
    old = "2020-01-01T00:00:00.000000Z"
    for n in range(10):
        database.sql(
            "UPDATE artifacts SET metadata = metadata || jsonb_build_object("
            "'file_sha256_computed_at', %s::text) WHERE id = %s", old, n,
        )  # fmt: skip
    paths[3].write_bytes(b"changed")
    summary = database.run("--since", "2021-01-01", status=1)
    assert summary["rows_scanned"] == summary["outcomes"]["confirmed"] + 1 == 10
    assert database.metadata(3)["file_sha256"] == hashlib.sha256(b"changed").hexdigest()
    assert database.run("--since", "2021-01-01")["rows_scanned"] == 0


def test_a_marker_of_the_future_is_said_and_fresh(database: Database) -> None:
    fill(database, 10)
    database.fasthash("init")
    database.run()
    database.sql(
        "UPDATE artifacts SET metadata = metadata || "
        '\'{"file_sha256_computed_at": "2099-01-01T00:00:00Z"}\' WHERE id = 4'
    )
    done = database.fasthash("scrub", "--root", str(database.root), "--json")
    assert json.loads(done.stdout)["rows_scanned"] == 9
    assert "1 row has a marker of the future, up to 2099-01-01T00:00:00Z" in done.stderr


def test_a_run_and_a_scrub_side_by_side(database: Database) -> None:
    """An unfinished scrub is in no run's way, nor the other way round."""
    fill(database, 100)
    database.fasthash("init")
    database.run()
    assert database.scrub("--budget", "20kB")["state"] == "interrupted"
    (database.root / "new").write_bytes(b"new")
    database.add(1000, "new")
    assert database.run()["outcomes"]["hashed"] == 1
    assert database.scrub()["state"] == "complete"


def test_a_dry_scrub_writes_nothing(database: Database) -> None:
    paths = fill(database, 20)
    database.fasthash("init")
    database.run()
    paths[3].write_bytes(b"changed")
    before = database.sql("SELECT * FROM artifacts ORDER BY id")
    summary = database.scrub("--dry-run", status=1)
    assert summary["outcomes"]["confirmed"] == 19
    assert summary["outcomes"]["drifted"] == 1
    assert database.sql("SELECT * FROM artifacts ORDER BY id") == before
    assert drifts(database) == []


def test_pauses_while_a_file_is_there(database: Database, tmp_path: Path) -> None:
    fill(database, 30)
    database.fasthash("init")
    pause = tmp_path / "pause"
    pause.touch()
    process = database.start("--pause-file", str(pause))
    until(lambda: database.sql("SELECT 1 FROM fasthash.holder"), "it has begun")

    def status() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(database.fasthash("status", "--json").stdout)
        return found

    until(
        lambda: any(h["report"].get("held") == f"paused by {pause}" for h in status()["holders"]),
        "it says why it is held",
    )
    assert status()["rows_scanned"] == 0
    pause.unlink()
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert json.loads(out)["outcomes"]["hashed"] == 30


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_a_writer_through_a_mapping_is_not_called_rot_without_a_doubt(
    database: Database, tmp_path: Path, place: str
) -> None:
    """Its second write moves no time while the page is dirty; in a tmpfs it never does."""
    folder = tempfile.mkdtemp(dir="/dev/shm" if place == "memory" else tmp_path)
    database.root = Path(folder)
    try:
        path = database.root / "f"
        path.write_bytes(bytes(8_192))
        database.make_table()
        database.add(1, "f")
        database.fasthash("init")
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
            mapping[0] = 1
            time.sleep(files.RACY_NS / 1e9 + 0.1)
            database.run()
            good = sha256(path)
            before = os.stat(path)
            mapping[1] = 1
            after = os.stat(path)
        moved = before.st_mtime_ns != after.st_mtime_ns  # if it was written back meanwhile
        assert place == "disk" or not moved
        assert sha256(path) != good
        database.scrub(status=0 if moved else 1)
        (found,) = drifts(database)
        assert found["kind"] == ("modified" if moved else "corrupt")
        shown = database.fasthash("drift", "show", str(found["drift_id"])).stdout
        assert ("a program that has it mapped" in shown) == (not moved)
        assert (database.metadata(1)["file_sha256"] == good) == (not moved)
    finally:
        shutil.rmtree(folder)
