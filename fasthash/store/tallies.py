"""How many rows there are to do: counted if that is quick, else estimated from some pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from fasthash.errors import PreflightFailed
from fasthash.facts import HeapFacts, RowFacts
from fasthash.parsing import marker_text
from fasthash.store.catalog import Catalog, of_types, type_parameters
from fasthash.store.guard import guarded
from fasthash.store.queries import EMPTY, query
from fasthash.store.session import Connection, Row

PAGE_BYTES = 8192
# A sample has this many pages: about 10,000 rows.
SAMPLE_PAGES = 1_000
# A catalog of more pages than this (16 GiB) is not counted: it would be stopped in the middle.
COUNT_PAGES = 2_000_000
# A marker so far ahead of this host's clock is of the future.
FUTURE = timedelta(minutes=1)
COUNTED = ("with_path", "marked", "future", "odd_metadata", "unreadable", "nameless")


def row_facts(
    connection: Connection, catalog: Catalog, types: Sequence[str], heaps: Sequence[HeapFacts]
) -> RowFacts:
    """The rows of some types, or of all.

    Raises:
        PreflightFailed: even a sample takes too long.
    """
    pages = sum(heap.size_bytes for heap in heaps) / PAGE_BYTES
    for share in (1.0, min(1.0, SAMPLE_PAGES / max(1.0, pages))):
        if share == 1.0 and pages > COUNT_PAGES:
            continue
        try:
            with connection.transaction():
                return _rows(connection, catalog, types, share)
        except psycopg.errors.QueryCanceled:
            continue
    raise PreflightFailed("even some pages of the catalog take too long")


def _rows(connection: Connection, catalog: Catalog, types: Sequence[str], share: float) -> RowFacts:
    now = marker_text(datetime.now(UTC) + FUTURE)
    values = {**type_parameters(types), "now": now, "percent": 100 * share}

    def read(asked: Catalog) -> Row | None:
        return connection.execute(_statement(asked, "rows", types, share), values).fetchone()

    row = guarded(connection, catalog, read)
    if row is None:
        raise AssertionError("an aggregate has a row")
    counts = {name: round(row[name] / share) for name in COUNTED}
    how = "count" if share == 1.0 else "sample"
    return RowFacts(how, **counts, metadata_bytes=row["metadata_bytes"])


def sample_paths(
    connection: Connection,
    catalog: Catalog,
    types: Sequence[str],
    heaps: Sequence[HeapFacts],
    rows: int,
) -> tuple[str, ...]:
    """Some paths of the catalog: from pages all over it, else the first."""
    pages = sum(heap.size_bytes for heap in heaps) / PAGE_BYTES
    share = min(1.0, SAMPLE_PAGES / max(1.0, pages))
    values = {**type_parameters(types), "rows": rows, "percent": 100 * share}
    for name in ("paths", "first_paths"):

        def read(asked: Catalog, name: str = name) -> list[Row]:
            return connection.execute(_statement(asked, name, types, share), values).fetchall()

        try:
            with connection.transaction():
                found = guarded(connection, catalog, read)
        except psycopg.errors.QueryCanceled:
            continue
        if found:
            return tuple(row["path"] for row in found)
    return ()


def _statement(catalog: Catalog, name: str, types: Sequence[str], share: float) -> sql.Composed:
    of_pages = EMPTY if share == 1.0 else query("doctor", "of_pages")
    return catalog.query("doctor", name, of_pages=of_pages, of_types=of_types(catalog, types))
