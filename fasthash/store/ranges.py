"""Reads the rows of a range as tasks; what cannot be read has a verdict that says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from psycopg import sql
from psycopg.rows import tuple_row

from fasthash.fixity import Known, LeasedRange, Task, Verdict
from fasthash.store import due
from fasthash.store.answers import DatabaseError, one_line
from fasthash.store.catalog import Catalog, of_type, past
from fasthash.store.due import Due
from fasthash.store.guard import NO_FUNCTIONS, guarded, is_of_values
from fasthash.store.queries import EMPTY
from fasthash.store.session import Connection
from fasthash.store.transactions import transaction


def read_range(
    connection: Connection,
    catalog: Catalog,
    rows: Due,
    leased: LeasedRange,
    *,
    with_segments: bool,
) -> list[Task]:
    """The rows of a range that are not committed yet, in key order.

    A row that the database cannot give has a verdict that says so, and so has an id that several
    rows have: they could not be told apart.

    Args:
        with_segments: parts of the range may be committed already: leave these out.
    """

    def read(asked: Catalog, part: LeasedRange = leased) -> list[Task]:
        return _read(connection, asked, rows, part, with_segments=with_segments)

    try:
        tasks = guarded(connection, catalog, read)
    except NO_FUNCTIONS:
        ids = _row_ids(connection, catalog, leased)
        tasks = list(_by_halves(connection, lambda part: read(catalog, part), leased, ids))
    if len({task.row_id for task in tasks}) < len(tasks):
        tasks = list(_one_each(tasks))
    return tasks


def _read(
    connection: Connection,
    catalog: Catalog,
    rows: Due,
    leased: LeasedRange,
    *,
    with_segments: bool,
) -> list[Task]:
    columns, join = due.known(catalog, rows)
    statement = catalog.query(
        "catalog",
        "read_range",
        of_type=of_type(catalog, leased.artifact_type),
        past=past(catalog, leased.after_id),
        not_committed=catalog.query("catalog", "not_committed") if with_segments else EMPTY,
        in_range=_in_range(catalog, rows, leased),
        stored=due.stored(catalog, rows),
        fresh=due.fresh(catalog, rows),
        known=columns,
        with_state=join,
    )
    parameters = {**rows.parameters(catalog), **_ends(leased)}
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(statement, parameters)
        if rows.precheck == "off":
            return [Task._make((*row[:5], None, row[5], False)) for row in cursor]
        return [
            Task(i, p, stored, marker, preset, None if size is None else Known(size, *more), why)
            for i, p, stored, marker, preset, why, size, *more in cursor
        ]


def _ends(leased: LeasedRange) -> dict[str, object]:
    return {
        "range_no": leased.range_no,
        "artifact_type": leased.artifact_type,
        "after_id": leased.after_id,
        "through_id": leased.through_id,
    }


def _row_ids(connection: Connection, catalog: Catalog, leased: LeasedRange) -> list[str]:
    statement = catalog.query(
        "catalog",
        "row_ids",
        of_type=of_type(catalog, leased.artifact_type),
        past=past(catalog, leased.after_id),
    )
    return [row["row_id"] for row in connection.execute(statement, _ends(leased))]


def _by_halves(
    connection: Connection,
    read: Callable[[LeasedRange], list[Task]],
    leased: LeasedRange,
    row_ids: Sequence[str],
) -> Iterator[Task]:
    """The rows of a range without the ledger's functions: down to the row that cannot be read."""
    try:
        with transaction(connection):
            found = read(leased)
    except DatabaseError as error:
        if not is_of_values(error) or not row_ids:
            raise
        if len(row_ids) == 1:
            why = one_line(error)
            yield Task(row_ids[0], "", None, None, Verdict.UNREADABLE_ROW, detail=why)
            return
        middle = len(row_ids) // 2
        cut = row_ids[middle - 1]
        first, second = replace(leased, through_id=cut), replace(leased, after_id=cut)
        yield from _by_halves(connection, read, first, row_ids[:middle])
        yield from _by_halves(connection, read, second, row_ids[middle:])
    else:
        yield from found


def repeated(row_id: str, n: int) -> str:
    """Why a row cannot be written whose id is not its own."""
    return f"{n} rows have the id {row_id}: they cannot be told apart"


def _one_each(tasks: Sequence[Task]) -> Iterator[Task]:
    """One task an id; for ids that several rows have, none that is read or written."""
    for row_id, alike in groupby(tasks, key=lambda task: task.row_id):
        first, *others = alike
        if others:
            why = repeated(row_id, 1 + len(others))
            yield first._replace(preset=Verdict.WRITE_REFUSED, known=None, detail=why)
        else:
            yield first


def _in_range(catalog: Catalog, rows: Due, leased: LeasedRange) -> sql.Composable:
    """Which of the rows between its ends a range has."""
    if not leased.is_listed:
        return due.unmet(catalog, rows) if leased.pass_no > 0 else EMPTY
    listed = catalog.query("catalog", "in_range")
    return listed + catalog.query("catalog", "still_marked") if rows.is_scrub else listed
