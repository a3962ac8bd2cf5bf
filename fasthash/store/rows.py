"""Reads the catalog's rows: those of a range as tasks, those not met yet, how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg.rows import tuple_row

from fasthash.fixity import Known, LeasedRange, Task
from fasthash.store import due
from fasthash.store.catalog import Catalog, of_type, of_types, past, type_parameters
from fasthash.store.due import Due
from fasthash.store.queries import EMPTY
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
    listed = rows.is_scrub and leased.pass_no == 0
    columns, join = due.known(catalog, rows)
    statement = catalog.query(
        "catalog",
        "read_range",
        of_type=of_type(catalog, leased.artifact_type),
        past=past(catalog, leased.after_id),
        not_committed=catalog.query("catalog", "not_committed") if with_segments else EMPTY,
        in_range=catalog.query("catalog", "in_range") if listed else EMPTY,
        unmet=due.unmet(catalog, rows) if leased.pass_no > 0 else EMPTY,
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


def read_unmet(
    connection: Connection, catalog: Catalog, rows: Due, types: Sequence[str], limit: int
) -> list[tuple[str | None, str]]:
    """Type and id of rows that the run is for and has not met, in planning order."""
    found = connection.execute(
        catalog.query(
            "catalog",
            "unmet_rows",
            of_types=of_types(catalog, types),
            unmet=due.unmet(catalog, rows),
        ),
        {**rows.parameters(catalog), "rows": limit, **type_parameters(types)},
    ).fetchall()
    return [(r["artifact_type"], r["row_id"]) for r in found]


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
    statement = catalog.query("catalog", "freshness", known_bad=due.known_bad(catalog))
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
            unmet=due.unmet(catalog, rows),
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
