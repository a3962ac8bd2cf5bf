"""No statement that meets a big ledger rests on statistics: right, stale and missing ones."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from conftest import Database, close_sessions, drop_database
from psycopg import sql

from fasthash.config import CatalogNames
from fasthash.fixity import LeasedRange
from fasthash.store import applying, due, listing, planning, ranges, rows, session, states
from fasthash.store.applying import Statement, Target
from fasthash.store.catalog import Catalog, find_catalog, of_types
from fasthash.store.due import Due
from fasthash.store.queries import query
from fasthash.store.session import Connection
from fasthash.store.transactions import transaction

ROWS = 20_000
LEDGER = (
    "fasthash.residual, fasthash.file_state, fasthash.drift, fasthash.journal, fasthash.bad_row"
)
DUES = {
    "backfill": Due(run_id=7),
    "history": Due(run_id=7, catalog_no=1, has_history=True),
    "since": Due(run_id=7, catalog_no=1, since="2026"),
    "scrub": Due("scrub", 7, 1, None, "2026", "2026", ("0", 0.5), "stat", has_history=True),
}


@pytest.fixture(scope="module", params=["never", "before", "after"])
def grown(server_dsn: str, ledger_template: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a database with a catalog and a history, analyzed at some time or other."""
    name = f"grown_{os.getpid()}_{request.param}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {ledger_template}")
    dsn = psycopg.conninfo.make_conninfo(server_dsn, dbname=name)
    grow(Database(dsn, Path("/")), request.param)
    close_sessions()
    yield name
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        drop_database(admin, name)


@pytest.fixture
def database(server_dsn: str, grown: str) -> Iterator[Database]:
    """A copy of it."""
    name = f"{grown}_copy"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {grown}")
    yield Database(psycopg.conninfo.make_conninfo(server_dsn, dbname=name), Path("/"))
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        drop_database(admin, name)


@pytest.fixture
def big(database: Database) -> Iterator[tuple[Connection, Catalog]]:
    """A session on it."""
    with session.connect_once(database.dsn, "plans") as connection:
        yield connection, find_catalog(connection, CatalogNames())


def grow(database: Database, analyzed: str) -> None:
    """A catalog and a ledger that runs have left much in."""
    database.make_table()
    tables = f"artifacts, {LEDGER}"
    for table in tables.split(", "):
        database.sql(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    if analyzed == "before":
        database.sql(f"ANALYZE {tables}")
    for statement in (
        "INSERT INTO artifacts SELECT n, 'a', 'p', jsonb_build_object("
        "'file_sha256', repeat('a', 64), 'file_sha256_computed_at', '2025-01-01T00:00:00.000000Z') "
        "FROM generate_series(1, {n}) n",
        "INSERT INTO fasthash.residual SELECT 6, n::text, 'a', 'p', 'no_file' "
        "FROM generate_series(1, {n}) n",
        "INSERT INTO fasthash.file_state (catalog_no, row_id, sha256) "
        "SELECT 1, n::text, sha256(n::text::bytea) FROM generate_series(1, {n}) n",
        "INSERT INTO fasthash.bad_row (catalog_no, row_id, run_id) "
        "SELECT 1, n::text, 6 FROM generate_series(1, {n}) n",
        "INSERT INTO fasthash.drift (run_id, row_id, path, kind, old_hash, new_sha256, "
        "new_size_bytes, file_mtime, resolution) SELECT 6, n::text, 'p', 'corrupt', '', '', 0, "
        "now(), 'rejected' FROM generate_series(1, {n}) n",
        "INSERT INTO fasthash.journal (run_id, at, row_id, size_bytes, new_sha256, old_keys) "
        "SELECT 6, now(), n::text, 0, sha256(n::text::bytea), "
        "CASE WHEN n % 2 = 0 THEN '{{}}'::jsonb END FROM generate_series(1, {n}) n",
    ):
        database.sql(statement.format(n=ROWS))
    if analyzed == "after":
        database.sql(f"ANALYZE {tables}")


def plan(connection: Connection, statement: sql.Composed, values: Any) -> list[str]:
    """The lines of EXPLAIN."""
    text = "EXPLAIN (COSTS OFF) " + statement.as_string(connection)
    found = connection.execute(text, values).fetchall()
    return [str(line["QUERY PLAN"]) for line in found]


def scanned(lines: list[str]) -> set[str]:
    """The tables that are read from end to end."""
    found = (re.search(r"Seq Scan on (\w+)", line) for line in lines)
    return {match[1] for match in found if match}


@pytest.mark.parametrize("kind", list(DUES))
def test_what_is_not_met_is_looked_up(big: tuple[Connection, Catalog], kind: str) -> None:
    """A join would be planned by statistics that know nothing of a run that has just begun."""
    connection, catalog = big
    one = DUES[kind]
    statement = catalog.query(
        "catalog",
        "count_rows",
        of_types=of_types(catalog, ()),
        unmet=due.unmet(catalog, one),
    )
    lines = plan(connection, statement, one.parameters(catalog))
    assert not any("Anti" in line or "Join" in line for line in lines), lines
    assert scanned(lines) <= {"artifacts"}, lines
    assert sum("SubPlan" in line for line in lines) >= 2, lines


@pytest.mark.parametrize("kind", list(DUES))
@pytest.mark.parametrize("sweep", [False, True])
def test_a_batch_touches_no_row_but_its_own(
    big: tuple[Connection, Catalog], kind: str, sweep: bool
) -> None:
    connection, catalog = big
    is_scrub, has_history = kind == "scrub", DUES[kind].has_history
    target = Target(catalog, 7, 1, "careful", 1, is_scrub, has_history)
    statement = applying.statement(Statement(target, sweep, looks=False))
    values = {
        "range_no": [1] * 20, "row_id": [str(n) for n in range(20)], "path": ["p"] * 20,
        "marker": [], "verdict": [], "sha256": [b"\1" * 32] * 20, "size_bytes": [1] * 20,
        "mtime_ns": [1] * 20, "read_at_ns": [1] * 20, "compared": [], "detail": [], "stamps": [],
        "blake3": [], "xxh3": [], "locked_rows_fail": False, "run_id": 7, "catalog_no": 1,
        "overwrite": True,
    }  # fmt: skip
    lines = plan(connection, statement, values)
    assert not scanned(lines) - {"run", "catalog", "checkpoint"}, lines
    assert not any("journal" in line and "Scan" in line for line in lines), lines


@pytest.mark.parametrize("kind", list(DUES))
def test_the_rows_of_a_range_are_looked_up(big: tuple[Connection, Catalog], kind: str) -> None:
    connection, catalog = big
    leased = LeasedRange(1, "a", "1", "5", 1, 1, is_listed=True)
    with explained(connection) as lines:
        assert not ranges.read_range(connection, catalog, DUES[kind], leased, with_segments=True)
    assert not scanned(lines) - {"artifacts", "segment", "checkpoint"}, lines


class ExplainingCursor(psycopg.Cursor[Any]):
    """Asks for the plan of everything before it does it, with the parameters that it has."""

    lines: ClassVar[list[str]] = []

    def execute(self, statement: Any, params: Any = None, **kwargs: Any) -> Any:
        text = statement if isinstance(statement, str) else statement.as_string(self.connection)
        if text.lstrip().startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
            super().execute("EXPLAIN (COSTS OFF) " + text, params)
            for row in self.fetchall():
                self.lines.append(str(next(iter(row.values() if type(row) is dict else row))))
        return super().execute(statement, params, **kwargs)


@contextmanager
def explained(connection: Connection) -> Iterator[list[str]]:
    """The plans of everything that runs within."""
    ExplainingCursor.lines = []
    connection.cursor_factory = ExplainingCursor
    try:
        yield ExplainingCursor.lines
    finally:
        connection.cursor_factory = psycopg.Cursor


def test_planning_a_scrub_never_loops(big: tuple[Connection, Catalog], database: Database) -> None:
    """Each step reads the catalog once, and what is planned already as a whole, not row by row."""
    connection, catalog = big
    database.sql(
        "INSERT INTO fasthash.run (catalog, kind, options, host) "
        "VALUES ('public.artifacts', 'scrub', '{\"limit\": null}', 'h')"
    )
    one = Due("scrub", 1, 1, None, "2026", "2026", has_history=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "SWEEP_ROWS", 1_000)
        steps = 0
        while True:
            with explained(connection) as lines:
                added = planning.plan_more(connection, catalog, one, (), 500, 1)
            assert not any(_loops_over(lines, place) for place in range(len(lines))), lines
            # Rows that are in a list get a marker that lies ahead: of a host whose clock is late.
            later = '{"file_sha256_computed_at": "2025-06-01T00:00:00Z"}'
            database.sql(
                "UPDATE artifacts SET metadata = metadata || %s::jsonb WHERE id < 9", later
            )
            if not added:
                break
            steps += 1
    (planned,) = database.sql(
        "SELECT count(*) AS n, count(DISTINCT r) AS rows, max(cardinality(row_ids)) AS most "
        "FROM fasthash.checkpoint, unnest(row_ids) r"
    )
    assert planned["n"] == planned["rows"] == ROWS
    assert steps <= 4, "the steps grow: 1,000, 4,000, 20,000 .."


def _loops_over(lines: list[str], place: int) -> bool:
    """Whether a nested loop reads a whole table in its inner side."""
    if "Nested Loop" not in lines[place]:
        return False
    depth, inner, apart = _depth(lines[place]), [], None
    for line in lines[place + 1 :]:
        if _depth(line) <= depth:
            break
        if apart is not None and _depth(line) <= apart:
            apart = None
        if line.lstrip().startswith(("CTE ", "InitPlan", "SubPlan")):
            apart = _depth(line)  # done once, whatever node it is shown under
        if apart is None:
            inner.append(line)
    tables = r"Seq Scan on (artifacts|journal|file_state|bad_row|residual)"
    return any(re.search(tables, line) for line in inner)


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def test_what_was_counted_before_is_one_pass(
    big: tuple[Connection, Catalog], database: Database
) -> None:
    connection, _ = big
    wanted = [str(n) for n in range(1, 5_000)]
    with transaction(connection), explained(connection) as lines:
        connection.execute(query("lease", "no_loops"))
        assert not rows.counted_before(connection, Due(run_id=7), wanted)
        assert len(rows.counted_before(connection, Due(run_id=6), wanted)) == len(wanted)
    assert not any(_loops_over(lines, place) for place in range(len(lines))), lines
    assert not any("SubPlan" in line for line in lines), lines


def test_a_row_of_the_journal_is_found_by_index(
    big: tuple[Connection, Catalog], database: Database
) -> None:
    connection, catalog = big
    database.sql(
        "INSERT INTO fasthash.run (run_id, catalog, kind, options, host) OVERRIDING SYSTEM VALUE "
        "VALUES (6, 'public.artifacts', 'backfill', '{}', 'h')"
    )
    with explained(connection) as lines:
        assert len(listing.read_journal(connection, catalog, "77")) == 1
        assert len(listing.read_journal(connection, catalog, "78")) == 1
    assert "journal" not in scanned(lines), lines
    assert any("journal_of_changes" in line for line in lines), lines
    assert any("journal_by_place" in line for line in lines), lines


def test_a_fold_is_one_pass(big: tuple[Connection, Catalog], database: Database) -> None:
    connection, catalog = big
    database.sql(
        "INSERT INTO fasthash.run (run_id, catalog, kind, options, host, state) "
        "OVERRIDING SYSTEM VALUE VALUES (6, 'public.artifacts', 'backfill', '{}', 'h', 'complete')"
    )
    with explained(connection) as lines:
        assert states.fold_journals(connection, catalog, 1, 7) == ROWS
        assert states.fold_journals(connection, catalog, 1, 7) == 0, "once for each entry"
    assert not any("Nested Loop" in line for line in lines), lines
    assert "journal" not in scanned(lines), lines
    left = database.sql("SELECT brin_summarize_new_values('fasthash.journal_by_place') AS blocks")
    assert left == [{"blocks": 0}], "a look-up reads what the index does not know"


def test_a_locked_journal_is_folded_all_the_same(
    big: tuple[Connection, Catalog], database: Database
) -> None:
    """A VACUUM of it takes hours: it summarizes the index itself."""
    connection, catalog = big
    database.sql(
        "INSERT INTO fasthash.run (run_id, catalog, kind, options, host, state) "
        "OVERRIDING SYSTEM VALUE VALUES (6, 'public.artifacts', 'backfill', '{}', 'h', 'complete')"
    )
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE fasthash.journal IN SHARE UPDATE EXCLUSIVE MODE")
        assert states.fold_journals(connection, catalog, 1, 7) == ROWS


@pytest.mark.parametrize("analyzed", ["never", "before"])
def test_the_speed_of_a_run_is_added_up_once(
    make_database: Callable[[], Database], analyzed: str
) -> None:
    """Not for each of its samples, of which the statistics may know nothing."""
    database = make_database()
    if analyzed == "before":
        database.sql("INSERT INTO fasthash.sample VALUES (1, 1, now(), 1, 1)")
        database.sql("ANALYZE fasthash.sample")
    database.sql(
        "INSERT INTO fasthash.sample SELECT 7, 1, now() + n * '5 s'::interval, n, n "
        "FROM generate_series(1, 500) n"
    )
    statement = query("facts", "throughput")
    with session.connect_once(database.dsn, "plans") as connection:
        text = "EXPLAIN (ANALYZE, TIMING OFF) " + statement.as_string(connection)
        key = {"run_id": 7, "least_s": 1.0, "pieces": 200}
        lines = [str(row["QUERY PLAN"]) for row in connection.execute(text, key)]
    sums = [line for line in lines if "Aggregate" in line]
    assert sums
    assert all("loops=1)" in line for line in sums), "\n".join(lines)
