"""`fasthash summary` and `residual`: what runs have left in the ledger."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

import click

from fasthash.cli import intact, tables
from fasthash.cli.colour import coloured
from fasthash.cli.intact import intact_options
from fasthash.cli.options import (
    Checked,
    Parsed,
    column_names,
    database_options,
    find_dsn,
    json_option,
    option,
)
from fasthash.config import NO_TYPE
from fasthash.errors import ConfigError
from fasthash.fixity import RESIDUAL_REASONS
from fasthash.logs import printable, shown
from fasthash.parsing import parse_table

if TYPE_CHECKING:
    from fasthash.intact import Copy
    from fasthash.store.catalog import Catalog
    from fasthash.store.session import Connection, Row

LARGEST_RUN = 2**63 - 1


def _parse_run(text: str) -> int:
    """A run's number.

    Raises:
        ConfigError: the text is none.
    """
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= LARGEST_RUN):
        raise ConfigError(f"{text!r} is no run number: runs are numbered 1, 2, 3")
    return int(text)


run_number = Parsed("RUN", _parse_run)
run_argument = click.argument("run_id", metavar="[RUN]", required=False, type=run_number)


table_option = option(
    "--table",
    type=Checked("TABLE", parse_table),
    help="Of this catalog table.  [default: whichever was last]",
)


@contextlib.contextmanager
def ledger(dsn: str | None, purpose: str) -> Iterator[Connection]:
    from fasthash.store import schema, session  # noqa: PLC0415

    with session.connect_once(find_dsn(dsn, make=False), purpose) as connection:
        schema.require_ledger(connection)
        yield connection


@click.command()
@run_argument
@database_options
@table_option
@json_option
def summary_command(run_id: int | None, dsn: str | None, table: str | None, as_json: bool) -> None:
    """Show what a run came to: the latest, or run number RUN.

    The figures are those that `fasthash run` prints at its end. Exits with 0 whatever they are.
    """
    from fasthash.store import reports  # noqa: PLC0415
    from fasthash.summary import as_text  # noqa: PLC0415

    with ledger(dsn, "summary") as connection:
        summary = reports.read_summary(connection, reports.resolve_run(connection, run_id, table))
    with tables.standard_output() as out:
        if as_json:
            print(tables.to_json(summary.as_json(), indent=2), file=out)
        else:
            text = as_text(tables.harmless(summary), tables.list_columns())
            print(coloured(text, out), file=out)


@click.command()
@run_argument
@database_options
@table_option
@click.option(
    "--reason",
    metavar="REASON",
    type=click.Choice([str(reason) for reason in RESIDUAL_REASONS]),
    help=f"Only rows with this reason: {', '.join(RESIDUAL_REASONS)}.",
)
@click.option(
    "--known-bad",
    is_flag=True,
    help="Rows of the catalog that a scrub found missing, unreadable, corrupt or rejected and none "
    "found good since, whichever run it was.",
)
@intact_options
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values on stdout.")
def residual_command(
    run_id: int | None,
    dsn: str | None,
    table: str | None,
    reason: str | None,
    known_bad: bool,
    as_json: bool,
    as_csv: bool,
    **values: Any,
) -> None:
    """List rows that could not be checked, and why: of the latest run, or run number RUN.

    Of rows whose hash is recorded intact copies are named (but with --csv): files of other rows
    that have this hash and were good when they were last verified, and with --look-in files of
    other directories, which are read for it.

    \b
    Text    aligned columns, control characters escaped; on a terminal long
            cells are shortened in the middle to fit, in a file or pipe not.
    --json  an array of objects, exact.
    --csv   exact values in UTF-8, every cell quoted, a header first; a type
            or detail that is NULL is an empty cell. Cells that begin with
            = + - @, a tab or CR have a ' before them, or a spreadsheet would
            take them for formulas. Only when written straight to a terminal
            are control characters escaped.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other", click.get_current_context())
    from fasthash.store import listing, reports  # noqa: PLC0415

    with ledger(dsn, "residual") as connection:
        run_id = reports.resolve_run(connection, run_id, table)
        copies: dict[str, list[Copy]] = {}
        unlisted = 0 if known_bad else reports.count_unlisted(connection, run_id)
        if unlisted:
            _warn_of_pruned(run_id, unlisted)
        if known_bad:
            catalog = _catalog_of(connection, run_id, values)
            found = listing.iterate_known_bad(connection, catalog, reason)
        else:
            copies = {} if as_csv else intact.of_residual(connection, run_id, reason, values)
            found = reports.iterate_residual(connection, run_id, reason)
        with contextlib.closing(found) as rows, tables.standard_output(exact=as_csv) as out:
            if as_json:
                tables.write_json_array(out, _with_copies(rows, copies))
            elif as_csv:
                _write_csv(out, rows)
            elif not _write_residual(out, rows) and not unlisted:
                what = "no verdict" if reason is None else reason
                none = f"run {run_id}: no row ended with {what}"
                print("no row is known to be bad" if known_bad else none, file=out)
            if not as_json:
                _write_copies(out, copies)


def _catalog_of(connection: Connection, run_id: int, values: dict[str, Any]) -> Catalog:
    from fasthash.store import facts, reports  # noqa: PLC0415

    run = reports.read_run(connection, run_id)
    return facts.find_catalog_of(connection, run, column_names(values))


def _with_copies(rows: Iterable[Row], copies: dict[str, list[Copy]]) -> Iterator[Row]:
    for row in rows:
        intact_ones = [copy.as_json() for copy in copies.get(row["row_id"], [])]
        yield {**row, "intact_copies": intact_ones}


def _write_copies(out: TextIO, copies: dict[str, list[Copy]]) -> None:
    if copies:
        print("\nintact copies:", file=out)
    for row_id, of_row in copies.items():
        for copy in of_row:
            print(shown(f"  of row {row_id}: {copy.told()}"), file=out)


def _warn_of_pruned(run_id: int, rows: int) -> None:
    """An empty list is no all-clear where it was dropped."""
    what = "row" if rows == 1 else "rows"
    click.echo(
        f"fasthash: {rows:,} {what} of run {run_id} without a verdict cannot be listed any more: "
        "the list was dropped by `fasthash prune`",
        err=True,
    )


RESIDUAL_COLUMNS = ("row_id", "artifact_type", "path", "reason", "detail")
RESIDUAL_LAYOUT = tables.Layout(
    ("row id", "type", "path", "reason", "detail"),
    # The path is what one looks for; row id and reason are never shortened.
    steps=((4, 24), (2, 40), (1, 12), (4, 16), (1, 8), (2, 24), (4, 0), (2, 12)),
    prose=frozenset({1, 4}),
)


def _write_csv(out: TextIO, rows: Iterable[Row]) -> None:
    from fasthash.manifest import guarded  # noqa: PLC0415

    escape = out.isatty()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(RESIDUAL_COLUMNS)
    for row in rows:
        cells = [guarded(row[name] or "") for name in RESIDUAL_COLUMNS]
        writer.writerow(map(printable, cells) if escape else cells)


def _write_residual(out: TextIO, rows: Iterable[Row]) -> int:
    cells = (
        (r["row_id"], type_name(r["artifact_type"]), r["path"], r["reason"], r["detail"] or "")
        for r in rows
    )
    return tables.write_table(out, RESIDUAL_LAYOUT, cells, tables.list_columns())


def type_name(name: str | None) -> str:
    return NO_TYPE if name is None else name
