"""What one file costs a worker's processor, by size, against a loop in C with OpenSSL.

    .venv/bin/python benchmarks/bench_files.py [--short]

Page cache warm, one process each, microseconds of processor time a file. The worker's loop is the
whole of it: unpacking the unit, checking paths, opening, reading, hashing, packing the results.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import measure
from corpus import make_files, make_sized, warm

HERE = Path(__file__).parent


def build_c_loop(folder: Path) -> list[str]:
    """Compiles the loop in C; empty where there is no compiler or no OpenSSL header."""
    program = folder / "openssl_loop"
    done = subprocess.run(
        ["cc", "-O2", "-o", program, HERE / "openssl_loop.c", "-lcrypto"],
        check=False,
        capture_output=True,
    )
    return [str(program)] if done.returncode == 0 else []


def microseconds(command: list[str], lines: str, native: str = "on") -> float:
    """What a loop prints."""
    out = subprocess.run(
        command, input=lines, env={**os.environ, "FASTHASH_NATIVE": native},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return float(out)


def main() -> None:
    """The mixed corpus of the pipeline benchmark, then single sizes."""
    options = measure.options(__doc__)
    files = 20_000 if options.short else 40_000
    corpora = {"log-normal, 8 kB mean": (options.folder / "small-200000", None)}
    for size in (0, 1_000, 8_000, 64_000, 256_000):
        corpora[f"{size:,} bytes"] = (options.folder / f"sized-{size}", size)
    with tempfile.TemporaryDirectory() as place:
        c_loop = build_c_loop(Path(place))
        values: dict[str, float] = {}
        ratios: dict[str, float] = {}
        for title, (folder, size) in corpora.items():
            if size is None:
                names = make_files(folder, 200_000)[:: 200_000 // files]
            else:
                names = make_sized(folder, 2_000 if size > 8_000 else 10_000, size)
            warm(folder)
            paths = "".join(f"{folder}/{name}\n" for name in names)
            plain = "".join(f"{name}\n" for name in names)
            worker = [sys.executable, str(HERE / "worker_loop.py"), str(folder)]
            contenders = {
                "worker": partial(microseconds, worker, plain),
                "worker, Python only": partial(microseconds, worker, plain, "off"),
            }
            if c_loop:
                contenders["C and OpenSSL"] = partial(microseconds, c_loop, paths)
            print(title)
            found = measure.in_turn(options.rounds, contenders)
            for name, times in found.items():
                values[f"{title}: {name}"] = statistics.median(times)
            if c_loop:
                ratios[title] = round(measure.ratio(found, "worker", "C and OpenSSL"), 2)
    measure.save("files", "Processor time a file, warm", "µs", values, ratio_to_c=ratios)


if __name__ == "__main__":
    main()
