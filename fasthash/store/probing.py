"""Rows of the catalog that are looked for before a run begins, and again by who goes on with it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import psycopg

from fasthash.store.catalog import Catalog, of_types, type_parameters
from fasthash.store.guard import guarded
from fasthash.store.queries import query
from fasthash.store.session import Connection, Row
from fasthash.store.transactions import transaction

log = logging.getLogger("fasthash")

# A few do where files are found; where none is, it takes many more to say so.
FEW, MANY = 8, 200
# Nobody waits long for a look: of types that are rare and have no index there is none.
MOST_S = 3

Rows = tuple[tuple[str, str], ...]  # ids and paths


def sample(
    connection: Connection, catalog: Catalog, types: Sequence[str], at_each_end: int
) -> Rows:
    """Rows of the types, or of all, of the lowest and highest ids; none where that takes long."""
    values = {"rows": at_each_end, **type_parameters(types)}

    def read(asked: Catalog) -> list[Row]:
        statement = asked.query("probe", "both_ends", of_types=of_types(asked, types))
        return connection.execute(statement, values).fetchall()

    try:
        with transaction(connection):
            connection.execute(query("probe", "not_for_long"), {"most": f"{MOST_S}s"})
            return _pairs(guarded(connection, catalog, read))
    except psycopg.errors.QueryCanceled:
        log.debug("no rows of %s were looked for: it took %d s to find some", catalog.key, MOST_S)
        return ()


def these(connection: Connection, catalog: Catalog, row_ids: Sequence[str]) -> Rows:
    """The rows of some ids that the catalog still has, with the paths that they have now."""

    def read(asked: Catalog) -> list[Row]:
        statement = asked.query("probe", "these")
        return connection.execute(statement, {"row_ids": list(row_ids)}).fetchall()

    return _pairs(guarded(connection, catalog, read))


def _pairs(found: list[Row]) -> Rows:
    return tuple((row["row_id"], row["path"]) for row in found if row["path"] is not None)
