"""The writer process: results in, one fenced transaction a batch, receipts out."""

from __future__ import annotations

import logging
import os
import queue
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from fasthash import child, driftlog, faults, logs, wire
from fasthash import parts as packed
from fasthash.errors import DatabaseLost
from fasthash.fixity import Counts, Part
from fasthash.store import results
from fasthash.store.applying import RowsRefused, Tally, Target
from fasthash.store.session import IN_THE_WAY, WRITER, Connection, DatabaseError, Session, one_line
from fasthash.store.transactions import lose_answer, transaction

log = logging.getLogger("fasthash")

# The limits of a batch stand here, together. There is no timer: whatever has come in while the
# last batch was committed is the next batch, so an idle writer commits at once.
BATCH_ROWS = 2_000
BATCH_PARTS = 200
QUEUED_PARTS = 400
# A batch that others are in the way of is tried again for so long. Then it is split, so that what
# is contended holds up little; a row that is locked still, in the last sweep, is a residual.
PATIENCE_S = 5.0
PAUSE_S = 0.2


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
class Settled:
    """What became of some parts: rows counted, and parts dropped because of a later lease."""

    counts: Counts = Counts()
    fenced: frozenset[int] = frozenset()

    def __add__(self, other: Settled) -> Settled:
        return Settled(self.counts + other.counts, self.fenced | other.fenced)


class _Collision(Exception):
    """Another session was in the way of this batch."""


class Writer:
    """Commits batches through a connection that may be lost at any moment."""

    def __init__(self, setup: WriterSetup) -> None:
        self.target = setup.target
        self.session = Session(setup.dsn, "writer", setup.db_timeout_s, timeouts=WRITER)
        self._drifts_found = True  # perhaps, by a writer before this one

    def settle(self, parts: Sequence[Part]) -> Settled:
        """Commits parts, however long it takes; parts that cannot be committed are split.

        Sending a part again is harmless: the ledger knows it by its name. That is how a COMMIT
        whose answer was lost is settled, too: a session that is still committing it holds the
        name, and we wait for its end.

        Raises:
            DatabaseLost: the database stayed away.
        """
        until_s = time.monotonic() + PATIENCE_S
        while True:
            last = time.monotonic() > until_s
            try:
                tally = self.session.call(partial(self._commit, parts=parts, last=last))
            except _Collision as collision:
                if last:
                    return self._settle_pieces(parts, str(collision), refused=False)
                time.sleep(random.uniform(0.25, 1.0) * PAUSE_S)  # noqa: S311
            except RowsRefused as refused:
                parts = [packed.refuse(p, refused.row_ids, refused.detail) for p in parts]
            except DatabaseError as error:
                return self._settle_pieces(parts, one_line(error), refused=True)
            else:
                self.tell_drifts()
                return self._settled(tally)

    def tell_drifts(self) -> None:
        """Logs the drifts that are committed now, and notes that it has.

        They are read from the ledger: so that no line tells of a drift that a retry may not find
        again, and none is missing that was committed by a COMMIT whose answer was lost.
        """
        if not self._drifts_found:
            return
        target = self.target
        self.session.call(
            lambda c: driftlog.tell(c, [target.run_id], target.holder_id, reach=faults.reach)
        )
        self._drifts_found = False

    def _commit(self, connection: Connection, parts: Sequence[Part], last: bool) -> Tally:
        """One transaction; nothing of it happened if it raises.

        Rows that other sessions have locked are left to the last sweep, which waits for them.
        """
        sweep = any(part.sweep for part in parts)
        try:
            with transaction(connection):
                held = results.fence(connection, self.target, parts)
                new = results.claim_parts(connection, self.target, held) if held else []
                tally = results.apply(connection, self.target, new, locked_rows_fail=sweep and last)
                if tally.locked and sweep:
                    raise _Collision("other sessions have locked rows")
                settled = {id(p) for p in held}
                tally.fenced = [p for p in parts if id(p) not in settled]
                if len(new) < len(held):
                    tally.left_over = self._left_over(connection, held, new)
                    self._drifts_found = True  # perhaps, by what was committed before
                if tally.drifts:
                    self._drifts_found = True
                faults.reach("before_commit", connection.close)
            faults.reach("after_commit", lambda: lose_answer(connection))
        except IN_THE_WAY as error:
            raise _Collision(one_line(error)) from error
        if tally.locked:
            log.info(
                "%d rows are locked by other sessions; they come last",
                tally.locked,
                extra=logs.event("rows_locked", rows=tally.locked),
            )
        return tally

    def _left_over(self, connection: Connection, held: list[Part], new: list[Part]) -> list[Part]:
        fresh = {id(p) for p in new}
        old = (results.left_over(connection, self.target, p) for p in held if id(p) not in fresh)
        return [p for p in old if p is not None]

    def _settled(self, tally: Tally) -> Settled:
        fenced = frozenset(part.part_no for part in tally.fenced)
        settled = Settled(sum(tally.counts.values(), Counts()), fenced)
        if tally.left_over:
            settled += self.settle(tally.left_over)
        return settled

    def _settle_pieces(self, parts: Sequence[Part], reason: str, *, refused: bool) -> Settled:
        """Half by half, down to the row in the way, which the others do not wait for.

        A row that the database refuses is a residual; one that another session has locked for
        long is left to the last sweep, and is a residual there.
        """
        if len(parts) == 1 and parts[0].rows <= 1:
            part = parts[0]
            return self.session.call(
                lambda c: self._give_up(c, part, reason, as_residual=refused or part.sweep)
            )
        if len(parts) > 1:
            middle = len(parts) // 2
            first, second = list(parts[:middle]), list(parts[middle:])
        else:
            one, two = packed.cut(parts[0], parts[0].rows // 2)
            first, second = [one], [two]
        return self.settle(first) + self.settle(second)

    def _give_up(
        self, connection: Connection, part: Part, reason: str, *, as_residual: bool
    ) -> Settled:
        log.warning(
            "row %s cannot be written now: %s",
            packed.row_ids(part)[0],
            reason,
            extra=logs.event("write_refused", row_id=packed.row_ids(part)[0], reason=reason),
        )
        with transaction(connection):
            if not results.fence(connection, self.target, [part]):
                return Settled(fenced=frozenset({part.part_no}))
            if results.claim_parts(connection, self.target, [part]):
                if as_residual:
                    return Settled(results.refuse(connection, self.target, part, reason))
                results.leave_over(connection, self.target, part)
        return Settled()


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
    writer = Writer(setup)
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
    except BrokenPipeError:
        pass  # the coordinator is gone; what is committed is committed
    os._exit(0)  # the receiving thread may still wait for input
