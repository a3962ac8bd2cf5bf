"""Reads what a run is doing: how far it is, how fast, who works on it, and what holds it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from fasthash.config import NO_TYPE
from fasthash.fixity import Counts
from fasthash.store import leases, reports
from fasthash.store.queries import query
from fasthash.store.session import Connection, Row

# The chart of the last minutes: coordinators sample every 5 s.
PIECE = timedelta(seconds=15)
PIECES = 40


def read_status(connection: Connection, run_id: int) -> dict[str, Any]:
    """What a run is doing as of one moment: state, counts, rate, holders and their reports.

    A rate is None where the run goes on but there are no two samples of it yet.

    Raises:
        ConfigError: there is no such run.
        PreflightFailed: whether it goes on cannot be told from a standby.
    """
    alive = leases.live_holders(connection, run_id)
    with reports.one_moment(connection):
        run = reports.read_run(connection, run_id)
        by_type = reports.read_counts(connection, run_id)
        total = sum(by_type.values(), Counts())
        states = connection.execute(query("report", "range_states"), {"run_id": run_id}).fetchall()
        holders = connection.execute(query("report", "holders"), {"run_id": run_id}).fetchall()
        rates = connection.execute(
            query("report", "recent_rate"), {"run_id": run_id, "alive": alive}
        ).fetchone()
        history = read_throughput(connection, run_id, PIECE, PIECES)
    state = reports.true_state(connection, run, alive)
    if state != "running" or rates is None:
        rates = {"rows_per_s": 0.0, "bytes_per_s": 0.0}
    live = [h for h in holders if h["holder_id"] in alive]
    left = (run["rows_expected"] or 0) - total.scanned
    return {
        "run_id": run_id,
        "kind": run["kind"],
        "state": state,
        "superseded": run["superseded"],
        "catalog": run["shown"],
        "started_at": run["started_at"],
        "finished_at": run["finished_at"],
        "seconds": run["seconds"] + (_unreported_s(live) if state == "running" else 0.0),
        "rows_scanned": total.scanned,
        "rows_expected": _at_least(run["rows_expected"], total.scanned),
        "drift_events": total.drifted,
        "rows_skipped_no_file": total.no_file,
        "rows_failed": total.failed,
        "bytes_hashed": total.bytes_hashed,
        **rates,
        "eta_s": _eta_s(left, rates["rows_per_s"], live),
        "by_type": _by_type(by_type, run["expected_by_type"]),
        "history": history,
        "ranges": {row["state"]: row["n"] for row in states},
        "holders": [{**h, "alive": h["holder_id"] in alive} for h in holders],
        "error": run["error"],
        "goes_on_by": reports.goes_on_by(run),
    }


def read_throughput(
    connection: Connection, run_id: int, piece: timedelta, pieces: int
) -> list[Row]:
    """Rates in equal pieces of the last time in which somebody was at work, gaps filled.

    Args:
        piece: how long one is.
        pieces: how many, at the most.

    Returns:
        Of each when it began (`since`), `rows_per_s` and `bytes_per_s`; the oldest first.
    """
    parameters = {"run_id": run_id, "piece": piece, "span": piece * pieces}
    found = connection.execute(query("report", "throughput"), parameters).fetchall()
    if not found:
        return []
    rates: dict[datetime, Row] = {row["since"]: row for row in found}
    first, last = found[0]["since"], found[-1]["since"]
    begins = [first + piece * n for n in range(round((last - first) / piece) + 1)]
    nothing = {"rows_per_s": 0.0, "bytes_per_s": 0.0}
    return [{**nothing, **rates.get(since, {}), "since": since} for since in begins]


def _at_least(expected: int | None, scanned: int) -> int | None:
    """Rows that came after they were counted are met as well."""
    return None if expected is None else max(expected, scanned)


def _by_type(
    counts: dict[str | None, Counts], expected: list[tuple[str | None, int]] | None
) -> dict[str, Row]:
    """How far each type is; rows without a type go with a type that is called `(none)`."""
    found: dict[str, Row] = {}
    ahead = dict(expected or ())
    for artifact_type in [*ahead, *(t for t in counts if t not in ahead)]:
        count = counts.get(artifact_type, Counts())
        rows = ahead.get(artifact_type) if expected is not None else None
        rows = _at_least(rows, count.scanned)
        name = NO_TYPE if artifact_type is None else artifact_type
        so_far = found.setdefault(name, {"rows_expected": None})
        so_far["rows_expected"] = _plus(so_far["rows_expected"], rows)
        for key, more in (
            ("rows_scanned", count.scanned),
            ("drift_events", count.drifted),
            ("rows_skipped_no_file", count.no_file),
            ("rows_failed", count.failed),
            ("bytes_hashed", count.bytes_hashed),
        ):
            so_far[key] = so_far.get(key, 0) + more
    return found


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


def _unreported_s(live: list[Row]) -> float:
    """How long the run has gone on since its last report, which is when its clock is read."""
    return min((h["seen_ago_s"] for h in live if h["seen_ago_s"] is not None), default=0.0)


def _eta_s(left: int, rows_per_s: float | None, live: list[Row]) -> float | None:
    """The seconds until the rest is done at this rate.

    None where nothing moves or is known, and for the last files, which all are being read: how
    long these take has nothing to do with the rows before them.
    """
    being_read = sum("path" in w for h in live for w in h["report"].get("workers", ()))
    return left / rows_per_s if rows_per_s and left > being_read else None
