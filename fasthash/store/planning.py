"""Cuts the catalog into ranges, a few at a time: the planning state lies in the run's row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fasthash.config import NO_TYPE
from fasthash.lease import SWEEPS_AT_MOST
from fasthash.store.catalog import Catalog, read_boundaries, read_types, read_unmet
from fasthash.store.queries import query
from fasthash.store.session import Connection, transaction

# One plan step cuts so many rows at the most; a sweep takes more, for it reads the whole table.
PLAN_ROWS = 100_000
SWEEP_ROWS = 200_000


def plan_more(
    connection: Connection,
    catalog: Catalog,
    run_id: int,
    types: Sequence[str],
    range_rows: int,
    ranges: int,
) -> bool:
    """Cuts at least so many more ranges, if there are rows for them.

    Pass 0 goes through the table by type and id; the passes after it (the last sweeps, and all
    of a run that only looks for what is new) take the rows that lack the marker. A pass that
    finds nothing ends the plan.

    Returns:
        Whether ranges were added.
    """
    with transaction(connection):
        plan = connection.execute(query("lease", "lock_plan"), {"run_id": run_id}).fetchone()
        if plan is None or plan["state"] != "running" or plan["plan_done"]:
            return False
        if plan["pass_no"] == 0:
            found = _plan_pass_0(connection, catalog, plan, types, range_rows, ranges)
        else:
            found = _plan_sweep(connection, catalog, run_id, plan, types, range_rows)
        first_no = plan["next_range_no"]
        plan["next_range_no"] += len(found)
        plan["rows_planned"] += sum(rows for *_, rows in found)
        if found:
            connection.execute(
                query("lease", "add_ranges"),
                {
                    "run_id": run_id,
                    "pass_no": plan["found_in_pass"],
                    "range_no": list(range(first_no, first_no + len(found))),
                    "artifact_type": [f[0] for f in found],
                    "after_id": [f[1] for f in found],
                    "through_id": [f[2] for f in found],
                    "planned_rows": [f[3] for f in found],
                },
            )
        keys = ("pass_no", "plan_types", "plan_type_no", "plan_after_id", "plan_done")
        connection.execute(
            query("lease", "save_plan"),
            {
                "run_id": run_id,
                **{key: plan[key] for key in (*keys, "next_range_no", "rows_planned")},
            },
        )
    return bool(found)


Cut = tuple[str | None, str | None, str, int]  # type, after id, through id, rows


def _plan_pass_0(
    connection: Connection,
    catalog: Catalog,
    plan: dict[str, Any],
    types: Sequence[str],
    range_rows: int,
    ranges: int,
) -> list[Cut]:
    """The next ranges in (type, id) order; moves the frontier in `plan`."""
    plan["found_in_pass"] = 0
    if plan["plan_types"] is None:
        known = read_types(connection, catalog)
        plan["plan_types"] = [
            t for t in known if not types or (t if t is not None else NO_TYPE) in types
        ]
    found: list[Cut] = []
    rows = min(PLAN_ROWS, max(1, ranges) * range_rows)
    if plan["row_limit"] is not None:
        rows = min(rows, plan["row_limit"] - plan["rows_planned"])
        if rows <= 0:
            plan["plan_done"] = True
            return found
        ranges = 1
    while len(found) < ranges and plan["plan_type_no"] <= len(plan["plan_types"]):
        artifact_type = plan["plan_types"][plan["plan_type_no"] - 1]
        after_id = plan["plan_after_id"]
        cuts = read_boundaries(connection, catalog, artifact_type, after_id, range_rows, rows)
        for through_id, count in cuts:
            found.append((artifact_type, after_id, through_id, count))
            after_id = through_id
        if sum(count for _, count in cuts) < rows:
            plan["plan_type_no"] += 1
            plan["plan_after_id"] = None
        else:
            plan["plan_after_id"] = after_id
    if plan["plan_type_no"] > len(plan["plan_types"]):
        plan["pass_no"] = 1
    return found


def _plan_sweep(
    connection: Connection,
    catalog: Catalog,
    run_id: int,
    plan: dict[str, Any],
    types: Sequence[str],
    range_rows: int,
) -> list[Cut]:
    """Ranges around the rows not met yet; only when all earlier ranges are done."""
    plan["found_in_pass"] = plan["pass_no"]
    left = connection.execute(query("lease", "open_ranges"), {"run_id": run_id}).fetchone()
    if left is None or left["n"] > 0:
        return []
    limit = plan["row_limit"]
    rows = SWEEP_ROWS if limit is None else max(0, min(SWEEP_ROWS, limit - plan["rows_planned"]))
    unmet = read_unmet(connection, catalog, run_id, types, rows) if rows else []
    full_pass = len(unmet) == SWEEP_ROWS
    plan["plan_done"] = not unmet or (plan["pass_no"] >= SWEEPS_AT_MOST and not full_pass)
    if not full_pass:
        plan["pass_no"] += 1
    return cut_unmet(unmet, range_rows)


def cut_unmet(unmet: Sequence[tuple[str | None, str]], range_rows: int) -> list[Cut]:
    """Ranges of at most so many of these rows each; a range holds one type.

    Args:
        unmet: type and id, ordered by type and within it by id.
        range_rows: rows a range at the most.
    """
    found: list[Cut] = []
    for artifact_type, row_id in unmet:
        last = found[-1] if found else None
        if last is not None and last[0] == artifact_type and last[3] < range_rows:
            found[-1] = (artifact_type, last[1], row_id, last[3] + 1)
        else:
            after_id = last[2] if last is not None and last[0] == artifact_type else None
            found.append((artifact_type, after_id, row_id, 1))
    return found
