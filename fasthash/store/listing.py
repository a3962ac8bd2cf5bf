"""Reads what the catalog has: digests by row, every value a row ever had, rows of one content."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from decimal import Decimal
from math import isfinite
from typing import Any

import psycopg
from psycopg import sql

from fasthash.store import schema
from fasthash.store.catalog import Catalog, digest_of, of_types, type_parameters
from fasthash.store.connection import streamed
from fasthash.store.due import is_bad
from fasthash.store.guard import guarded, told
from fasthash.store.queries import EMPTY, query
from fasthash.store.session import Connection, Row
from fasthash.store.states import find_catalog_no
from fasthash.store.transactions import transaction

FETCH_ROWS = 2_000
LONGEST_NUMBER = 300  # digits

Rows = Generator[Row, None, None]


def iterate_files(
    connection: Connection,
    catalog: Catalog,
    algorithm: str,
    types: Sequence[str],
    *,
    only_hashed: bool = False,
) -> Rows:
    """Rows with a path, streamed in the order of type and id.

    Args:
        algorithm: of the digest: `sha256` or `blake3`.
        types: only these; all where none is named.
        only_hashed: only those that have one.
    """
    values = type_parameters(types) if types else {}

    def statement(asked: Catalog) -> sql.Composed:
        wanted = digest_of(asked.key_text(f"file_{algorithm}"))
        of = of_types(asked, types)
        only = query("manifest", "only_hashed", wanted=wanted) if only_hashed else EMPTY
        parts = {"wanted": wanted, "of_types": of, "only_hashed": only}
        return asked.query("manifest", "rows_with_path", **parts)

    yield from _stream(connection, catalog, statement, values)


def read_journal(connection: Connection, catalog: Catalog, row_id: str) -> list[Row]:
    """Every value that a row was given, the oldest first."""
    marker = query("result", "marker_text", ns=sql.SQL("j.read_at_ns"))
    statement = query("manifest", "journal_of", marker=marker)
    key = {"row_id": row_id, "catalog": catalog.key}
    with transaction(connection):
        connection.execute(query("manifest", "by_index"))
        rows = connection.execute(statement, key).fetchall()
    for row in rows:
        if row["old_keys"] is not None:
            row["old_keys"] = _exact(row["old_keys"])
    return rows


def _exact(text: str) -> Any:
    try:
        return json.loads(text, parse_int=exact_number, parse_float=exact_number)
    except RecursionError:
        return {"as_json": text}  # nested a thousand deep


def exact_number(text: str) -> int | float | str:
    """A number of a JSON document, or its text where Python's own would be another, or none."""
    if len(text) > LONGEST_NUMBER:
        return text
    if text.removeprefix("-").isdigit():
        return int(text)
    found = float(text)
    return found if isfinite(found) and Decimal(repr(found)) == Decimal(text) else text


def iterate_duplicates(connection: Connection, catalog: Catalog) -> Rows:
    """Rows that share a digest with others, streamed group by group."""
    has_ledger = schema.ledger_version(connection) > 0
    if has_ledger:
        schema.require_ledger(connection)
    number = find_catalog_no(connection, catalog, make=False) if has_ledger else 0

    def statement(asked: Catalog) -> sql.Composed:
        known = is_bad(asked) if has_ledger else sql.SQL("false")
        return asked.query("manifest", "duplicate_rows", is_bad=known)

    yield from _stream(connection, catalog, statement, {"catalog_no": number})


def iterate_copies(connection: Connection, catalog: Catalog, digests: Sequence[str]) -> Rows:
    """Rows with one of these digests whose file was good when it was looked at last, streamed."""
    number = find_catalog_no(connection, catalog, make=False)

    def statement(asked: Catalog) -> sql.Composed:
        return asked.query("manifest", "rows_with_digest", is_bad=is_bad(asked))

    values = {"catalog_no": number, "digests": list(digests)}
    yield from _stream(connection, catalog, statement, values)


def iterate_known_bad(connection: Connection, catalog: Catalog, reason: str | None) -> Rows:
    """Rows whose file some scrub found bad and none found good since, streamed.

    Args:
        reason: only those that were found for this.
    """
    number = find_catalog_no(connection, catalog, make=False)
    values = {"catalog_no": number, "reason": reason}
    yield from _stream(
        connection, catalog, lambda asked: asked.query("report", "known_bad_list"), values
    )


# So many rows without a verdict are asked about at once.
LOST_ROWS_AT_MOST = 100_000


def read_lost(
    connection: Connection, catalog: Catalog, run_id: int, reason: str | None
) -> list[Row]:
    """Rows of a run without a verdict whose hash is known: `row_id`, `digest`, `size_bytes`."""
    values = {"run_id": run_id, "reason": reason, "most": LOST_ROWS_AT_MOST}

    def read(asked: Catalog) -> list[Row]:
        return connection.execute(asked.query("manifest", "lost_rows"), values).fetchall()

    return guarded(connection, catalog, read)


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

    # Bytes that are no UTF-8 are noticed when a row is sent, which is too late to ask again.
    has_encoding = connection.info.parameter_status("server_encoding") != "SQL_ASCII"
    is_guarded = not has_encoding and schema.ledger_version(connection) > 0
    asked = replace(catalog, is_guarded=is_guarded)
    yield from streamed(connection, lambda: told(connection, asked, declare))
