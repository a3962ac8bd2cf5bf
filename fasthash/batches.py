"""Commits batches: through lost connections, halved where something is in the way of a part."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from fasthash import driftlog, faults, logs
from fasthash import parts as packed
from fasthash.errors import DatabaseRefused
from fasthash.fixity import Counts, Part, Verdict
from fasthash.store import results
from fasthash.store.answers import (
    IN_THE_WAY,
    READ_ONLY,
    DatabaseError,
    Unwell,
    described,
    is_gone,
    is_of_all,
    one_line,
    sounds_unwell,
)
from fasthash.store.applying import Tally, Target, probe
from fasthash.store.queries import query
from fasthash.store.refused import RowsRefused, check_policies
from fasthash.store.session import WRITER, Connection, Session
from fasthash.store.transactions import Rollback, lose_answer, transaction

log = logging.getLogger("fasthash")

# A batch that others are in the way of is tried again for so long. Then it is split, so that what
# is contended holds up little; a row that is locked still, in the last sweep, is a residual.
PATIENCE_S = 5.0
PAUSE_S = 0.2
# The pieces of such a batch have waited already.
PIECES_PATIENCE_S = 0.2
# What a server says that cannot serve may be said by a row's trigger: a row alone is tried so often
# more, unless the row before it was refused alike.
UNWELL_TRIES = 2
# So many rows in a row were refused alike, and none was written: it is not the rows. A catalog of
# fewer comes to its end, with a residual for each.
ALIKE_ROWS = 100


def refusal(error: DatabaseError) -> str:
    """That no row is taken, and why."""
    return (
        f"the database takes no row: {described(error)}; everything committed so far is kept, and "
        "the same command goes on once that is mended"
    )


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of some parts: rows counted, and parts dropped because of a later lease."""

    counts: Counts = Counts()
    fenced: frozenset[int] = frozenset()

    def __add__(self, other: Settled) -> Settled:
        return Settled(self.counts + other.counts, self.fenced | other.fenced)


class _Collision(Exception):
    """Another session was in the way of this batch."""


class _Fault(Exception):
    """The database does not take this batch, for some row's sake or for everybody's."""

    def __init__(self, error: DatabaseError) -> None:
        super().__init__(one_line(error))
        self.error = error


class Writer:
    """Commits batches through a connection that may be lost at any moment."""

    def __init__(self, dsn: str, db_timeout_s: float, target: Target) -> None:
        self.target = target
        self.session = Session(dsn, "writer", db_timeout_s, timeouts=WRITER)
        self._drifts_found = True  # perhaps, by a writer before this one
        self._alike = ("", 0)  # how many rows in a row were refused, and with which SQLSTATE

    def settle(self, parts: Sequence[Part], patience_s: float = PATIENCE_S) -> Settled:
        """Commits parts, however long it takes; parts that cannot be committed are split.

        Sending a part again is harmless: the ledger knows it by its name. That is how a COMMIT
        whose answer was lost is settled, too: a session that is still committing it holds the
        name, and we wait for its end.

        Raises:
            DatabaseLost: the database stayed away, or could not serve.
            DatabaseRefused: it takes no row.
        """
        until_s = time.monotonic() + patience_s
        unwell_tries = 0
        while True:
            last = time.monotonic() > until_s
            try:
                tally = self.session.call(partial(self._commit, parts=parts, last=last))
            except _Collision as collision:
                if last:
                    return self._settle_pieces(parts, str(collision), refused=False)
                time.sleep(random.uniform(0.25, 1.0) * PAUSE_S)  # noqa: S311
            except RowsRefused as refused:
                verdict = Verdict.WRITE_REFUSED if refused.unseen else None
                parts = [packed.refuse(p, refused.row_ids, refused.detail, verdict) for p in parts]
            except _Fault as fault:
                error = fault.error
                self._stop_if_of_all(error)
                if unwell_tries < self._tries_more(error, parts):
                    unwell_tries += 1
                    self.session.call(self._write_a_little)
                    time.sleep(PAUSE_S / 2)
                    continue
                self._count_alike(error, parts)
                return self._settle_pieces(parts, described(error), refused=True)
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
                    row_ids = [row_id for part in new for row_id in packed.row_ids(part)]
                    check_policies(connection, self.target.catalog, row_ids)
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
        except DatabaseError as error:
            if is_gone(connection):
                raise
            if is_of_all(error):
                raise self._unwell(connection, error) from error
            raise _Fault(error) from error
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
        if settled.counts.updated:
            self._alike = ("", 0)
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
        return self.settle(first, PIECES_PATIENCE_S) + self.settle(second, PIECES_PATIENCE_S)

    def _tries_more(self, error: DatabaseError, parts: Sequence[Part]) -> int:
        alone = len(parts) == 1 and parts[0].rows <= 1
        again = self._alike[0] == error.sqlstate
        return UNWELL_TRIES if sounds_unwell(error) and alone and not again else 0

    def _write_a_little(self, connection: Connection) -> None:
        """Waits for a server that cannot serve anybody, by the smallest thing that is written."""
        key = {"holder_id": self.target.holder_id}
        connection.execute(query("lease", "be_seen"), key)

    def _stop_if_of_all(self, error: DatabaseError) -> None:
        """Goes on where the rows may be to blame.

        Raises:
            DatabaseRefused: the statement is refused without any row, too.
        """

        def ask(connection: Connection) -> None:
            try:
                with transaction(connection):
                    probe(connection, self.target)
                    raise Rollback
            except IN_THE_WAY:
                pass  # nothing is known then
            except DatabaseError as also:
                if is_gone(connection):
                    raise
                if sounds_unwell(also):
                    raise self._unwell(connection, also) from also
                raise DatabaseRefused(refusal(also)) from also

        self.session.call(ask)

    def _unwell(self, connection: Connection, error: DatabaseError) -> Unwell:
        if error.sqlstate == READ_ONLY:
            connection.close()  # another server may have the office by now
        return Unwell(error)

    def _count_alike(self, error: DatabaseError, parts: Sequence[Part]) -> None:
        """Counts a row that is refused.

        Raises:
            DatabaseRefused: many were refused alike, so it is not the rows.
            DatabaseLost: the same, and the server could not serve for long.
        """
        if len(parts) > 1 or parts[0].rows > 1:
            return
        state, n = self._alike
        now = error.sqlstate or ""
        self._alike = (now, n + 1 if now == state else 1)
        if self._alike[1] < ALIKE_ROWS:
            return
        if not sounds_unwell(error):
            raise DatabaseRefused(refusal(error))

        def wait(connection: Connection) -> None:
            try:
                self._commit(connection, parts, False)
            except _Fault as fault:
                raise Unwell(fault.error) from fault

        self.session.call(wait)
        self._alike = ("", 0)

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
