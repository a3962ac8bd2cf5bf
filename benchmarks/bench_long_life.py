"""What years of history cost: runs, scrubs, planning and look-ups beside a long ledger; its growth.

    .venv/bin/python benchmarks/bench_long_life.py [--short] [--rows N] [--history N] [--nights N]
                                                   [--only runs|planning|look-ups|prune|nights]

A catalog that was hashed long ago, and for it a ledger with nothing but a backfill's name in it and
one with so many journal entries (a backfill, then scrubs as earlier versions journaled them), its
statistics up to date, stale or missing. Each measurement is a whole command on a fresh copy of such
a database, in turn with the same on the empty ledger's; the ratio is taken within the round. The
nights are real scrubs of an unchanging catalog, one after the other.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import long_ledger
import measure
import psycopg
from corpus import warm
from long_ledger import CATALOG, add_new_rows, connect, copy_of

from fasthash import embedded
from fasthash.config import CatalogNames
from fasthash.store import planning, runs, states
from fasthash.store.catalog import find_catalog
from fasthash.store.due import Due
from fasthash.store.runs import RunIdentity
from fasthash.store.session import connect_once

SWEPT = 300
RANGE_ROWS = 5_000
NIGHT_FILES = 2_000
RESULT = measure.RESULTS / "long_life.json"
FACTS = ("runs", "planning_us_a_row", "look_ups", "prune", "nights_of_nothing_new")
PARTS = ("runs", "planning", "look-ups", "prune", "nights")
LEDGER_BYTES = """
SELECT c.relname, pg_total_relation_size(c.oid)::bigint FROM pg_class c
WHERE c.relnamespace = 'fasthash'::regnamespace AND c.relkind = 'r' ORDER BY 1
"""
# When the first range of a run is done there are rows behind its frontier, once.
LATE_ROWS = """
CREATE FUNCTION add_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO artifacts
    SELECT -n, 't0', t.path, '{{}}' FROM generate_series(1, {swept}) n JOIN truth t ON t.m = n
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER late AFTER UPDATE ON fasthash.checkpoint FOR EACH ROW
WHEN (NEW.state = 'done' AND OLD.state <> 'done') EXECUTE FUNCTION add_late();
"""
ALL_BAD = """
INSERT INTO fasthash.bad_row (catalog_no, row_id, run_id)
SELECT c.catalog_no, a.id::text, 1 FROM artifacts a, fasthash.catalog c
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """How large, and which part."""
    parser.add_argument("--rows", type=int, help="of the catalog [1,000,000; --short 100,000]")
    parser.add_argument("--history", type=int, help="journal entries [five times the rows]")
    parser.add_argument("--nights", type=int, help="[365; --short 14]")
    parser.add_argument("--night-rows", type=int, default=20_000)
    parser.add_argument("--only", choices=PARTS, action="append", help="may be repeated")


@contextmanager
def own_server(folder: Path) -> Iterator[str]:
    """A server on which statistics are what they were made to be."""
    with (
        tempfile.TemporaryDirectory(prefix="pg", dir=folder, ignore_cleanup_errors=True) as home,
        embedded.ensure(Path(home), "postgres") as server,
    ):
        with connect(server.dsn) as admin:
            admin.execute("ALTER SYSTEM SET autovacuum = off")
            admin.execute("SELECT pg_reload_conf()")
        yield server.dsn


def command(dsn: str, *arguments: str) -> float:
    """Seconds of a whole fasthash command; drift or missing files are no failure."""
    began_s = time.monotonic()
    done = subprocess.run(
        [measure.FASTHASH, *arguments, "--dsn", dsn], stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{arguments} ended with {done.returncode}")
    return time.monotonic() - began_s


class Works:
    """What is done to a copy of a database before the clock runs, and while it does."""

    def __init__(self, options: argparse.Namespace, folder: Path, files: int) -> None:
        self.rows, self.files = options.rows, files
        self.new_rows = max(1_000, options.rows // 20)
        self.root = ("-q", "--root", str(folder))

    def incremental(self, dsn: str) -> Callable[[], float]:
        """A run that finds a part of the catalog new."""
        with connect(dsn) as connection:
            add_new_rows(connection, self.rows, self.new_rows, self.files)
        return partial(command, dsn, "run", *self.root)

    def limited(self, dsn: str) -> Callable[[], float]:
        """A run that takes so many of twice as many."""
        with connect(dsn) as connection:
            add_new_rows(connection, self.rows, 2 * self.new_rows, self.files)
        return partial(command, dsn, "run", "--limit", str(self.new_rows), *self.root)

    def swept(self, dsn: str) -> Callable[[], float]:
        """A run whose last sweep finds some rows that were added behind its frontier."""
        with connect(dsn) as connection:
            add_new_rows(connection, self.rows, self.new_rows // 10, self.files)
            connection.execute(LATE_ROWS.format(swept=SWEPT))
        return partial(self._and_all_are_met, dsn)

    def _and_all_are_met(self, dsn: str) -> float:
        seconds = command(dsn, "run", "--range-rows", "1000", *self.root)
        with connect(dsn) as connection:
            row = connection.execute(
                "SELECT count(*) FROM artifacts WHERE id < 0 AND metadata ? 'file_sha256'"
            ).fetchone()
        if row is None or row[0] != SWEPT:
            raise SystemExit(f"the sweep met {row} rows of {SWEPT}")
        return seconds

    def sample(self, dsn: str) -> Callable[[], float]:
        """A scrub of a hundredth."""
        return partial(command, dsn, "scrub", "--sample", "1%", *self.root)

    def among_bad(self, dsn: str) -> Callable[[], float]:
        """The same, where the ledger knows every file to be bad."""
        with connect(dsn) as connection:
            found = connection.execute("SELECT count(*) FROM fasthash.journal").fetchone()
            if found is not None and found[0]:
                connection.execute(ALL_BAD)
        return partial(command, dsn, "scrub", "--sample", "1%", *self.root)


def time_on(
    server: str, template: str, prepare: Callable[[str], Callable[[], float]]
) -> Callable[[], float]:
    """Times a work on a copy of a database."""

    def run() -> float:
        with copy_of(server, template) as dsn:
            return prepare(dsn)()

    return run


def measure_runs(server: str, works: Works, rounds: int) -> dict[str, dict[str, Any]]:
    """Ratios and seconds of each work, with fresh, stale and missing statistics."""
    found: dict[str, dict[str, Any]] = {}
    for name, prepare in (
        (f"run, {works.new_rows:,} new rows", works.incremental),
        (f"run --limit {works.new_rows}", works.limited),
        (f"last sweep of {SWEPT} rows", works.swept),
        ("scrub --sample 1%", works.sample),
        (f"scrub --sample 1%, {works.rows:,} bad rows", works.among_bad),
    ):
        print(name, flush=True)
        times = measure.in_turn(
            rounds,
            {t: time_on(server, t, prepare) for t in ("empty", "fresh", "stale", "missing")},
        )
        found[name] = {
            **{f"{t}_ratio": round(measure.ratio(times, t, "empty"), 3)
               for t in ("fresh", "stale", "missing")},
            **{f"{t}_s": round(statistics.median(s), 2) for t, s in times.items()},
        }  # fmt: skip
    return found


def plan(dsn: str, rows: int) -> float:
    """Seconds until a scrub of so many rows is planned."""
    with connect_once(dsn, "bench") as connection:
        catalog = find_catalog(connection, CatalogNames())
        catalog_no = states.find_catalog_no(connection, catalog)
        run_id = runs.create_run(connection, catalog, RunIdentity("scrub", ()), rows)
        if run_id is None:
            raise SystemExit("a scrub is unfinished")
        now = "2100-01-01T00:00:00.000000Z"
        due = Due("scrub", run_id, catalog_no, None, now, now, has_history=True)
        began_s = time.monotonic()
        while planning.plan_more(connection, catalog, due, (), RANGE_ROWS, 8):
            pass
        seconds = time.monotonic() - began_s
        planned = connection.execute("SELECT rows_planned AS n FROM fasthash.run "
                                     "WHERE run_id = %s", (run_id,)).fetchone()  # fmt: skip
        if planned is None or planned["n"] != rows:
            raise SystemExit(f"{planned} rows were planned of {rows}")
    return seconds


def measure_planning(server: str, rows: int, rounds: int) -> dict[str, Any]:
    """Microseconds a row, by how many are planned and what the statistics are."""
    found: dict[str, Any] = {}
    for template in ("empty", "fresh", "stale", "missing"):
        for part in (rows // 8, rows // 4, rows // 2, rows):
            times = []
            for _ in range(rounds):
                with copy_of(server, template) as dsn:
                    times.append(plan(dsn, part))
            us_a_row = statistics.median(times) / part * 1e6
            found[f"{template}, {part:,} rows"] = round(us_a_row, 2)
            print(f"  planning, {template}: {part:,} rows: {us_a_row:.2f} µs a row", flush=True)
    return found


def measure_look_ups(server: str, rows: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Seconds of what is asked of a long ledger, and rows a second of what reads the catalog."""
    found: dict[str, Any] = {}
    whole = {
        "manifest": ("manifest", "--root", str(folder)),
        "duplicates": ("duplicates", "--no-links"),
        "report": ("report", "--json"),
    }
    quick = {
        "status": ("status",),
        "summary": ("summary",),
        "journal": ("journal", str(rows // 2)),
        "drift list --run": ("drift", "list", "--run", "2"),
        "residual": ("residual", "2"),
    }
    for template in ("fresh", "stale", "missing"):
        with copy_of(server, template) as dsn:
            for name, arguments in {**quick, **whole}.items():
                seconds = statistics.median(command(dsn, *arguments) for _ in range(rounds))
                key = f"{name}, {template}"
                found[key] = {"seconds": round(seconds, 3)}
                if name in whole:
                    found[key]["rows_per_s"] = round(rows / seconds)
                print(f"  {key}: {found[key]}", flush=True)
    return found


def measure_prune(server: str, rounds: int) -> dict[str, Any]:
    """Entries a second that `prune` drops, looks at without dropping, and finds gone already."""
    found: dict[str, list[float]] = {"dry run": [], "prune": [], "again": []}
    dropped = 0
    for _ in range(rounds):
        with copy_of(server, "fresh") as dsn, connect(dsn) as connection:
            before = count_entries(connection)
            found["dry run"].append(command(dsn, "prune", "--keep-last", "1", "--dry-run"))
            found["prune"].append(command(dsn, "prune", "--keep-last", "1"))
            dropped = before - count_entries(connection)
            found["again"].append(command(dsn, "prune", "--keep-last", "1"))
    seconds = {name: round(statistics.median(times), 2) for name, times in found.items()}
    print(f"  {dropped:,} entries: {seconds}", flush=True)
    return {"entries_dropped": dropped, "seconds": seconds}


def count_entries(connection: psycopg.Connection) -> int:
    """How many the journal has."""
    row = connection.execute("SELECT count(*) FROM fasthash.journal").fetchone()
    return int(row[0]) if row else 0


def measure_nights(server: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Bytes of ledger that a row costs a year, when nothing ever changes."""
    rows, nights = options.night_rows, options.nights
    with connect(server) as admin:
        admin.execute("DROP DATABASE IF EXISTS nights WITH (FORCE)")
        admin.execute("CREATE DATABASE nights")
    dsn = psycopg.conninfo.make_conninfo(server, dbname="nights")
    with connect(dsn) as connection:
        long_ledger.make_truth(connection, folder, NIGHT_FILES)
        connection.execute(
            "CREATE TABLE artifacts (id bigint PRIMARY KEY, artifact_type text, file_path text, "
            "metadata jsonb)"
        )
        add_new_rows(connection, 0, rows, NIGHT_FILES)
        long_ledger.init(dsn)
        quiet = ("-q", "--root", str(folder))
        command(dsn, "run", *quiet)
        seconds = [command(dsn, "scrub", *quiet)]  # takes over what the backfill knows
        before = ledger_bytes(connection)
        after = before
        for night in range(1, nights + 1):
            seconds.append(command(dsn, "scrub", *quiet))
            after = ledger_bytes(connection)
            if night % 30 == 0:
                print(f"  {night} nights: {sum(after.values()):,} bytes", flush=True)
    grown = {name: after[name] - before[name] for name in before if after[name] > before[name]}
    year = sum(grown.values()) / rows * 365 / nights
    return {
        "rows": rows,
        "nights": nights,
        "bytes_before": sum(before.values()),
        "bytes_after": sum(after.values()),
        "growth_bytes_by_table": grown,
        "growth_bytes_a_row_and_year": round(year, 1),
        "first_nights_s": round(statistics.median(seconds[:7]), 2),
        "last_nights_s": round(statistics.median(seconds[-7:]), 2),
    }


def ledger_bytes(connection: psycopg.Connection) -> dict[str, int]:
    """Each table of schema fasthash, once what is dead is gone, as autovacuum sees to by day."""
    connection.execute("VACUUM ANALYZE")
    return {str(name): int(size) for name, size in connection.execute(LEDGER_BYTES)}


def measured_before() -> dict[str, Any]:
    """What the parts that are left out have come to the last time."""
    if not RESULT.exists():
        return {}
    known = json.loads(RESULT.read_text(encoding="utf-8"))
    return {key: value for key, value in known.items() if key in FACTS}


def main() -> None:
    """Each part, on a server of its own."""
    options = measure.options(__doc__, add_options)
    options.rows = options.rows or (100_000 if options.short else 1_000_000)
    options.history = options.history or 5 * options.rows
    options.nights = options.nights or (14 if options.short else 365)
    parts = options.only or PARTS
    files = min(50_000, max(SWEPT + 1, options.rows // 20))
    folder = options.folder / f"small-{files}"
    night_folder = options.folder / f"small-{NIGHT_FILES}"
    facts = measured_before() if options.only else {}
    facts |= {"rows": options.rows, "history": options.history}
    options.folder.mkdir(parents=True, exist_ok=True)
    with own_server(options.folder) as server:
        if set(parts) - {"nights"}:
            print(f"{options.rows:,} rows, {options.history:,} entries", flush=True)
            long_ledger.make_templates(server, folder, options.rows, options.history, files)
            warm(folder)
        if "runs" in parts:
            works = Works(options, folder, files)
            facts["runs"] = measure_runs(server, works, options.rounds)
        if "planning" in parts:
            facts["planning_us_a_row"] = measure_planning(server, options.rows, options.rounds)
        if "look-ups" in parts:
            facts["look_ups"] = measure_look_ups(server, options.rows, options.rounds, folder)
        if "prune" in parts:
            facts["prune"] = measure_prune(server, options.rounds)
        if "nights" in parts:
            facts["nights_of_nothing_new"] = measure_nights(server, options, night_folder)
    ratios = {
        f"{name}, {t}": value[f"{t}_ratio"]
        for name, value in facts.get("runs", {}).items()
        for t in ("fresh", "stale", "missing")
    }
    title = f"{CATALOG}: a ledger of {options.history:,} entries beside an empty one"
    measure.save("long_life", title, "of the time", ratios or {"(no ratio)": 1.0}, **facts)


if __name__ == "__main__":
    main()
