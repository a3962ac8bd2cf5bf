"""A catalog with something of everything, what a run has to leave of it, and looks at processes."""

from __future__ import annotations

import array
import contextlib
import fcntl
import hashlib
import json
import os
import termios
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from conftest import PATIENCE_S, Database, Run, check_sums

MARK = "RUN_OF_THE_TEST"
OUTCOMES = ("hashed", "confirmed", "drifted", "fresh", "no_file", "failed")
# Small ranges and slow paths, so that there is a middle to be caught in.
SLOW = ("--resolver", "site_resolvers:slow", "--range-rows", "60", "--workers", "2")
OLD_MARKER = "2026-01-01T00:00:00Z"


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """Waits for a condition and returns what it gave; asks for a third of the time at most."""
    began = asked = time.monotonic()
    while not (found := condition()):
        now = time.monotonic()
        assert now < began + seconds, f"waited {seconds} s: {what}"
        time.sleep(max(0.01, 2 * (now - asked)))
        asked = time.monotonic()
    return found


class Oracle:
    """The rows of a catalog and what has to become of each."""

    def __init__(self, database: Database, rows: int = 600, slow_s: float = 0.004) -> None:
        self.database = database
        self.rows: dict[int, tuple[str, str, dict[str, Any]]] = {}
        self.kinds: dict[int, str] = {}
        database.environment |= {
            "PYTHONPATH": str(Path(__file__).parent),
            "SLOW_S": str(slow_s),
            MARK: uuid.uuid4().hex,
        }
        database.hold(f"f{rows - 1}")
        database.make_table()
        for n in range(rows):
            self._add(n)
        with (
            database.connect() as connection,
            connection.cursor().copy("COPY artifacts FROM STDIN") as copy,
        ):
            for n, (kind, path, metadata) in self.rows.items():
                copy.write_row((n, kind, path, json.dumps(metadata), f"dedup {n}"))

    def _add(self, n: int) -> None:
        metadata: dict[str, Any] = {"k": n, "deep": {"a": [1, None]}}
        content = f"content {n}".encode() * (n % 40)
        kind = "no_file" if n % 50 == 0 else "hashed"
        if kind == "hashed":
            (self.database.root / f"f{n}").write_bytes(content)
        if n % 60 == 1:
            kind, metadata["file_sha256"] = "drifted", "0" * 64
        elif n % 60 == 2:
            kind = "confirmed"
            metadata["file_sha256"] = hashlib.sha256(content).hexdigest().upper()
        elif n % 60 == 3:
            kind, metadata["file_sha256_computed_at"] = "fresh", OLD_MARKER
            metadata["file_sha256"] = "f" * 64
        self.rows[n] = (f"t{n % 3}", f"f{n}", metadata)
        self.kinds[n] = kind

    @property
    def counts(self) -> dict[str, int]:
        """What the summary has to say."""
        found = Counter(self.kinds.values())
        return {name: found[name] for name in OUTCOMES}

    @property
    def written(self) -> set[str]:
        """The rows that a run writes, each once."""
        kinds = ("hashed", "confirmed", "drifted")
        return {str(n) for n, kind in self.kinds.items() if kind in kinds}

    def check(self, summary: dict[str, Any] | None = None) -> None:
        """Compares everything with what an undisturbed run leaves."""
        if summary is None:
            summary = json.loads(self.database.fasthash("summary", "--json").stdout)
        check_sums(summary)
        assert summary["state"] == "complete"
        assert summary["outcomes"] == self.counts
        assert summary["rows_updated"] == len(self.written)
        sql = self.database.sql
        assert len(sql("SELECT 1 FROM fasthash.run")) == 1
        journal = [row["row_id"] for row in sql("SELECT row_id FROM fasthash.journal")]
        assert sorted(journal) == sorted(self.written), "not once a written row"
        drifts = [int(row["row_id"]) for row in sql("SELECT row_id FROM fasthash.drift")]
        assert sorted(drifts) == sorted(n for n, k in self.kinds.items() if k == "drifted")
        assert not sql("SELECT 1 FROM fasthash.segment")
        assert not sql("SELECT 1 FROM fasthash.checkpoint WHERE state <> 'done'")
        found = sql("SELECT * FROM artifacts")
        assert {row["id"] for row in found} == set(self.rows)
        for row in found:
            self._check_row(row)

    def _check_row(self, row: dict[str, Any]) -> None:
        kind, path, before = self.rows[row["id"]]
        after, what = dict(row.pop("metadata")), self.kinds[row["id"]]
        assert row == {
            "id": row["id"],
            "artifact_type": kind,
            "file_path": path,
            "content_hash": f"dedup {row['id']}",
        }
        if what in ("no_file", "fresh"):
            assert after == before
            return
        content = (self.database.root / path).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        assert after.pop("file_sha256") == (digest.upper() if what == "confirmed" else digest)
        assert after.pop("file_size_bytes") == len(content)
        datetime.fromisoformat(after.pop("file_sha256_computed_at"))
        assert after == {k: v for k, v in before.items() if k != "file_sha256"}

    def wait_for_rows(self, rows: int) -> None:
        """Waits until so many rows are committed, whatever happens to the server meanwhile."""

        def committed() -> bool:
            try:
                found = self.database.sql("SELECT count(*) AS n FROM fasthash.journal")
            except psycopg.OperationalError:
                return False
            return bool(found[0]["n"] >= rows)

        until(committed, f"{rows} rows committed")

    def processes(self) -> dict[int, str]:
        """The living processes of this test's runs, known by their mark, with their kinds."""
        mark = f"{MARK}={self.database.environment[MARK]}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark not in (folder / "environ").read_bytes().split(b"\0"):
                    continue
                line = (folder / "cmdline").read_bytes()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state != "Z":
                kinds = [k for k in ("worker", "writer") if f"fasthash.{k} import".encode() in line]
                found[int(folder.name)] = kinds[0] if kinds else "coordinator"
        return found

    def pids(self, kind: str) -> list[int]:
        """The processes of one kind."""
        return [pid for pid, k in self.processes().items() if k == kind]

    def expect_no_process(self) -> None:
        """Nothing is left a moment after the end."""
        until(lambda: not self.processes(), "a process is left behind")


def ends(process: Run, status: int) -> tuple[Any, str]:
    """Waits for a run's end; its summary (None without one) and what it said.

    One that is to complete is let go; one that is stopped, or loses its database, is not.
    """
    if status in (0, 1):
        process.let_go()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status, (process.returncode, err)
    assert "Traceback" not in err, err
    return json.loads(out) if out else None, err


def kill(pids: Sequence[int], number: int) -> None:
    """Sends a signal to processes that were started here; children end with their parents."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def waiting_bytes(pid: int) -> int:
    """What lies unread in the pipe that a process reads its messages from."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        if int(descriptor.name) > 2 and "pipe:" in os.readlink(descriptor):
            try:
                pipe = os.open(descriptor, os.O_RDONLY | os.O_NONBLOCK)
            except OSError:
                continue
            found = array.array("i", [0])
            fcntl.ioctl(pipe, termios.FIONREAD, found)
            os.close(pipe)
            if found[0]:
                return found[0]
    return 0


def helper(process: Run, kind: str) -> int:
    """The process of a kind that a run has started: `writer`, say."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    lines = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return next(pid for pid, line in lines.items() if f"fasthash.{kind} import".encode() in line)


def is_pending(pid: int, number: int) -> bool:
    """Whether a process has not been given a signal yet that was sent to it."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)
