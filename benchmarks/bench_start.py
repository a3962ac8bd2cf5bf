"""How long the commands take that do nothing much, and what is imported for them.

.venv/bin/python benchmarks/bench_start.py [--short]
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

from fasthash import embedded

HEAVY = ("click", "tqdm", "psycopg")


def run(environment: dict[str, str], *arguments: str) -> float:
    """Seconds of a command."""
    return measure.timed(
        lambda: subprocess.run(
            [measure.FASTHASH, *arguments], env=environment, check=False, capture_output=True
        )
    )


def main() -> None:
    """Times on a server that runs already."""
    options = measure.options(__doc__)
    out = subprocess.run(
        [sys.executable, "-c", "import sys, fasthash.worker; print(*sys.modules)"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as home,
        embedded.ensure(Path(home), "bench") as server,
    ):
        environment = {**os.environ, "FASTHASH_DSN": server.dsn}
        for command in (["init"], ["register", str(Path(__file__).parent)], ["run", "-q"]):
            subprocess.run(
                [measure.FASTHASH, *command], env=environment, check=True, capture_output=True
            )
        contenders = {
            "python -c pass": lambda: measure.timed(
                lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)
            ),
            "fasthash --help": partial(run, environment, "--help"),
            "fasthash status": partial(run, environment, "status"),
            "fasthash run, nothing to do": partial(run, environment, "run", "-q"),
        }
        found = measure.in_turn(max(options.rounds, 7), contenders)
    values = {name: statistics.median(times) * 1e3 for name, times in found.items()}
    heavy = [name for name in HEAVY if name in out] or "none"
    measure.save("start", "Commands, warm", "ms", values, a_worker_imports_of_those=heavy)


if __name__ == "__main__":
    main()
