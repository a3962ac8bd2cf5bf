"""A scrub with each pre-check against one that hashes again: warm, large files and small.

    .venv/bin/python benchmarks/bench_precheck.py [--short]

Whole commands, database and start-up included, on a catalog that `run --precheck xxh3` has filled.
`first read` is that run against one without a pre-check: what the second digest costs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import measure
from bench_cold import LARGE_BYTES
from bench_pipeline import time_run
from corpus import make_catalog, make_files, make_sized, warm

from fasthash import embedded

HASHING, STAT = "scrub", "scrub --precheck stat"
CHECKS = {
    HASHING: (),
    "scrub --precheck xxh3": ("--precheck", "xxh3"),
    "scrub --precheck xxh3 --reader mmap": ("--precheck", "xxh3", "--reader", "mmap"),
    STAT: ("--precheck", "stat"),
}


def main() -> None:
    """Both corpora."""
    options = measure.options(__doc__)
    files = 40_000 if options.short else 200_000
    large = options.folder / f"large-{LARGE_BYTES}"
    small = options.folder / f"small-{files}"
    corpora = {
        "large": (large, make_sized(large, 8 if options.short else 16, LARGE_BYTES)),
        "small": (small, make_files(small, files)),
    }
    time.sleep(3)  # stamps of files that were just made are not trusted
    with (
        tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as home,
        embedded.ensure(Path(home), "postgres") as server,
    ):
        for label, (folder, names) in corpora.items():
            warm(folder)
            plain = time_run(make_catalog(server.dsn, "bench", names), folder)
            dsn = make_catalog(server.dsn, "bench", names)
            both = time_run(dsn, folder, ("--precheck", "xxh3"))
            found = measure.in_turn(
                options.rounds,
                {name: partial(scrub, dsn, folder, check) for name, check in CHECKS.items()},
            )
            measure.save(
                f"precheck_{label}", f"{len(names):,} {label} files, warm", "s",
                {name: statistics.median(times) for name, times in found.items()},
                times_as_fast={
                    name: round(measure.ratio(found, HASHING, name), 2)
                    for name in found if name != HASHING
                },
                # A scrub that trusts the stamps reads nothing: what it costs, they all cost.
                reading_times_as_fast={
                    name: round(statistics.median(
                        (hash_s - stat_s) / (check_s - stat_s)
                        for hash_s, check_s, stat_s in zip(
                            found[HASHING], found[name], found[STAT], strict=True)
                    ), 2)
                    for name in found if name not in (HASHING, STAT)
                },
                first_read=round(both / plain, 2),
            )  # fmt: skip


def scrub(dsn: str, folder: Path, arguments: tuple[str, ...]) -> float:
    """Seconds of a scrub; the markers are those of the first run, again and again."""
    command = [measure.FASTHASH, "scrub", "-q", "--dsn", dsn, "--root", str(folder), *arguments]
    seconds = measure.timed(
        lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    )
    if not arguments:  # the XXH3 goes with the hash that it was made beside: make it anew
        subprocess.run([*command, "--precheck", "xxh3"], check=True, stdout=subprocess.DEVNULL)
    return seconds


if __name__ == "__main__":
    main()
