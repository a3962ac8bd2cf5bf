"""Reads what the catalog has: digests by row, every value a row ever had, rows of one content."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from typing import Any

import psycopg
from psycopg import sql

from fasthash.store.catalog import Catalog, digest_of, of_types, type_parameters
from fasthash.store.connection import streamed
from fasthash.store.guard import told
from fasthash.store.queries import query
from fasthash.store.session import Connection, Row
from fasthash.store.transactions import transaction

FETCH_ROWS = 2_000
MOST_DIGITS = 18  # of a bigint

Rows = Generator[Row, None, None]


def iterate_hashed(
    connection: Connection, catalog: Catalog, algorithm: str, types: Sequence[str]
) -> Rows:
    """Rows with a digest, streamed in the order of type and id.

    Args:
        algorithm: `sha256` or `blake3`.
        types: only these; all where none is named.
    """
    values = type_parameters(types) if types else {}

    def statement(asked: Catalog) -> sql.Composed:
        wanted = digest_of(asked.key_text(f"file_{algorithm}"))
        of = of_types(asked, types)
        return asked.query("manifest", "hashed_rows", wanted=wanted, of_types=of)

    yield from _stream(connection, catalog, statement, values)


def read_journal(connection: Connection, catalog: Catalog, row_id: str) -> list[Row]:
    """Every value that a row was given, the oldest first."""
    marker = query("result", "marker_text", ns=sql.SQL("j.read_at_ns"))
    statement = query("manifest", "journal_of", marker=marker)
    key = {"row_id": row_id, "catalog": catalog.key}
    with transaction(connection):
        connection.execute(query("manifest", "by_index"))
        rows = connection.execute(statement, key).fetchall()
    return [row | {"old_keys": old_keys(row["old_keys"])} for row in rows]


def old_keys(text: str | None) -> dict[str, Any] | None:
    """The keys of a row as they were; a number of an unusual size as it stood."""
    if text is None:
        return None
    try:
        found: dict[str, Any] = json.loads(text, parse_int=_number, parse_float=str)
    except RecursionError:
        return {"as_json": text}
    return found


def _number(digits: str) -> int | str:
    return int(digits) if len(digits) <= MOST_DIGITS else digits


def iterate_duplicates(connection: Connection, catalog: Catalog) -> Rows:
    """Rows that share a digest with others, streamed group by group."""

    def statement(asked: Catalog) -> sql.Composed:
        return asked.query("manifest", "duplicate_rows")

    yield from _stream(connection, catalog, statement, {})


def _stream(
    connection: Connection,
    catalog: Catalog,
    statement: Callable[[Catalog], sql.Composed],
    values: dict[str, Any],
) -> Rows:
    def declare(asked: Catalog) -> psycopg.ServerCursor[Row]:
        # Of a cursor WITH HOLD all rows are read when the transaction ends.
        cursor = connection.named("listing")
        cursor.itersize = FETCH_ROWS
        return cursor.execute(statement(asked), values)

    yield from streamed(connection, lambda: told(connection, catalog, declare))
