"""What files looked like when they were hashed: the catalog's number, and taking over journals."""

from __future__ import annotations

from psycopg import sql

from fasthash.store.catalog import Catalog
from fasthash.store.queries import query, stamps
from fasthash.store.session import Connection, transaction


def find_catalog_no(connection: Connection, catalog: Catalog) -> int:
    """The number under which the ledger knows a catalog; it is given one if it has none."""
    key = {"catalog": catalog.key}
    row = connection.execute(query("lease", "catalog_no"), key).fetchone()
    if row is None:
        connection.execute(query("lease", "add_catalog"), key)
        row = connection.execute(query("lease", "catalog_no"), key).fetchone()
    if row is None:
        raise LookupError("INSERT left no row")
    return int(row["catalog_no"])


def last_scrub(connection: Connection, catalog: Catalog) -> int | None:
    """The last complete scrub of a catalog."""
    row = connection.execute(query("lease", "last_scrub"), {"catalog": catalog.key}).fetchone()
    return row["run_id"] if row else None


def had_blake3(connection: Connection, catalog: Catalog) -> bool:
    """Whether any run of a catalog wrote the second digest."""
    key = {"catalog": catalog.key}
    row = connection.execute(query("lease", "other_digest_before"), key).fetchone()
    return bool(row and row["found"])


def fold_journal(connection: Connection, catalog: Catalog, catalog_no: int, run_id: int) -> int:
    """Takes over what backfills have journaled since the last time; how many rows it was."""
    key = {"catalog": catalog.key, "catalog_no": catalog_no, "run_id": run_id}
    with transaction(connection):
        statement = query("lease", "fold_journal", **stamps(sql.SQL("j.stamps")))
        folded = connection.execute(statement, key).rowcount
        connection.execute(query("lease", "note_folded"), key)
    return folded
