"""The whole `fasthash run` against pure SQL with known hashes, and a script written by hand.

    .venv/bin/python benchmarks/bench_pipeline.py [--short]

Each round makes the catalogs anew and times the three in turn on the same server, page cache warm.
The pure SQL is the best a writer can do that locks its rows, compares the old value and keeps a
typed journal: batches of 1,000, binary arrays, asynchronous commit. `fasthash run` and the script
(`by_hand.py`) are timed as processes, start-up included.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import measure
from corpus import make_catalog, make_files, warm
from pure_sql import Shape, write_known

from fasthash import embedded

PURE, RUN, HAND = "pure SQL, hashes known", "fasthash run", "by hand"


def time_run(dsn: str, folder: Path, arguments: Sequence[str] = ()) -> float:
    """Seconds of the whole command."""
    environment = {**os.environ, "FASTHASH_DSN": dsn}
    subprocess.run([measure.FASTHASH, "init"], env=environment, check=True, capture_output=True)
    command = [measure.FASTHASH, "run", "-q", "--json", "--root", str(folder), *arguments]
    done: list[subprocess.CompletedProcess[str]] = []
    seconds = measure.timed(
        lambda: done.append(
            subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        )
    )
    summary = json.loads(done[0].stdout)
    if summary["outcomes"]["hashed"] != summary["rows_scanned"]:
        sys.exit(f"not every row was hashed: {summary['outcomes']}")
    return seconds


def time_by_hand(dsn: str, folder: Path) -> float:
    """Seconds of the script."""
    script = str(Path(__file__).with_name("by_hand.py"))
    command = [sys.executable, script, dsn, str(folder)]
    return measure.timed(lambda: subprocess.run(command, check=True))


def main() -> None:
    """Medians and ratios."""
    options = measure.options(__doc__)
    files = 40_000 if options.short else 200_000
    folder = options.folder / f"small-{files}"
    names = make_files(folder, files)
    with (
        tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as home,
        embedded.ensure(Path(home), "postgres") as server,
    ):

        def fresh(work: partial[float]) -> float:
            dsn = make_catalog(server.dsn, "bench", names)
            warm(folder)
            return work(dsn)

        found = measure.in_turn(
            options.rounds,
            {
                PURE: lambda: fresh(partial(write_known, shape=Shape())),
                RUN: lambda: fresh(partial(time_run, folder=folder)),
                HAND: lambda: fresh(partial(time_by_hand, folder=folder)),
            },
        )
    rates = {name: files / statistics.median(times) for name, times in found.items()}
    measure.save(
        "pipeline", f"{files:,} small files, warm", "rows/s", rates,
        time_over_pure_sql=round(measure.ratio(found, RUN, PURE), 2),
        rate_over_by_hand=round(measure.ratio(found, HAND, RUN), 2),
    )  # fmt: skip


if __name__ == "__main__":
    main()
