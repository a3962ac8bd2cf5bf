"""Rows that cannot be written, or do not hold what was written: who they are, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql
from psycopg.errors import LockNotAvailable

from fasthash.store.answers import DatabaseError
from fasthash.store.catalog import Catalog
from fasthash.store.queries import query
from fasthash.store.ranges import repeated
from fasthash.store.session import Connection

# Why a row is not written that nobody has locked.
REFUSED = (
    "the row did not take what was written: a trigger or a rule of the catalog changed it back"
)
HIDDEN = "row level security of the catalog lets this role see the row, and not change it"
REFUSED_BY_FUNCTION = "the update function did not write what it was given"


class RowsAlike(DatabaseError):
    """Several rows have one id, and what was read cannot be said to be of one of them."""


class RowsRefused(Exception):
    """Rows do not hold what they were given, so that nothing of the transaction may count.

    `row_ids` are theirs, as text, and `detail` says who was in the way: they are to be marked as
    refused, and the batch done again. `unseen` are rows that are not to be looked at then.
    """

    def __init__(self, row_ids: frozenset[str], detail: str, *, unseen: bool = False) -> None:
        super().__init__(detail)
        self.row_ids = row_ids
        self.detail = detail
        self.unseen = unseen


def check_policies(connection: Connection, catalog: Catalog, row_ids: Sequence[str]) -> None:
    """Tells rows that others have locked from those that a policy keeps from being locked.

    Raises:
        RowsRefused: these are some of them.
    """
    asked = connection.execute(query("result", "is_policed"), {"table_oid": catalog.table_oid})
    if not (row := asked.fetchone()) or not row["found"]:
        return
    statement = catalog.query("result", "not_to_lock")
    found = connection.execute(statement, {"row_id": list(row_ids)}).fetchall()
    hidden = {r["row_id"] for r in found if _is_hidden(connection, catalog, r["row_id"])}
    if hidden:
        raise RowsRefused(frozenset(hidden), HIDDEN, unseen=True)


def _is_hidden(connection: Connection, catalog: Catalog, row_id: str) -> bool:
    try:
        with connection.transaction():
            one = connection.execute(catalog.query("result", "try_lock"), {"row_id": row_id})
            return one.fetchone() is None
    except LockNotAvailable:
        return False


def name_repeated(connection: Connection, catalog: Catalog, row_ids: Sequence[str]) -> str:
    statement = catalog.query("result", "repeated")
    found = connection.execute(statement, {"row_id": list(row_ids)}).fetchall()
    return repeated(*(found[0][name] for name in ("row_id", "n"))) if found else "a row came twice"


def has_triggers(connection: Connection, catalog: Catalog) -> bool:
    """Whether anything may change a row of a catalog after a statement has written it."""
    key = {"table_oid": catalog.table_oid}
    row = connection.execute(query("result", "has_triggers"), key).fetchone()
    return bool(row and row["found"])


def not_held(
    connection: Connection, catalog: Catalog, patched: Sequence[dict[str, Any]]
) -> set[str]:
    """Rows that do not hold what they were given, once every trigger has had its say."""
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    held = catalog.query("result", "holds", marker_column=sql.SQL("marker"))
    found = connection.execute(
        catalog.query("result", "not_held", holds=held),
        {
            "row_id": [p["row_id"] for p in patched],
            "sha256": [bytes.fromhex(p["sha256"]) for p in patched],
            "size_bytes": [p["size_bytes"] for p in patched],
            "marker": [p["marker"] for p in patched],
        },
    )
    return {row["row_id"] for row in found}
