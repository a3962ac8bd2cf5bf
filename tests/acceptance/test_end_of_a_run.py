"""How a run ends that others have ended, and what a command says that came upon a defect."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Database
from oracle import SLOW, Oracle, ends, until

from fasthash.coordinator import Coordinator
from fasthash.errors import INTERNAL_ERROR_STATUS, DatabaseLost, FasthashError
from fasthash.fixity import Counts
from fasthash.store import schema
from fasthash.summary import RunSummary


@pytest.mark.parametrize("state", ["interrupted", "failed"])
def test_a_run_that_somebody_marked_as_ended_goes_on(database: Database, state: str) -> None:
    oracle = Oracle(database)
    process = database.start(*SLOW)
    oracle.wait_for_rows(60)
    database.sql(
        "UPDATE fasthash.run SET state = %s, finished_at = clock_timestamp(), error = 'it seemed'",
        state,
    )
    summary, err = ends(process, 1)
    oracle.check(summary)
    assert f"run 1 was marked as {state} by another coordinator" in err
    (run,) = database.sql("SELECT state, error FROM fasthash.run")
    assert run == {"state": "complete", "error": None}


def test_a_run_that_was_given_up_is_no_success(database: Database) -> None:
    oracle = Oracle(database)
    process = database.start(*SLOW)
    oracle.wait_for_rows(60)
    database.sql("UPDATE fasthash.run SET state = 'interrupted', superseded = true")
    summary, err = ends(process, 3)
    assert summary["state"] == "interrupted"
    assert "run 1 was given up for another one by --restart" in err
    assert not database.sql("SELECT 1 FROM fasthash.checkpoint WHERE state = 'leased'")
    oracle.expect_no_process()


def test_a_run_that_is_gone_is_no_success(database: Database) -> None:
    """The database was put back to an earlier state, say."""
    oracle = Oracle(database)
    process = database.start(*SLOW)
    oracle.wait_for_rows(60)
    database.sql("TRUNCATE fasthash.run, fasthash.holder, fasthash.checkpoint")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert "the ledger knows nothing of run 1 any more" in err
    assert "Traceback" not in err
    oracle.expect_no_process()


@pytest.mark.parametrize(
    ("state", "ended_for", "stopped_by", "status"),
    [
        ("complete", None, None, 0),
        ("interrupted", None, None, 3),
        ("failed", None, None, 3),
        ("running", None, None, 3),
        ("interrupted", "time", None, 0),
        ("running", "budget", None, 0),
        ("interrupted", None, 15, 143),
    ],
)
def test_the_status_follows_the_state(
    state: str, ended_for: str | None, stopped_by: int | None, status: int
) -> None:
    ours = Coordinator.__new__(Coordinator)
    ours.ended_for, ours.stopped_by = ended_for, stopped_by
    summary = RunSummary(1, "backfill", state, None, None, 1.0, {"t": Counts(hashed=1)}, {})
    assert ours._finished(summary, None).exit_status == status


# -- defects ---------------------------------------------------------------------------------------

BREAK = """
import sys
from fasthash import {module}
def broken(*_arguments, **_more):
    {action}
{module}.{name} = broken
from fasthash.cli import main
main(sys.argv[1:])
"""


def broken(
    database: Database, module: str, name: str, action: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """A command in which a function does something else."""
    code = BREAK.format(module=module, name=name, action=action)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=database.env(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


RUN = ("run", "--json", "--workers", "1", "--root")


def filled(database: Database) -> Database:
    database.make_table()
    (database.root / "a").write_bytes(b"a")
    database.add(1, "a")
    return database


def test_a_defect_at_the_end_is_no_slow_database(database: Database) -> None:
    """The run is complete; the process that finds out what it came to has a defect."""
    arguments = (*RUN, str(filled(database).root))
    done = broken(
        database, "coordinator", "reports.read_summary", "raise TypeError('no such')", *arguments
    )
    assert done.returncode == INTERNAL_ERROR_STATUS, done.stderr
    assert "did not answer in time" not in done.stderr
    assert "TypeError: no such" in done.stderr.splitlines()[-1]
    assert "Traceback" in done.stderr, "where it is"


def test_a_refusal_at_the_end_is_told_as_one(database: Database) -> None:
    """What the run came to cannot be read: neither a slow database, nor a success."""
    arguments = (*RUN, str(filled(database).root))
    action = "_arguments[0].execute('SELECT 1 / 0')"
    done = broken(database, "coordinator", "reports.read_summary", action, *arguments)
    assert done.returncode == 3, done.stderr
    assert "did not answer in time" not in done.stderr
    assert "the ledger could not be told of the end: the database refused: division by" in (
        done.stderr
    )
    assert json.loads(done.stdout)["state"] == "complete"


@pytest.mark.parametrize(
    "name", ["leases.grant", "leases.be_seen", "runs.report", "ranges.read_range"]
)
def test_a_defect_in_the_middle(database: Database, name: str) -> None:
    module = "heartbeat" if name in ("leases.be_seen", "runs.report") else "leasing"
    arguments = (*RUN, str(filled(database).root))
    done = broken(database, module, name, "raise KeyError('no such')", *arguments)
    assert done.returncode == INTERNAL_ERROR_STATUS, done.stderr
    assert "KeyError: 'no such'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_defect_of_any_command(database: Database, log_format: str) -> None:
    action = "raise RuntimeError('a\\x1b[31m\\nb')"
    arguments = ("run", "--log-format", log_format, "--root", str(filled(database).root))
    done = broken(database, "main_job", "check", action, *arguments)
    assert done.returncode == INTERNAL_ERROR_STATUS, done.stderr
    last = done.stderr.splitlines()[-1]
    if log_format == "json":
        events = [json.loads(line) for line in done.stderr.splitlines()]
        assert "Traceback" in next(e for e in events if e["event"] == "defect")["traceback"]
        assert events[-1]["exit_status"] == INTERNAL_ERROR_STATUS
    else:
        assert last.startswith("fasthash: internal error, a defect of fasthash: RuntimeError: a")
        assert "\x1b" not in done.stderr


def test_no_error_has_a_status_that_says_something_of_the_catalog() -> None:
    known = [FasthashError]
    for error in known:
        known += error.__subclasses__()
        assert error.exit_status not in (0, 1), error
    assert DatabaseLost in known


def test_a_signal_while_leaving_still_is_an_interruption(database: Database) -> None:
    oracle = Oracle(database)
    process = database.start(*SLOW)
    oracle.wait_for_rows(60)
    process.send_signal(signal.SIGTERM)
    summary, _ = ends(process, 143)
    assert summary["state"] == "interrupted"
    (left,) = database.sql("SELECT report -> 'left' AS it_has FROM fasthash.holder")
    assert left == {"it_has": True}


# -- a ledger of a newer fasthash ------------------------------------------------------------------


def test_a_newer_ledger_is_left_alone(database: Database) -> None:
    database.sql("INSERT INTO fasthash.schema_version (version) VALUES (%s)", schema.VERSION + 1)
    done = database.fasthash("init", status=4)
    assert done.stderr == (
        f"fasthash: the ledger has version {schema.VERSION + 1}, this fasthash knows "
        f"{schema.VERSION}: upgrade fasthash\n"
    )
    assert not done.stdout


# -- files of rates --------------------------------------------------------------------------------


def rate_files() -> set[str]:
    return {
        str(path)
        for folder in ("/dev/shm", "/tmp")
        for path in Path(folder).glob(f"fasthash-rate-{os.geteuid()}-*")
    }


def test_a_killed_run_leaves_no_file_for_long(database: Database) -> None:
    oracle = Oracle(database)
    process = database.start(*SLOW, "--rate", "1GB/s")
    oracle.wait_for_rows(60)
    opened = (os.readlink(link) for link in Path(f"/proc/{process.pid}/fd").iterdir())
    (mine,) = {path for path in opened if "/fasthash-rate-" in path}
    assert mine in rate_files(), "no other run has removed it"
    process.kill()
    process.communicate()
    until(lambda: not oracle.processes(), "its workers are gone")
    process.let_go()
    oracle.check(database.run("--resolver", "site_resolvers:slow", status=1))
    assert mine not in rate_files(), "the next run has removed it, and its own"


@pytest.mark.parametrize("arguments", [(), ("--dry-run",), ("--dry-run", "--rate", "1MB/s")])
def test_nobody_needs_shared_memory_without_a_rate(
    database: Database, arguments: tuple[str, ...]
) -> None:
    done = nowhere(filled(database), *arguments)
    assert done.returncode == 0, done.stderr
    assert ("holds for this process alone" in done.stderr) is not bool(arguments)


def test_a_rate_that_cannot_be_shared_is_refused(database: Database) -> None:
    done = nowhere(filled(database), "--rate", "1MB/s")
    assert done.returncode == 4, done.stderr
    assert "the rate cannot be shared with others on this host" in done.stderr
    assert "Traceback" not in done.stderr


def nowhere(database: Database, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run on a host where there is no place for a file of rates."""
    code = (
        "import sys; from fasthash import gate; gate.FOLDERS = ('/nowhere',); "
        "from fasthash.cli import main; main(sys.argv[1:])"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *RUN, str(database.root), *arguments],
        env=database.env(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
