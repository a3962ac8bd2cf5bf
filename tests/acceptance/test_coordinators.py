"""Several coordinators on one run, and one that comes back after its leases were given away."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import Database
from oracle import SLOW, Oracle, ends, kill, until, waiting_bytes


def descendants(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


GATED = ("--resolver", "site_resolvers:shut", "--range-rows", "20", "--workers", "2")


def start_all(oracle: Oracle, coordinators: int, gate: Path) -> list[subprocess.Popen[str]]:
    """Starts them; when each holds a share of the ranges, their workers may begin."""
    oracle.database.environment["GATE"] = str(gate)
    processes = [oracle.database.start(*GATED) for _ in range(coordinators)]
    shares = "SELECT DISTINCT holder_id FROM fasthash.checkpoint WHERE state = 'leased'"
    until(lambda: len(oracle.database.sql(shares)) == coordinators, "each holds something")
    gate.touch()
    return processes


@pytest.mark.parametrize("coordinators", [2, pytest.param(4, marks=pytest.mark.long)])
def test_they_share_one_run(database: Database, tmp_path: Path, coordinators: int) -> None:
    oracle = Oracle(database, rows=700 * coordinators, slow_s=0.002)
    processes = start_all(oracle, coordinators, tmp_path / "gate")
    summaries: list[Any] = [ends(process, 1)[0] for process in processes]
    oracle.check(summaries[0])
    assert all(summary["outcomes"] == oracle.counts for summary in summaries)
    assert len({summary["finished_at"] for summary in summaries}) == 1
    assert len({summary["run_id"] for summary in summaries}) == 1
    oracle.expect_no_process()


@pytest.mark.parametrize("coordinators", [2, pytest.param(4, marks=pytest.mark.long)])
def test_one_of_them_dies_in_the_middle(
    database: Database, tmp_path: Path, coordinators: int
) -> None:
    oracle = Oracle(database, rows=700 * coordinators, slow_s=0.002)
    victim, *others = start_all(oracle, coordinators, tmp_path / "gate")
    oracle.wait_for_rows(50)
    victim.kill()
    victim.communicate()
    summaries = [ends(process, 1)[0] for process in others]
    oracle.check(summaries[0])
    assert all(summary["outcomes"] == oracle.counts for summary in summaries)
    taken = database.sql("SELECT count(*) AS n FROM fasthash.checkpoint WHERE attempts > 0")
    assert taken[0]["n"] > 0, "the dead one held nothing: the test shows nothing"
    oracle.expect_no_process()


def test_a_run_that_was_stopped_past_its_leases(database: Database) -> None:
    """Everything of it stands still, another run takes over and ends; then it wakes up."""
    oracle = Oracle(database)
    sleeper = database.start(*SLOW, "--lease-ttl", "2s")
    oracle.wait_for_rows(100)
    stopped = descendants(sleeper.pid)
    assert len(stopped) == 4
    kill(stopped, signal.SIGSTOP)
    held = database.sql("SELECT range_no FROM fasthash.checkpoint WHERE state = 'leased'")
    assert held, "it held nothing: the test shows nothing"
    database.environment["SLOW_S"] = "0"
    oracle.check(database.run(status=1))
    versions = database.sql("SELECT id, xmin::text FROM artifacts ORDER BY id")

    kill(stopped, signal.SIGCONT)
    summary, err = ends(sleeper, 1)

    assert "leases were lost to another coordinator" in err or "late results dropped" in err
    assert database.sql("SELECT id, xmin::text FROM artifacts ORDER BY id") == versions
    oracle.check(summary)
    oracle.expect_no_process()


def test_late_results_are_fenced_off(database: Database) -> None:
    """Only the writer stands still: its results come after others have done the rows."""
    oracle = Oracle(database)
    # Of two types a file in the middle is held: there is more to find when the writer stops.
    database.hold("f300 f301")
    sleeper = database.start(*SLOW, "--lease-ttl", "2s")
    oracle.wait_for_rows(60)
    writer = oracle.pids("writer")
    coordinator = [sleeper.pid]
    kill(writer, signal.SIGSTOP)
    sleeper.let_go()
    # What the workers find meanwhile lies in the pipe of the writer.
    until(lambda: waiting_bytes(writer[0]) > 0, "results wait for the writer")
    kill(coordinator, signal.SIGSTOP)
    database.environment["SLOW_S"] = "0"
    oracle.check(database.run(status=1))

    kill(writer + coordinator, signal.SIGCONT)
    summary, err = ends(sleeper, 1)

    assert "late results dropped: their ranges are no longer ours" in err
    oracle.check(summary)
    oracle.expect_no_process()
