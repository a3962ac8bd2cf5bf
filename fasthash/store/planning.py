"""Cuts the catalog into ranges, a few at a time: the planning state lies in the run's row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Rollback

from fasthash.lease import SWEEPS_AT_MOST
from fasthash.store.catalog import Catalog, read_boundaries, read_types
from fasthash.store.due import Due
from fasthash.store.queries import query
from fasthash.store.rows import (
    counted_before,
    note_rows_without_id,
    plan_scrub,
    read_unmet,
)
from fasthash.store.session import Connection, Row
from fasthash.store.transactions import transaction

# One plan step cuts this many rows at most. A sweep takes more, for it reads the whole table, as
# does each step of a scrub: those grow with what is planned already, so that the steps of a catalog
# of any size are few (five for 10^8 rows), and the first file still does not wait for all.
PLAN_ROWS = 100_000
SWEEP_ROWS = 200_000
GROWTH = 4


def plan_more(
    connection: Connection,
    catalog: Catalog,
    rows: Due,
    types: Sequence[str],
    range_rows: int,
    ranges: int,
) -> bool:
    """Cuts at least this number of further ranges, if there are rows for them.

    Pass 0 goes through the table by type and id, that of a scrub by age; the passes after it (the
    last sweeps, and all of a run that only looks for what is new) take the rows that the run is
    for and has not met. A pass that finds nothing ends the plan.

    Returns:
        Whether ranges were added.
    """
    key = {"run_id": rows.run_id}
    with transaction(connection):
        turn = connection.execute(query("lease", "begin_planning"), key).fetchone()
        plan = connection.execute(query("lease", "read_plan"), key).fetchone() or {}
        if turn is None or not turn["is_ours"] or not _goes_on(plan):
            return False
        if plan["pass_no"] > 0 or rows.is_scrub:
            connection.execute(query("lease", "no_loops"))
        step = _Step(connection, catalog, rows, plan, types, range_rows)
        if plan["next_range_no"] == 1 and not rows.is_scrub:
            step.without_id()
        if plan["pass_no"] == 0:
            added = step.oldest() if rows.is_scrub else step.in_order(ranges)
        else:
            added = step.sweep()
        if not _goes_on(connection.execute(query("lease", "lock_plan"), key).fetchone() or {}):
            raise Rollback  # it was ended meanwhile
        _save(connection, rows.run_id, plan)
        return added
    return False


def _goes_on(plan: Row) -> bool:
    return plan.get("state") == "running" and not plan["plan_done"]


def _save(connection: Connection, run_id: int, plan: Row) -> None:
    connection.execute(query("lease", "save_plan"), {"run_id": run_id, **plan})


def _left(plan: Row, most: int) -> int:
    """How many rows may still be planned, up to a number."""
    limit = plan["row_limit"]
    return most if limit is None else max(0, min(most, limit - plan["rows_planned"]))


def is_paused(connection: Connection, run_id: int) -> bool:
    """Whether no more rows are planned for now, for an invocation's limit is reached."""
    plan = connection.execute(query("lease", "read_plan"), {"run_id": run_id}).fetchone() or {}
    return _goes_on(plan) and plan["may_pause"] and not _left(plan, 1)


Cut = tuple[str | None, str | None, list[str]]  # type, after id, rows


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of planning, which moves the frontier in `plan`; each way says whether it added."""

    connection: Connection
    catalog: Catalog
    rows: Due
    plan: Row
    types: Sequence[str]
    range_rows: int

    def oldest(self) -> bool:
        """The next ranges of a scrub."""
        plan = self.plan
        wanted = _left(plan, max(SWEEP_ROWS, GROWTH * plan["rows_planned"]))
        if not wanted:
            return self._stop()
        ranges, count = plan_scrub(
            self.connection, self.catalog, self.rows, self.types, self.range_rows, wanted, plan
        )
        plan["next_range_no"] += ranges
        plan["rows_planned"] += count
        if count < wanted:
            plan["pass_no"], plan["plan_after_marker"], plan["plan_after_id"] = 1, None, None
        return ranges > 0

    def _stop(self) -> bool:
        """The limit is reached: the end of a run that was begun with it, a pause of another."""
        self.plan["plan_done"] = not self.plan["may_pause"]
        return False

    def without_id(self) -> None:
        """Counts rows that have no id, once a run."""
        plan = self.plan
        plan["next_range_no"] += note_rows_without_id(
            self.connection, self.catalog, self.rows.run_id, plan["next_range_no"], self.types
        )

    def in_order(self, ranges: int) -> bool:
        """The next ranges in (type, id) order."""
        plan = self.plan
        found: list[tuple[str | None, str | None, str, int]] = []
        if plan["plan_types"] is None:
            plan["plan_types"] = read_types(self.connection, self.catalog, self.types)
        rows = _left(plan, min(PLAN_ROWS, max(1, ranges) * self.range_rows))
        if plan["row_limit"] is not None:
            ranges = 1
        if not rows:
            return self._stop()
        while len(found) < ranges and plan["plan_type_no"] <= len(plan["plan_types"]):
            artifact_type = plan["plan_types"][plan["plan_type_no"] - 1]
            after_id = plan["plan_after_id"]
            cuts = read_boundaries(
                self.connection, self.catalog, artifact_type, after_id, self.range_rows, rows
            )
            for through_id, count in cuts:
                found.append((artifact_type, after_id, through_id, count))
                after_id = through_id
            if sum(count for _, count in cuts) < rows:
                plan["plan_type_no"] += 1
                plan["plan_after_id"] = None
            else:
                plan["plan_after_id"] = after_id
        self._add_ranges(found)
        if plan["plan_type_no"] > len(plan["plan_types"]):
            plan["pass_no"] = 1
        return bool(found)

    def sweep(self) -> bool:
        """Ranges of the rows not met yet; only when all earlier ranges are done."""
        plan, connection = self.plan, self.connection
        left = connection.execute(
            query("lease", "open_ranges"), {"run_id": self.rows.run_id}
        ).fetchone()
        if left is None or left["n"] > 0:
            return False
        most = _left(plan, SWEEP_ROWS)
        if not most:
            return self._stop()
        unmet = read_unmet(connection, self.catalog, self.rows, self.types, most)
        met: set[str] = set()
        if unmet and not self.rows.is_scrub and plan["next_range_no"] > 1:
            met = counted_before(connection, self.rows, [row_id for _, row_id in unmet])
        pass_no, full_pass = plan["pass_no"], len(unmet) == most
        self._add_lists(pass_no, cut_unmet(unmet, self.range_rows), met)
        plan["plan_done"] = not unmet or (pass_no >= SWEEPS_AT_MOST and not full_pass)
        if not full_pass:
            plan["pass_no"] += 1
        return bool(unmet)

    def _add_ranges(self, found: Sequence[tuple[str | None, str | None, str, int]]) -> None:
        """Ranges of pass 0, each with its type, after id, through id and number of rows."""
        if not found:
            return
        first_no = self.plan["next_range_no"]
        self.connection.execute(
            query("lease", "add_ranges"),
            {
                "run_id": self.rows.run_id,
                "pass_no": 0,
                "range_no": list(range(first_no, first_no + len(found))),
                "artifact_type": [f[0] for f in found],
                "after_id": [f[1] for f in found],
                "through_id": [f[2] for f in found],
                "planned_rows": [f[3] for f in found],
            },
        )
        self.plan["next_range_no"] += len(found)
        self.plan["rows_planned"] += sum(count for *_, count in found)

    def _add_lists(self, pass_no: int, found: Sequence[Cut], met: set[str]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(
                query("lease", "add_list"),
                [
                    {
                        "run_id": self.rows.run_id,
                        "range_no": range_no,
                        "pass_no": pass_no,
                        "artifact_type": artifact_type,
                        "after_id": after_id,
                        "through_id": row_ids[-1],
                        "planned_rows": len(row_ids),
                        "row_ids": row_ids,
                        "met_ids": [r for r in row_ids if r in met] or None,
                    }
                    for range_no, (artifact_type, after_id, row_ids) in enumerate(
                        found, self.plan["next_range_no"]
                    )
                ],
            )
        self.plan["next_range_no"] += len(found)
        self.plan["rows_planned"] += sum(len(row_ids) for *_, row_ids in found)


def cut_unmet(unmet: Sequence[tuple[str | None, str]], range_rows: int) -> list[Cut]:
    """Lists of these rows, each up to a length; a list holds one type.

    Args:
        unmet: type and id, ordered by type and within it by id.
        range_rows: rows a list at the most.
    """
    found: list[Cut] = []
    for artifact_type, row_id in unmet:
        last = found[-1] if found else None
        if last is not None and last[0] == artifact_type and len(last[2]) < range_rows:
            last[2].append(row_id)
        else:
            after_id = last[2][-1] if last is not None and last[0] == artifact_type else None
            found.append((artifact_type, after_id, [row_id]))
    return found
