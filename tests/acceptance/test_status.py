"""`fasthash status` while a run goes on: bars by type, the last minutes, and --watch."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Database
from hypothesis import given
from hypothesis import strategies as st
from oracle import until
from pgserver import PgServer

from fasthash.cli.chart import bar, percent, spark

OLD = (1_600_000_000, 1_600_000_000)


def fill(database: Database, rows: int = 300) -> Database:
    """Rows of two types and of none, each with a file of its own."""
    database.make_table()
    for n in range(rows):
        path = database.root / f"f{n}"
        path.write_text(f"content {n}")
        os.utime(path, OLD)
    database.sql(
        "INSERT INTO artifacts SELECT n, CASE WHEN n < 30 THEN NULL WHEN n < 100 THEN "
        "E'fig\\x1b[1mures' ELSE 'notebooks' END, 'f' || n, NULL, NULL "
        "FROM generate_series(0, %s) n",
        rows - 1,
    )
    return database


@contextmanager
def slow_run(database: Database, log: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A run that holds until the file `go` is taken away from beside the root."""
    hold = database.root.parent / "hold"
    hold.touch()
    process = database.start("--pause-file", str(hold), *arguments, stderr_file=log)
    try:
        yield process
    finally:
        hold.unlink(missing_ok=True)
        process.wait(PATIENCE_S)


def status_of(database: Database) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(database.fasthash("status", "--json").stdout)
    return found


def is_held(database: Database) -> bool:
    done = database.fasthash("status", "--json", status=None)
    holders = json.loads(done.stdout)["holders"] if done.returncode == 0 else []
    return any(h["report"].get("held") for h in holders)


def test_bars_by_type_of_a_run_that_goes_on(database: Database, tmp_path: Path) -> None:
    fill(database)
    database.run("--limit", "20", "--type", "(none)")  # which are fresh in the next run
    with slow_run(database, tmp_path / "log", "--restart"):
        until(lambda: is_held(database), "the run is held")
        until(lambda: status_of(database)["rows_expected"], "how many rows there are is counted")
        status = status_of(database)
        shown = database.fasthash("status").stdout
    by_type = {t: (s["rows_scanned"], s["rows_expected"]) for t, s in status["by_type"].items()}
    assert by_type == {"(none)": (0, 30), "fig\x1b[1mures": (0, 70), "notebooks": (0, 200)}
    assert sum(e for _, e in by_type.values()) == status["rows_expected"]
    assert "HELD: " in shown
    assert "\n  notebooks       [....................]   0.0%  0 of 200\n" in shown
    assert "\n  fig\\x1b[1mures  [....................]   0.0%  0 of 70\n" in shown
    done = status_of(database)
    assert {t: s["rows_scanned"] for t, s in done["by_type"].items()} == {
        "(none)": 30,
        "fig\x1b[1mures": 70,
        "notebooks": 200,
    }


def test_a_limit_leaves_open_which_types_it_cuts(database: Database, tmp_path: Path) -> None:
    fill(database)
    with slow_run(database, tmp_path / "log", "--limit", "50"):
        until(lambda: is_held(database), "the run is held")
        until(lambda: status_of(database)["rows_expected"], "how many rows there are is counted")
        status = status_of(database)
    assert status["rows_expected"] == 50
    assert all(found["rows_expected"] is None for found in status["by_type"].values())


def test_the_last_minutes(database: Database) -> None:
    fill(database, 10)
    database.run()
    with database.connect() as connection:
        holder = connection.execute("SELECT holder_id FROM fasthash.holder").fetchone()
        assert holder is not None
        number = holder["holder_id"]
        connection.execute("SELECT pg_advisory_lock_shared(1178686568, %s)", (number,))
        connection.execute("UPDATE fasthash.run SET state = 'running', rows_expected = 50000")
        connection.execute("UPDATE fasthash.holder SET report = report - 'left'")
        connection.execute("DELETE FROM fasthash.sample")
        # Two coordinators at 100 and 20 rows/s for two minutes, and half a minute without either.
        connection.execute(
            "INSERT INTO fasthash.sample (run_id, holder_id, at, rows, bytes) "
            "SELECT 1, h, now() - make_interval(secs => s), (200 - s) * CASE h WHEN %(n)s "
            "THEN 100 ELSE 20 END, (200 - s) * 1000 "
            "FROM generate_series(0, 150, 5) s, unnest(ARRAY[%(n)s, %(n)s + 1]) h "
            "WHERE s NOT BETWEEN 60 AND 90",
            {"n": number},
        )
        status = status_of(database)
        shown = database.fasthash("status").stdout
        database.environment["PYTHONIOENCODING"] = "ascii"
        plain = database.fasthash("status").stdout
    rates = [round(piece["rows_per_s"]) for piece in status["history"]]
    assert len(rates) == 10
    assert rates[-3:] == [120, 120, 120]
    assert rates[4:6] == [0, 0], "a gap is shown as one"
    (line,) = (line for line in shown.splitlines() if line.endswith("at most 120 rows/s"))
    assert line.split()[0] == "████▁▁████"
    assert "####__####  at most 120 rows/s" in plain
    assert plain.isascii()


def test_watching_in_a_pipe_ends_with_the_run(database: Database, tmp_path: Path) -> None:
    fill(database)
    with slow_run(database, tmp_path / "log"):
        until(lambda: is_held(database), "the run is held")
        watch = subprocess.Popen(
            database.command("status", "--watch", "--every", "100ms", "--json"),
            env=database.env(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watch.stdout is not None
        looks = [json.loads(watch.stdout.readline()) for _ in range(3)]
        assert [look["state"] for look in looks] == ["running"] * 3
    rest, _ = watch.communicate(timeout=PATIENCE_S)
    last = json.loads(rest.splitlines()[-1])
    assert (last["state"], last["rows_scanned"]) == ("complete", 300)
    assert watch.returncode == 0
    again = database.fasthash("status", "--watch")
    assert again.stdout.count("complete in") == 1, "a run that has ended is looked at once"


def _heed_interrupts() -> None:
    """A job in the background ignores them, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, command: list[str], env: dict[str, str], lines: int = 24) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 80, 0, 0))
        self.process = subprocess.Popen(
            command,
            env={**env, "TERM": "xterm", "NO_COLOR": "1"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - no thread is at work here
        )
        os.close(slave)
        self.shown = ""

    def read_until(self, wanted: Callable[[str], bool]) -> None:
        """Reads until the screen's text is as wanted, or its program has ended."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not wanted(self.shown):
            assert time.monotonic() < deadline_s, self.shown
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.master, 65536).decode()
                except OSError:
                    return


def test_watching_on_a_terminal(database: Database, tmp_path: Path) -> None:
    fill(database)
    with slow_run(database, tmp_path / "log"):
        until(lambda: is_held(database), "the run is held")
        terminal = Terminal(
            database.command("status", "--watch", "--every", "100ms"), database.env(), lines=12
        )
        terminal.read_until(lambda shown: shown.count("\x1b[H") >= 3)
        assert terminal.shown.startswith("\x1b[?1049h\x1b[?25l\x1b[H")
        assert "more lines)" in terminal.shown, "it does not scroll"
        drawn = terminal.shown.split("\x1b[H")[1]
        assert drawn.count("\r\n") == 11
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_until(lambda shown: "\x1b[?25h\x1b[?1049l" in shown and "pid" in shown)
        assert terminal.process.wait(PATIENCE_S) == 0
    # What was there before is there again, and the last look stays.
    after = terminal.shown.split("\x1b[?1049l")[1]
    assert "\x1b" not in after
    assert "run 1 (backfill) of public.artifacts: running for" in after


def test_a_database_that_goes_away_is_waited_for(
    own_server: PgServer, own_database: Database, tmp_path: Path
) -> None:
    fill(own_database)
    with slow_run(own_database, tmp_path / "log"):
        until(lambda: is_held(own_database), "the run is held")
        watch = subprocess.Popen(
            own_database.command("status", "--watch", "--every", "100ms", "--json"),
            env=own_database.env(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watch.stdout is not None
        assert "unreachable" not in json.loads(watch.stdout.readline())
        own_server.stop()
        while "unreachable" not in (look := json.loads(watch.stdout.readline())):
            pass
        assert look["rows_expected"] == 300, "what was known last"
        own_server.start()
        while "unreachable" in json.loads(watch.stdout.readline()):
            pass
    rest, _ = watch.communicate(timeout=PATIENCE_S)
    assert json.loads(rest.splitlines()[-1])["state"] == "complete"


@pytest.mark.parametrize(("text", "message"), [("0s", "too short"), ("soon", "no duration")])
def test_bad_pauses_are_refused(database: Database, text: str, message: str) -> None:
    done = database.fasthash("status", "--watch", "--every", text, status=2)
    assert message in done.stderr


@given(st.integers(0, 10**9), st.integers(1, 10**9), st.integers(1, 60))
def test_nothing_looks_done_that_is_not(done: int, expected: int, columns: int) -> None:
    drawn = bar(done, expected, columns)
    assert len(drawn) == columns
    assert (drawn == "#" * columns) == (done >= expected)
    assert (percent(done, expected) == "100.0%") == (done >= expected)


@given(st.lists(st.floats(0, 1e12), max_size=90), st.integers(1, 80), st.booleans())
def test_a_line_of_bars(values: list[float], columns: int, ascii_only: bool) -> None:
    drawn = spark(values, columns, ascii_only=ascii_only)
    shown = values[-columns:]
    assert len(drawn) == len(shown)
    assert drawn.isascii() == ascii_only or not shown
    lowest, full = ("_", "#") if ascii_only else ("▁", "█")
    assert [mark == lowest for mark in drawn] == [value <= 0 for value in shown]
    if any(shown):
        assert drawn[shown.index(max(shown))] == full
