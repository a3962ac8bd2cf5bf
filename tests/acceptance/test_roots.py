"""Roots that go away in the middle of a run: it holds, says so, and nothing becomes missing."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mounts
import pytest
from conftest import PATIENCE_S, Database, Run, sha256
from oracle import until
from test_resume import summary_of, wait_for_progress

FILES = 400
SLOW = ("--resolver", "site_resolvers:slow", "--range-rows", "60", "--workers", "2")


def fill(database: Database) -> None:
    """A file a row; two have none."""
    database.environment |= {"PYTHONPATH": str(Path(__file__).parents[1]), "SLOW_S": "0.004"}
    database.hold(f"f{FILES - 1}")
    database.make_table()
    with (
        database.connect() as connection,
        connection.cursor().copy("COPY artifacts (id, artifact_type, file_path) FROM STDIN") as out,
    ):
        for n in range(FILES):
            out.write_row((n, "t", f"f{n}"))
            if n % 200:
                (database.root / f"f{n}").write_bytes(os.urandom(n))


@contextmanager
def held(database: Database, log: Path) -> Iterator[Run]:
    """A run that is under way; once the block is left it has to go on to the right end."""
    process = database.start(*SLOW, stderr_file=log)
    wait_for_progress(database, 20)
    yield process
    process.let_go()
    assert process.wait(PATIENCE_S) == 1, log.read_text()  # two files are missing
    assert "the root is back" in log.read_text()
    for n in range(FILES):
        metadata = database.metadata(n)
        if n % 200:
            assert metadata["file_sha256"] == sha256(database.root / f"f{n}")
        else:
            assert metadata is None
    summary = json.loads(database.fasthash("summary", "--json").stdout)
    assert summary["residual"] == {"no_file": 2}
    assert summary["rows_scanned"] == FILES


def expect_hold(database: Database, log: Path, reason: str) -> None:
    """It says that it holds, and why; then nothing is committed any more.

    The file that it was kept at is looked for now, if it has not met another one in the meantime.
    """
    Path(database.environment["HELD_UNTIL"]).touch()
    until(lambda: "is gone: " in log.read_text(), "it says that it holds")
    assert reason in log.read_text()

    def told() -> bool:
        holders = json.loads(database.fasthash("status", "--json").stdout)["holders"]
        return bool(holders and holders[0]["report"].get("held"))

    until(told, "the ledger says that it holds")
    assert "HELD: root" in database.fasthash("status").stdout
    missing = database.sql("SELECT row_id FROM fasthash.residual WHERE row_id NOT IN ('0', '200')")
    assert missing == []


def wait_for_looks(database: Database, count: int) -> None:
    """Until the coordinator was seen so many times, each of which looks for the root anew."""
    seen = "SELECT max(seen_at) AS at FROM fasthash.holder"
    times = {database.sql(seen)[0]["at"]}
    deadline = time.monotonic() + 30
    while len(times) <= count:
        assert time.monotonic() < deadline, times
        time.sleep(0.05)
        times.add(database.sql(seen)[0]["at"])


def test_a_root_that_is_renamed(database: Database, tmp_path: Path) -> None:
    fill(database)
    with held(database, tmp_path / "log"):
        away = database.root.with_name("away")
        database.root.rename(away)
        expect_hold(database, tmp_path / "log", "No such file or directory")
        away.rename(database.root)


def test_a_root_that_is_another_directory(database: Database, tmp_path: Path) -> None:
    fill(database)
    with held(database, tmp_path / "log"):
        away = database.root.with_name("away")
        database.root.rename(away)
        database.root.mkdir()
        for n in range(FILES):  # the same names, other bytes
            (database.root / f"f{n}").write_bytes(b"another file")
        expect_hold(database, tmp_path / "log", "another file system or directory")
        database.root.rename(database.root.with_name("other"))
        away.rename(database.root)


def test_a_root_without_its_sentinel(database: Database, tmp_path: Path) -> None:
    fill(database)
    sentinel = database.root / ".mounted"
    sentinel.touch()
    database.environment["FASTHASH_ROOT_SENTINEL"] = ".mounted"
    with held(database, tmp_path / "log"):
        sentinel.unlink()
        (database.root / "f399").rename(database.root / "hidden")  # a first file that is missing
        expect_hold(database, tmp_path / "log", "No such file or directory")
        (database.root / "hidden").rename(database.root / "f399")
        sentinel.touch()


def test_a_root_that_is_unmounted(database: Database, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    files = database.root
    database.root = store
    fill(database)
    database.root = files
    mounts.mount("--bind", store, files)
    try:
        with held(database, tmp_path / "log"):
            mounts.unmount(files)
            expect_hold(database, tmp_path / "log", "another file system or directory")
            mounts.mount("--bind", store, files)
    finally:
        mounts.unmount(files)


@pytest.mark.parametrize("native", ["on", "off"])
def test_a_root_that_is_back_on_another_device(
    database: Database, tmp_path: Path, native: str
) -> None:
    """As an automounter or a volume manager does it; the file system is the same."""
    database.environment["FASTHASH_NATIVE"] = native
    with mounts.disks(tmp_path, database.root, 2) as (disk, other):
        before = disk.mount(database.root)
        fill(database)
        with held(database, tmp_path / "log"):
            mounts.unmount(database.root)
            expect_hold(database, tmp_path / "log", "another file system or directory")
            other.mount(database.root)  # the same names, and not the same files
            for n in range(FILES):
                (database.root / f"f{n}").write_bytes(b"another file")
            wait_for_looks(database, 3)
            assert "the root is back" not in (tmp_path / "log").read_text()
            mounts.unmount(database.root)
            assert disk.mount(database.root) != before


def test_a_held_run_stops_at_once(database: Database, tmp_path: Path) -> None:
    """It does not wait for the root to come back."""
    fill(database)
    process = database.start(*SLOW)
    wait_for_progress(database, 20)
    away = database.root.with_name("away")
    database.root.rename(away)
    process.let_go()  # there is a file to be read, however far it has come
    assert any("is gone: " in line for line in process.stderr or ()), "it did not hold"
    process.send_signal(signal.SIGINT)
    summary = summary_of(process, 130)
    assert summary["state"] == "interrupted"
    away.rename(database.root)
    assert database.run(status=1)["run_id"] == summary["run_id"]
