"""The writer process: results in, one fenced transaction a batch, receipts out."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from fasthash import child, logs, wire
from fasthash.batches import Writer, refusal
from fasthash.errors import DatabaseLost, DatabaseRefused
from fasthash.fixity import Counts, Part
from fasthash.store.answers import DatabaseError
from fasthash.store.applying import Target

log = logging.getLogger("fasthash")

# The limits of a batch stand here, together. There is no timer: whatever has come in while the
# last batch was committed is the next batch, so an idle writer commits at once.
BATCH_ROWS = 2_000
BATCH_PARTS = 200
QUEUED_PARTS = 400


@dataclass(frozen=True, slots=True)
class WriterSetup:
    """What the writer has to know: the first message it gets."""

    dsn: str
    db_timeout_s: float
    target: Target
    log_format: str
    log_level: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """Parts that are settled: committed, committed before, or fenced off (named apart, too).

    `seconds` it took to settle them, `reconnects` to the database since the receipt before.
    """

    part_nos: tuple[int, ...]
    counts: Counts
    fenced: frozenset[int]
    seconds: float
    reconnects: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The writer gave up on the database."""

    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The database answers, and takes no row."""

    message: str


def _receive(source: BinaryIO, parts: queue.Queue[Part | None]) -> None:
    while (part := wire.read(source)) is not None:
        parts.put(part)
    parts.put(None)


def _batches(parts: queue.Queue[Part | None]) -> Iterator[list[Part]]:
    """What is there, up to the limits of a batch; waits only for the first part."""
    while (part := parts.get()) is not None:
        batch, rows = [part], part.rows
        while len(batch) < BATCH_PARTS and rows < BATCH_ROWS and not parts.empty():
            following = parts.get()
            if following is None:
                yield batch
                return
            batch.append(following)
            rows += following.rows
        yield batch


def main() -> None:
    """Runs until its input ends; the argument is the coordinator's pid."""
    child.become_child(int(sys.argv[1]))
    source, sink = child.take_pipes()
    setup: WriterSetup | None = wire.read(source)
    if setup is None:
        return
    logs.set_up(setup.log_format, setup.log_level)
    logs.bind(run_id=setup.target.run_id)
    writer = Writer(setup.dsn, setup.db_timeout_s, setup.target)
    # A thread unpacks what comes in while the main thread waits for the database.
    parts: queue.Queue[Part | None] = queue.Queue(QUEUED_PARTS)
    threading.Thread(target=_receive, args=(source, parts), daemon=True).start()
    try:
        writer.tell_drifts()
        for batch in _batches(parts):
            began_s, reconnects = time.monotonic(), writer.session.reconnects
            settled = writer.settle(batch)
            seconds = time.monotonic() - began_s
            if settled.fenced:
                rows = sum(p.rows for p in batch if p.part_no in settled.fenced)
                log.warning(
                    "%d late results dropped: their ranges are no longer ours",
                    rows,
                    extra=logs.event("fenced", rows=rows),
                )
            names = tuple(p.part_no for p in batch)
            reconnects = writer.session.reconnects - reconnects
            receipt = Receipt(names, settled.counts, settled.fenced, seconds, reconnects)
            wire.write(sink, receipt)
        writer.session.close()
    except DatabaseLost as error:
        wire.write(sink, Lost(str(error)))
    except DatabaseRefused as error:
        wire.write(sink, Refused(str(error)))
    except DatabaseError as error:
        wire.write(sink, Refused(refusal(error)))
    except BrokenPipeError:
        pass  # the coordinator is gone; what is committed is committed
    os._exit(0)  # the receiving thread may still wait for input
