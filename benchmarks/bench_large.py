"""16 files of 256 MiB, warm: the whole `fasthash run` against `xargs -P2 -n1 openssl`.

    .venv/bin/python benchmarks/bench_large.py [--short]

Database and start-up included. With less memory than the files need nothing here is warm.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import measure
from bench_cold import LARGE_BYTES, shell
from bench_pipeline import time_run
from corpus import make_catalog, make_sized, warm

from fasthash import embedded

OPENSSL = "xargs -P2 -n1 openssl dgst -sha256"


def main() -> None:
    """Both readers."""
    options = measure.options(__doc__)
    files = 8 if options.short else 16
    folder = options.folder / f"large-{LARGE_BYTES}"
    names = make_sized(folder, files, LARGE_BYTES)
    listed = " ".join(str(folder / name) for name in names)
    with (
        tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as home,
        embedded.ensure(Path(home), "postgres") as server,
    ):

        def run(reader: str) -> float:
            dsn = make_catalog(server.dsn, "bench", names, 1)
            return warmed(lambda: time_run(dsn, folder, ("--reader", reader)))

        def warmed(work: Callable[[], float]) -> float:
            warm(folder)
            return work()

        found = measure.in_turn(
            options.rounds,
            {
                OPENSSL: partial(warmed, partial(shell, f"echo {listed} | {OPENSSL}")),
                "fasthash run": partial(run, "readinto"),
                "fasthash run --reader mmap": partial(run, "mmap"),
            },
        )
    size = files * LARGE_BYTES
    rates = {name: size / statistics.median(times) / 1e9 for name, times in found.items()}
    measure.save(
        "large", f"{files} files of 256 MiB, warm", "GB/s", rates,
        time_over_openssl={
            name: round(measure.ratio(found, name, OPENSSL), 2) for name in found if name != OPENSSL
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
