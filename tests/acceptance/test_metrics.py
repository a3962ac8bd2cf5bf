"""Metrics of real runs: scraped while they go on, read from the file that stays, put to use."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import threading
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Database
from oracle import OUTCOMES, SLOW, Oracle, ends, kill, until
from prometheus_client.parser import text_string_to_metric_families
from test_scrub import fill, rot

from fasthash.exporter import Exporter
from fasthash.exposition import COMMON, METRICS, How

HOOKS = str(Path(__file__).parents[1] / "hooks")
EXAMPLES = Path(__file__).parents[2] / "examples"
Found = dict[tuple[str, ...], float]


def parse(text: str, kind: str = "backfill") -> Found:
    """Values by name and labels beside the common ones (in the order of their names)."""
    found: Found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("catalog") == "artifacts"
            if labels.pop("kind") == kind:
                key = (
                    sample.name.removeprefix("fasthash_"),
                    *(v for _, v in sorted(labels.items())),
                )
                assert key not in found, key
                found[key] = sample.value
    return found


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def events(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if "\n" in line]


class Watched:
    """A run in the background, with its log, its port and its file."""

    def __init__(self, database: Database, folder: Path, *arguments: str, **kwargs: Any) -> None:
        self.path = folder / "fasthash.prom"
        self.log = folder / f"log{len(os.listdir(folder))}"  # one each
        self.process = database.start(
            "--metrics-port", "0", "--metrics-file", str(self.path), "--log-format", "json",
            *arguments, stderr_file=self.log, **kwargs,
        )  # fmt: skip
        self.port = until(self._port, "it says where it serves")

    def _port(self) -> int | None:
        assert self.process.poll() is None, self.log.read_text()
        ports = [e["port"] for e in events(self.log) if e["event"] == "metrics_served"]
        return ports[0] if ports else None

    def scrape(self) -> Found:
        return parse(scrape(self.port))

    def until(self, condition: str, value: float, *labels: str) -> Found:
        """Waits until a metric has a value, and returns them all."""

        def reached() -> Found | None:
            found = self.scrape()
            return found if found.get((condition, *labels)) == value else self._alive()

        found: Found = until(reached, f"{condition} is {value}")
        return found

    def _alive(self) -> None:
        assert self.process.poll() is None, self.log.read_text()

    def ends(self, status: int = 0) -> Found:
        if status in (0, 1):
            self.process.let_go()
        assert self.process.wait(PATIENCE_S) == status, self.log.read_text()
        return parse(self.path.read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the metrics file lies."""
    (tmp_path / "collector").mkdir()
    return tmp_path / "collector"


def expect_same(found: Found, summary: dict[str, Any]) -> None:
    """The metrics say what the summary says."""
    for name, counts in summary["by_type"].items():
        for outcome in OUTCOMES:
            assert found["rows_total", outcome, name] == counts["outcomes"][outcome]
        assert found["hashed_bytes_total", name] == counts["bytes_hashed"]
    rows = sum(value for key, value in found.items() if key[0] == "rows_total")
    assert rows == summary["rows_scanned"]
    assert found["rows_prechecked_total",] == summary["rows_prechecked"]
    drifts = sum(value for key, value in found.items() if key[0] == "drifts_total")
    assert drifts == summary["drift_events"]
    assert found["drifts_open",] == summary["drift_open"]


def test_a_run_is_watched_from_its_beginning_to_its_end(database: Database, folder: Path) -> None:
    oracle = Oracle(database)
    pause = folder / "pause"
    pause.touch()
    run = Watched(database, folder, *SLOW, "--pause-file", str(pause), "--rate", "50MB/s")
    found = run.until("held", 1, "pause_file")
    assert sum(value for key, value in found.items() if key[0] == "held") == 1
    assert found["running",] == 1
    assert found["rate_limit_bytes_per_second",] == 50e6
    assert found["run_info", "new", "1"] == 1
    assert 0 < found["lease_remaining_seconds",] <= 60
    pause.unlink()
    found = run.until("workers", 2, "busy")
    assert sum(value for key, value in found.items() if key[0] == "held") == 0
    assert found["leases",] > 0
    final = run.ends(1)
    summary = json.loads(database.fasthash("summary", "--json").stdout)
    oracle.check(summary)
    expect_same(final, summary)
    assert final["running",] == 0
    assert final["exit_status",] == 1
    assert final["ended", "complete"] == 1
    assert final["rows_expected",] == 600
    assert final["drifts_total", "unknown"] == summary["outcomes"]["drifted"] > 0
    assert final["commit_duration_seconds_count",] > 0
    assert final["last_success_timestamp_seconds",] == final["end_timestamp_seconds",]
    started = datetime.fromisoformat(summary["started_at"]).timestamp()
    assert final["run_start_timestamp_seconds",] == pytest.approx(started)
    assert final["read_bytes_total",] >= summary["bytes_hashed"]
    assert not [key for key in final if key[0] in ("held", "workers", "leases")]


def test_an_interrupted_run_goes_on_with_its_counts(database: Database, folder: Path) -> None:
    oracle = Oracle(database, slow_s=0.02)
    run = Watched(database, folder, *SLOW)
    oracle.wait_for_rows(50)
    run.process.send_signal(signal.SIGTERM)
    first = run.ends(143)
    assert first["ended", "signal"] == 1
    assert first["exit_status",] == 143
    assert ("last_success_timestamp_seconds",) not in first
    rows = {key: value for key, value in first.items() if key[0] == "rows_total"}
    assert 0 < sum(rows.values()) < 600
    database.environment["SLOW_S"] = "0.001"
    pause = folder / "pause"
    pause.touch()
    run = Watched(database, folder, *SLOW, "--pause-file", str(pause))
    found = run.until("held", 1, "pause_file")
    assert found["run_info", "resumed", "1"] == 1
    found = run.until("rows_total", rows["rows_total", "hashed", "t1"], "hashed", "t1")
    assert {key: value for key, value in found.items() if key[0] == "rows_total"} == rows
    pause.unlink()
    final = run.ends(1)
    assert found["run_start_timestamp_seconds",] == first["run_start_timestamp_seconds",]
    expect_same(final, json.loads(database.fasthash("summary", "--json").stdout))


def test_dead_processes_are_counted(database: Database, folder: Path) -> None:
    oracle = Oracle(database, slow_s=0.01)
    run = Watched(database, folder, *SLOW)
    oracle.wait_for_rows(20)
    database.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name IN ('fasthash heartbeat', 'fasthash writer')"
    )
    run.until("database_reconnects_total", 1, "heartbeat")
    run.until("database_reconnects_total", 1, "writer")
    kill(oracle.pids("worker")[:1], signal.SIGKILL)
    run.until("worker_restarts_total", 1)
    kill(oracle.pids("writer"), signal.SIGKILL)
    run.until("writer_restarts_total", 1)
    final = run.ends(1)
    assert final["database_reconnects_total", "writer"] == 1
    assert final["database_reconnects_total", "coordinator"] == 0
    assert final["worker_restarts_total",] == 1
    oracle.check()


def test_the_file_is_whole_whenever_it_is_read(database: Database, folder: Path) -> None:
    oracle = Oracle(database, slow_s=0.004)
    oracle.database.environment |= {
        "PYTHONPATH": f"{database.environment['PYTHONPATH']}:{HOOKS}",
        "TEST_WRITE_EVERY_S": "0.002",
    }
    run = Watched(database, folder, *SLOW)
    until(run.path.exists, "it is written")
    versions: set[float] = set()
    while len(versions) <= 20:
        assert run.process.poll() is None
        text = run.path.read_text()
        found = parse(text)
        versions.add(found["updated_timestamp_seconds",])
        assert ("commit_duration_seconds_count",) in found
        assert text.endswith("\n")
        assert os.stat(run.path).st_mode & 0o777 == 0o644
    run.ends(1)
    assert {name for name in os.listdir(folder) if "prom" in name} == {"fasthash.prom"}


def test_a_run_and_a_scrub_share_a_file(database: Database, folder: Path) -> None:
    paths = fill(database, 30)
    path = folder / "fasthash.prom"
    database.environment["FASTHASH_METRICS_FILE"] = str(path)
    run = database.run()
    rot(database, 1, paths[1])
    os.unlink(paths[2])
    scrub = database.scrub(status=1)
    text = path.read_text()
    of_run, of_scrub = parse(text), parse(text, "scrub")
    expect_same(of_run, run)
    expect_same(of_scrub, scrub)
    assert of_run["run_info", "new", "1"] == of_scrub["run_info", "new", "2"] == 1
    assert of_scrub["drifts_total", "corrupt"] == of_scrub["drifts_open",] == 1
    assert of_scrub["bad_rows",] == scrub["freshness"]["rows_bad"] > 0
    oldest = datetime.fromisoformat(scrub["freshness"]["oldest_marker"]).timestamp()
    assert of_scrub["oldest_marker_timestamp_seconds",] == oldest
    assert text.count("# TYPE fasthash_rows_total ") == 1, "as the format wants it"
    succeeded = of_scrub["last_success_timestamp_seconds",]

    database.dsn = "host=127.0.0.1 port=1 dbname=nowhere"
    database.fasthash("scrub", "--root", str(database.root), status=4)
    text = path.read_text()
    assert parse(text) == of_run
    failed = parse(text, "scrub")
    assert failed["ended", "not_begun"] == 1
    assert failed["exit_status",] == 4
    assert failed["last_success_timestamp_seconds",] == succeeded
    assert failed["oldest_marker_timestamp_seconds",] == oldest
    assert not [key for key in failed if key[0] in ("rows_total", "run_info")]


def test_what_is_left_by_plan_is_a_success_and_the_ledger_knows_it(
    database: Database, folder: Path
) -> None:
    fill(database, 30)
    path = folder / "fasthash.prom"
    database.run()
    database.scrub("--budget", "5kB", "--metrics-file", str(path))
    left = parse(path.read_text(), "scrub")
    assert left["ended", "budget"] == 1
    assert left["last_success_timestamp_seconds",] == left["end_timestamp_seconds",]
    path.unlink()
    pause = folder / "pause"
    pause.touch()
    run = Watched(database, folder, "--pause-file", str(pause), command="scrub")
    found = until(
        lambda: next((f for f in [parse(scrape(run.port), "scrub")] if len(f) > 40), None), "held"
    )
    assert abs(found["last_success_timestamp_seconds",] - left["end_timestamp_seconds",]) < 5
    assert ("oldest_marker_timestamp_seconds",) in found
    pause.unlink()
    run.ends()


def test_a_port_that_is_taken_ends_it_before_it_begins(database: Database, folder: Path) -> None:
    fill(database, 3)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = database.fasthash(
            "run", "--root", str(database.root), "--metrics-port", str(port), status=2
        )
        [line] = done.stderr.splitlines()
        assert f"127.0.0.1:{port}" in line
        assert "in use" in line
        assert not database.sql("SELECT 1 FROM fasthash.run")
        # The file is for the runs of every night, and one of them may still be going on.
        database.environment["FASTHASH_METRICS_PORT"] = str(port)
        done = database.fasthash("run", "--root", str(database.root), "--log-format", "json")
    [line] = [json.loads(text) for text in done.stderr.splitlines() if "not_served" in text]
    assert (line["level"], line["port"]) == ("WARNING", port)


def test_a_file_that_is_no_such_file_is_replaced(database: Database, folder: Path) -> None:
    fill(database, 3)
    path = folder / "fasthash.prom"
    path.write_text('fasthash_running{catalog= , =# a}"artifacts"} 0.0')
    database.run("--metrics-file", str(path))
    assert parse(path.read_text())["ended", "complete"] == 1


def test_those_who_share_a_file_write_it_one_after_the_other(folder: Path) -> None:
    def exporter(kind: str) -> Exporter:
        return Exporter("artifacts", kind, None, str(folder / "fasthash.prom"))

    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    backfill = threading.Thread(target=exporter("backfill").ended, args=(How.NOT_BEGUN, 4, None))
    backfill.start()
    backfill.join(0.2)
    assert not (folder / "fasthash.prom").exists(), "somebody else is about to write it"
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    backfill.join()
    assert parse((folder / "fasthash.prom").read_text())["exit_status",] == 4
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    exporter("scrub").ended(How.NOT_BEGUN, 4, None)  # but not for ever
    assert parse((folder / "fasthash.prom").read_text(), "scrub")["exit_status",] == 4
    os.close(descriptor)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metrics-file", "FOLDER/fasthash.txt"], ".prom"),
        (["--metrics-file", "FOLDER/nothing/fasthash.prom"], "No such file"),
        (["--metrics-file", "FOLDER/dir.prom"], "directory"),
        (["--metrics-port", "http"], "no place to listen at"),
        (["--metrics-port", "203.0.113.1:9188"], "cannot serve metrics"),
        (["--metrics-port", "..:9188"], "cannot serve metrics"),
        (["--metrics-port", "9188", "--dry-run"], "a dry run has no metrics"),
    ],
)
def test_what_cannot_be_had_is_said_before_it_begins(
    database: Database, folder: Path, arguments: list[str], said: str
) -> None:
    fill(database, 3)
    (folder / "dir.prom").mkdir()
    words = [word.replace("FOLDER", str(folder)) for word in arguments]
    done = database.fasthash("run", "--root", str(database.root), *words, status=2)
    [line] = done.stderr.splitlines()
    assert said in line
    assert not database.sql("SELECT 1 FROM fasthash.run")
    assert os.listdir(folder) == ["dir.prom"]


def test_without_the_library_it_says_what_to_install(database: Database, folder: Path) -> None:
    (folder / "sitecustomize.py").write_text(
        "import sys\nsys.modules['prometheus_client'] = None\n"
    )
    database.environment["PYTHONPATH"] = str(folder)
    fill(database, 3)
    done = database.fasthash("run", "--root", str(database.root), "--metrics-port", "0", status=2)
    [line] = done.stderr.splitlines()
    assert "pip install prometheus-client" in line
    assert database.run()["rows_scanned"] == 3, "who does not ask for it does not need it"


def test_a_configuration_file_has_both_and_a_dry_run_goes_without(
    database: Database, folder: Path
) -> None:
    fill(database, 3)
    path, config = folder / "fasthash.prom", folder / "fasthash.toml"
    config.write_text(f'metrics_port = 0\nmetrics_file = "{path}"\n')
    database.run("--config", str(config), "--dry-run")
    assert not path.exists()
    done = database.fasthash("run", "--root", str(database.root), "--config", str(config))
    assert "metrics at http://127.0.0.1:" in done.stderr
    assert parse(path.read_text())["rows_total", "hashed", "figure"] == 2


def test_a_file_that_cannot_be_written_any_more_ends_nothing(
    database: Database, folder: Path
) -> None:
    Oracle(database, slow_s=0.01)
    database.environment |= {
        "PYTHONPATH": f"{database.environment['PYTHONPATH']}:{HOOKS}",
        "TEST_WRITE_EVERY_S": "0.05",
    }
    process = database.start("--metrics-file", str(folder / "fasthash.prom"), *SLOW)
    until((folder / "fasthash.prom").exists, "it is written")
    away = folder.with_name("away")
    folder.rename(away)
    until(lambda: database.sql("SELECT 1 FROM fasthash.journal OFFSET 200"), "it goes on")
    away.rename(folder)
    summary, err = ends(process, 1)
    assert summary["state"] == "complete"
    assert err.count("cannot write") == 1
    assert err.count("is written again") == 1
    expect_same(parse((folder / "fasthash.prom").read_text()), summary)


def test_the_library_is_imported_only_when_asked_for(database: Database, folder: Path) -> None:
    fill(database, 3)
    database.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    arguments = ("run", "--root", str(database.root))
    done = database.fasthash(*arguments)
    assert "fasthash.coordinator" in done.stderr, "all imports are seen"
    assert "prometheus_client" not in done.stderr
    assert "fasthash.exposition" not in done.stderr
    done = database.fasthash(*arguments, "--metrics-file", str(folder / "fasthash.prom"))
    assert "prometheus_client" in done.stderr


def names_in(text: str) -> set[str]:
    """Metrics that a query or a rule asks for."""
    return set(re.findall(r"\bfasthash_[a-z_]+", text))


def test_dashboard_and_alerts_use_what_there_is(database: Database, folder: Path) -> None:
    paths = fill(database, 30)
    database.run()
    rot(database, 1, paths[1])
    pause = folder / "pause"
    pause.touch()
    run = Watched(database, folder, "--pause-file", str(pause), command="scrub")
    texts = []

    def whole() -> bool:
        texts.append(scrape(run.port))
        return {"fasthash_workers", "fasthash_rows_expected"} <= names_in(texts[-1])

    until(whole, "all is told")
    pause.unlink()
    assert run.process.wait(PATIENCE_S) == 1
    exposed = names_in(texts[-1]) | names_in(run.path.read_text())
    assert {m.name for m in METRICS} <= exposed, "each is exposed by a run"
    dashboard = (EXAMPLES / "grafana-dashboard.json").read_text()
    alerts = (EXAMPLES / "alerts.yml").read_text()
    assert names_in(dashboard) <= exposed
    assert names_in(alerts) <= exposed
    assert len(names_in(dashboard)) > 20
    assert len(names_in(alerts)) > 10
    values = set(re.findall(r'=~?"([a-z_|]+)"', alerts + dashboard.replace("\\", "")))
    told = {v for _, *labels in (*parse(texts[-1], "scrub"), *parse(run.path.read_text(), "scrub"))
            for v in labels}  # fmt: skip
    assert {v for group in values for v in group.split("|")} <= told | {"scrub", "backfill"}


def test_the_dashboard_is_one_that_can_be_imported() -> None:
    dashboard = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
    variables = {v["name"]: v for v in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert {*COMMON, "instance"} <= set(variables)
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"]
        for target in panel["targets"]:
            assert target["expr"].count("(") == target["expr"].count(")")
        at = panel["gridPos"]
        of_panel = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & of_panel, panel["title"]
        assert max(x for x, _ in of_panel) < 24
        cells |= of_panel
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
