"""What a run leaves of the page cache: of its own files, and of a neighbour's hot ones.

    sudo .venv/bin/python benchmarks/bench_politeness.py [--short]

Resident pages are counted by `fincore` (mincore), before and after. The cache is dropped first;
then a neighbour reads its file again and again beside the run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import measure
from bench_cold import LARGE_BYTES
from bench_pipeline import time_run
from corpus import make_catalog, make_sized

from fasthash import embedded


def resident_mib(folder: Path, names: list[str]) -> float:
    """How much of the files is in the page cache."""
    out = subprocess.run(
        ["fincore", "--bytes", "--noheadings", "--output", "RES", *(folder / n for n in names)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return sum(map(int, out.split())) / (1 << 20)


def main() -> None:
    """Before and after."""
    options = measure.options(__doc__)
    if not measure.may_drop_caches():
        sys.exit("only root may drop the page cache")
    files, hot_bytes = (4, 256 << 20) if options.short else (16, 1 << 30)
    folder, beside = options.folder / f"large-{LARGE_BYTES}", options.folder / f"hot-{hot_bytes}"
    names = make_sized(folder, files, LARGE_BYTES)
    hot = make_sized(beside, 1, hot_bytes)
    neighbour = f"while :; do cat {beside / hot[0]} > /dev/null; sleep 0.2; done"
    values: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as home,
        embedded.ensure(Path(home), "postgres") as server,
    ):
        dsn = make_catalog(server.dsn, "bench", names, 1)
        measure.drop_caches()
        (beside / hot[0]).read_bytes()
        with subprocess.Popen(["sh", "-c", neighbour]) as process:
            values["hashed files, before"] = resident_mib(folder, names)
            values["neighbour's file, before"] = resident_mib(beside, hot)
            time_run(dsn, folder)
            values["hashed files, after"] = resident_mib(folder, names)
            values["neighbour's file, after"] = resident_mib(beside, hot)
            process.kill()
    share = values["neighbour's file, after"] / (hot_bytes >> 20)
    measure.save(
        "politeness", f"{files} cold files of 256 MiB hashed", "MiB in the page cache", values,
        neighbour_keeps=round(share, 3),
    )  # fmt: skip


if __name__ == "__main__":
    main()
