"""Disks and network file systems that fail: what is read again, what is given up, what goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Database, check_sums, sha256
from oracle import until

SHIM = Path(__file__).parents[1] / "faulty.c"
COMPILER = shutil.which("cc") or shutil.which("gcc")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="wants a C compiler (make test-tools)")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes reads fail."""
    library = tmp_path_factory.mktemp("shim") / "faulty.so"
    command = [
        str(COMPILER),
        "-O1",
        "-w",
        "-shared",
        "-fPIC",
        str(SHIM),
        "-o",
        str(library),
        "-ldl",
    ]
    subprocess.run(command, check=True)
    return library


@pytest.fixture
def failing(database: Database, shim: Path, tmp_path: Path) -> Database:
    """A database whose fasthash has failing reads; the files are older than racy ones."""
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    database.environment |= {"LD_PRELOAD": str(shim), "TOKENS": str(tokens)}
    database.make_table("text")
    return database


def add(database: Database, name: str, size: int, stored: str | None = None) -> Path:
    """A file and its row."""
    path = database.root / name
    path.write_bytes(os.urandom(size))
    database.add(name, name, None if stored is None else {"file_sha256": stored})
    return path


@pytest.mark.parametrize("native", ["on", "off"])
def test_errors_are_never_a_hash_and_never_erase_one(failing: Database, native: str) -> None:
    failing.environment["FASTHASH_NATIVE"] = native
    good, bad = {}, []
    for size in (700, 700_000):
        for number in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT):
            name = f"faulty-once-{number}-{size}"
            good[name] = add(failing, name, size)
        for name in (f"faulty-short-{size}", f"plain-{size}"):
            good[name] = add(failing, name, size)
        add(failing, f"faulty-eio-{size}", size, "ab" * 32)
        bad.append(f"faulty-eio-{size}")
        add(failing, f"faulty-early-{size}", size, "cd" * 32)
        bad.append(f"faulty-early-{size}")
        flipped = f"faulty-flip-{size}"
        path = add(failing, flipped, size)
        stored = {"file_sha256": sha256(path)}
        failing.sql("UPDATE artifacts SET metadata = %s WHERE id = %s", json.dumps(stored), flipped)
        good[flipped] = path
    time.sleep(2.1)  # new files are read twice
    summary = failing.run(status=1)
    assert summary["drift_events"] == 0, "other bytes, once, are no drift"
    assert summary["outcomes"]["confirmed"] == 2
    assert summary["outcomes"]["hashed"] == len(good) - 2
    assert summary["residual"] == {"unreadable": 4}
    for name, path in good.items():
        assert failing.metadata(name)["file_sha256"] == sha256(path), name
    for name in bad:
        assert failing.metadata(name)["file_sha256"] in ("ab" * 32, "cd" * 32), "it was erased"
        assert "file_sha256_computed_at" not in failing.metadata(name)
    details = failing.sql("SELECT detail FROM fasthash.residual WHERE reason = 'unreadable'")
    reasons = ("EIO", "its size and its content disagree: it is said to have 700")
    assert all(d["detail"].startswith(reasons) for d in details), details


def test_a_read_that_hangs_holds_up_no_other_worker(failing: Database, tmp_path: Path) -> None:
    add(failing, "faulty-hang-1", 500)
    for n in range(300):
        add(failing, f"g{n:03}", 100)
    time.sleep(2.1)
    log = tmp_path / "log"
    process = failing.start("--workers", "2", "--range-rows", "50", stderr_file=log)
    # The rest of the stuck file's own unit waits with it; the other units go on.
    until(
        lambda: failing.sql("SELECT count(*) AS n FROM fasthash.journal")[0]["n"] >= 250,
        "the run does not go on",
    )
    until(lambda: "waiting for faulty-hang-1" in log.read_text(), "the file is not named")

    def stuck() -> object:
        status = json.loads(failing.fasthash("status", "--json").stdout)
        return [h for h in status["holders"] if h["report"].get("stuck") == "faulty-hang-1"]

    until(stuck, "status does not name the file")
    assert "faulty-hang-1" in failing.fasthash("status").stdout
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130, "it waits for the read, which never ends"
    until(lambda: not any(Path(f"/proc/{c}").exists() for c in children), "orphans")
    (tmp_path / "tokens" / "release").touch()
    summary = failing.run()
    assert summary["run_id"] == 1
    assert summary["outcomes"]["hashed"] == 301


def test_a_hang_that_ends_is_only_slow(failing: Database, tmp_path: Path) -> None:
    path = add(failing, "faulty-hang-1", 500_000)
    process = failing.start("--workers", "1")
    until(
        lambda: failing.sql("SELECT 1 FROM fasthash.checkpoint WHERE state = 'leased'"), "no lease"
    )
    (tmp_path / "tokens" / "release").touch()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    check_sums(json.loads(out))
    assert failing.metadata("faulty-hang-1")["file_sha256"] == sha256(path)
