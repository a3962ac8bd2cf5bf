"""Reads what runs have left in the ledger: summaries, drift and residual lists."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg

from fasthash.errors import ConfigError, PreflightFailed
from fasthash.fixity import Counts
from fasthash.store import leases, naming, runs
from fasthash.store.connection import streamed
from fasthash.store.queries import query
from fasthash.store.session import Connection, Row
from fasthash.summary import RunSummary

FETCH_ROWS = 2_000

Rows = Generator[Row, None, None]


def resolve_run(connection: Connection, run_id: int | None, table: str | None) -> int:
    """The run that was asked for, or the latest.

    Args:
        table: only runs of this catalog count as the latest; None for any.

    Raises:
        ConfigError: there is none.
    """
    if run_id is None:
        row = connection.execute(
            query("report", "latest_run"), _catalog(connection, table)
        ).fetchone()
        if row is None or row["run_id"] is None:
            of = "" if table is None else f" of table {table}"
            raise ConfigError(f"there is no run{of} yet: start one with `fasthash run`")
        return int(row["run_id"])
    read_run(connection, run_id)
    return run_id


def read_runs(
    connection: Connection, table: str | None, most: int, run_id: int | None = None
) -> list[Row]:
    """The latest runs, those that are under way first, as `fasthash runs --json` has them.

    Args:
        table: only those of this catalog; None for all.
        most: so many at most.
        run_id: only this one.
    """
    values = {**_catalog(connection, table), "most": most, "run_id": run_id}
    found = connection.execute(
        query("report", "runs_listed", shown=naming.shown()), values
    ).fetchall()
    for row in found:
        may_be_live = row["state"] == "running"
        alive = leases.live_holders(connection, row["run_id"]) if may_be_live else []
        row["state"] = true_state(connection, row, alive)
        row["is_live"] = row["state"] == "running"
        row["options"].pop("evidence", None)
    return sorted(found, key=lambda row: (not row["is_live"], -row["run_id"]))


def live_or_latest(connection: Connection, run_id: int | None, table: str | None) -> int:
    """The run that was asked for; else one that is under way, else the latest.

    Raises:
        ConfigError: there is none.
    """
    if run_id is None:
        live = runs_under_way(connection, table)
        run_id = max(live) if live else None
    return resolve_run(connection, run_id, table)


def _catalog(connection: Connection, table: str | None) -> dict[str, str | None]:
    return {"catalog": None if table is None else naming.key_of_table(connection, table)}


def read_summary(connection: Connection, run_id: int) -> RunSummary:
    """The figures of a run, as of one moment.

    A run that is marked as running, but that no live coordinator works on, was interrupted.

    Raises:
        ConfigError: there is no such run.
        PreflightFailed: whether it goes on cannot be told from a standby.
    """
    alive = leases.live_holders(connection, run_id)
    with one_moment(connection):
        return summarize(connection, read_run(connection, run_id), alive)


def summarize(connection: Connection, run: Row, alive: list[int]) -> RunSummary:
    """The figures of a run, from within `one_moment`.

    Args:
        run: from `read_run`.
        alive: who was alive before that moment.
    """
    run_id = run["run_id"]
    residual = connection.execute(query("report", "residual_counts"), {"run_id": run_id})
    return RunSummary(
        run_id,
        run["kind"],
        true_state(connection, run, alive),
        run["started_at"],
        run["finished_at"],
        run["seconds"],
        read_counts(connection, run_id),
        {row["reason"]: row["n"] for row in residual},
        catalog=run["shown"],
        open_drifts=open_drifts(connection, run["catalog"]),
        ended_for=run["ended_for"],
        freshness=run["freshness"],
        goes_on_by=goes_on_by(run),
        undone_by=_undone_by(connection, run_id),
    )


def _undone_by(connection: Connection, run_id: int) -> int | None:
    row = connection.execute(query("report", "undone_by"), {"run_id": run_id}).fetchone()
    return None if row is None else row["run_id"]


def writers_since(connection: Connection, run_id: int) -> list[Row]:
    """Later runs that have written rows of the same catalog: `run_id` and `kind`, latest first."""
    return connection.execute(query("report", "writers_since"), {"run_id": run_id}).fetchall()


def goes_on_by(run: Row) -> str:
    """The command line by which an unfinished run goes on.

    Args:
        run: from `read_run`.
    """
    if run["kind"] == "revert":
        return f"fasthash revert {run['options'].get('of')}"
    command = runs.command_of(runs.identity_of(run["kind"], run["options"], run["host"]))
    is_default = run["shown"] in ("artifacts", "public.artifacts")
    return command if is_default else f"{command} --table {shlex.quote(run['shown'])}"


def count_drifts(connection: Connection, run_id: int) -> dict[str, int]:
    """The drifts that a run found, by kind."""
    rows = connection.execute(query("report", "drift_kinds"), {"run_id": run_id})
    return {row["kind"]: row["n"] for row in rows}


def read_history(
    connection: Connection, catalog: str, kind: str
) -> tuple[datetime | None, dict[str, Any] | None]:
    """What earlier runs have left to know: for a run that is about to be opened.

    Returns:
        When a run of this kind last ended as it should, and the last freshness, as
        `Freshness.as_json` gives it.
    """
    key = {"catalog": catalog, "kind": kind}
    row = connection.execute(query("report", "history"), key).fetchone()
    return (row["ended_at"], row["freshness"]) if row else (None, None)


def open_drifts(connection: Connection, catalog: str) -> int:
    """How many drifts of a catalog wait for a decision."""
    row = connection.execute(query("report", "open_drifts"), {"catalog": catalog}).fetchone()
    return int(row["n"]) if row else 0


@contextmanager
def one_moment(connection: Connection) -> Iterator[None]:
    """Several statements see the ledger as of one moment, so that their figures agree.

    Who is alive has to be asked before: a run that is completed in between is then seen as
    complete. The other way round it would look interrupted.
    """
    with connection.transaction():
        connection.execute(query("report", "one_moment"))
        yield


def read_counts(connection: Connection, run_id: int) -> dict[str | None, Counts]:
    """The counts of a run by type, NULL last."""
    rows = connection.execute(query("report", "counts_by_type"), {"run_id": run_id})
    return {row.pop("artifact_type"): Counts(**row) for row in rows}


def runs_under_way(connection: Connection, table: str | None = None) -> list[int]:
    """Runs that somebody works on, of one catalog or of all."""
    rows = connection.execute(query("report", "running"), _catalog(connection, table)).fetchall()
    return [r["run_id"] for r in rows if leases.live_holders(connection, r["run_id"])]


def read_rates(connection: Connection, run_id: int) -> list[Row]:
    """The rates that each host keeps, as it reported last."""
    alive = leases.live_holders(connection, run_id)
    key = {"run_id": run_id, "alive": alive}
    return connection.execute(query("report", "rates"), key).fetchall()


def iterate_residual(connection: Connection, run_id: int, reason: str | None) -> Rows:
    """The rows that got no verdict, streamed, as of one moment."""
    yield from _stream(connection, "residual_list", {"run_id": run_id, "reason": reason})


def count_unlisted(connection: Connection, run_id: int) -> int:
    """How many rows without a verdict the residual of a run does not list any more."""
    with one_moment(connection):
        residual = connection.execute(query("report", "residual_counts"), {"run_id": run_id})
        total = sum(read_counts(connection, run_id).values(), Counts())
        listed = sum(int(row["n"]) for row in residual)
    return max(0, total.no_file + total.failed - listed)


def iterate_drift(
    connection: Connection,
    run_id: int | None,
    kind: str | None,
    table: str | None,
    *,
    only_open: bool = False,
    drift_id: int | None = None,
) -> Rows:
    """The drifts of one run or of all (of one catalog), streamed in the order they were found."""
    parameters = {
        "run_id": run_id,
        "kind": kind,
        "open": only_open,
        "drift_id": drift_id,
        **_catalog(connection, table),
    }
    yield from _stream(connection, "drift_list", parameters)


def _stream(connection: Connection, name: str, parameters: dict[str, Any]) -> Rows:
    """The rows of a query, a block at a time."""

    def declare() -> psycopg.ServerCursor[Row]:
        cursor = connection.named(name)
        cursor.itersize = FETCH_ROWS
        with connection.transaction():
            return cursor.execute(query("report", name), parameters)

    yield from streamed(connection, declare)


def read_run(connection: Connection, run_id: int) -> Row:
    """The ledger's row of a run, with the seconds that anybody worked on it.

    Raises:
        ConfigError: there is no such run.
    """
    statement = query("report", "run_row", shown=naming.shown())
    row = connection.execute(statement, {"run_id": run_id}).fetchone()
    if row is None:
        raise ConfigError(f"there is no run {run_id}")
    return row


def true_state(connection: Connection, run: Row, alive: list[int]) -> str:
    """The state of a run; one that nobody works on any more was interrupted."""
    if run["state"] != "running" or alive:
        return str(run["state"])
    row = connection.execute(query("report", "is_standby")).fetchone()
    if row is not None and row["is_standby"]:
        raise PreflightFailed(
            f"only the primary knows whether anybody works on run {run['run_id']}, and this is a "
            "standby: give the primary's --dsn"
        )
    return "interrupted"
