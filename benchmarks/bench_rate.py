"""How exactly `--rate` holds, and what a run does to the latency of another reader.

    .venv/bin/python benchmarks/bench_rate.py [--short]

What the workers read is taken from the kernel (/proc/PID/io, every 20 ms), not from fasthash. The
other reader takes 64 KiB from random places of cold files; as root only.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import measure
from bench_cold import LARGE_BYTES
from corpus import make_catalog, make_files, make_sized

from fasthash import embedded

SMALL, LARGE = 20e6, 100e6  # bytes a second
SAMPLE_S = 0.02
BURST_S = 0.25
PIECE = 65_536


def main() -> None:
    """1, 2 and 8 workers, small files and large, and after a kill."""
    options = measure.options(__doc__)
    seconds = 10 if options.short else 20
    large = options.folder / f"large-{LARGE_BYTES}"
    small = options.folder / "small-50000"
    corpora = {
        "small files, 20 MB/s": (small, make_files(small, 50_000), SMALL),
        "large files, 100 MB/s": (large, make_sized(large, 16, LARGE_BYTES), LARGE),
    }
    with (
        tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as home,
        embedded.ensure(Path(home), "postgres") as server,
    ):
        exactness: dict[str, float] = {}
        bursts: dict[str, float] = {}
        for label, (folder, names, rate) in corpora.items():
            for workers, kill in ((1, False), (2, False), (8, False), (2, True)):
                name = f"{label}, {workers} worker{'s' if workers > 1 else ''}"
                name += ", one killed" if kill else ""
                dsn = catalog(server.dsn, names)
                with running(dsn, folder, workers, f"{rate / 1e6:g}MB/s") as process:
                    points = watch(process.pid, seconds, kill=kill)
                exactness[name] = statistics.median(spans(points, 10.0)) / rate
                bursts[name] = (max(spans(points, BURST_S)) - rate) * BURST_S / (rate * BURST_S)
                print(f"  {name:50} {exactness[name]:6.3f} of the rate", flush=True)
        measure.save(
            "rate", f"{seconds} s at a rate", "of the rate over 10 s", exactness,
            most_above_the_rate_in_a_quarter_second={n: round(b, 2) for n, b in bursts.items()},
        )  # fmt: skip
        if measure.may_drop_caches():
            latency(server.dsn, large, corpora["large files, 100 MB/s"][1], seconds)


def catalog(server: str, names: list[str]) -> str:
    """A catalog of its own, with a ledger."""
    dsn = make_catalog(server, "bench", names, 1)
    subprocess.run([measure.FASTHASH, "init", "--dsn", dsn], check=True, capture_output=True)
    return dsn


@contextlib.contextmanager
def running(dsn: str, folder: Path, workers: int, rate: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run that is stopped at the end."""
    process = subprocess.Popen(
        [measure.FASTHASH, "run", "--dsn", dsn, "--root", str(folder), "--workers", str(workers),
         "--rate", rate, "--quiet"],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def workers_of(pid: int) -> list[int]:
    """The processes that read for a coordinator."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            with contextlib.suppress(OSError):
                if b"fasthash.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def watch(pid: int, seconds: float, *, kill: bool) -> list[tuple[float, int]]:
    """Times and bytes read so far, from a second after the first byte on."""
    last: dict[int, int] = {}
    points: list[tuple[float, int]] = []
    kill_at_s = seconds / 3
    while not points or points[-1][0] - points[0][0] < seconds + 1.5:
        time.sleep(SAMPLE_S)
        now_s = time.monotonic()
        children = workers_of(pid)
        for child in children:
            with contextlib.suppress(OSError, TypeError):
                text = Path(f"/proc/{child}/io").read_text(encoding="ascii")
                last[child] = int(re.search(r"rchar: (\d+)", text)[1])  # type: ignore[index]
        total = sum(last.values())
        if points or total > 4_000_000:
            points.append((now_s, total))
        if kill and points and now_s - points[0][0] > kill_at_s:
            os.kill(children[0], signal.SIGKILL)
            kill = False
    start_s = points[0][0] + 1.0
    return [point for point in points if point[0] >= start_s]


def spans(points: Sequence[tuple[float, int]], length_s: float) -> list[float]:
    """Bytes a second over every span of at least this length."""
    found = []
    end = 0
    for at_s, total in points:
        while end < len(points) and points[end][0] - at_s < length_s:
            end += 1
        if end == len(points):
            break
        found.append((points[end][1] - total) / (points[end][0] - at_s))
    return found


def latency(server: str, folder: Path, names: list[str], seconds: float) -> None:
    """Another reader alone, beside a run without a rate, and beside one with."""
    half = len(names) // 2
    found: dict[str, float] = {}
    for label, rate in (("alone", None), ("beside a run", "off"),
                        ("beside a run at 100 MB/s", "100MB/s"),
                        ("beside a run at 20 MB/s", "20MB/s")):  # fmt: skip
        measure.drop_caches()
        times: list[float] = []
        dsn = catalog(server, names[:half])
        reading = threading.Thread(
            target=read_at_random, args=([folder / n for n in names[half:]], seconds / 2, times)
        )
        if rate is None:
            reading.start()
            reading.join()
        else:
            with running(dsn, folder, 2, rate):
                time.sleep(1)
                reading.start()
                reading.join()
        times.sort()
        found[f"{label}: median"] = times[len(times) // 2] * 1e3
        found[f"{label}: 99 %"] = times[len(times) * 99 // 100] * 1e3
    measure.save("rate_latency", "64 KiB from cold files by another reader", "ms", found)


def read_at_random(paths: Sequence[Path], seconds: float, times: list[float]) -> None:
    """Reads pieces that nobody has read before, one after the other."""
    chance = random.Random(1)
    until_s = time.monotonic() + seconds
    files = [os.open(path, os.O_RDONLY) for path in paths]
    for descriptor in files:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    while time.monotonic() < until_s:
        offset = chance.randrange(LARGE_BYTES // PIECE) * PIECE
        times.append(measure.timed(lambda at=offset: os.pread(chance.choice(files), PIECE, at)))  # type: ignore[misc]
        time.sleep(0.002)
    for descriptor in files:
        os.close(descriptor)


if __name__ == "__main__":
    main()
