"""What metrics cost: the whole `fasthash run` with and without them, in turn.

    .venv/bin/python benchmarks/bench_metrics.py [--short]

With metrics means both kinds, `--metrics-port` and `--metrics-file`, and a scrape every second,
which is more than anybody does. The two runs of a round have catalogs made anew, page cache warm.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import measure
from bench_pipeline import time_run
from corpus import make_catalog, make_files, warm

from fasthash import embedded

WITHOUT, WITH = "fasthash run", "fasthash run, with metrics"


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@contextlib.contextmanager
def scraped(port: int) -> Iterator[list[int]]:
    """Asks every second, and notes how much it got."""
    over, sizes = threading.Event(), list[int]()

    def ask() -> None:
        while not over.wait(1.0):
            url = f"http://127.0.0.1:{port}/metrics"
            with contextlib.suppress(OSError), urllib.request.urlopen(url) as answer:
                sizes.append(len(answer.read()))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join()


def main() -> None:
    """The ratio of the times."""
    options = measure.options(__doc__)
    files = 20_000 if options.short else 100_000
    folder = options.folder / f"small-{files}"
    names = make_files(folder, files)
    scrapes: list[int] = []
    with (
        tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as home,
        embedded.ensure(Path(home), "postgres") as server,
    ):

        def fresh() -> str:
            dsn = make_catalog(server.dsn, "bench", names)
            warm(folder)
            return dsn

        def watched() -> float:
            dsn, port = fresh(), free_port()
            path = str(Path(home, "fasthash.prom"))
            with scraped(port) as sizes:
                seconds = time_run(
                    dsn, folder, ["--metrics-port", str(port), "--metrics-file", path]
                )
            scrapes.extend(sizes)
            return seconds

        found = measure.in_turn(
            options.rounds, {WITHOUT: lambda: time_run(fresh(), folder), WITH: watched}
        )
    rates = {name: files / statistics.median(times) for name, times in found.items()}
    measure.save(
        "metrics", f"{files:,} small files, warm", "rows/s", rates,
        time_over_without=round(measure.ratio(found, WITH, WITHOUT), 3), scrapes=len(scrapes),
    )  # fmt: skip


if __name__ == "__main__":
    main()
