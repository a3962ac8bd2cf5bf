"""Which files a catalog lacks, in transactions that can write nothing."""

from __future__ import annotations

from collections.abc import Callable

from psycopg import sql

from fasthash.config import CatalogNames
from fasthash.store.catalog import Catalog, find_catalog
from fasthash.store.preflight import check_server
from fasthash.store.queries import query
from fasthash.store.session import Connection
from fasthash.store.transactions import patient


def find(connection: Connection, names: CatalogNames) -> Callable[[list[str]], list[int]] | None:
    """What tells of paths which of them a catalog lacks, by their places in the list.

    Returns:
        None where there is no such table yet.

    Raises:
        PreflightFailed: the table is of no use as a catalog.
    """
    check_server(connection, writing=False)
    wanted = {"schema": names.schema, "table": names.table}
    if connection.execute(query("preflight", "find_table"), wanted).fetchone() is None:
        return None
    catalog = find_catalog(connection, names)
    statement = catalog.query("register", "lacking", path_type=_path_type(connection, catalog))

    def lacking(paths: list[str]) -> list[int]:
        with patient(connection):
            connection.execute(query("register", "read_only"))
            return [row["n"] for row in connection.execute(statement, {"paths": paths})]

    return lacking


def _path_type(connection: Connection, catalog: Catalog) -> sql.SQL:
    key = {"table_oid": catalog.table_oid}
    columns = connection.execute(query("preflight", "columns"), key).fetchall()
    printed = next(c["type"] for c in columns if c["name"] == catalog.names.path)
    # As the server prints (and quotes) it; a percent sign would begin a parameter.
    return sql.SQL(printed.replace("%", "%%"))
