"""Roots that go away in the middle of a run: it holds, says so, and nothing becomes missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
    assert process.wait(PATIENCE_S) == 0, log.read_text()
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
    """It says that it holds, and why; then nothing is committed any more."""
    until(lambda: "is gone: " in log.read_text(), "it says that it holds")
    assert reason in log.read_text()

    def told() -> bool:
        holders = json.loads(database.fasthash("status", "--json").stdout)["holders"]
        return bool(holders and holders[0]["report"].get("held"))

    until(told, "the ledger says that it holds")
    assert "HELD: root" in database.fasthash("status").stdout
    missing = database.sql("SELECT row_id FROM fasthash.residual WHERE row_id NOT IN ('0', '200')")
    assert missing == []


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


def mount(arguments: list[str], undo: Callable[[], object] | None = None) -> None:
    """Mounts, or skips the test where that is not allowed."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("wants to mount")


@pytest.mark.skipif(os.geteuid() != 0, reason="wants root")
def test_a_root_that_is_unmounted(database: Database, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    files = database.root
    database.root = store
    fill(database)
    database.root = files
    mount(["--bind", str(store), str(files)])
    try:
        with held(database, tmp_path / "log"):
            subprocess.run(["umount", "--lazy", str(files)], check=True)
            expect_hold(database, tmp_path / "log", "another file system or directory")
            mount(["--bind", str(store), str(files)])
    finally:
        subprocess.run(["umount", "--lazy", str(files)], check=False)


def test_a_held_run_stops_at_once(database: Database, tmp_path: Path) -> None:
    """It does not wait for the root to come back."""
    fill(database)
    process = database.start(*SLOW)
    wait_for_progress(database, 20)
    away = database.root.with_name("away")
    database.root.rename(away)
    assert any("is gone: " in line for line in process.stderr or ()), "it did not hold"
    process.send_signal(signal.SIGINT)
    summary = summary_of(process, 130)
    assert summary["state"] == "interrupted"
    away.rename(database.root)
    assert database.run()["run_id"] == summary["run_id"]
