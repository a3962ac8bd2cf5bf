"""What the errors of a server mean: who is to blame, and whether waiting may help."""

from __future__ import annotations

from typing import Any

import psycopg

# What callers catch, who do not import the driver themselves.
DatabaseError = psycopg.Error

# Another session was in the way; the same work may succeed a moment later.
CONTENTION = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
)
# For the writer, whose statements have a time-out, a statement that took too long is no other.
IN_THE_WAY = (*CONTENTION, psycopg.errors.QueryCanceled)
# What a server says that cannot serve now: disk full, out of memory, starting up, shutting down, or
# read-only, as one is that lost its office to another. A trigger of one row may say the same.
_UNWELL_CLASSES = ("53", "57P", "08", "58", "25006")
READ_ONLY = "25006"
DISK_FULL = "53100"
MOST_CHARACTERS = 1_000


def one_line(error: BaseException) -> str:
    """The first line of a database error, which holds no statement and no values."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()


def described(error: psycopg.Error) -> str:
    """What the server says, with its details and hints, in one line.

    The details of a constraint have the row's values, and are left out.
    """
    said = error.diag
    detail = None if (error.sqlstate or "").startswith("23") else said.message_detail
    parts = (one_line(error), detail, said.message_hint)
    line = "; ".join(" ".join(part.split()).rstrip(".") for part in parts if part)
    return line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]}…"


class Unwell(Exception):
    """The server answers, and cannot serve anybody now: waiting may help.

    `error` is what it said.
    """

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(one_line(error))
        self.error = error


def is_gone(connection: psycopg.Connection[Any] | None) -> bool:
    """Whether a connection does not serve any more: it alone tells that the database is away."""
    return connection is None or connection.closed or connection.broken


def sounds_unwell(error: psycopg.Error) -> bool:
    """Whether an error is one of those that a server has that cannot serve now."""
    return (error.sqlstate or "").startswith(_UNWELL_CLASSES)


def is_of_all(error: psycopg.Error) -> bool:
    """Whether it is the server that has no room, or takes no writes, and no row's function.

    One row's trigger may use up memory, temporary files and locks; a full disk is everybody's.
    """
    raised = (error.diag.source_file or "").startswith("pl_")
    return error.sqlstate in (DISK_FULL, READ_ONLY) and not raised


def is_away(error: psycopg.Error, connection: psycopg.Connection[Any] | None) -> bool:
    """Whether the server is gone or unwell, so that waiting may help.

    For statements over the ledger alone: what is said of the catalog may be the doing of one row.
    """
    return is_gone(connection) or sounds_unwell(error)


def is_stuck(error: psycopg.Error) -> bool:
    """Whether the server ended a statement that took too long, or its administrator did."""
    return isinstance(error, psycopg.errors.QueryCanceled)
