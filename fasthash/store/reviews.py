"""Decisions about drifts in the ledger and, where the file is right, in the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Rollback, sql

from fasthash.fixity import Result
from fasthash.store.catalog import Catalog, digest_of, type_parameters
from fasthash.store.kept import kept, write_keys
from fasthash.store.queries import identifier, query
from fasthash.store.refused import REFUSED, REFUSED_BY_FUNCTION, not_held
from fasthash.store.session import Connection, Row
from fasthash.store.transactions import transaction


def choose(
    connection: Connection,
    catalog: Catalog,
    drift_ids: Sequence[int],
    *,
    all_open: bool = False,
    kind: str | None = None,
    run_id: int | None = None,
    types: Sequence[str] = (),
) -> list[Row]:
    """Drifts of a catalog: some by number, or all that are open and match the filters."""
    return connection.execute(
        query("review", "chosen_drifts"),
        {
            "catalog": catalog.key,
            "drift_ids": list(drift_ids),
            "all": all_open,
            "kind": kind,
            "run_id": run_id,
            **type_parameters(types),
        },
    ).fetchall()


def accept(
    connection: Connection,
    catalog: Catalog,
    catalog_no: int,
    found: Row,
    read: Result,
    who: str,
    comment: str | None,
) -> str | None:
    """Writes the file's hash, with its journal row, and settles the drift.

    Args:
        found: the drift.
        read: what the file holds now: the hash that the drift is about.
        who: decided so.
        comment: why.

    Returns:
        Why nothing was done, or None.
    """
    by_function = catalog.update_function is not None
    if catalog.update_function is not None:
        write: sql.Composable = query(
            "result", "write_by_function", update_function=identifier(*catalog.update_function)
        )
    else:
        held = catalog.query("result", "holds", marker_column=sql.SQL("new_marker"))
        write = write_keys(catalog, held)
    statement = catalog.query(
        "review",
        "accept",
        write=write,
        **kept(catalog, blake3=True),
        holds=sql.SQL("w IS NOT NULL" if by_function else "w.holds IS TRUE"),
        joined=sql.SQL("true" if by_function else "w.row_id = p.row_id"),
        old_digest=digest_of(sql.SQL("p.old_hash")),
        new_marker=query("result", "marker_text", ns=sql.SQL("%(read_at_ns)s::bigint")),
    )
    parameters: dict[str, Any] = {**read._asdict(), **found, "catalog_no": catalog_no}
    refused = REFUSED_BY_FUNCTION if by_function else REFUSED
    reason: str | None = "the row was changed, moved or deleted since"
    with transaction(connection):
        rows = connection.execute(
            statement, {**parameters, "who": who, "comment": comment}
        ).fetchall()
        if rows:
            reason = None
            if not rows[0]["holds"] or not_held(connection, catalog, rows):
                reason = refused
                raise Rollback
    return reason


def reject(
    connection: Connection, drift_ids: Sequence[int], who: str, comment: str | None
) -> list[int]:
    """Settles open drifts: the stored hashes stay. Returns those that were open."""
    rows = connection.execute(
        query("review", "reject"), {"drift_ids": list(drift_ids), "who": who, "comment": comment}
    )
    return [row["drift_id"] for row in rows]
