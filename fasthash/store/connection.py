"""A connection whose settings last as long as each of its transactions: a pooler learns nothing.

Behind a pooler a server session may be another's after every transaction. What is set with SET
stays in it, and the application that comes next writes without waiting for the disk, or loses its
statements to our time limits. So every statement runs in a transaction, which sets what it needs
for itself. That is a round trip more for each: some 100 us on a socket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.abc import Params, Query
from psycopg.pq import TransactionStatus

from fasthash.store.queries import query

Row = dict[str, Any]

WITH_TRANSACTION_TIMEOUT = 170000


@dataclass(frozen=True, slots=True)
class Timeouts:
    """After how many seconds the server ends what a session does; 0 is never.

    `idle_s` is for doing nothing within a transaction: a process that is stopped or cut off
    there has its locks taken away.
    """

    lock_s: float
    statement_s: float = 0
    idle_s: float = 0


class Connection(psycopg.Connection[Row]):
    """A psycopg connection in autocommit mode, each of whose transactions has its own settings.

    `is_pooled` says that somebody stands between this client and the server's process.
    """

    settings: sql.Composed | None = None
    backend_pid = 0
    is_pooled = False

    def prepare_settings(self, timeouts: Timeouts) -> None:
        """What every later transaction sets."""
        limits = {
            name: sql.Literal(f"{round(seconds * 1000)}ms")
            for name, seconds in (
                ("lock_timeout", timeouts.lock_s),
                ("statement_timeout", timeouts.statement_s),
                ("idle_timeout", timeouts.idle_s),
            )
        }
        newer = self.info.server_version >= WITH_TRANSACTION_TIMEOUT
        no_limit = query("session", "no_transaction_timeout") if newer else sql.SQL("")
        self.settings = query("session", "settings", no_transaction_timeout=no_limit, **limits)

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        """A transaction block with our settings, or within one a savepoint.

        A connection whose BEGIN has failed (a time limit of the role's is over before ours counts)
        is closed: psycopg up to 3.3.0 takes that transaction for an open one, and asserts so at the
        next.
        """
        begins = self.info.transaction_status == TransactionStatus.IDLE
        begun = False
        try:
            with super().transaction(savepoint_name, force_rollback) as block:
                begun = True
                if begins and self.settings is not None:
                    self.cursor().execute(self.settings)
                yield block
        finally:
            if begins and not begun:
                self.close()

    def execute(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool = False,
    ) -> psycopg.Cursor[Row]:
        """Executes a statement, in a transaction of its own where there is none."""
        if self.info.transaction_status == TransactionStatus.IDLE and self.settings is not None:
            with self.transaction():
                return super().execute(query, params, prepare=prepare, binary=binary)  # type: ignore[arg-type]
        return super().execute(query, params, prepare=prepare, binary=binary)  # type: ignore[arg-type]

    def named(self, name: str) -> psycopg.ServerCursor[Row]:
        """A cursor for a list of any length, to be read by `streamed`.

        Without a pooler the server keeps the rows (WITH HOLD), and no transaction stays open while
        they are read: whoever leaves a list in a pager overnight keeps nobody from vacuuming.
        """
        return self.cursor(name=name, withhold=not self.is_pooled)


def streamed(
    connection: Connection, declare: Callable[[], psycopg.ServerCursor[Row]]
) -> Iterator[Row]:
    """The rows of a cursor, a block at a time.

    Args:
        connection: the session.
        declare: makes a cursor by `Connection.named`, and executes its statement in a transaction.
    """
    if connection.is_pooled:
        with connection.transaction(), declare() as cursor:
            yield from cursor
        return
    with declare() as cursor:
        while True:
            with connection.transaction():
                rows = cursor.fetchmany(cursor.itersize)
            if not rows:
                return
            yield from rows


def open_connection(dsn: str, **options: Any) -> Connection:
    """Connects, as `psycopg.connect` does."""
    return Connection.connect(dsn, **options)
