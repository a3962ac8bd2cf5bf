"""What `status`, `summary`, `residual` and `drift list` say, to people and to machines."""

from __future__ import annotations

import array
import csv
import fcntl
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pytest
from conftest import PATIENCE_S, Database, sha256
from oracle import until

from fasthash.cli import tables
from fasthash.logs import printable
from fasthash.widths import human_time

HOSTILE = [
    "new\nline",
    "escape\x1b[31mred\x1b[2J",
    "c1\x9b2J",
    "bell\x07 del\x7f tab\t cr\r",
    "quo\"te's",
    "semi;colon,comma",
    "100%s %(x)s %d {0}",
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@sum",
    "\u202ereversed",
    "日本語/図表 一",
    "long/" + "x" * 150 + "/" + "deep/" * 20 + "the-end",
]
NO_SUCH_FILE = "ENOENT: No such file or directory"
# Control characters that no screen may get, and what may end or part a line.
CONTROLS = {chr(c) for c in (*range(32), *range(127, 160), 0x202E)} - {"\n"}
ZEROS = "0" * 64


def prepare(database: Database) -> None:
    """A run with drift, files that are missing and no files, under names of every kind."""
    database.make_table("text")
    for n, name in enumerate(HOSTILE):
        file = database.root / "drifted" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * n)
        database.add(f"d{n:02}", f"drifted/{name}", {"file_sha256": ZEROS, "file_size_bytes": 7})
        database.add(f"m{n:02}", f"missing/{name}", None, "esc\x1b[1m\n" if n % 2 else None)
    os.mkfifo(database.root / "fifo")
    database.add("fifo", "fifo")
    database.add("outside\x1b[0m", "/etc/passwd")
    database.run("--workers", "1", status=1)  # so that drifts are found in the order of the rows


@pytest.fixture
def hostile(copy_of: Callable[[Callable[[Database], None]], Database]) -> Database:
    return copy_of(prepare)


def text(database: Database, *arguments: str) -> str:
    """What a command prints, which has to be harmless."""
    out = database.fasthash(*arguments).stdout
    assert not CONTROLS & set(out), CONTROLS & set(out)
    return out


def screen(database: Database, *arguments: str, columns: int = 80) -> str:
    """What a command shows on a terminal of so many columns."""
    lead, follow = pty.openpty()
    process = subprocess.Popen(
        database.command(*arguments),
        env={**database.env(), "COLUMNS": str(columns)},
        stdout=follow,
        stderr=subprocess.PIPE,
    )
    os.close(follow)
    shown = b""
    try:
        while block := os.read(lead, 65536):
            shown += block
    except OSError:
        pass  # that is how a terminal says that nobody writes to it any more
    os.close(lead)
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(PATIENCE_S) == 0
    return shown.decode().replace("\r\n", "\n")


def complaint(database: Database, *arguments: str, status: int) -> str:
    """The one line that a command says on stderr."""
    done = database.fasthash(*arguments, status=status)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("fasthash: ")
    return lines[0]


def status_of(database: Database) -> dict[str, Any]:
    """`fasthash status --json`."""
    status: dict[str, Any] = json.loads(database.fasthash("status", "--json").stdout)
    return status


def wait_for(database: Database, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The status, once it is as wanted."""

    def found() -> dict[str, Any] | None:
        done = database.fasthash("status", "--json", status=None)
        if done.returncode:  # 2: there is no run yet
            return None
        status: dict[str, Any] = json.loads(done.stdout)
        return status if wanted(status) else None

    status: dict[str, Any] = until(found, "the status is as wanted")
    return status


# --- before there is anything to tell ------------------------------------------------------

COMMANDS = [("status",), ("summary",), ("residual", "--csv"), ("drift", "list", "--json")]


def test_before_init(database: Database) -> None:
    database.sql("DROP SCHEMA fasthash CASCADE")
    for command in COMMANDS:
        assert "run `fasthash init` first" in complaint(database, *command, status=4)


def test_before_the_first_run(database: Database) -> None:
    for command in COMMANDS[:3]:
        assert "there is no run yet" in complaint(database, *command, status=2)
    assert text(database, "drift", "list") == "no drift\n"
    assert database.fasthash("drift", "list", "--json").stdout == "[]\n"


USAGE_ERRORS: list[tuple[list[str], list[str]]] = [
    (["status", "7"], ["no run 7"]),
    (["summary", "7", "--json"], ["no run 7"]),
    (["residual", "7"], ["no run 7"]),
    (["drift", "list", "--run", "7"], ["no run 7"]),
    (["status", "0"], ["'0' is no run number"]),
    (["status", "latest"], ["'latest' is no run number"]),
    (["residual", "9" * 30], ["no run number"]),
    (["drift", "list", "--run", "²"], ["no run number"]),
    (["residual", "--json", "--csv"], ["--json", "--csv"]),
    (["residual", "--reason", "gone"], ["gone", "no_file", "unstable", "write_refused"]),
    (["drift", "list", "--kind", "odd"], ["odd", "modified", "corrupt", "unknown"]),
    (["drift", "lst"], ["lst", "list"]),
    (["drift"], ["fasthash drift --help"]),
    (["status", "--workers", "2"], ["--workers"]),
]


def test_usage_errors(database: Database) -> None:
    for arguments, words in USAGE_ERRORS:
        line = complaint(database, *arguments, status=2)
        for word in words:
            assert word in line


def test_help_imports_no_driver() -> None:
    for arguments in (["status"], ["summary"], ["residual"], ["drift", "list"]):
        code = (
            "import sys; from fasthash.cli import cli;"
            f"cli.main({[*arguments, '--help']!r}, standalone_mode=False);"
            "sys.exit(any(m in sys.modules for m in ('psycopg', 'asyncio', 'tqdm')))"
        )
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


# --- residual -------------------------------------------------------------------------------


def expected_residual() -> dict[str, tuple[str | None, str, str, str | None]]:
    """Of the hostile run, by row id."""
    rows = {
        f"m{n:02}": ("esc\x1b[1m\n" if n % 2 else None, f"missing/{name}", "no_file", NO_SUCH_FILE)
        for n, name in enumerate(HOSTILE)
    }
    return {
        **rows,
        "fifo": ("figure", "fifo", "not_regular", "it is a FIFO"),
        "outside\x1b[0m": (
            "figure",
            "/etc/passwd",
            "outside_root",
            "the path lies beneath none of the roots",
        ),
    }


def test_residual_json_is_exact(hostile: Database) -> None:
    out = hostile.fasthash("residual", "--json").stdout
    assert not CONTROLS & set(out)
    rows = json.loads(out)
    assert {tuple(r) for r in rows} == {
        ("row_id", "artifact_type", "path", "reason", "detail", "intact_copies"),
    }
    assert [r.pop("intact_copies") for r in rows] == [[]] * len(rows)
    assert {r.pop("row_id"): tuple(r.values()) for r in rows} == expected_residual()
    found = json.loads(hostile.fasthash("residual", "--reason", "not_regular", "--json").stdout)
    assert [r["row_id"] for r in found] == ["fifo"]
    assert hostile.fasthash("residual", "1", "--reason", "unstable", "--json").stdout == "[]\n"


def test_residual_csv_is_exact(hostile: Database) -> None:
    hostile.environment["PYTHONIOENCODING"] = "ascii"
    done = subprocess.run(
        hostile.command("residual", "--csv"), env=hostile.env(), capture_output=True, check=True
    )
    rows = list(csv.reader(io.StringIO(done.stdout.decode("utf-8"), newline="")))
    assert rows[0] == ["row_id", "artifact_type", "path", "reason", "detail"]
    assert {row[0]: tuple(row[1:]) for row in rows[1:]} == {
        row_id: (kind or "", path, reason, detail or "")
        for row_id, (kind, path, reason, detail) in expected_residual().items()
    }
    assert done.stdout.count(b'"') >= len(rows) * 10, "every cell is quoted"


def test_residual_csv_on_a_terminal_is_harmless(hostile: Database) -> None:
    shown = screen(hostile, "residual", "--csv")
    assert not CONTROLS & set(shown)
    assert "missing/new\\x0aline" in shown


def test_residual_text(hostile: Database) -> None:
    lines = text(hostile, "residual").splitlines()
    assert lines[0].split() == ["row", "id", "type", "path", "reason", "detail"]
    assert len(lines) == 1 + len(HOSTILE) + 2
    reason_at = lines[0].index("reason")
    for name in HOSTILE:
        (line,) = (n for n in lines if f"missing/{printable(name)}  " in n)
        assert "no_file" in line
        if len(printable(name)) < 50 and name.isascii():
            assert line.index("no_file") == reason_at
    assert (
        text(hostile, "residual", "--reason", "unstable") == "run 1: no row ended with unstable\n"
    )


def test_residual_fits_the_screen(hostile: Database) -> None:
    for columns in (60, 80, 200):
        shown = screen(hostile, "residual", columns=columns)
        assert not CONTROLS & set(shown)
        lines = shown.splitlines()
        assert len(lines) == 1 + len(HOSTILE) + 2
        assert max(map(tables.display_width, lines)) <= columns
        reason_at = lines[0].index("reason")
        for line in lines:
            if line.isascii() and line.startswith("m"):
                assert line.index("no_file") == reason_at
        assert any("the-end" in line for line in lines), "the end of a path is what tells"


HOW: list[list[str]] = [[], ["--json"], ["--csv"]]


@pytest.fixture
def many(database: Database) -> Database:
    """A run with 100,000 rows without a verdict."""
    database.make_table()
    database.run()
    database.sql(
        "INSERT INTO fasthash.residual SELECT 1, n::text, 't' || n % 5, 'dir/' || n, 'no_file', "
        "'detail' FROM generate_series(1, 100000) n"
    )
    return database


def test_residual_streams(many: Database, tmp_path: Path) -> None:
    for how in HOW:
        check_stream(many, how, tmp_path / "out")


def check_stream(many: Database, how: list[str], out: Path) -> None:
    """All rows come, in little memory."""
    # A small process in between: a child's figure begins with the size of who forked it.
    measure = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
    )
    with out.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", measure, *many.command("residual", *how)],
            env=many.env(),
            stdout=file,
            stderr=subprocess.PIPE,
            check=True,
        )
    assert int(done.stderr) < 80_000, "kB"
    with out.open(newline="") as file:
        if how == ["--json"]:
            found = [r["row_id"] for r in json.load(file)]
        elif how == ["--csv"]:
            found = [row[0] for row in csv.reader(file)][1:]
        else:
            found = [line.split()[0] for line in file][1:]
    assert len(found) == 100_000
    assert set(found) == {str(n) for n in range(1, 100_001)}


def test_a_reader_who_has_enough(many: Database) -> None:
    for how in HOW:
        check_broken_pipe(many, how)


def unread_bytes(pipe: IO[bytes] | None) -> int:
    """What lies in a pipe and was not read."""
    found = array.array("i", [0])
    assert pipe is not None
    fcntl.ioctl(pipe, termios.FIONREAD, found)
    return found[0]


def check_broken_pipe(many: Database, how: list[str]) -> None:
    """The command waits for its reader and ends with it, in silence."""
    process = subprocess.Popen(
        many.command("residual", *how),
        env=many.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    # While nobody reads, the command waits; it must not hold a snapshot of the database open.
    until(lambda: unread_bytes(process.stdout) > 30_000, "it waits for its reader")
    seen = (
        "SELECT state, xact_start, backend_xmin FROM pg_stat_activity "
        "WHERE application_name = 'fasthash residual' AND datname = current_database()"
    )
    idle = [{"state": "idle", "xact_start": None, "backend_xmin": None}]
    until(lambda: many.sql(seen) == idle, "it holds no snapshot")
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=PATIENCE_S)
    assert err == b""
    assert process.returncode == 0


def test_output_goes_nowhere(many: Database) -> None:
    for command in COMMANDS:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                many.command(*command),
                env=many.env(),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 2
        assert done.stderr == "fasthash: cannot write to standard output: No space left on device\n"


# --- drift ----------------------------------------------------------------------------------

DRIFT_KEYS = [
    "drift_id", "run_id", "row_id", "artifact_type", "path", "kind", "old_hash", "was_lost",
    "new_hash", "old_size_bytes", "new_size_bytes", "file_mtime", "old_mtime", "file_ctime",
    "old_ctime", "moved", "old_marker", "resolution", "resolved_by", "resolved_at", "comment",
    "found_at",
]  # fmt: skip


def drifts(database: Database, *arguments: str) -> list[dict[str, Any]]:
    """`fasthash drift list --json`."""
    out = database.fasthash("drift", "list", "--json", *arguments).stdout
    assert not CONTROLS & set(out)
    found: list[dict[str, Any]] = json.loads(out)
    return found


def test_drift_json(hostile: Database) -> None:
    found = drifts(hostile)
    assert [d["path"] for d in found] == [f"drifted/{name}" for name in HOSTILE]
    assert [d["drift_id"] for d in found] == sorted(d["drift_id"] for d in found)
    for n, drift in enumerate(found):
        assert list(drift) == DRIFT_KEYS
        file = hostile.root / "drifted" / HOSTILE[n]
        assert drift["row_id"] == f"d{n:02}"
        assert drift["old_hash"] == ZEROS
        assert drift["new_hash"] == sha256(file)
        assert (drift["old_size_bytes"], drift["new_size_bytes"]) == (7, n)
        assert drift["resolution"] == "overwritten"
        assert drift["resolved_by"] is drift["resolved_at"] is drift["comment"] is None
        stamp = hostile.sql("SELECT %s::timestamptz AS t", drift["file_mtime"])[0]["t"]
        assert abs(stamp.timestamp() - file.stat().st_mtime) < 1e-5
        assert drift["file_mtime"].endswith("Z")
        assert drift["found_at"].endswith("Z")


def test_drift_filters(hostile: Database) -> None:
    hostile.sql(
        "UPDATE fasthash.drift SET kind = 'modified', resolution = 'open' WHERE row_id = 'd03'"
    )
    hostile.sql("UPDATE fasthash.drift SET kind = 'corrupt', run_id = 2 WHERE row_id = 'd05'")
    assert [d["row_id"] for d in drifts(hostile, "--kind", "modified")] == ["d03"]
    assert [d["row_id"] for d in drifts(hostile, "--kind", "corrupt")] == ["d05"]
    assert len(drifts(hostile, "--run", "1")) == len(HOSTILE) - 1
    assert [d["row_id"] for d in drifts(hostile, "--open")] == ["d03"]
    assert drifts(hostile, "--open", "--kind", "corrupt") == []


def test_drift_text(hostile: Database) -> None:
    hostile.sql(
        "UPDATE fasthash.drift SET resolution = 'accepted', resolved_by = %s, comment = %s, "
        "resolved_at = '2026-01-02T03:04:05Z', old_hash = %s, old_marker = %s, "
        "artifact_type = NULL, old_size_bytes = NULL WHERE row_id = 'd00'",
        "al\x1b[2Jice",
        "looks\nfine",
        "no hash\x07" * 1000,
        "2025-01-01T00:00:00Z\x1b[1m",
    )
    out = text(hostile, "drift", "list")
    first, second, *_ = out.split("\n\n")
    assert first.splitlines()[0] == "drift 1: row d00, run 1: unknown, accepted"
    assert "  path    drifted/new\\x0aline\n" in first
    settled = human_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert f"settled {settled} by al\\x1b[2Jice" in first
    assert "comment looks\\x0afine" in first
    assert "bytes   0, before not known" in first
    assert len(first) < 1000
    assert f"\n  old     {ZEROS}\n  new     " in second
    assert "bytes   1, before 7" in second
    assert out.endswith(f"\n\n{len(HOSTILE)} drifts: {len(HOSTILE)} unknown\n")


# --- summary and status -----------------------------------------------------------------------


def test_summary_is_what_the_run_said(database: Database) -> None:
    database.make_table()
    (database.root / "f").write_text("x")
    database.add(1, "f", {"file_sha256": ZEROS})
    database.add(2, "none")
    first = database.run(status=1)
    (database.root / "none").write_text("y")
    second = database.run()
    for run_id, said in (("1", first), ("2", second)):
        summary = json.loads(database.fasthash("summary", run_id, "--json").stdout)
        assert {**summary, "seconds": 0} == {**said, "seconds": 0}
    assert json.loads(database.fasthash("summary", "--json").stdout)["run_id"] == 2
    assert text(database, "summary", "1").startswith(
        "run 1 (backfill) of public.artifacts: complete in "
    )


def test_summary_escapes_types(hostile: Database) -> None:
    assert "esc\\x1b[1m\\x0a " in text(hostile, "summary")


def test_summary_fits_the_screen(database: Database) -> None:
    database.make_table()
    types = [
        "figures/of/the/second/campaign",
        "図表" * 15,
        "esc\x1b[2J\n" + "\u202ey" * 20,
        "plain",
    ]
    for n, name in enumerate(types):
        (database.root / str(n)).write_text("x")
        database.add(n, str(n), artifact_type=name)
        database.add(10 + n, "missing", artifact_type=name)
    database.run("--missing-ok")
    for columns in (80, 60, 40):
        shown = screen(database, "summary", columns=columns)
        assert not CONTROLS & set(shown)
        assert max(map(tables.display_width, shown.splitlines())) <= columns
        assert shown.count("1 no file" if columns == 40 else " 2       1        1 ") == len(types)
        assert "none confirmed, drifted, fresh, failed" in shown or columns == 40
    wide = screen(database, "summary", columns=250)
    assert types[0] in wide
    assert types[1] in wide
    piped = text(database, "summary")
    assert printable(types[2]) in piped
    assert "confirmed  drifted  fresh" in piped


def test_status_of_a_complete_run(hostile: Database) -> None:
    status = status_of(hostile)
    summary = json.loads(hostile.fasthash("summary", "--json").stdout)
    for key in ("run_id", "kind", "state", "started_at", "finished_at", "rows_scanned"):
        assert status[key] == summary[key], key
    assert status["drift_events"] == len(HOSTILE)
    assert status["rows_skipped_no_file"] == len(HOSTILE)
    assert status["rows_failed"] == 2
    assert status["catalog"] == "public.artifacts"
    assert set(status["ranges"]) == {"done"}
    assert [h["alive"] for h in status["holders"]] == [False]
    assert status["rows_per_s"] == 0
    assert status["eta_s"] is status["error"] is None
    shown = screen(hostile, "status")
    assert max(map(len, shown.splitlines())) <= 80
    count = len(HOSTILE)
    assert "run 1 (backfill) of public.artifacts: complete in " in shown
    assert f"drift {count}, missing {count}, failed 2" in shown
    assert "`fasthash drift list --run 1`" in shown
    assert "`fasthash residual 1`" in shown


LARGE = "a/long/directory/for/\x1b[31mmeasurements/" + "of-detector/" * 8 + "large.raw"


@pytest.fixture
def large(database: Database) -> Database:
    """A catalog with a file that takes a while, and two rows that do not."""
    database.make_table()
    file = database.root / LARGE
    file.parent.mkdir(parents=True)
    with file.open("wb") as sparse:
        sparse.truncate(10**12)
    (database.root / "small").write_text("x")
    database.add(1, "small", artifact_type="a")
    database.add(2, "missing", artifact_type="a")
    database.add(3, LARGE, artifact_type="z")
    return database


def is_in_large(status: dict[str, Any]) -> bool:
    """Whether a live holder has said that a worker is in the large file."""
    return any(
        worker.get("path") == LARGE
        for holder in status["holders"]
        if holder["alive"]
        for worker in holder["report"].get("workers", ())
    )


def test_status_of_a_live_and_an_interrupted_run(large: Database, tmp_path: Path) -> None:
    process = large.start("--workers", "2", stderr_file=tmp_path / "log")
    try:
        live = wait_for(large, is_in_large)
        shown = screen(large, "status")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)
    assert live["state"] == "running"
    assert live["finished_at"] is None
    assert (live["rows_scanned"], live["rows_expected"]) == (2, 3)
    assert live["eta_s"] is None, "how long the last file takes nobody knows"
    assert live["seconds"] > 1
    (holder,) = live["holders"]
    assert holder["pid"] == process.pid
    assert holder["leases"] >= 1
    assert not CONTROLS & set(shown)
    assert max(map(len, shown.splitlines())) <= 80
    assert "run 1 (backfill) of public.artifacts: running for " in shown
    assert "66.6%" in shown
    assert "rows    2 of 3" in shown
    assert f"pid {process.pid}: alive, 1 lease, reported " in shown
    (line,) = (n for n in shown.splitlines() if n.endswith("/large.raw"))
    assert "B/s  a/lo" in line
    assert "..." in line

    after = status_of(large)
    assert after["state"] == "interrupted"
    assert set(after["ranges"]) == {"done", "pending"}
    assert [h["alive"] for h in after["holders"]] == [False]
    shown = screen(large, "status")
    assert "interrupted after " in shown
    assert f"pid {process.pid}: gone, last heard of " in shown
    (again,) = [line for line in shown.splitlines() if "goes on from here" in line]
    assert again.startswith(f"  `fasthash run --root {large.root}")
    assert "speed" not in shown


def test_status_after_a_kill(large: Database, tmp_path: Path) -> None:
    process = large.start("--workers", "1", stderr_file=tmp_path / "log")
    wait_for(large, is_in_large)
    process.kill()
    process.wait(PATIENCE_S)
    status = wait_for(large, lambda s: s["state"] != "running")
    assert status["state"] == "interrupted", "though nobody was left to write that down"
    assert status["ranges"]["leased"] == 1
    shown = screen(large, "status")
    assert f"pid {process.pid}: DEAD, last heard of " in shown
    assert "holds 1 lease" in shown
    assert "/large.raw" in shown, "what it died in"


def test_status_tells_what_holds_a_run(hostile: Database) -> None:
    held = "root /mnt/\x1b[31marchive is gone: " + "no such file or directory " * 5
    facts = {
        "held": held,
        "stuck": f"/mnt/{LARGE}",
        "workers": [{"pid": 5}, {"pid": 6, "path": "f", "seconds": 0.5, "read_bytes": 10}],
    }
    with hostile.connect() as connection:
        holder = connection.execute("SELECT holder_id FROM fasthash.holder").fetchone()
        assert holder is not None
        number = holder["holder_id"]
        connection.execute("SELECT pg_advisory_lock_shared(1178686568, %s)", (number,))
        connection.execute(
            "UPDATE fasthash.holder SET report = %s, host = %s, "
            "seen_at = clock_timestamp() - interval '90 s'",
            (json.dumps(facts), "host\x1b[2J" + "h" * 60),
        )
        connection.execute("UPDATE fasthash.run SET state = 'running'")
        connection.execute("DELETE FROM fasthash.sample")
        shown = screen(hostile, "status")
    assert not CONTROLS & set(shown)
    assert max(map(len, shown.splitlines())) <= 80
    assert " SILENT for 1 min " in " ".join(shown.split())
    assert "HELD: root /mnt/\\x1b[31marchive is gone" in shown
    assert "WAITING for the first byte of /mnt/" in shown
    assert "      5  idle\n" in shown
    assert "0.5 s      10 B              f\n" in shown
    assert "speed   not known yet" in shown


def test_status_of_a_failed_and_of_a_superseded_run(hostile: Database) -> None:
    hostile.sql("UPDATE fasthash.run SET state = 'failed', error = %s", "it\nbroke " * 30)
    shown = screen(hostile, "status")
    assert not CONTROLS & set(shown)
    assert max(len(line) for line in shown.splitlines() if "goes on" not in line) <= 80
    assert ": failed after " in shown
    assert "\n  error: it\\x0abroke" in shown
    assert "goes on from here" in shown
    hostile.sql("UPDATE fasthash.run SET superseded = true")
    shown = screen(hostile, "status")
    assert "given up: `fasthash run --restart` began another run" in shown
    assert "goes on from here" not in shown


def test_status_knows_rate_and_eta(hostile: Database) -> None:
    with hostile.connect() as connection:
        holder = connection.execute("SELECT holder_id FROM fasthash.holder").fetchone()
        assert holder is not None
        number = holder["holder_id"]
        connection.execute("SELECT pg_advisory_lock_shared(1178686568, %s)", (number,))
        connection.execute("UPDATE fasthash.run SET state = 'running', rows_expected = 10030")
        connection.execute("UPDATE fasthash.holder SET report = report - 'left'")
        connection.execute("DELETE FROM fasthash.sample")
        connection.execute(
            "INSERT INTO fasthash.sample SELECT 1, %(n)s, now() - make_interval(secs => s), "
            "(100 - s) * 20, (100 - s) * 1000000 FROM generate_series(0, 90, 10) s "
            # Somebody who is dead by now adds nothing to the rate.
            "UNION ALL SELECT 1, %(n)s + 1, now() - make_interval(secs => s), 10000 - s * 100, 0 "
            "FROM generate_series(0, 20, 10) s",
            {"n": number},
        )
        status = status_of(hostile)
        shown = screen(hostile, "status")
    assert status["rows_per_s"] == pytest.approx(20)
    assert status["bytes_per_s"] == pytest.approx(1e6)
    assert status["eta_s"] == pytest.approx((10030 - 30) / 20)
    assert "speed   20 rows/s, 1.0 MB/s in the last minute" in shown
    assert "to go   about 8 min 20 s" in shown
    assert "0.2%" in shown


# --- the text of tables -----------------------------------------------------------------------


def test_shortened_names() -> None:
    assert tables.shorten("abc", 3) == "abc"
    assert tables.shorten("abcdefghijkl", 9) == "ab...ijkl"
    assert tables.cut("abcdefghijkl", 9) == "abcdef..."
    wide = "図表" * 20
    for columns in range(4, 30):
        assert tables.display_width(tables.shorten(wide, columns)) <= columns
        assert tables.display_width(tables.cut(wide, columns)) <= columns
    assert tables.display_width("e\u0301図") == 3


def test_columns_give_way_in_steps() -> None:
    layout = tables.Layout(("a", "b", "c"), steps=((2, 10), (1, 8), (2, 0)))
    assert layout.fit([5, 20, 30], 80) == [5, 20, 30]
    assert layout.fit([5, 20, 30], 50) == [5, 20, 21]
    assert layout.fit([5, 20, 30], 35) == [5, 16, 10]
    assert layout.fit([5, 20, 30], 20) == [5, 8, 0]


def test_json_takes_times_and_nothing_else() -> None:
    assert tables.to_json("\x7f") == '"\\u007f"'
    with pytest.raises(TypeError):
        tables.to_json(object())


def test_times_tell_their_offset(database: Database) -> None:
    """In local time, as the log's; only the axes of charts say UTC in words."""
    database.make_table()
    (database.root / "f").write_text("one")
    database.add(1, "f")
    database.environment |= {"TZ": "Asia/Kathmandu"}
    database.by_process = True
    database.run()
    (database.root / "f").write_text("three")
    log = database.fasthash("scrub", "--root", str(database.root), status=1).stderr
    shown = [
        text(database, *command.split())
        for command in ("status", "summary", "drift list", "drift show 1", "journal 1")
    ]
    for said in (log, *shown):
        times = re.findall(r"\d{4}-\d\d-\d\d[T ][\d:.]+(\S*)", said)
        assert times, said
        assert {offset.rstrip(",;:)") for offset in times} <= {"+05:45", "Z"}, said
        assert "+05:45" in said
        assert "UTC" not in said
