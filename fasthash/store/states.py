"""What earlier runs have left: their journals taken over, their ranges made few."""

from __future__ import annotations

import contextlib

from psycopg.errors import LockNotAvailable

from fasthash.store import naming
from fasthash.store.catalog import Catalog
from fasthash.store.leases import read_at_work
from fasthash.store.queries import query
from fasthash.store.session import Connection, Row
from fasthash.store.transactions import transaction


def find_catalog_no(connection: Connection, catalog: Catalog, *, make: bool = True) -> int:
    """The number under which the ledger knows a catalog.

    Args:
        make: give it one if it has none; else that is number 0.
    """
    if make:
        naming.note(connection, catalog)
    key = {"catalog": catalog.key}
    row = connection.execute(query("lease", "catalog_no"), key).fetchone()
    return int(row["catalog_no"]) if row else 0


def has_history(connection: Connection, catalog: Catalog, run_id: int) -> bool:
    """Whether any other run may have written to a catalog."""
    key = {"catalog": catalog.key, "run_id": run_id}
    row = connection.execute(query("lease", "has_history"), key).fetchone()
    return bool(row and row["found"])


def had_blake3(connection: Connection, catalog: Catalog) -> bool:
    """Whether any run of a catalog wrote the second digest."""
    key = {"catalog": catalog.key}
    row = connection.execute(query("lease", "other_digest_before"), key).fetchone()
    return bool(row and row["found"])


def fold_journals(connection: Connection, catalog: Catalog, catalog_no: int, run_id: int) -> int:
    """Takes over what other runs have journaled since the last time.

    A backfill leaves what it knows of files in its journal, which costs it a tenth of an indexed
    row (0.2 us, not 3); whoever comes later looks it up by key. So the work is done once for each
    entry, by the next run.

    Args:
        run_id: of the run that begins: its own is left for the next.

    Returns:
        How many rows it was.
    """
    key = {"catalog": catalog.key, "run_id": run_id}
    runs = connection.execute(query("lease", "unfolded_runs"), key).fetchall()
    if runs:
        summarize_journal(connection)
    return sum(fold(connection, catalog_no, run) for run in runs)


def summarize_journal(connection: Connection) -> None:
    """Has the journal's BRIN index know every block, as autovacuum does if it is on and keeps up.

    A look-up reads each block that the index does not know: two seconds for a million entries.
    Nothing is done for a role that does not own the journal, or while a VACUUM, which does the
    same, has it locked.
    """
    with contextlib.suppress(LockNotAvailable), transaction(connection):
        connection.execute(query("lease", "no_waiting"))
        connection.execute(query("lease", "summarize_journal"))


def fold(connection: Connection, catalog_no: int, run: Row) -> int:
    """Takes over one run's journal, as `unfolded_runs` has it; how many rows it was."""
    key = {"of": run["run_id"], "since": run["since"], "until": run["until"]}
    with transaction(connection):
        connection.execute(query("manifest", "by_index"))
        statement = query("lease", "fold_journal")
        folded = connection.execute(statement, {**key, "catalog_no": catalog_no}).rowcount
        connection.execute(query("lease", "note_folded"), key)
    return folded


def compact_runs(connection: Connection, catalog: Catalog) -> None:
    """Makes the ranges of all but the last complete runs of a catalog one row a type each."""
    connection.execute(query("lease", "compact_runs"), {"catalog": catalog.key})


def untold(connection: Connection, catalog: Catalog) -> list[tuple[int, int]]:
    """Runs, and holders, with drifts that no log line has told of, for they are dead."""
    rows = connection.execute(query("lease", "untold"), {"catalog": catalog.key}).fetchall()
    found = [(row["run_id"], row["holder_id"]) for row in rows]
    at_work = {h for run_id, _ in found for h in read_at_work(connection, run_id)}
    alive = {h.holder_id for h in at_work if h.alive}
    return [(run_id, holder_id) for run_id, holder_id in found if holder_id not in alive]
