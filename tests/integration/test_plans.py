"""Statements over whole tables never become quadratic, whatever the statistics say."""

from __future__ import annotations

import pytest
from conftest import Database

from fasthash.config import CatalogNames
from fasthash.fixity import LeasedRange
from fasthash.store import due, rows, session
from fasthash.store.catalog import find_catalog, of_types
from fasthash.store.due import Due
from fasthash.store.session import Connection

DUES = {
    "backfill": Due(run_id=7),
    "since": Due(run_id=7, catalog_no=1, since="2026"),
    "scrub": Due("scrub", 7, 1, None, "2026", "2026", 5, ("0", 0.5), "stat"),
}


@pytest.mark.parametrize("kind", list(DUES))
@pytest.mark.parametrize("analyzed", ["never", "before", "after"])
def test_what_is_not_met_is_looked_up(database: Database, kind: str, analyzed: str) -> None:
    """A join would be planned by statistics that know nothing of a run that has just begun."""
    database.make_table()
    database.fasthash("init")
    tables = "artifacts, fasthash.residual, fasthash.file_state, fasthash.drift"
    if analyzed == "before":
        database.sql(f"ANALYZE {tables}")
    database.sql("INSERT INTO artifacts SELECT n, 'a', 'p' FROM generate_series(1, 5000) n")
    database.sql(
        "INSERT INTO fasthash.residual SELECT 6, n::text, 'a', 'p', 'no_file' "
        "FROM generate_series(1, 5000) n"
    )
    database.sql(
        "INSERT INTO fasthash.file_state (catalog_no, run_id, checked_at, row_id) "
        "SELECT 1, 6, now(), n::text FROM generate_series(1, 5000) n"
    )
    if analyzed == "after":
        database.sql(f"ANALYZE {tables}")
    with session.connect_once(database.dsn, "plans") as connection:
        catalog = find_catalog(connection, CatalogNames())
        one = DUES[kind]
        statement = catalog.query(
            "catalog",
            "unmet_rows",
            of_types=of_types(catalog, ()),
            unmet=due.unmet(catalog, one),
        )
        text = "EXPLAIN " + statement.as_string(connection)
        plan = connection.execute(text, {**one.parameters(catalog), "rows": 100_000}).fetchall()
        lines = [str(line["QUERY PLAN"]) for line in plan]
        assert not any("Anti" in line for line in lines), lines
        inner = [line for line in lines if "Scan" in line and "fasthash." not in line]
        assert sum("SubPlan" in line for line in lines) >= 2, lines
        assert inner
        _reads_stamps_by_key(connection, database)


def _reads_stamps_by_key(connection: Connection, database: Database) -> None:
    catalog = find_catalog(connection, CatalogNames())
    leased = LeasedRange(1, "a", None, "5000", 1, 1)
    assert rows.read_range(connection, catalog, DUES["scrub"], leased, with_segments=False) == []
