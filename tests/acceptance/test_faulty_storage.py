"""A file system that fails in each of its calls, or answers never: the run goes on, and ends."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import fuse
import pytest
from conftest import PATIENCE_S, Database, check_sums
from fuse import Answer, FaultyFiles
from oracle import until

HOOKS = str(Path(__file__).parents[1] / "hooks")
LARGE = 700_000  # streamed
SOUND = 200

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def storage(database: Database) -> Iterator[FaultyFiles]:
    """The root of the database's files as a file system with faults."""
    database.environment |= {
        "PYTHONPATH": HOOKS, "TEST_STUCK_AFTER_S": "0.5", "TEST_LINE_EVERY_S": "0.2",
    }  # fmt: skip
    database.make_table()
    try:
        file_system = fuse.FaultyFiles(database.root)
    except OSError as error:
        pytest.skip(f"wants to mount a FUSE file system: {error.strerror}")
    yield file_system
    file_system.close()


def add_rows(database: Database, rows: dict[str, str | None]) -> None:
    """A row a name, in the order of their ids, with the hash that is stored."""
    with (
        database.connect() as connection,
        connection.cursor().copy("COPY artifacts (id, file_path, metadata) FROM STDIN") as copy,
    ):
        for row_id, (name, stored) in enumerate(rows.items()):
            copy.write_row((row_id, name, stored and json.dumps({"file_sha256": stored})))


def by_path(database: Database) -> dict[str, dict[str, object]]:
    """The metadata by name."""
    rows = database.sql("SELECT file_path, metadata FROM artifacts")
    return {r["file_path"]: r["metadata"] or {} for r in rows}


def hexdigest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def always(number: int) -> Callable[[int, Answer], Answer]:
    return lambda count, answer: number


def once(wrong: Answer) -> Callable[[int, Answer], Answer]:
    return lambda count, answer: answer if count else wrong


def flipped(count: int, answer: Answer) -> Answer:
    """Other bytes, at the first read only."""
    return bytes(b ^ 1 for b in answer) if isinstance(answer, bytes) and not count else answer


def never_the_same(count: int, answer: Answer) -> Answer:
    return bytes(b ^ count & 255 for b in answer) if isinstance(answer, bytes) else answer


def short(count: int, answer: Answer) -> Answer:
    """A part of what was asked for."""
    return answer[: len(answer) // 2 + 1] if isinstance(answer, bytes) else answer


@pytest.mark.parametrize("reader", ["readinto", "mmap"])
def test_every_call_fails_in_every_way(
    database: Database, storage: FaultyFiles, reader: str
) -> None:
    rows: dict[str, str | None] = {}
    hashed: set[str] = set()
    lost: dict[str, tuple[str, str]] = {}
    for size in (500, LARGE):
        content = os.urandom(size)
        for call in ("lookup", "getattr", "open", "read"):
            for number in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT):
                word = errno.errorcode[number]
                storage.add(name := f"{word}-once-{call}-{size}", content, **{call: once(number)})
                hashed.add(name)
                storage.add(name := f"{word}-{call}-{size}", content, **{call: always(number)})
                lost[name] = ("unreadable", word)
        storage.add(f"short-{size}", content, read=short)
        storage.add(f"flipped-{size}", content, read=flipped)
        hashed |= {f"short-{size}", f"flipped-{size}"}
        storage.add(f"never-the-same-{size}", content, read=never_the_same)
        lost[f"never-the-same-{size}"] = ("unstable", "disagree")
        storage.add(f"ends-early-{size}", content, read=lambda count, answer: b"")
        lost[f"ends-early-{size}"] = ("unreadable", "its size and its content disagree")
    for name in [*hashed, *lost]:
        storage.add(f"sound next to {name}", name.encode())
        hashed.add(f"sound next to {name}")
        compared = name.startswith(("flipped", "never-the-same"))
        truth = hexdigest(storage.files[name.encode()].content)
        rows[name] = truth if compared else "ab" * 32 if name in lost else None
        rows[f"sound next to {name}"] = None
    add_rows(database, rows)
    database.environment["TEST_NO_PAUSES"] = "1"

    summary = database.run("--reader", reader, status=1)

    found = by_path(database)
    residual = {r["path"]: r for r in database.sql("SELECT * FROM fasthash.residual")}
    for name in hashed:
        assert name not in residual, residual.get(name)
        content = storage.files[name.encode()].content
        assert found[name]["file_sha256"] == hexdigest(content), name
        assert found[name]["file_size_bytes"] == len(content)
    for name, (reason, word) in lost.items():
        assert residual[name]["reason"] == reason, residual[name]
        assert word in residual[name]["detail"]
        assert found[name] == {"file_sha256": rows[name]}, "a hash that was there is kept"
    assert summary["rows_scanned"] == len(rows)
    assert summary["outcomes"]["confirmed"] == 2
    assert summary["outcomes"]["hashed"] == len(hashed) - 2
    assert summary["drift_events"] == 0


def hold(count: int, answer: Answer) -> Answer | None:
    """Never answered, until it is released."""
    return None


def hold_the_third(count: int, answer: Answer) -> Answer | None:
    return None if count == 2 else answer


def journaled(database: Database) -> int:
    """How many rows are written."""
    return int(database.sql("SELECT count(*) AS n FROM fasthash.journal")[0]["n"])


def state_of(pid: int) -> str | None:
    """The kernel's letter for what a process does; None if there is none any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def children(process: subprocess.Popen[str]) -> list[int]:
    """The helper processes."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in text.split()]


def start_with_a_hang(
    database: Database, storage: FaultyFiles, log: Path, workers: int, **faults: object
) -> subprocess.Popen[str]:
    """A run that has come to a file that hangs, amid sound ones of the same unit."""
    names = [f"f{n:03d}" for n in range(SOUND)]
    names.insert(10, "hanging")
    for name in names:
        storage.add(name, name.encode())
    storage.add("hanging", os.urandom(LARGE), **faults)  # type: ignore[arg-type]
    add_rows(database, dict.fromkeys(names))
    process = database.start("--workers", str(workers), stderr_file=log)
    assert storage.hanging.wait(PATIENCE_S), "it never came to the file"
    return process


def expect_named(database: Database, log: Path) -> None:
    """Progress and status say which file is waited for."""
    until(lambda: "waiting for hanging" in log.read_text(), "progress does not name the file")

    def named() -> bool:
        (holder,) = json.loads(database.fasthash("status", "--json").stdout)["holders"]
        return holder["report"].get("stuck") == "hanging"

    until(named, "status does not name the file")
    assert "hanging" in database.fasthash("status").stdout


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "faults", [{"read": hold_the_third}, {"open": hold}], ids=["third read", "open"]
)
def test_all_but_the_hanging_file_is_done_by_others(
    database: Database,
    storage: FaultyFiles,
    tmp_path: Path,
    workers: int,
    faults: dict[str, object],
) -> None:
    log = tmp_path / "log"
    process = start_with_a_hang(database, storage, log, workers, **faults)
    until(lambda: journaled(database) == SOUND, "rows wait behind the hanging file")
    if workers == 2:
        expect_named(database, log)
    assert process.poll() is None
    storage.release()
    assert process.wait(PATIENCE_S) == 0, log.read_text()
    summary = json.loads(database.fasthash("summary", "--json").stdout)
    check_sums(summary)
    assert summary["outcomes"]["hashed"] == summary["rows_updated"] == SOUND + 1
    assert journaled(database) == SOUND + 1, "a row was written twice"
    for name, metadata in by_path(database).items():
        content = storage.files[name.encode()].content
        assert metadata["file_sha256"] == hexdigest(content), name
    assert "died" not in log.read_text()


def test_a_hang_that_not_even_a_kill_ends_does_not_keep_the_run_from_stopping(
    database: Database, storage: FaultyFiles, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = start_with_a_hang(database, storage, log, 2, read=hold)
    until(lambda: journaled(database) == SOUND, "rows wait behind the hanging file")
    helpers = children(process)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130, log.read_text()
    assert "Traceback" not in log.read_text()
    until(lambda: sum(state_of(p) not in (None, "Z") for p in helpers) == 1, "orphans")
    assert [state_of(p) for p in helpers if state_of(p) not in (None, "Z")] == ["D"]
    storage.release()
    until(lambda: all(state_of(p) in (None, "Z") for p in helpers), "an orphan is left")
    summary = database.run()
    assert (summary["run_id"], summary["state"]) == (1, "complete")
    assert summary["outcomes"]["hashed"] == SOUND + 1
    assert journaled(database) == SOUND + 1


def test_a_dead_mount_under_a_root_keeps_no_lease_from_being_renewed(
    database: Database, storage: FaultyFiles, tmp_path: Path
) -> None:
    def and_the_root_fails(count: int, answer: Answer) -> Answer:
        storage.root_faults = {"getattr": always(errno.EIO)}
        return answer

    storage.add("a", b"a", read=and_the_root_fails)
    add_rows(database, {"a": None, "missing": None})
    log = tmp_path / "log"
    process = database.start("--workers", "1", "--lease-ttl", "2s", stderr_file=log)
    until(lambda: "is gone: Input/output error" in log.read_text(), "the run does not hold")
    storage.root_faults = {"getattr": hold}
    assert storage.hanging.wait(PATIENCE_S), "nobody looks whether the root is back"

    def expires_at() -> object:
        return database.sql("SELECT expires_at FROM fasthash.checkpoint")[0]["expires_at"]

    before = expires_at()
    until(lambda: expires_at() > before, "the lease is not renewed")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130, log.read_text()
    storage.release()
    summary = database.run(status=1)
    assert (summary["run_id"], summary["residual"]) == (1, {"no_file": 1})
