"""The worker's loop: units in, verdicts out; it opens, stats, reads and hashes, and no more."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

from fasthash import child, logs, neighbourly, parts, wire
from fasthash.errors import OutOfResources
from fasthash.fixity import Part, Result, Returned, RootGone, Starved, Unit
from fasthash.gate import Gate, HostRate
from fasthash.inspector import GROUP_FILES, Inspector, WorkerSetup
from fasthash.pace import Pace
from fasthash.roots import RootMissingError
from fasthash.slot import Slot
from fasthash.watching import Stopped

__all__ = ["GROUP_FILES", "WorkerSetup", "main", "process"]

# Results go to the writer at least this often, so that a crash costs little.
FLUSH_EVERY_S = 1.0


def process(unit: Unit, inspector: Inspector) -> Iterator[Part | RootGone | Returned | Starved]:
    """The unit's parts as they become known, in key order; what may not be read now is returned.

    Raises:
        Stopped: the run stops; what was found out until then has been yielded.
    """
    sent = looked_at = 0  # tasks
    pending: list[Result] = []
    sent_at_s = time.monotonic()
    ending: Stopped | RootMissingError | Returned | Starved | None = None
    while looked_at < len(unit.tasks):
        group = unit.tasks[looked_at : looked_at + inspector.group_files]
        try:
            inspector.slot.advance(0)  # raises Stopped
            results = inspector.inspect(unit.unit_no, group, looked_at)
        except (Stopped, RootMissingError) as reason:
            ending = reason
            break
        except OutOfResources as reason:
            ending = Starved(unit.unit_no, str(reason))
            break
        if not results:
            ending = Returned(unit.unit_no, out_of_budget=inspector.out_of_budget)
            break
        pending += results
        looked_at += len(results)
        long_read_next = len(results) < len(group)
        if long_read_next or time.monotonic() - sent_at_s >= FLUSH_EVERY_S:
            yield _part(unit, sent, pending, inspector)
            sent, pending, sent_at_s = looked_at, [], time.monotonic()
    if pending:
        yield _part(unit, sent, pending, inspector)
    if isinstance(ending, RootMissingError):
        yield RootGone(unit.unit_no, os.fsdecode(ending.root.path), ending.detail)
    elif isinstance(ending, Returned | Starved):
        yield ending
    elif ending is not None:
        raise ending


def _part(unit: Unit, done: int, results: list[Result], inspector: Inspector) -> Part:
    return Part(
        unit.unit_no,
        unit.range_no,
        unit.term,
        unit.tasks[done - 1].row_id if done else unit.after_id,
        results[-1].row_id,
        len(results),
        parts.pack(results),
        inspector.take_read_bytes(),
        sweep=unit.sweep,
    )


def main() -> None:
    """Runs until its input ends.

    Arguments are the coordinator's pid and the descriptors of the slot, the gate and, where there
    may be rates to keep, of those.
    """
    child.become_child(int(sys.argv[1]))
    source, sink = child.take_pipes()
    setup = wire.read(source)
    if setup is None:
        return
    logs.set_up(setup.log_format)
    if setup.run_id is not None:
        logs.bind(run_id=setup.run_id)
    sys.path += setup.import_paths
    neighbourly.step_back(setup.nice, setup.ionice)
    slot, gate = Slot(int(sys.argv[2])), Gate.inherit(int(sys.argv[3]))
    host = HostRate(int(sys.argv[4])) if len(sys.argv) > 4 else None
    inspector = Inspector(setup, slot, Pace(slot, gate, host))
    try:
        while (unit := wire.read(source)) is not None:
            for message in process(unit, inspector):
                wire.write(sink, message)
    except (Stopped, BrokenPipeError):
        pass
    os._exit(0)  # nothing is buffered that anybody still reads
