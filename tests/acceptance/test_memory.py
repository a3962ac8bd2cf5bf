"""Memory stays flat however many rows there are, and however slow the database is."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import psycopg
import pytest
from conftest import Database, check_sums
from oracle import Oracle

COORDINATOR_MB = 150
WORKER_MB = 60


def peaks(oracle: Oracle, process: subprocess.Popen[str], found: dict[str, float]) -> None:
    """The most memory that each kind of process has used so far, in MB."""
    for pid, kind in oracle.processes().items():
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith("VmHWM:"):
                name = "coordinator" if pid == process.pid else kind
                found[name] = max(found.get(name, 0.0), int(line.split()[1]) / 1024)


@pytest.mark.parametrize("rows", [60_000, pytest.param(1_000_000, marks=pytest.mark.long)])
@pytest.mark.timeout(600)
def test_flat(database: Database, rows: int) -> None:
    """A database that takes nothing for a while: the workers wait, and nothing piles up."""
    oracle = Oracle(database, rows=0)
    (database.root / "f").write_text("f")
    database.sql(
        "INSERT INTO artifacts SELECT n, 'figure', 'f', "
        "jsonb_build_object('n', n, 'text', repeat('x', 300)) FROM generate_series(1, %s) n",
        rows,
    )
    found: dict[str, float] = {}
    process = database.start("--workers", "2", stderr_file=database.root.with_name("log"))
    oracle.wait_for_rows(1)
    with psycopg.connect(database.dsn) as connection:
        connection.execute("LOCK TABLE fasthash.journal IN ACCESS EXCLUSIVE MODE")
        until_s = time.monotonic() + 4
        while time.monotonic() < until_s:
            peaks(oracle, process, found)
            time.sleep(0.1)
    while process.poll() is None:
        peaks(oracle, process, found)
        time.sleep(0.05)
    assert process.returncode == 0, database.root.with_name("log").read_text()
    summary = json.loads(database.fasthash("summary", "--json").stdout)
    check_sums(summary)
    assert summary["outcomes"]["hashed"] == rows
    print(found)
    assert found["coordinator"] < COORDINATOR_MB, found
    assert found["writer"] < COORDINATOR_MB, found
    assert found["worker"] < WORKER_MB, found
