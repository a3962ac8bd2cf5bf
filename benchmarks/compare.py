"""The tools that people use, on the same files, warm: small ones, then large ones.

    .venv/bin/python benchmarks/compare.py [--short]

Those that are installed, of sha256sum, openssl, rhash, hashdeep, rclone and b3sum (which computes
another digest). All but `fasthash run` only print what they found; it also writes every row into
PostgreSQL, with a journal.
"""

from __future__ import annotations

import os
import shlex
import shutil
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import measure
from bench_cold import LARGE_BYTES, shell
from bench_pipeline import time_by_hand, time_run
from corpus import make_catalog, make_files, make_sized, warm

from fasthash import embedded

CORES = len(os.sched_getaffinity(0))
# By the program that has to be installed; {list} is a file of paths, {folder} where they lie.
TOOLS = {
    "sha256sum": f"xargs -P{CORES} -n{{each}} sha256sum < {{list}}",
    "openssl": f"xargs -P{CORES} -n{{each}} openssl dgst -sha256 < {{list}}",
    "rhash": "rhash --sha256 -r {folder}",
    "hashdeep": f"hashdeep -c sha256 -j{CORES} -r {{folder}}",
    "rclone": "rclone hashsum sha256 {folder}",
    "b3sum": "xargs -n{each} b3sum < {list}",
}


def compare(
    server: embedded.Server, folder: Path, names: list[str], rounds: int, each: int
) -> dict[str, list[float]]:
    """Seconds of each tool."""
    listed = folder.with_suffix(".list")
    listed.write_text("".join(f"{folder}/{name}\n" for name in names), encoding="utf-8")
    places = {"list": shlex.quote(str(listed)), "folder": shlex.quote(str(folder)), "each": each}

    def warmed(work: Callable[[], float]) -> float:
        warm(folder)
        return work()

    contenders: dict[str, Callable[[], float]] = {
        tool: partial(warmed, partial(shell, command.format(**places)))
        for tool, command in TOOLS.items()
        if shutil.which(tool)
    }
    contenders["by hand, into PostgreSQL"] = lambda: with_catalog(time_by_hand)
    contenders["fasthash run"] = lambda: with_catalog(time_run)

    def with_catalog(work: Callable[[str, Path], float]) -> float:
        dsn = make_catalog(server.dsn, "bench", names, min(5, len(names) // 1_000 or 1))
        return warmed(lambda: work(dsn, folder))

    return measure.in_turn(rounds, contenders)


def main() -> None:
    """Small and large."""
    options = measure.options(__doc__)
    with (
        tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as home,
        embedded.ensure(Path(home), "postgres") as server,
    ):
        files = 40_000 if options.short else 200_000
        folder = options.folder / f"small-{files}"
        found = compare(server, folder, make_files(folder, files), options.rounds, 200)
        rates = {name: files / statistics.median(times) for name, times in found.items()}
        measure.save("compare_small", f"{files:,} small files, warm", "files/s", rates)
        files = 4 if options.short else 16
        folder = options.folder / f"large-{LARGE_BYTES}{'-short' if options.short else ''}"
        found = compare(server, folder, make_sized(folder, files, LARGE_BYTES), options.rounds, 1)
        size = files * LARGE_BYTES / 1e9
        rates = {name: size / statistics.median(times) for name, times in found.items()}
        measure.save("compare_large", f"{files} files of 256 MiB, warm", "GB/s", rates)


if __name__ == "__main__":
    main()
