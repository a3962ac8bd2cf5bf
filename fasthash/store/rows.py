"""Reads the catalog's rows: those of a range as tasks, those not met yet, how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql
from psycopg.rows import tuple_row

from fasthash.fixity import Known, LeasedRange, Task
from fasthash.store import due
from fasthash.store.catalog import Catalog, of_type, of_types, past, type_parameters
from fasthash.store.due import Due
from fasthash.store.queries import EMPTY, query
from fasthash.store.session import Connection


def read_range(
    connection: Connection,
    catalog: Catalog,
    rows: Due,
    leased: LeasedRange,
    *,
    with_segments: bool,
) -> list[Task]:
    """The rows of a range that are not committed yet, in key order.

    Args:
        with_segments: parts of the range may be committed already: leave these out.
    """
    columns, join = due.known(catalog, rows)
    statement = catalog.query(
        "catalog",
        "read_range",
        of_type=of_type(catalog, leased.artifact_type),
        past=past(catalog, leased.after_id),
        not_committed=catalog.query("catalog", "not_committed") if with_segments else EMPTY,
        in_range=_in_range(catalog, rows, leased),
        stored=due.stored(catalog, rows),
        fresh=due.fresh(catalog, rows),
        known=columns,
        with_state=join,
    )
    parameters = {
        **rows.parameters(catalog),
        "range_no": leased.range_no,
        "artifact_type": leased.artifact_type,
        "after_id": leased.after_id,
        "through_id": leased.through_id,
    }
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(statement, parameters)
        if rows.precheck == "off":
            return [Task._make((*row, None, None, False)) for row in cursor]
        return [
            Task(row_id, path, stored, marker, preset, None if size is None else Known(size, *more))
            for row_id, path, stored, marker, preset, size, *more in cursor
        ]


def _in_range(catalog: Catalog, rows: Due, leased: LeasedRange) -> sql.Composable:
    """Which of the rows between its ends a range has."""
    if not leased.is_listed:
        return due.unmet(catalog, rows) if leased.pass_no > 0 else EMPTY
    listed = catalog.query("catalog", "in_range")
    return listed + catalog.query("catalog", "still_marked") if rows.is_scrub else listed


def read_unmet(
    connection: Connection, catalog: Catalog, rows: Due, types: Sequence[str], limit: int
) -> list[tuple[str | None, str]]:
    """Type and id of rows that the run is for and has not met, in planning order.

    Of a scrub these are the rows that were locked or moved when their turn was.
    """
    if rows.is_scrub:
        statement = catalog.query("catalog", "left_over_rows")
    else:
        # Markers before a date are no news: what was counted has to be known otherwise.
        of_since = rows.since is not None
        statement = catalog.query(
            "catalog",
            "unmet_rows",
            of_types=of_types(catalog, types),
            unmet=due.unmet(catalog, rows),
            not_counted=catalog.query("catalog", "not_counted") if of_since else EMPTY,
            or_counted=catalog.query("catalog", "or_counted") if of_since else EMPTY,
        )
    values = {**rows.parameters(catalog), "rows": limit, **type_parameters(types)}
    found = connection.execute(statement, values).fetchall()
    if rows.is_scrub:
        key = {"run_id": rows.run_id, "row_ids": [r["row_id"] for r in found]}
        connection.execute(query("catalog", "forget_left_over"), key)
    return [(r["artifact_type"], r["row_id"]) for r in found]


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
    found = connection.execute(
        catalog.query(
            "catalog",
            "count_rows",
            of_types=of_types(catalog, types),
            unmet=due.unmet(catalog, rows) if unmet else EMPTY,
        ),
        {**rows.parameters(catalog), **type_parameters(types)},
    )
    return {row["artifact_type"]: row["n"] for row in found}


def count_future(connection: Connection, catalog: Catalog, now: str) -> tuple[int, str | None]:
    """How many markers are later than now, and the last of them."""
    found = connection.execute(catalog.query("catalog", "future_rows"), {"now": now}).fetchone()
    return (int(found["n"]), found["latest"]) if found else (0, None)


def read_freshness(connection: Connection, catalog: Catalog, rows: Due) -> dict[str, Any]:
    """The oldest marker and how many rows there are of each kind, as `freshness` has them."""
    statement = catalog.query("catalog", "freshness", is_bad=due.is_bad(catalog))
    found = connection.execute(statement, rows.parameters(catalog))
    return found.fetchone() or {}


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
    found = connection.execute(
        catalog.query(
            "catalog",
            "plan_scrub",
            of_types=of_types(catalog, types),
            due=due.due(catalog, rows),
            not_planned=EMPTY if first else catalog.query("catalog", "not_planned"),
            past_marker=EMPTY if first else catalog.query("catalog", "past_marker"),
        ),
        {
            **rows.parameters(catalog),
            **type_parameters(types),
            "after_marker": plan["plan_after_marker"],
            "after_id": plan["plan_after_id"],
            "first_no": plan["next_range_no"],
            "range_rows": range_rows,
            "rows": limit,
        },
    ).fetchone()
    if found is None or not found["ranges"]:
        return 0, 0
    plan["plan_after_marker"], plan["plan_after_id"] = found["last_marker"], found["last_id"]
    return found["ranges"], found["rows"]
