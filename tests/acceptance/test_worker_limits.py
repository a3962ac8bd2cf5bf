"""Workers that may open little or nothing, and rows that kill or hold them before they read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import Database, sha256
from oracle import until

TESTS = Path(__file__).parents[1]
ROWS = 60


def fill(database: Database, *others: str) -> None:
    """Files with a row each, and rows of other texts in the middle."""
    paths = [str(TESTS), str(TESTS / "hooks")]
    database.environment |= {"PYTHONPATH": os.pathsep.join(paths)}
    database.make_table()
    for n in range(ROWS):
        (database.root / f"f{n}").write_bytes(os.urandom(1_000))
        database.add(n, f"f{n}")
    for n, text in enumerate(others):
        (database.root / text).write_bytes(b"other")
        database.add(ROWS + n, text)


def check_hashes(database: Database, rows: int = ROWS) -> None:
    for n in range(rows):
        assert database.metadata(n)["file_sha256"] == sha256(database.root / f"f{n}")


def test_a_worker_that_can_open_nothing_ends_the_run_and_blames_no_file(
    database: Database,
) -> None:
    fill(database, "starving")
    done = database.fasthash(
        "run", "--root", str(database.root), "--workers", "1",
        "--resolver", "site_resolvers:starving", status=3,
    )  # fmt: skip
    assert "EMFILE" in done.stderr
    assert "ulimit -n" in done.stderr
    assert database.sql("SELECT * FROM fasthash.residual") == []
    summary = database.run()
    assert summary["outcomes"]["hashed"] + summary["outcomes"]["fresh"] == ROWS + 1
    assert summary["residual"] == {}
    check_hashes(database)


def test_a_worker_with_few_descriptors_reads_smaller_groups(database: Database) -> None:
    fill(database)
    database.environment["TEST_OPEN_FILES"] = "14"
    for entry in os.scandir(database.root):  # cold, so that a group is opened before it is read
        descriptor = os.open(entry.path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    assert database.run("--workers", "1")["outcomes"]["hashed"] == ROWS
    check_hashes(database)


@pytest.mark.parametrize("limit", ["--rate=100MB/s", "--budget=1GB", "--workers=1"])
def test_a_row_that_kills_its_worker_before_it_is_read_is_named(
    database: Database, limit: str
) -> None:
    """Where there is a rate or a budget, a file's size is asked for before its turn."""
    fill(database, "poison")
    summary = database.run(limit, "--resolver", "site_resolvers:poisonous", status=1)
    assert summary["residual"] == {"unreadable": 1}
    (left,) = database.sql("SELECT row_id, detail FROM fasthash.residual")
    assert left["row_id"] == str(ROWS)
    assert "died" in left["detail"]
    assert summary["outcomes"]["hashed"] == ROWS
    check_hashes(database)


@pytest.mark.parametrize("limit", ["--rate=100MB/s", "--workers=1"])
def test_a_row_that_holds_its_worker_before_it_is_read_is_named(
    database: Database, tmp_path: Path, limit: str
) -> None:
    fill(database, "endless")
    database.environment |= {"GATE": str(tmp_path / "gate"), "TEST_STUCK_AFTER_S": "0.3"}
    process = database.start(limit, "--resolver", "site_resolvers:endless")

    def stuck() -> bool:
        told = database.fasthash("status", "--json", status=None).stdout or "{}"
        holders = json.loads(told).get("holders", [])
        return any(h["report"].get("stuck") == "endless" for h in holders)

    try:
        until(stuck, "it is not named")
    finally:
        (tmp_path / "gate").touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["outcomes"]["hashed"] == ROWS + 1
