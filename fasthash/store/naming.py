"""What the ledger calls a catalog: it is known by its table's oid, or else by its name."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from psycopg import sql

from fasthash import logs
from fasthash.parsing import parse_table
from fasthash.store.queries import query
from fasthash.store.session import Connection, Row
from fasthash.store.transactions import transaction

if TYPE_CHECKING:
    from fasthash.store.catalog import Catalog

log = logging.getLogger("fasthash")


def find_key(connection: Connection, table: Row) -> str:
    """What the ledger calls a table, or will call it; nothing is written.

    A table that was renamed, or moved to another schema, has its oid still. After a dump and a
    restore, and where a table was dropped and made anew, the name counts, but not if the table that
    had it before is there under another name: it keeps its history.

    Args:
        table: as `find_table` has it.
    """
    row = connection.execute(query("naming", "knows_oids")).fetchone()
    if row is None or not row["found"]:
        return str(table["full_name"])
    found = connection.execute(query("naming", "key_of"), table).fetchone()
    if found is None or found["name"] is None:
        raise LookupError("no name is free")
    return str(found["name"])


def key_of_table(connection: Connection, text: str) -> str:
    """What the ledger calls the table that somebody means, which need not be there any more.

    Raises:
        ConfigError: the text is no table name.
    """
    schema, name = parse_table(text)
    key = {"schema": schema, "table": name}
    table = connection.execute(query("preflight", "find_table"), key).fetchone()
    if table is not None:
        return find_key(connection, table)
    row = connection.execute(query("naming", "last_key_of"), key).fetchone()
    return str(row["name"]) if row else text


def note(connection: Connection, catalog: Catalog) -> None:
    """Notes what a catalog's table is called now, and its oid, if that is news."""
    place = {
        "key": catalog.key,
        "schema": catalog.schema,
        "table": catalog.names.table,
        "table_oid": catalog.table_oid,
    }
    if _is_noted(_noted(connection, catalog.key), catalog):
        return
    with transaction(connection):
        connection.execute(query("naming", "one_noter"))
        before = _noted(connection, catalog.key)
        if _is_noted(before, catalog):
            return
        connection.execute(query("naming", "note_others"), place)
        connection.execute(query("naming", "note"), place)
    if before is not None:
        _tell(before, catalog)


def _noted(connection: Connection, key: str) -> Row | None:
    return connection.execute(query("naming", "noted"), {"key": key}).fetchone()


def _is_noted(noted: Row | None, catalog: Catalog) -> bool:
    return noted is not None and noted == {
        "table_schema": catalog.schema,
        "table_name": catalog.names.table,
        "table_oid": catalog.table_oid,
        "is_here": True,
    }


def _tell(before: Row, catalog: Catalog) -> None:
    if before["is_here"] and before["table_oid"] == catalog.table_oid:
        was = f"{before['table_schema']}.{before['table_name']}"
        event = logs.event("catalog_renamed", before=was, now=catalog.full_name)
        log.info("%s was %s: its history goes on", catalog.full_name, was, extra=event)
    elif before["is_here"]:
        log.warning(
            "%s is another table than before, dropped and made anew or restored: the history that "
            "goes on is that of the name",
            catalog.full_name,
            extra=logs.event("catalog_replaced", catalog=catalog.full_name),
        )


def shown() -> sql.Composed:
    """The fragment for what the table of a run `r` is called now."""
    return query("naming", "shown")
