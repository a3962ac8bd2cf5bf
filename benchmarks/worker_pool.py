"""Several workers' inner loops on a list of files, without coordinator or database.

For `bench_cold`: what is compared with tools that only hash. Arguments: root, number of workers;
names on standard input.
"""

from __future__ import annotations

import os
import sys

from fasthash.fixity import Task, Unit
from fasthash.inspector import Inspector, WorkerSetup
from fasthash.roots import find_root
from fasthash.slot import Slot
from fasthash.worker import process

UNIT_ROWS = 1_000


def work(root: str, names: list[str]) -> None:
    """One worker's share, as units."""
    inspector = Inspector(
        WorkerSetup((find_root(root),), None, 256 * 1024, False, None, "text"), Slot.create()
    )
    for n in range(0, len(names), UNIT_ROWS):
        tasks = tuple(Task(name, name, None, None) for name in names[n : n + UNIT_ROWS])
        rows = sum(part.rows for part in process(Unit(1, 1, 1, None, tasks, False), inspector))
        if rows != len(tasks):
            raise SystemExit("files are missing")


def main() -> None:
    """Forks them, and waits for all."""
    root, count = sys.argv[1], int(sys.argv[2])
    names = sys.stdin.read().splitlines()
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            work(root, names[number::count])
            os._exit(0)
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        raise SystemExit("a worker failed")


if __name__ == "__main__":
    main()
