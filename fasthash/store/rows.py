"""Reads what rows the catalog has: those not met yet, those that are due, how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from fasthash.store import due
from fasthash.store.catalog import Catalog, of_types, type_parameters
from fasthash.store.due import Due
from fasthash.store.guard import guarded
from fasthash.store.queries import EMPTY, query
from fasthash.store.session import Connection, Row


def read_unmet(
    connection: Connection, catalog: Catalog, rows: Due, types: Sequence[str], limit: int
) -> list[tuple[str | None, str]]:
    """Type and id of rows that the run is for and has not met, in planning order.

    Of a scrub these are the rows that were locked or moved when their turn was.
    """
    values = {**rows.parameters(catalog), "rows": limit, **type_parameters(types)}

    def read(asked: Catalog) -> list[Row]:
        left_over = asked.query("catalog", "left_over_rows")
        statement = left_over if rows.is_scrub else _unmet_rows(asked, rows, types)
        return connection.execute(statement, values).fetchall()

    found = guarded(connection, catalog, read)
    if rows.is_scrub:
        key = {"run_id": rows.run_id, "row_ids": [r["row_id"] for r in found]}
        connection.execute(query("catalog", "forget_left_over"), key)
    return [(r["artifact_type"], r["row_id"]) for r in found]


def _unmet_rows(catalog: Catalog, rows: Due, types: Sequence[str]) -> sql.Composed:
    # Markers before a date are no news: what was counted has to be known otherwise.
    of_since = rows.since is not None
    return catalog.query(
        "catalog",
        "unmet_rows",
        of_types=of_types(catalog, types),
        unmet=due.unmet(catalog, rows),
        not_counted=catalog.query("catalog", "not_counted") if of_since else EMPTY,
        or_counted=catalog.query("catalog", "or_counted") if of_since else EMPTY,
    )


# Why rows without an id are failed.
WITHOUT_ID = "the row has no id, by which it could be told from others; it was not read"


def count_rows_without_id(connection: Connection, catalog: Catalog, types: Sequence[str]) -> int:
    """How many rows have a path and no id."""
    if not catalog.has_null_ids:
        return 0
    statement = catalog.query("catalog", "rows_without_id", of_types=of_types(catalog, types))
    found = connection.execute(statement, type_parameters(types)).fetchone()
    return int(found["n"]) if found else 0


def note_rows_without_id(
    connection: Connection, catalog: Catalog, run_id: int, range_no: int, types: Sequence[str]
) -> int:
    """Counts the rows that have no id as failed, in ranges from that number on; how many."""
    if not count_rows_without_id(connection, catalog, types):
        return 0
    key = {"run_id": run_id, "range_no": range_no, "detail": WITHOUT_ID, **type_parameters(types)}

    def note(asked: Catalog) -> int:
        statement = asked.query("catalog", "note_rows_without_id", of_types=of_types(asked, types))
        found = connection.execute(statement, key).fetchone()
        return int(found["n"]) if found else 0

    return guarded(connection, catalog, note)


def counted_before(connection: Connection, rows: Due, row_ids: Sequence[str]) -> set[str]:
    """Of some rows those that the run has counted already."""
    found = connection.execute(
        query("catalog", "counted_before"), {"run_id": rows.run_id, "row_ids": list(row_ids)}
    )
    return {row["row_id"] for row in found}


def count_rows(
    connection: Connection, catalog: Catalog, rows: Due, types: Sequence[str], *, unmet: bool
) -> dict[str | None, int]:
    """How many rows of each type a run will meet.

    Args:
        unmet: count only rows that it is for and has not met, not all there are.
    """

    def read(asked: Catalog) -> list[Row]:
        statement = asked.query(
            "catalog",
            "count_rows",
            of_types=of_types(asked, types),
            unmet=due.unmet(asked, rows) if unmet else EMPTY,
        )
        values = {**rows.parameters(asked), **type_parameters(types)}
        return connection.execute(statement, values).fetchall()

    return {row["artifact_type"]: row["n"] for row in guarded(connection, catalog, read)}


def count_future(connection: Connection, catalog: Catalog, now: str) -> tuple[int, str | None]:
    """How many markers are later than now, and the last of them."""

    def read(asked: Catalog) -> Row | None:
        return connection.execute(asked.query("catalog", "future_rows"), {"now": now}).fetchone()

    found = guarded(connection, catalog, read)
    return (int(found["n"]), found["latest"]) if found else (0, None)


def read_freshness(connection: Connection, catalog: Catalog, rows: Due) -> dict[str, Any]:
    """The oldest marker and how many rows there are of each kind, as `freshness` has them."""

    def read(asked: Catalog) -> dict[str, Any]:
        connection.execute(query("lease", "no_loops"))
        statement = asked.query("catalog", "freshness")
        return connection.execute(statement, rows.parameters(asked)).fetchone() or {}

    return guarded(connection, catalog, read)


def plan_scrub(
    connection: Connection,
    catalog: Catalog,
    rows: Due,
    types: Sequence[str],
    range_rows: int,
    limit: int,
    plan: dict[str, object],
) -> tuple[int, int]:
    """Cuts the next rows of a scrub into ranges, the oldest first; moves the frontier in `plan`.

    Returns:
        How many ranges were added, and how many rows they hold.
    """
    first = plan["plan_after_marker"] is None

    def read(asked: Catalog) -> Row | None:
        statement = asked.query(
            "catalog",
            "plan_scrub",
            of_types=of_types(asked, types),
            due=due.due(asked, rows, marker=sql.SQL("a.fasthash_marker")),
            not_planned=EMPTY if first else asked.query("catalog", "not_planned"),
            past_marker=EMPTY if first else asked.query("catalog", "past_marker"),
        )
        values = {
            **rows.parameters(asked),
            **type_parameters(types),
            "after_marker": plan["plan_after_marker"],
            "after_id": plan["plan_after_id"],
            "first_no": plan["next_range_no"],
            "range_rows": range_rows,
            "rows": limit,
        }
        return connection.execute(statement, values).fetchone()

    found = guarded(connection, catalog, read)
    if found is None or not found["ranges"]:
        return 0, 0
    plan["plan_after_marker"], plan["plan_after_id"] = found["last_marker"], found["last_id"]
    return found["ranges"], found["rows"]
