"""One worker's inner loop without coordinator or database, for `bench_files`: prints µs a file."""

from __future__ import annotations

import sys
import time

from fasthash import wire
from fasthash.fixity import Task, Unit
from fasthash.inspector import Inspector, WorkerSetup
from fasthash.roots import find_root
from fasthash.slot import Slot
from fasthash.worker import process

UNIT_ROWS = 1_000


def main() -> None:
    """Reads names on standard input; takes units from bytes to packed parts, best of three."""
    root = find_root(sys.argv[1])
    tasks = [Task(f"id{n:07}", line.strip(), None, None) for n, line in enumerate(sys.stdin)]
    inspector = Inspector(
        WorkerSetup((root,), None, 256 * 1024, False, None, "text"), Slot.create()
    )
    units = [
        wire.pack(Unit(n + 1, 1, 1, None, tuple(tasks[n : n + UNIT_ROWS]), False))
        for n in range(0, len(tasks), UNIT_ROWS)
    ]
    best_s = float("inf")
    for _ in range(3):
        began_s = time.process_time()
        for message in units:
            for part in process(wire.unpack(message[wire.LENGTH.size :]), inspector):
                wire.pack(part)
        best_s = min(best_s, time.process_time() - began_s)
    print(best_s / len(tasks) * 1e6)


if __name__ == "__main__":
    main()
