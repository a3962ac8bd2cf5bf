"""Runs, ranges and leases in the ledger: each function is one transaction that may be repeated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from fasthash.fixity import LeasedRange
from fasthash.lease import RECONNECT_GRACE_S, SWEEPS_AT_MOST
from fasthash.store.catalog import Catalog, read_boundaries, read_types, read_unmet
from fasthash.store.queries import query
from fasthash.store.session import Connection, transaction

# One plan step cuts so many rows at the most; a sweep takes more, for it reads the whole table.
PLAN_ROWS = 100_000
SWEEP_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What has to be the same for an interrupted run to go on."""

    kind: str
    types: tuple[str, ...]
    algorithm: str = "sha256"

    def as_options(self, limit: int | None) -> dict[str, Any]:
        """As it stands in the ledger."""
        return {
            "types": sorted(self.types) or None,
            "algorithm": self.algorithm,
            "limit": limit,
        }


@dataclass(frozen=True, slots=True)
class OpenRun:
    """An unfinished run as the ledger has it."""

    run_id: int
    state: str
    identity: RunIdentity


def find_open_run(connection: Connection, catalog: Catalog) -> OpenRun | None:
    """The unfinished run of this catalog, if there is one."""
    row = connection.execute(query("lease", "open_run_of"), {"catalog": catalog.key}).fetchone()
    if row is None:
        return None
    options = row["options"]
    identity = RunIdentity(row["kind"], tuple(options["types"] or ()), options["algorithm"])
    return OpenRun(row["run_id"], row["state"], identity)


def create_run(
    connection: Connection, catalog: Catalog, identity: RunIdentity, limit: int | None, host: str
) -> int | None:
    """A new run; None where another process was quicker.

    The first run meets every row and counts what is there; a run after a complete one, or one
    with a row limit, goes straight to the rows that lack the marker (pass 1).
    """
    options = identity.as_options(limit)
    key = {"catalog": catalog.key, "types": Jsonb(options["types"])}
    before = connection.execute(query("lease", "whole_run_before"), key).fetchone()
    only_unmet = limit is not None or bool(before and before["found"])
    row = connection.execute(
        query("lease", "create_run"),
        {
            "catalog": catalog.key,
            "kind": identity.kind,
            "options": Jsonb(options),
            "host": host,
            "pass_no": 1 if only_unmet else 0,
        },
    ).fetchone()
    return int(row["run_id"]) if row else None


def reopen_run(connection: Connection, run_id: int, limit: int | None) -> None:
    """An unfinished run goes on; with a limit, for so many more rows."""
    connection.execute(query("lease", "reopen_run"), {"run_id": run_id, "limit": limit})


def supersede_run(connection: Connection, run_id: int) -> None:
    """An unfinished run is given up for a new one."""
    connection.execute(query("lease", "supersede_run"), {"run_id": run_id})


def live_holders(connection: Connection, run_id: int) -> list[int]:
    """The coordinators of a run whose database session is alive."""
    rows = connection.execute(query("lease", "live_holders"), {"run_id": run_id})
    return [r["holder_id"] for r in rows]


def be_seen(connection: Connection, holder_id: int) -> None:
    """A sign of life from a coordinator; also what finds a lost connection soon."""
    connection.execute(query("lease", "be_seen"), {"holder_id": holder_id})


def add_holder(connection: Connection, run_id: int, host: str, pid: int) -> int:
    """Joins a run; the number names this coordinator in its leases.

    This commit waits for the disk, and with it the run's own: a crash of the server that gave the
    numbers to somebody else would let two processes pass the same fence.
    """
    with transaction(connection):
        connection.execute("SET LOCAL synchronous_commit = on")
        row = connection.execute(
            query("lease", "add_holder"), {"run_id": run_id, "host": host, "pid": pid}
        ).fetchone()
    if row is None:
        raise LookupError("INSERT .. RETURNING gave no row")
    return int(row["holder_id"])


def claim_alive(connection: Connection, holder_id: int) -> None:
    """Shows the others that this holder lives, for as long as this session does."""
    connection.execute(query("lease", "claim_alive"), {"holder_id": holder_id})


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
            t for t in known if not types or (t if t is not None else "(none)") in types
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


def grant(
    connection: Connection, run_id: int, holder_id: int, least_term: int, ranges: int, ttl_s: float
) -> list[LeasedRange]:
    """Leases up to so many ranges: pending ones, and those of dead or late holders.

    Args:
        least_term: above every term that this holder was ever granted.
        ranges: how many at the most.
        ttl_s: their life in seconds.
    """
    unhurt = connection.execute(
        query("lease", "unhurt_holders"),
        {
            "run_id": run_id,
            "alive": live_holders(connection, run_id),
            "grace_s": RECONNECT_GRACE_S,
        },
    )
    rows = connection.execute(
        query("lease", "grant_ranges"),
        {
            "run_id": run_id,
            "holder_id": holder_id,
            "alive": [row["holder_id"] for row in unhurt],
            "least_term": least_term,
            "ranges": ranges,
            "ttl_s": ttl_s,
        },
    )
    return sorted((LeasedRange(**row) for row in rows), key=lambda r: r.range_no)


def renew(connection: Connection, run_id: int, holder_id: int, ttl_s: float) -> list[LeasedRange]:
    """Renews all that this holder holds.

    Returns:
        What it holds; a range that is not among them was taken by somebody else.
    """
    rows = connection.execute(
        query("lease", "renew_leases"),
        {"run_id": run_id, "holder_id": holder_id, "ttl_s": ttl_s},
    )
    return [LeasedRange(**row) for row in rows]


def finish(
    connection: Connection, run_id: int, holder_id: int, ranges: Iterable[LeasedRange]
) -> None:
    """Ranges whose rows are all committed are done."""
    done = list(ranges)
    connection.execute(
        query("lease", "finish_ranges"),
        {
            "run_id": run_id,
            "holder_id": holder_id,
            "range_no": [r.range_no for r in done],
            "term": [r.term for r in done],
        },
    )


def release(connection: Connection, run_id: int, holder_id: int) -> None:
    """Gives all leases back."""
    connection.execute(query("lease", "release_leases"), {"run_id": run_id, "holder_id": holder_id})


def is_planned_and_done(connection: Connection, run_id: int) -> bool:
    """Completes the run if all of it is done; whether it is complete now.

    This commit waits for the disk, and with it everything that was committed before: what is
    reported as complete survives a crash of the server.
    """
    with transaction(connection):
        connection.execute("SET LOCAL synchronous_commit = on")
        connection.execute(query("lease", "complete_run"), {"run_id": run_id})
    row = connection.execute(query("lease", "run_state"), {"run_id": run_id}).fetchone()
    return row is None or row["state"] != "running"


def leave(connection: Connection, run_id: int, holder_id: int, error: str | None) -> None:
    """This coordinator stops before the end of the run."""
    with transaction(connection):
        release(connection, run_id, holder_id)
        connection.execute(
            query("lease", "leave_run"),
            {
                "run_id": run_id,
                "holder_id": holder_id,
                "error": error,
                "alive": live_holders(connection, run_id),
            },
        )


def report(
    connection: Connection, run_id: int, holder_id: int, facts: dict[str, Any], rows: int, size: int
) -> None:
    """Stores what this coordinator is doing and how far it has come."""
    connection.execute(
        query("lease", "report_holder"),
        {
            "run_id": run_id,
            "holder_id": holder_id,
            "report": Jsonb(facts),
            "rows": rows,
            "bytes": size,
        },
    )


def expect_rows(connection: Connection, run_id: int, rows: int) -> None:
    """Stores how many rows the run will meet."""
    connection.execute(query("lease", "expect_rows"), {"run_id": run_id, "rows": rows})
