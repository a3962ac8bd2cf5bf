"""Reads what the page tells, in one snapshot; the catalog is counted by the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fasthash import __version__
from fasthash.config import CatalogNames
from fasthash.drift import digest_in
from fasthash.errors import ConfigError
from fasthash.page import buckets
from fasthash.page.facts import DriftCount, Duplicates, Facts, Group, Piece, Run
from fasthash.store import leases, preflight, reports
from fasthash.store.catalog import Catalog
from fasthash.store.due import is_bad
from fasthash.store.guard import guarded, told
from fasthash.store.listing import read_lost
from fasthash.store.queries import query
from fasthash.store.session import Connection, Row
from fasthash.store.states import find_catalog_no

FETCH_ROWS = 2_000
# Pieces of a run's time: about as many as a chart can show. A sample comes every 5 s.
PIECES = 120
LEAST_PIECE_S = 5.0
TOP_GROUPS = 50


@contextmanager
def gathered(connection: Connection, run_id: int, names: CatalogNames) -> Iterator[Facts]:
    """Everything about a run and its catalog, as of one moment, which lasts until the end.

    Args:
        run_id: of a run that is there.
        names: of the columns; the table is the one that the run was about.

    Raises:
        ConfigError: the table is gone.
        PreflightFailed: the catalog cannot be read, or whether the run goes on cannot be told.
    """
    alive = leases.live_holders(connection, run_id)
    catalog = find_catalog_of(connection, reports.read_run(connection, run_id), names)
    with reports.one_moment(connection):
        yield _gather(connection, catalog, run_id, alive)


def find_catalog_of(connection: Connection, run: Row, names: CatalogNames) -> Catalog:
    """The catalog that a run was about.

    Args:
        run: its row of the ledger.
        names: of the columns.

    Raises:
        ConfigError: the table is gone.
        PreflightFailed: it cannot be read.
    """
    key = {"catalog": run["catalog"]}
    found = connection.execute(query("facts", "table_of"), key).fetchone()
    if found is None:
        raise ConfigError(f"run {run['run_id']} was about {run['shown']}, which is gone")
    names = replace(names, table=found["table_name"], schema=found["schema_name"])
    return preflight.check_catalog(connection, names, writing=False, update_function=None)


def _gather(connection: Connection, catalog: Catalog, run_id: int, alive: list[int]) -> Facts:
    row = connection.execute(query("facts", "snapshot")).fetchone()
    assert row is not None  # noqa: S101
    made_at = row["made_at"]
    run = reports.read_run(connection, run_id)
    about = {"run_id": run_id, "catalog": catalog.key}
    shape = _of_catalog(connection, catalog, "shape", {"limits": buckets.age_limits(made_at)})
    sizes, without_size = buckets.sizes((r["digits"], r["n"], int(r["bytes"])) for r in shape)
    counts = connection.execute(query("facts", "drift_counts"), about).fetchall()
    known_bad = _bad_elsewhere(connection, catalog, about)
    lost = {r["row_id"]: r["digest"] for r in read_lost(connection, catalog, run_id, None)}
    return Facts(
        made_at,
        __version__,
        reports.summarize(connection, run, alive),
        Run(
            {k: v for k, v in run["options"].items() if k != "evidence"},
            run["host"],
            connection.execute(query("facts", "hosts"), about).fetchall(),
            run["error"],
            run["superseded"],
            run["rows_expected"],
        ),
        _throughput(connection, run_id),
        sizes,
        without_size,
        buckets.ages((r["age"], r["n"]) for r in shape),
        _duplicates(connection, catalog),
        [DriftCount(**count) for count in counts],
        _stream(connection, "drift_rows", about),
        _stream(connection, "residual_rows", about),
        lost,
        _copies(connection, catalog, about, set(lost.values())),
        known_bad,
    )


def _bad_elsewhere(connection: Connection, catalog: Catalog, about: dict[str, Any]) -> int:
    number = find_catalog_no(connection, catalog, make=False)
    statement = catalog.query("facts", "bad_elsewhere")
    row = connection.execute(statement, {**about, "catalog_no": number}).fetchone()
    return int(row["n"]) if row else 0


def _copies(
    connection: Connection, catalog: Catalog, about: dict[str, Any], digests: set[str]
) -> dict[str, list[Row]]:
    """Rows whose file still has what those of lost and drifted ones had."""
    drifted = connection.execute(query("facts", "drifted_hashes"), about).fetchall()
    digests |= {d for row in drifted if (d := digest_in(row["old_hash"])) is not None}
    if not digests:
        return {}
    found: dict[str, list[Row]] = {}
    values = {
        "digests": sorted(digests),
        "catalog_no": find_catalog_no(connection, catalog, make=False),
    }

    def read(asked: Catalog) -> list[Row]:
        statement = asked.query("manifest", "some_with_digest", is_bad=is_bad(asked))
        return connection.execute(statement, values).fetchall()

    for row in guarded(connection, catalog, read):
        found.setdefault(row["digest"], []).append(row)
    return found


def _of_catalog(
    connection: Connection, catalog: Catalog, name: str, parameters: dict[str, Any]
) -> list[Row]:

    def read(asked: Catalog) -> list[Row]:
        statement = asked.query("facts", name, is_bad=is_bad(asked))
        return connection.execute(statement, parameters).fetchall()

    return (
        told(connection, catalog, read) if name == "shape" else guarded(connection, catalog, read)
    )


def _duplicates(connection: Connection, catalog: Catalog) -> Duplicates:
    number = find_catalog_no(connection, catalog, make=False)
    about = {"most": TOP_GROUPS, "catalog_no": number}
    rows = _of_catalog(connection, catalog, "duplicates", about)
    if not rows:
        return Duplicates(0, 0, ())
    groups = [
        Group(
            row["sha256"],
            row["size_bytes"],
            row["files"],
            row["rows"],
            row["first_path"],
            row["last_path"],
            int(row["could_be_saved_bytes"]),
        )
        for row in rows
    ]
    return Duplicates(rows[0]["groups"], int(rows[0]["all_could_be_saved_bytes"]), groups)


def _throughput(connection: Connection, run_id: int) -> list[Piece]:
    parameters = {"run_id": run_id, "pieces": PIECES, "least_s": LEAST_PIECE_S}
    rows = connection.execute(query("facts", "throughput"), parameters).fetchall()
    return [Piece(**row) for row in rows if row["seconds"] > 0]


def _stream(connection: Connection, name: str, parameters: dict[str, Any]) -> Iterator[Row]:
    """The rows of a query a block at a time, within the snapshot."""
    with connection.cursor(name=f"report_{name}") as cursor:
        cursor.itersize = FETCH_ROWS
        cursor.execute(query("facts", name), parameters)
        yield from cursor
