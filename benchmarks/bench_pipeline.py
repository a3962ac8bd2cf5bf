"""The whole `fasthash run` against the pure SQL that writes the same rows with known hashes.

    .venv/bin/python benchmarks/bench_pipeline.py [--files 200000] [--rounds 5]

Each round makes both catalogs anew and times the two in turn on the same server, so that the
ratio holds although the machine's speed drifts. The pure SQL is the best a writer can do that
locks its rows, compares the old value and keeps a typed journal: batches of 1,000, asynchronous
commit. `fasthash run` is timed as a process, start-up included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from corpus import make_catalog, make_files, warm

from fasthash import embedded

FASTHASH = str(Path(sys.executable).with_name("fasthash"))
BATCH_ROWS = 1_000

WRITE_KNOWN = """
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(%s::text[], %b::bytea[], %s::bigint[]) AS i (id, hash, size)),
locked AS MATERIALIZED (
    SELECT a.id, a.metadata ->> 'file_sha256' AS old
    FROM artifacts a WHERE a.id IN (SELECT id FROM input) ORDER BY a.id FOR NO KEY UPDATE),
written AS (
    UPDATE artifacts a
    SET metadata = coalesce(a.metadata, '{}') || jsonb_build_object(
        'file_sha256', encode(i.hash, 'hex'), 'file_size_bytes', i.size,
        'file_sha256_computed_at', '2026-01-01T00:00:00.000000Z')
    FROM input i JOIN locked l USING (id) WHERE a.id = i.id)
INSERT INTO journal (run_id, row_id, at, old, new, size)
SELECT 1, i.id, clock_timestamp(), decode(l.old, 'hex'), i.hash, i.size
FROM input i JOIN locked l USING (id)
"""


def time_pure_sql(dsn: str) -> float:
    """Seconds to write every row when the hashes are known."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET jit = off")
        connection.execute(
            "CREATE TABLE journal (run_id int, row_id text, at timestamptz, old bytea, new bytea, "
            "size bigint)"
        )
        rows = connection.execute("SELECT id FROM artifacts ORDER BY artifact_type, id")
        ids = [row[0] for row in rows]
        hashes = [os.urandom(32) for _ in ids]
        started = time.monotonic()
        for n in range(0, len(ids), BATCH_ROWS):
            batch = ids[n : n + BATCH_ROWS]
            sizes = [8_000] * len(batch)
            connection.execute(WRITE_KNOWN, (batch, hashes[n : n + BATCH_ROWS], sizes))
        return time.monotonic() - started


def time_fasthash(dsn: str, folder: Path, workers: int) -> float:
    """Seconds of the whole command."""
    environment = {**os.environ, "FASTHASH_DSN": dsn}
    subprocess.run([FASTHASH, "init"], env=environment, check=True, stdout=subprocess.DEVNULL)
    arguments = [FASTHASH, "run", "-q", "--json", "--root", str(folder), "--workers", str(workers)]
    started = time.monotonic()
    done = subprocess.run(arguments, env=environment, check=True, capture_output=True, text=True)
    seconds = time.monotonic() - started
    summary = json.loads(done.stdout)
    if summary["outcomes"]["hashed"] != summary["rows_scanned"]:
        sys.exit(f"not every row was hashed: {summary['outcomes']}")
    return seconds


def main() -> None:
    """Prints a line a round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir(), "fasthash-bench")
    )
    options = parser.parse_args()
    folder = options.folder / f"small-{options.files}"
    names = make_files(folder, options.files)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, ", end="")
    print(f"Python {platform.python_version()}, {options.files:,} files, warm")
    ratios, pure_rates, rates = [], [], []
    with (
        tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as home,
        embedded.ensure(Path(home), "postgres") as server,
    ):
        for number in range(1, options.rounds + 1):
            warm(folder)
            pure_s = time_pure_sql(make_catalog(server.dsn, "bench_sql", names))
            dsn = make_catalog(server.dsn, "bench_run", names)
            warm(folder)
            run_s = time_fasthash(dsn, folder, options.workers)
            pure_rates.append(options.files / pure_s)
            rates.append(options.files / run_s)
            ratios.append(run_s / pure_s)
            print(
                f"round {number}: pure SQL {pure_s:5.2f} s {pure_rates[-1]:7,.0f} rows/s   "
                f"fasthash run {run_s:5.2f} s {rates[-1]:7,.0f} rows/s   {ratios[-1]:.2f} x"
            )
    print(
        f"median : pure SQL {statistics.median(pure_rates):,.0f} rows/s, fasthash run "
        f"{statistics.median(rates):,.0f} rows/s, ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f}..{max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
