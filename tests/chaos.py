"""Kills everything at random while a run goes on, and compares the end with an oracle.

`python tests/chaos.py --seed 1 --faults 200` is the long form (`make chaos`); the acceptance
tests run a short one. Every round begins with an unhashed catalog, starts one or two
coordinators, and injects faults until the run is complete; then every row, every count and
every journal entry has to be what an undisturbed run leaves.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parent))
from conftest import FASTHASH, Database, check_sums
from pgserver import PgServer, embedded_binaries, older_binaries

from fasthash.store import reports, session

ROWS = 1_500
# A run that commits nothing for so long after the last fault hangs, however slow the machine is.
NO_PROGRESS_S = 60.0


@dataclass
class Report:
    """What happened and what was wrong with it."""

    faults: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    rows: int = 0
    lost: int = 0
    wrong: int = 0
    miscounted: int = 0
    twice: int = 0
    hangs: int = 0
    orphans: int = 0

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing wrong."""
        return not (
            self.lost or self.wrong or self.miscounted or self.twice or self.hangs or self.orphans
        )

    def as_json(self) -> dict[str, object]:
        """For the record."""
        return {
            "faults": sum(self.faults.values()),
            **{k: v for k, v in self.__dict__.items() if k != "faults"},
            "by_fault": dict(sorted(self.faults.items())),
        }


class Round:
    """One catalog, from unhashed to complete, under fire."""

    def __init__(
        self, server: PgServer, folder: Path, chance: random.Random, report: Report
    ) -> None:
        self.server = server
        self.chance = chance
        self.report = report
        self.folder = folder
        self.expected: dict[int, str] = {}
        self.processes: list[subprocess.Popen[str]] = []
        self.seen_pids: set[int] = set()
        name = f"chaos_{report.rounds}"
        (folder / "log").unlink(missing_ok=True)
        with psycopg.connect(server.dsn, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            admin.execute(f"CREATE DATABASE {name}")
        dsn = psycopg.conninfo.make_conninfo(server.dsn, dbname=name)
        root = folder / name
        root.mkdir()
        self.database = Database(dsn, root)
        here = str(Path(__file__).parent)
        self.database.environment |= {"PYTHONPATH": here, "SLOW_S": "0.002"}
        self.database.fasthash("init")
        self._fill()

    def _fill(self) -> None:
        self.database.make_table()
        with self.database.connect() as connection, connection.cursor() as cursor:
            statement = "COPY artifacts (id, artifact_type, file_path, metadata) FROM STDIN"
            with cursor.copy(statement) as copy:
                for n in range(ROWS):
                    metadata = {"k": n}
                    kind = "hashed"
                    if n % 50 == 0:
                        kind = "no_file"
                    else:
                        content = self.chance.randbytes(n % 700)
                        (self.database.root / f"f{n}").write_bytes(content)
                    if n % 70 == 1:
                        kind, metadata["file_sha256"] = "drifted", "0" * 64
                    if n % 90 == 2:
                        kind, metadata["file_sha256_computed_at"] = "fresh", "2026-01-01T00:00:00Z"
                        metadata["file_sha256"] = "f" * 64
                    self.expected[n] = kind
                    copy.write_row((n, f"t{n % 4}", f"f{n}", json.dumps(metadata)))

    # -- faults --------------------------------------------------------------------------------

    def children(self) -> dict[str, list[int]]:
        """The helper processes by kind."""
        found: dict[str, list[int]] = {"worker": [], "writer": []}
        for process in self.processes:
            if process.poll() is None:
                listing = subprocess.run(
                    ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)],
                    capture_output=True,
                    text=True,
                    check=False,
                ).stdout
                for line in listing.splitlines():
                    pid, _, arguments = line.strip().partition(" ")
                    for kind, pids in found.items():
                        if f"fasthash.{kind} import" in arguments:
                            pids.append(int(pid))
                            self.seen_pids.add(int(pid))
        return found

    def _kill(self, pids: list[int], number: signal.Signals = signal.SIGKILL) -> bool:
        if not pids:
            return False
        try:
            os.kill(self.chance.choice(pids), number)
        except ProcessLookupError:
            return False
        return True

    def kill_worker(self) -> bool:
        """kill -9 of a worker."""
        return self._kill(self.children()["worker"])

    def kill_writer(self) -> bool:
        """kill -9 of the writer."""
        return self._kill(self.children()["writer"])

    def kill_coordinator(self) -> bool:
        """kill -9 of a coordinator."""
        return self._kill([p.pid for p in self.processes if p.poll() is None])

    def kill_several(self) -> bool:
        """kill -9 of a worker, a writer and another worker at once."""
        found = self.children()
        return self._kill(found["worker"]) | self._kill(found["writer"]) | self.kill_worker()

    def stop_and_continue(self) -> bool:
        """SIGSTOP of a helper, SIGCONT a little later."""
        found = self.children()
        pids = found["worker"] + found["writer"]
        if not pids:
            return False
        pid = self.chance.choice(pids)
        try:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.chance.uniform(0.05, 0.4))
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return False
        return True

    def interrupt(self) -> bool:
        """SIGTERM of a coordinator: a graceful stop."""
        return self._kill([p.pid for p in self.processes if p.poll() is None], signal.SIGTERM)

    def kill_backend(self) -> bool:
        """kill -9 of a server process that serves us."""
        who = self.chance.choice(["writer", "coordinator", "heartbeat"])
        done = self.server.kill_a_backend(f"fasthash {who}")
        if done:
            time.sleep(0.05)
            self.server.wait()
        return done

    def terminate_backend(self) -> bool:
        """pg_terminate_backend of one of our sessions."""
        try:
            return bool(
                self.database.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name LIKE 'fasthash%%' AND datname = current_database() "
                    "ORDER BY random() LIMIT 1"
                )
            )
        except psycopg.OperationalError:
            return False

    def restart_fast(self) -> bool:
        """A fast restart of the server."""
        self.server.restart("fast")
        return True

    def restart_immediate(self) -> bool:
        """A crash of the server; what was committed in the last moments may be gone."""
        self.server.restart("immediate")
        return True

    # -- the round -----------------------------------------------------------------------------

    def start(self) -> None:
        """One more coordinator, sometimes one that will fail at a chosen point."""
        self.database.environment.pop("FASTHASH_FAULT", None)
        if self.chance.random() < 0.4:
            point = self.chance.choice(["before_commit", "after_commit"])
            action = self.chance.choice(["kill", "disconnect"])
            token = self.folder / f"token{time.monotonic_ns()}"
            self.database.environment["FASTHASH_FAULT"] = f"{point}:{action}:{token}"
            self.report.faults[f"{action}_{point}"] += 1
        self.processes.append(
            self.database.start(
                "--resolver", "site_resolvers:slow", "--range-rows", "60", "--workers", "2",
                "--db-timeout", "60s", stderr_file=self.folder / "log",
            )
        )  # fmt: skip

    def run(self, faults: int) -> None:
        """Under fire until complete."""
        menu: list[tuple[int, Callable[[], bool]]] = [
            (6, self.kill_worker), (6, self.kill_writer), (3, self.kill_coordinator),
            (3, self.kill_several), (3, self.stop_and_continue), (1, self.interrupt),
            (2, self.kill_backend), (3, self.terminate_backend), (1, self.restart_fast),
            (1, self.restart_immediate),
        ]  # fmt: skip
        self.start()
        if self.chance.random() < 0.4:
            self.start()
        injected, committed, moved_at_s = 0, 0, time.monotonic()
        while not self.complete():
            if self.committed() > committed:
                committed, moved_at_s = self.committed(), time.monotonic()
            if time.monotonic() - moved_at_s > NO_PROGRESS_S:
                self.report.hangs += 1
                self.report.rounds += 1
                self.explain()
                self.finish()
                return
            if all(p.poll() is not None for p in self.processes):
                self.start()
            time.sleep(self.chance.uniform(0.02, 0.35))
            if injected < faults:
                fault = self.chance.choices([f for _, f in menu], [w for w, _ in menu])[0]
                if fault():
                    injected, moved_at_s = injected + 1, time.monotonic()
                    self.report.faults[fault.__name__] += 1
        self.finish()
        self.compare()

    def complete(self) -> bool:
        """Whether the run is complete."""
        try:
            rows = self.database.sql("SELECT state FROM fasthash.run ORDER BY run_id")
        except psycopg.OperationalError:
            return False
        return bool(rows) and rows[-1]["state"] == "complete"

    def committed(self) -> int:
        """How many rows are written; 0 while the server is away."""
        try:
            return int(self.database.sql("SELECT count(*) AS n FROM fasthash.journal")[0]["n"])
        except psycopg.OperationalError:
            return 0

    def explain(self) -> None:
        """What a hanging run is doing, for the person who has to find out why."""
        for statement in (
            "SELECT * FROM fasthash.run",
            "SELECT * FROM fasthash.checkpoint WHERE state <> 'done'",
            "SELECT * FROM fasthash.holder ORDER BY holder_id DESC LIMIT 3",
            "SELECT pid, application_name, state, wait_event, query FROM pg_stat_activity "
            "WHERE datname = current_database()",
        ):
            for row in self.database.sql(statement):
                print(row, file=sys.stderr)
        print(Path(self.folder / "log").read_text()[-4000:], file=sys.stderr)

    def finish(self) -> None:
        """Waits for the coordinators to end by themselves; nothing may be left behind."""
        self.children()
        for process in self.processes:
            try:
                process.wait(timeout=NO_PROGRESS_S)
            except subprocess.TimeoutExpired:
                self.report.hangs += 1
                process.kill()
                process.wait()
        time.sleep(0.3)
        self.report.orphans += sum(_is_ours(pid) for pid in self.seen_pids)

    def compare(self) -> None:
        """The oracle."""
        report, database = self.report, self.database
        report.rounds += 1
        report.rows += ROWS
        # Not number 1, perhaps: a crash in the middle of its making takes the number with it.
        runs = [row["run_id"] for row in database.sql("SELECT run_id FROM fasthash.run")]
        with session.connect_once(database.dsn, "chaos") as connection:
            summary = reports.read_summary(connection, runs[-1]).as_json()
        check_sums(summary)
        self._expect_blamed()
        wanted = Counter(self.expected.values())
        strays = database.sql(
            "SELECT (SELECT count(*) FROM fasthash.holder WHERE run_id <> ALL (%(runs)s)) + "
            "(SELECT count(*) FROM fasthash.checkpoint WHERE run_id <> ALL (%(runs)s)) + "
            "(SELECT count(*) FROM fasthash.journal WHERE run_id <> ALL (%(runs)s)) AS n",
            {"runs": runs},
        )[0]["n"]  # of a run that was worked on and is lost
        if (
            len(runs) != 1
            or strays
            or summary["outcomes"]
            != {
                k: wanted[k]
                for k in ("hashed", "confirmed", "drifted", "fresh", "no_file", "failed")
            }
        ):
            report.miscounted += 1
            print("MISCOUNTED", runs, strays, summary["outcomes"], wanted, file=sys.stderr)
            for row in database.sql(
                "SELECT * FROM fasthash.checkpoint WHERE pass_no > 0 OR planned_rows <> "
                "hashed + confirmed + drifted + fresh + no_file + failed"
            ):
                print(row, file=sys.stderr)
            print(
                "\n".join(
                    x for x in (self.folder / "log").read_text().splitlines() if "DRIFT" not in x
                ),
                file=sys.stderr,
            )
        for row in database.sql("SELECT id, metadata FROM artifacts"):
            self._compare_row(row["id"], row["metadata"])
        written = wanted["hashed"] + wanted["drifted"]
        journal = database.sql(
            "SELECT count(*) AS n, count(DISTINCT row_id) AS rows FROM fasthash.journal"
        )[0]
        report.twice += journal["n"] - journal["rows"]
        drifts = database.sql("SELECT count(*) AS n FROM fasthash.drift")[0]["n"]
        report.lost += abs(written - journal["rows"]) + abs(wanted["drifted"] - drifts)
        left = "SELECT count(*) AS n FROM fasthash.segment"
        report.miscounted += int(database.sql(left)[0]["n"] > 0)

    def _expect_blamed(self) -> None:
        """A file in which we have killed two workers, by chance, is given up: that is promised."""
        log = Path(self.folder / "log").read_text()
        found = "SELECT row_id, path FROM fasthash.residual WHERE reason = 'unreadable'"
        for row in self.database.sql(found):
            if log.count(f"(signal 9) while reading {row['path']};") >= 2:
                self.expected[int(row["row_id"])] = "failed"

    def _compare_row(self, row_id: int, metadata: dict[str, object]) -> None:
        kind = self.expected[row_id]
        if metadata.get("k") != row_id:
            self.report.lost += 1
        if kind in ("no_file", "failed"):
            self.report.wrong += "file_sha256" in metadata
        elif kind != "fresh":
            content = (self.database.root / f"f{row_id}").read_bytes()
            if metadata.get("file_sha256") is None:
                self.report.lost += 1
            elif metadata["file_sha256"] != hashlib.sha256(content).hexdigest():
                self.report.wrong += 1


def _is_ours(pid: int) -> bool:
    try:
        return b"fasthash." in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def run_chaos(
    server: PgServer, folder: Path, seed: int, faults: int, a_round: int, seconds: float
) -> Report:
    """Rounds until so many faults were injected or the time is over."""
    chance = random.Random(seed)
    report = Report()
    deadline = time.monotonic() + seconds
    while sum(report.faults.values()) < faults and time.monotonic() < deadline:
        Round(server, folder, chance, report).run(a_round)
        print(json.dumps(report.as_json()), file=sys.stderr, flush=True)
    return report


def main() -> None:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--older", action="store_true", help="the older server's binaries")
    options = parser.parse_args()
    binaries = older_binaries() if options.older else embedded_binaries()
    if binaries is None:
        sys.exit("there is no older server here")
    if not Path(FASTHASH).exists():
        sys.exit("fasthash is not installed beside this Python")
    with tempfile.TemporaryDirectory(prefix="chaos") as folder:
        os.chmod(folder, 0o755)
        server = PgServer(Path(folder, "pg"), binaries)
        server.start()
        try:
            report = run_chaos(
                server, Path(folder), options.seed, options.faults, 14, options.seconds
            )
        finally:
            server.stop("immediate")
    print(json.dumps({"seed": options.seed, **report.as_json()}, indent=2))
    sys.exit(not report.clean)


if __name__ == "__main__":
    main()
