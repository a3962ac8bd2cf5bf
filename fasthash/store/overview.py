"""Reads everything that a report tells, as of one moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fasthash.config import CatalogNames
from fasthash.errors import PreflightFailed
from fasthash.parsing import marker_text
from fasthash.report.facts import CatalogFacts, Facts, age_cutoffs, ages_of, sizes_of
from fasthash.store import leases, preflight, reports
from fasthash.store.catalog import Catalog
from fasthash.store.queries import query
from fasthash.store.session import Connection, Row
from fasthash.store.status import read_throughput

# More of them would be a page that no browser opens; how many there are is told.
DRIFTS_AT_MOST = 20_000
RESIDUAL_AT_MOST = 200_000
DUPLICATES_AT_MOST = 100
POINTS = 120


def read_facts(connection: Connection, run_id: int, names: CatalogNames) -> Facts:
    """Everything about a run and its catalog.

    Args:
        connection: to the ledger.
        run_id: of the run.
        names: what the catalog's columns are called; the table is the run's.

    Raises:
        ConfigError: there is no such run.
    """
    alive = leases.live_holders(connection, run_id)
    catalog, problem = _find_catalog(connection, names)
    now = datetime.now(UTC)
    with reports.one_moment(connection):
        summary = reports.summary_now(connection, run_id, alive)
        run = reports.read_run(connection, run_id)
        key = {"run_id": run_id, "catalog": run["catalog"]}
        drifts = connection.execute(
            query("overview", "drifts"), {**key, "limit": DRIFTS_AT_MOST}
        ).fetchall()
        residual = connection.execute(
            query("overview", "residual"), {**key, "limit": RESIDUAL_AT_MOST}
        ).fetchall()
        piece = _piece(connection, run_id)
        return Facts(
            now,
            summary,
            {k: run[k] for k in ("host", "options", "superseded", "error", "rows_expected")},
            read_throughput(connection, run_id, piece, POINTS + 1),
            piece.total_seconds(),
            [{k: v for k, v in row.items() if k != "total"} for row in drifts],
            drifts[0]["total"] if drifts else 0,
            residual,
            None if catalog is None else _read_catalog(connection, catalog, now),
            problem,
        )


def _find_catalog(connection: Connection, names: CatalogNames) -> tuple[Catalog | None, str | None]:
    """The catalog, or why it cannot be told about."""
    try:
        found = preflight.check_catalog(connection, names, writing=False, update_function=None)
    except PreflightFailed as error:
        return None, str(error)
    return found, None


def _piece(connection: Connection, run_id: int) -> timedelta:
    """A piece of a run's whole time, as a chart has them: not shorter than what is sampled."""
    row = connection.execute(query("report", "sampled"), {"run_id": run_id}).fetchone()
    seconds = (row and row["seconds"]) or 0.0
    return timedelta(seconds=max(5, -(-seconds // POINTS)))


def _read_catalog(connection: Connection, catalog: Catalog, now: datetime) -> CatalogFacts:
    cutoffs = [marker_text(time) for time in age_cutoffs(now)]
    classes: list[Row] = connection.execute(
        catalog.query("overview", "sizes_and_ages"), {"cutoffs": cutoffs}
    ).fetchall()
    groups = connection.execute(
        catalog.query("overview", "largest_duplicates"), {"limit": DUPLICATES_AT_MOST}
    ).fetchall()
    return CatalogFacts(
        rows=sum(row["rows"] for row in classes),
        rows_marked=sum(row["rows"] for row in classes if row["age_class"] is not None),
        bytes_recorded=sum(row["bytes"] for row in classes),
        sizes=sizes_of(classes),
        ages=ages_of(classes),
        duplicate_groups=groups[0]["groups"] if groups else 0,
        duplicate_bytes=groups[0]["all_bytes"] if groups else 0,
        duplicates=[
            {k: v for k, v in g.items() if k not in ("groups", "all_bytes")} for g in groups
        ],
    )
