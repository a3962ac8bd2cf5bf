"""Reads what runs have left in the ledger: summaries, status, drift and residual lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fasthash.errors import ConfigError
from fasthash.fixity import Counts
from fasthash.store import leases
from fasthash.store.queries import query
from fasthash.store.session import Connection, Row
from fasthash.summary import RunSummary

FETCH_ROWS = 2_000


def resolve_run(connection: Connection, run_id: int | None) -> int:
    """The run that was asked for, or the latest.

    Raises:
        ConfigError: there is none.
    """
    if run_id is None:
        row = connection.execute(query("report", "latest_run")).fetchone()
        if row is None or row["run_id"] is None:
            raise ConfigError("there is no run yet: start one with `fasthash run`")
        return int(row["run_id"])
    read_run(connection, run_id)
    return run_id


def read_summary(connection: Connection, run_id: int) -> RunSummary:
    """The figures of a run.

    A run that is marked as running, but that no live coordinator works on, was interrupted.

    Raises:
        ConfigError: there is no such run.
    """
    run = read_run(connection, run_id)
    residual = connection.execute(query("report", "residual_counts"), {"run_id": run_id})
    return RunSummary(
        run_id,
        run["kind"],
        _true_state(connection, run),
        run["started_at"],
        run["finished_at"],
        run["seconds"],
        read_counts(connection, run_id),
        {row["reason"]: row["n"] for row in residual},
    )


def read_counts(connection: Connection, run_id: int) -> dict[str | None, Counts]:
    """The counts of a run by type, NULL last."""
    rows = connection.execute(query("report", "counts_by_type"), {"run_id": run_id})
    return {row.pop("artifact_type"): Counts(**row) for row in rows}


def read_status(connection: Connection, run_id: int) -> dict[str, Any]:
    """What a run is doing: state, counts, rate, holders and their reports."""
    run = read_run(connection, run_id)
    total = sum(read_counts(connection, run_id).values(), Counts())
    rate = connection.execute(query("report", "recent_rate"), {"run_id": run_id}).fetchone()
    alive = set(leases.live_holders(connection, run_id))
    holders = connection.execute(query("report", "holders"), {"run_id": run_id}).fetchall()
    states = connection.execute(query("report", "range_states"), {"run_id": run_id})
    state = _true_state(connection, run)
    rows_per_s = rate["rows_per_s"] if rate and state == "running" else 0.0
    left = max(0, run["rows_expected"] - total.scanned) if run["rows_expected"] else None
    return {
        "run_id": run_id,
        "kind": run["kind"],
        "state": state,
        "catalog": run["catalog"],
        "started_at": run["started_at"],
        "finished_at": run["finished_at"],
        "seconds": run["seconds"],
        "rows_scanned": total.scanned,
        "rows_expected": run["rows_expected"],
        "drift_events": total.drifted,
        "rows_skipped_no_file": total.no_file,
        "rows_failed": total.failed,
        "bytes_hashed": total.bytes_hashed,
        "rows_per_s": rows_per_s,
        "bytes_per_s": rate["bytes_per_s"] if rate and state == "running" else 0.0,
        "eta_s": left / rows_per_s if left is not None and rows_per_s > 0 else None,
        "ranges": {row["state"]: row["n"] for row in states},
        "holders": [{**h, "alive": h["holder_id"] in alive} for h in holders],
        "error": run["error"],
    }


def iterate_residual(connection: Connection, run_id: int, reason: str | None) -> Iterator[Row]:
    """The rows that got no verdict, streamed."""
    with connection.transaction(), connection.cursor(name="residual") as cursor:
        cursor.itersize = FETCH_ROWS
        cursor.execute(query("report", "residual_list"), {"run_id": run_id, "reason": reason})
        yield from cursor


def iterate_drift(
    connection: Connection, run_id: int | None, kind: str | None, *, only_open: bool
) -> Iterator[Row]:
    """The drifts of one run or of all, streamed in the order they were found."""
    parameters = {"run_id": run_id, "kind": kind, "open": only_open}
    with connection.transaction(), connection.cursor(name="drift") as cursor:
        cursor.itersize = FETCH_ROWS
        cursor.execute(query("report", "drift_list"), parameters)
        yield from cursor


def read_run(connection: Connection, run_id: int) -> Row:
    """The ledger's row of a run, with the seconds that anybody worked on it.

    Raises:
        ConfigError: there is no such run.
    """
    row = connection.execute(query("report", "run_row"), {"run_id": run_id}).fetchone()
    if row is None:
        raise ConfigError(f"there is no run {run_id}")
    return row


def _true_state(connection: Connection, run: Row) -> str:
    if run["state"] == "running" and not leases.live_holders(connection, run["run_id"]):
        return "interrupted"
    return str(run["state"])
