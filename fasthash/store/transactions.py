"""Transaction blocks: that surely commit, that wait for the disk, that may take their time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import Rollback

from fasthash.store.session import Connection

__all__ = ["Rollback", "durable_transaction", "lose_answer", "patient", "transaction"]


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """A transaction block that either has committed at its end or raises.

    The driver's own leaves without a word, and without a COMMIT, when the connection was closed
    inside the block.

    Raises:
        psycopg.Error: it has not committed, or the answer to COMMIT was lost.
    """
    with connection.transaction():
        yield
        if connection.closed:
            raise psycopg.OperationalError("the connection was lost before COMMIT")


@contextmanager
def durable_transaction(connection: Connection) -> Iterator[None]:
    """A transaction whose commit waits for the disk, and with it all that were committed before.

    Within another one it is a part of that, which then waits as a whole.

    Raises:
        psycopg.Error: as `transaction`.
    """
    with transaction(connection):
        connection.execute("SET LOCAL synchronous_commit = on")
        yield


@contextmanager
def patient(connection: Connection) -> Iterator[None]:
    """A transaction whose statements may take as long as they need, whatever the session's limit.

    For what grows with the catalog: planning, counting, reading a range without an index.

    Raises:
        psycopg.Error: as `transaction`.
    """
    with transaction(connection):
        connection.execute("SET LOCAL statement_timeout = 0")
        yield


def lose_answer(connection: Connection) -> None:
    """For tests: the connection breaks after COMMIT was done, before its answer arrived."""
    connection.close()
    raise psycopg.OperationalError("the connection was lost during COMMIT")
