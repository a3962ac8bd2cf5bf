"""Cold page cache, random order: 40,000 small files, then large ones; against the usual tools.

    sudo .venv/bin/python benchmarks/bench_cold.py [--short]

The cache is dropped before each contender of each round, which only root may do. The tools are
those that only hash, and are compared with fasthash's workers alone; `fasthash run` is the whole
command, with a database and a start-up whose files are cold, too.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import measure
from bench_pipeline import time_run
from corpus import make_catalog, make_files, make_sized

from fasthash import embedded

LARGE_BYTES = 256 << 20


def cold(work: Callable[[], float]) -> float:
    """Something that times itself, with an empty cache."""
    measure.drop_caches()
    return work()


def shell(command: str) -> float:
    """Seconds of a shell command."""
    return measure.timed(
        lambda: subprocess.run(["sh", "-c", command], check=True, stdout=subprocess.DEVNULL)
    )


def small(server: embedded.Server, rounds: int, files: int, base: Path) -> None:
    """Files a second, small files in random order."""
    folder = base / "small-200000"
    names = make_files(folder, 200_000)
    random.Random(5).shuffle(names)
    names = names[:files]
    listed = base / "cold.txt"
    listed.write_text("".join(f"{folder}/{name}\n" for name in names), encoding="utf-8")
    contenders: dict[str, Callable[[], float]] = {}
    for tool in ("openssl dgst -sha256", "sha256sum"):
        for processes in (2, 8, 16):
            command = f"xargs -P{processes} -n200 {tool} < {listed}"
            contenders[f"xargs -P{processes} {tool}"] = partial(shell, command)
    pool = f"{sys.executable} {Path(__file__).with_name('worker_pool.py')} {folder}"
    plain = base / "cold-names.txt"
    plain.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    for workers in (1, 2, 4):
        contenders[f"fasthash, {workers} workers alone"] = partial(
            shell, f"{pool} {workers} < {plain}"
        )
    for workers in (2, 4):
        contenders[f"fasthash run, {workers} workers"] = partial(
            lambda count: time_run(dsn_for(server, names), folder, ("--workers", str(count))),
            workers,
        )
    found = measure.in_turn(rounds, {n: partial(cold, w) for n, w in contenders.items()})
    rates = {name: files / statistics.median(times) for name, times in found.items()}
    rivals = [name for name in found if name.startswith("xargs")]
    best = max(rivals, key=rates.__getitem__)
    measure.save(
        f"cold_small_{files}", f"{files:,} small files, cold, random order", "files/s", rates,
        best_tool=best,
        rate_over_best_tool={
            name: round(measure.ratio(found, best, name), 2) for name in found if name not in rivals
        },
    )  # fmt: skip


def dsn_for(server: embedded.Server, names: list[str], types: int = 5) -> str:
    """A catalog made anew; and an empty cache again, for making it filled it."""
    dsn = make_catalog(server.dsn, "bench", names, types)
    measure.drop_caches()
    return dsn


def large(server: embedded.Server, rounds: int, files: int, base: Path) -> None:
    """Bytes a second, large files, as many readers."""
    folder = base / f"large-{LARGE_BYTES}"
    names = make_sized(folder, files, LARGE_BYTES)
    listed = " ".join(str(folder / name) for name in names)
    found = measure.in_turn(
        rounds,
        {
            "xargs -P2 cat": partial(
                cold, partial(shell, f"echo {listed} | xargs -P2 -n1 sh -c 'cat $0 > /dev/null'")
            ),
            "xargs -P2 openssl": partial(
                cold, partial(shell, f"echo {listed} | xargs -P2 -n1 openssl dgst -sha256")
            ),
            "fasthash run": partial(
                cold, lambda: time_run(dsn_for(server, names, 1), folder, ("--workers", "2"))
            ),
        },
    )
    size = files * LARGE_BYTES
    rates = {name: size / statistics.median(times) / 1e9 for name, times in found.items()}
    measure.save(
        "cold_large", f"{files} files of 256 MiB, cold, two readers", "GB/s", rates,
        rate_over_plain_read=round(measure.ratio(found, "xargs -P2 cat", "fasthash run"), 2),
    )  # fmt: skip


def main() -> None:
    """Both."""
    options = measure.options(__doc__)
    if not measure.may_drop_caches():
        sys.exit("only root may drop the page cache")
    with (
        tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as home,
        embedded.ensure(Path(home), "postgres") as server,
    ):
        small(server, options.rounds, 40_000, options.folder)
        if not options.short:
            small(server, options.rounds, 200_000, options.folder)
        large(server, options.rounds, 4 if options.short else 8, options.folder)


if __name__ == "__main__":
    main()
