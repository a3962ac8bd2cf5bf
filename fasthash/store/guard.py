"""Reads of the catalog that go on past rows which the database cannot give.

A statement over many rows fails as a whole for one that is damaged, or whose JSON has an escape
that is no text. It is then done again with functions of the ledger that look into each row by
themselves, which takes about 3 us more a row and a look: they are not used before it has failed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import psycopg

from fasthash import logs
from fasthash.store.answers import DatabaseError, one_line
from fasthash.store.catalog import Catalog
from fasthash.store.session import Connection
from fasthash.store.transactions import transaction

log = logging.getLogger("fasthash")

T = TypeVar("T")

# Classes of SQLSTATEs that say that a value is bad: data exceptions, limits of the server, damaged
# data, and what functions of the site raise.
_OF_VALUES = ("22", "54", "P0", "XX")
# The ledger, or this version of it, is not there: a dry run needs none.
NO_FUNCTIONS = (
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.InsufficientPrivilege,
)
SHOWN_ROWS = 5


def is_of_values(error: DatabaseError) -> bool:
    """Whether a statement failed for what some row holds."""
    return (error.sqlstate or "").startswith(_OF_VALUES)


def guarded(connection: Connection, catalog: Catalog, read: Callable[[Catalog], T]) -> T:
    """What `read` finds; where some row keeps it from reading, what it finds without such rows.

    Args:
        connection: the session; within a transaction that one goes on.
        catalog: the catalog.
        read: reads something of the catalog that it is given.

    Raises:
        psycopg.Error: it failed for another reason, or there is no ledger for the second try.
    """
    try:
        with transaction(connection):
            return read(catalog)
    except DatabaseError as error:
        if catalog.is_guarded or not is_of_values(error):
            raise
        log.debug("some row of %s cannot be read: %s", catalog.key, one_line(error))
    with transaction(connection):
        return read(replace(catalog, is_guarded=True))


def told(connection: Connection, catalog: Catalog, read: Callable[[Catalog], T]) -> T:
    """The same for lists and reports: rows that are left out are named in the log."""

    def read_and_name(asked: Catalog) -> T:
        if asked.is_guarded:
            name_unreadable(connection, asked)
        return read(asked)

    return guarded(connection, catalog, read_and_name)


def name_unreadable(connection: Connection, guarded_catalog: Catalog) -> None:
    """Logs how many rows the database cannot give, and the first of them."""
    statement = guarded_catalog.query("catalog", "unreadable_rows")
    found = connection.execute(statement, {"most": SHOWN_ROWS}).fetchall()
    for row in found:
        log.warning(
            "row %s cannot be read and is left out: %s",
            row["row_id"],
            row["why"],
            extra=logs.event("unreadable_row", row_id=row["row_id"], reason=row["why"]),
        )
    if found and found[0]["n"] > len(found):
        log.warning(
            "%d rows in all cannot be read and are left out",
            found[0]["n"],
            extra=logs.event("unreadable_rows", rows=found[0]["n"]),
        )
