"""JSON log lines of real runs: one object a line from whatever process, with event and run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from conftest import PATIENCE_S, Database
from oracle import SLOW, Oracle, kill, until
from test_scrub import fill

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from test_events import documented

HOOKS = str(Path(__file__).parents[1] / "hooks")
MOST_BYTES = 4096
KILLED = ("worker", "writer")
# Six bytes a character in JSON, and twice in a line of a drift.
LONG = "é" * 110


def checked(text: str) -> list[dict[str, Any]]:
    """The lines, each of which has to be what docs/events.md says."""
    trace = text.find("Traceback")
    assert trace < 0, text[max(0, trace - 200) : trace + 2000]
    known = documented()
    lines: list[dict[str, Any]] = []
    for line in text.splitlines(keepends=True):
        assert len(line.encode()) <= MOST_BYTES
        found = json.loads(line)
        lines.append(found)
        event = known[found.pop("event")]
        assert found.pop("level") in event.levels
        assert found.pop("message")
        assert found.pop("time").endswith("Z")
        cut = found.pop("cut", [])
        assert set(found) - {"run_id"} == event.fields - {"run_id"}, found
        assert set(cut) <= {*event.fields, "message"}
    return [{**json.loads(line)} for line in text.splitlines()]


def read_slowly(
    process: subprocess.Popen[str], read: list[bytes], telling: threading.Event
) -> None:
    """The pipe is full nearly all the time, and everybody has something to say."""
    assert process.stderr is not None
    while piece := os.read(process.stderr.fileno(), 5_000):
        read.append(piece)
        if telling.is_set() and process.poll() is None:
            process.send_signal(signal.SIGUSR1)
        time.sleep(0.001)


def test_lines_stay_whole_whatever_dies(database: Database) -> None:
    oracle = Oracle(database, rows=60, slow_s=0.003)
    folder = database.root / LONG / LONG / LONG / LONG
    folder.mkdir(parents=True)
    rows = []
    for n in range(1000, 2000):
        (folder / f"f{n}").write_bytes(b"changed")
        path = str((folder / f"f{n}").relative_to(database.root))
        rows.append((n, "t0", path, json.dumps({"file_sha256": "0" * 64})))
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO artifacts VALUES (%s, %s, %s, %s, 'untouched')", rows)
    database.environment["PYTHONPATH"] += f":{HOOKS}"
    database.environment["TEST_LINE_EVERY_S"] = "0.01"
    process = database.start(*SLOW, "--log-format", "json")
    read: list[bytes] = []
    telling = threading.Event()
    reading = threading.Thread(target=read_slowly, args=(process, read, telling))
    reading.start()
    oracle.wait_for_rows(100)
    telling.set()
    for kind in KILLED:
        kill(oracle.pids(kind)[:1], signal.SIGKILL)
    until(lambda: all(f'"{kind}_died"'.encode() in b"".join(read) for kind in KILLED), "it is said")
    process.let_go()
    out = process.stdout.read() if process.stdout else ""
    reading.join()
    err = b"".join(read).decode()
    assert process.wait(PATIENCE_S) == 1, err[-2000:]
    lines = checked(err)
    names = [line["event"] for line in lines]
    assert {"run_opened", "progress", "drift", "worker_died", "writer_died", "activity",
            "worker_activity", "run_ended"} <= set(names)  # fmt: skip
    assert all(line["run_id"] == 1 for line in lines)
    drifts = {line["row_id"]: line for line in lines if line["event"] == "drift"}
    assert len(drifts) == json.loads(out)["outcomes"]["drifted"] > 1000
    for line in drifts.values():
        assert line["old_hash"] == "0" * 64, "what matters is not shortened"
        assert "path" not in line.get("cut", [])
        assert (database.root / line["path"]).exists()
    [ended] = [line for line in lines if line["event"] == "run_ended"]
    assert ended["exit_status"] == 1
    assert ended["outcomes"] == json.loads(out)["outcomes"]


def test_an_error_is_a_line_as_well(database: Database) -> None:
    database.make_table()
    database.dsn = "host=127.0.0.1 port=1 dbname=nowhere"
    done = database.fasthash("run", "--root", str(database.root), "--log-format", "json", status=4)
    [line] = checked(done.stderr)
    assert line["event"] == "error"
    assert line["exit_status"] == 4
    assert "cannot reach" in line["message"]


def test_a_log_on_a_full_disk_ends_nothing(database: Database) -> None:
    fill(database, 3)
    command = database.command("run", "--json", "--root", str(database.root))
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, env=database.env(), stdout=subprocess.PIPE, stderr=full, check=False
        )
    assert done.returncode == 0
    assert json.loads(done.stdout)["outcomes"]["hashed"] == 3


def test_a_database_that_goes_away_and_comes_back(database: Database, tmp_path: Path) -> None:
    oracle = Oracle(database, rows=300, slow_s=0.01)
    log = tmp_path / "log"
    process = database.start(*SLOW, "--log-format", "json", stderr_file=log)
    oracle.wait_for_rows(20)
    database.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'fasthash %%'"
    )
    for name in ("writer", "heartbeat"):
        until(lambda n=name: f"{n}: the database is back" in log.read_text(), f"the {name} is back")
    process.let_go()
    process.wait(PATIENCE_S)
    lines = checked(log.read_text())
    away = {line["session"] for line in lines if line["event"] == "database_away"}
    back = [line for line in lines if line["event"] == "database_back"]
    assert {"writer", "heartbeat"} <= away
    assert {line["session"] for line in back} == away
    assert all(isinstance(line["seconds"], float) for line in back)
    assert all(line["run_id"] == 1 for line in lines)
