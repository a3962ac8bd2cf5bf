"""What the benchmarks share: the machine, rounds in turn, medians, and where results go."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

FASTHASH = str(Path(sys.executable).with_name("fasthash"))
RESULTS = Path(__file__).with_name("results")
FOLDER = Path(tempfile.gettempdir(), "fasthash-bench")


def options(
    doc: str | None, more: Callable[[argparse.ArgumentParser], object] | None = None
) -> argparse.Namespace:
    """The options of every benchmark: `--short`, `--rounds`, `--folder`.

    Args:
        doc: the benchmark's docstring.
        more: adds options of its own.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    if more is not None:
        more(parser)
    parser.add_argument("--short", action="store_true", help="a tenth of the work")
    parser.add_argument("--rounds", type=int, help="[default: 5, with --short 3]")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the files lie")
    found = parser.parse_args()
    found.rounds = found.rounds or (3 if found.short else 5)
    return found


def machine() -> dict[str, Any]:
    """What was measured on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "?")
    flags = next((line for line in lines if line.startswith("flags")), "")
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "sha_extensions": " sha_ni" in flags,
        "memory_gb": round(memory_bytes / 1e9),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def drop_caches() -> None:
    """Empties the page cache; only root may."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


def may_drop_caches() -> bool:
    """Whether a cold cache can be had."""
    return os.access("/proc/sys/vm/drop_caches", os.W_OK)


def timed(work: Callable[[], object]) -> float:
    """Seconds that something takes."""
    started_s = time.monotonic()
    work()
    return time.monotonic() - started_s


def processor_time(command: Sequence[str], **kwargs: Any) -> float:
    """Seconds of processor time, user and system, that a command takes with its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, **kwargs)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def in_turn(rounds: int, contenders: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Times the contenders one after the other, round by round.

    The machine's speed drifts; what is divided within one round holds all the same.
    """
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(1, rounds + 1):
        for name, measure in contenders.items():
            found[name].append(measure())
            print(f"  round {number}: {name:40} {found[name][-1]:10.3f}", flush=True)
    return found


def ratio(found: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """The median of one over the other, each taken within its round."""
    return statistics.median(a / b for a, b in zip(found[one], found[other], strict=True))


def save(name: str, title: str, unit: str, values: Mapping[str, float], **facts: Any) -> None:
    """Prints a table and writes it to `results/NAME.json`.

    Args:
        name: of the file.
        title: what was measured.
        unit: of the values.
        values: a number for each contender.
        facts: whatever else is to be kept.
    """
    print(f"\n{title}")
    width = max(map(len, values))
    for label, value in values.items():
        print(f"  {label:{width}}  {value:14,.2f} {unit}")
    for label, fact in facts.items():
        print(f"  {label}: {fact}")
    print(flush=True)
    RESULTS.mkdir(exist_ok=True)
    result = {"title": title, "unit": unit, "values": dict(values), **facts, "machine": machine()}
    text = json.dumps(result, indent=2) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
