"""Whether somebody stands between a client and its server, and what he leaves of a session."""

from __future__ import annotations

import logging
from enum import StrEnum

import psycopg

from fasthash.errors import PreflightFailed
from fasthash.facts import CONNECTIONS
from fasthash.store.connection import Connection
from fasthash.store.queries import query
from fasthash.store.session import connect, describe

log = logging.getLogger("fasthash")

LOOKS = 2
SECOND_WITHIN_S = 5.0


class Pooling(StrEnum):
    """How a pooler hands out the server's sessions."""

    NONE = "none"
    SESSION = "session"  # to a client, as long as it is connected
    TRANSACTION = "transaction"  # to whoever begins a transaction


def pooling_of(dsn: str, connection: Connection) -> Pooling:
    """What a connection runs into.

    A pooler gives its clients numbers of its own, so libpq's and the server's differ. A second
    client then holds a transaction: in transaction mode it is given the session that the first one
    had last, or the first one is given another for its next transaction.

    Raises:
        psycopg.OperationalError: no second connection can be opened.
    """
    if not connection.is_pooled:
        return Pooling.NONE
    for _ in range(LOOKS):
        mine = _pid(connection)
        second, _ = connect(dsn, "preflight", within_s=SECOND_WITHIN_S)
        with second, second.transaction():
            if _pid(second) == mine or _pid(connection) != mine:
                return Pooling.TRANSACTION
    return Pooling.SESSION


def require_session(dsn: str, connection: Connection) -> None:
    """Checks that what a session locks stays locked as long as its client lives.

    Raises:
        PreflightFailed: a pooler gives the session away between transactions.
    """
    try:
        found = pooling_of(dsn, connection)
    except psycopg.OperationalError as error:
        raise PreflightFailed(
            f"{describe(dsn)} is reached through a pooler that gives no second session, and a run "
            f"needs {CONNECTIONS}: raise its pool size, or connect to the server itself"
        ) from error
    if found is Pooling.TRANSACTION:
        raise PreflightFailed(
            f"{describe(dsn)} is reached through a pooler in transaction mode, where a run cannot "
            "hold the lock that tells others that it lives: connect to the server itself, or "
            "through a pool in session mode"
        )


def _pid(connection: Connection) -> int:
    row = connection.execute(query("session", "backend_pid")).fetchone()
    return int(row["pid"]) if row else 0
