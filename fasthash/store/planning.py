"""Cuts the catalog into ranges, a few at a time: the planning state lies in the run's row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fasthash.config import NO_TYPE
from fasthash.lease import SWEEPS_AT_MOST
from fasthash.store.catalog import Catalog, read_boundaries, read_types
from fasthash.store.due import Due
from fasthash.store.queries import query
from fasthash.store.rows import plan_scrub, read_unmet
from fasthash.store.session import Connection, transaction

# One plan step cuts so many rows at the most; a sweep takes more, for it reads the whole table.
PLAN_ROWS = 100_000
SWEEP_ROWS = 200_000


def plan_more(
    connection: Connection,
    catalog: Catalog,
    rows: Due,
    types: Sequence[str],
    range_rows: int,
    ranges: int,
) -> bool:
    """Cuts at least so many more ranges, if there are rows for them.

    Pass 0 goes through the table by type and id, that of a scrub by age; the passes after it (the
    last sweeps, and all of a run that only looks for what is new) take the rows that the run is
    for and has not met. A pass that finds nothing ends the plan.

    Returns:
        Whether ranges were added.
    """
    run_id = rows.run_id
    with transaction(connection):
        plan = connection.execute(query("lease", "lock_plan"), {"run_id": run_id}).fetchone()
        if plan is None or plan["state"] != "running" or plan["plan_done"]:
            return False
        if plan["pass_no"] == 0 and rows.is_scrub:
            added = _plan_oldest(connection, catalog, rows, plan, types, range_rows)
            _save(connection, run_id, plan)
            return added
        if plan["pass_no"] == 0:
            found = _plan_pass_0(connection, catalog, plan, types, range_rows, ranges)
        else:
            found = _plan_sweep(connection, catalog, rows, plan, types, range_rows)
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
        _save(connection, run_id, plan)
    return bool(found)


def _save(connection: Connection, run_id: int, plan: dict[str, Any]) -> None:
    keys = (
        "pass_no", "plan_types", "plan_type_no", "plan_after_id", "plan_after_marker",
        "plan_done", "next_range_no", "rows_planned",
    )  # fmt: skip
    connection.execute(
        query("lease", "save_plan"), {"run_id": run_id, **{key: plan[key] for key in keys}}
    )


def _left(plan: dict[str, Any], rows: int) -> int:
    """How many of so many rows the limit still allows."""
    limit = plan["row_limit"]
    return rows if limit is None else max(0, min(rows, limit - plan["rows_planned"]))


def _plan_oldest(
    connection: Connection,
    catalog: Catalog,
    rows: Due,
    plan: dict[str, Any],
    types: Sequence[str],
    range_rows: int,
) -> bool:
    """The next ranges of a scrub; whether there are any."""
    wanted = _left(plan, SWEEP_ROWS)
    if not wanted:
        plan["plan_done"] = True
        return False
    ranges, count = plan_scrub(connection, catalog, rows, types, range_rows, wanted, plan)
    plan["next_range_no"] += ranges
    plan["rows_planned"] += count
    if count < wanted:
        plan["pass_no"], plan["plan_after_marker"], plan["plan_after_id"] = 1, None, None
    return ranges > 0


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
    rows = _left(plan, min(PLAN_ROWS, max(1, ranges) * range_rows))
    if plan["row_limit"] is not None:
        ranges = 1
    if not rows:
        plan["plan_done"] = True
        return found
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
    due: Due,
    plan: dict[str, Any],
    types: Sequence[str],
    range_rows: int,
) -> list[Cut]:
    """Ranges around the rows not met yet; only when all earlier ranges are done."""
    plan["found_in_pass"] = plan["pass_no"]
    left = connection.execute(query("lease", "open_ranges"), {"run_id": due.run_id}).fetchone()
    if left is None or left["n"] > 0:
        return []
    rows = _left(plan, SWEEP_ROWS)
    unmet = read_unmet(connection, catalog, due, types, rows) if rows else []
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
