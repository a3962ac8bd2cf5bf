"""`fasthash status`, `summary`, `residual` and `drift list`: what runs have left in the ledger."""

from __future__ import annotations

import contextlib
import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

import click

from fasthash.cli import tables
from fasthash.cli.options import Parsed, database_options, find_dsn, json_option, option
from fasthash.config import NO_TYPE
from fasthash.errors import ConfigError
from fasthash.fixity import RESIDUAL_REASONS, DriftKind
from fasthash.logs import printable
from fasthash.widths import shorten

if TYPE_CHECKING:
    from fasthash.store.session import Connection, Row

# What a stored hash may be is up to who stored it; in text no more of it is shown than this.
MOST_OF_A_HASH = 130

LARGEST_RUN = 2**63 - 1


def _parse_run(text: str) -> int:
    """A run's number.

    Raises:
        ConfigError: the text is none.
    """
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= LARGEST_RUN):
        raise ConfigError(f"{text!r} is no run number: runs are numbered 1, 2, 3")
    return int(text)


_run_number = Parsed("RUN", _parse_run)
run_argument = click.argument("run_id", metavar="[RUN]", required=False, type=_run_number)


_table_option = option("--table", help="Of this catalog table.  [default: whichever was last]")


@contextlib.contextmanager
def _ledger(dsn: str | None, purpose: str) -> Iterator[Connection]:
    from fasthash.store import schema, session  # noqa: PLC0415

    with session.connect_once(find_dsn(dsn, make=False), purpose) as connection:
        schema.require_ledger(connection)
        yield connection


@click.command()
@run_argument
@database_options
@_table_option
@json_option
def status_command(run_id: int | None, dsn: str | None, table: str | None, as_json: bool) -> None:
    """Show what a run is doing: the latest, or run number RUN.

    Works from any terminal, while the run goes on and after it. Each coordinator tells the
    ledger every 5 seconds what its workers are reading; times are UTC.
    """
    from fasthash.cli.screen import status_text  # noqa: PLC0415
    from fasthash.store import reports  # noqa: PLC0415

    with _ledger(dsn, "status") as connection:
        status = reports.read_status(connection, reports.resolve_run(connection, run_id, table))
    with tables.standard_output() as out:
        if as_json:
            print(tables.to_json(status, indent=2), file=out)
        else:
            print(status_text(status, tables.screen_columns()), file=out)


@click.command()
@run_argument
@database_options
@_table_option
@json_option
def summary_command(run_id: int | None, dsn: str | None, table: str | None, as_json: bool) -> None:
    """Show what a run came to: the latest, or run number RUN.

    The figures are those that `fasthash run` prints at its end. Exits with 0 whatever they are.
    """
    from fasthash.store import reports  # noqa: PLC0415
    from fasthash.summary import as_text  # noqa: PLC0415

    with _ledger(dsn, "summary") as connection:
        summary = reports.read_summary(connection, reports.resolve_run(connection, run_id, table))
    with tables.standard_output() as out:
        if as_json:
            print(tables.to_json(summary.as_json(), indent=2), file=out)
        else:
            print(as_text(tables.harmless(summary), tables.list_columns()), file=out)


@click.command()
@run_argument
@database_options
@_table_option
@click.option(
    "--reason",
    metavar="REASON",
    type=click.Choice([str(reason) for reason in RESIDUAL_REASONS]),
    help=f"Only rows with this reason: {', '.join(RESIDUAL_REASONS)}.",
)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values on stdout.")
def residual_command(
    run_id: int | None,
    dsn: str | None,
    table: str | None,
    reason: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List rows that got no verdict, and why: of the latest run, or run number RUN.

    \b
    Text    aligned columns, control characters escaped; on a terminal long
            cells are shortened in the middle to fit, in a file or pipe not.
    --json  an array of objects, exact.
    --csv   exact values in UTF-8, every cell quoted, a header first; a type
            or detail that is NULL is an empty cell. Nothing is put before
            cells that begin with = + - @: a path has to stay the path. A
            spreadsheet may take such a cell for a formula, quoted or not:
            import the columns as text there. Only when written straight to
            a terminal are control characters escaped.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other", click.get_current_context())
    from fasthash.store import reports  # noqa: PLC0415

    with _ledger(dsn, "residual") as connection:
        run_id = reports.resolve_run(connection, run_id, table)
        found = reports.iterate_residual(connection, run_id, reason)
        with contextlib.closing(found) as rows, tables.standard_output(exact=as_csv) as out:
            if as_json:
                tables.write_json_array(out, rows)
            elif as_csv:
                _write_csv(out, rows)
            elif not _write_residual(out, rows):
                what = "no verdict" if reason is None else reason
                print(f"run {run_id}: no row ended with {what}", file=out)


RESIDUAL_COLUMNS = ("row_id", "artifact_type", "path", "reason", "detail")
RESIDUAL_LAYOUT = tables.Layout(
    ("row id", "type", "path", "reason", "detail"),
    # The path is what one looks for; row id and reason are never shortened.
    steps=((4, 24), (2, 40), (1, 12), (4, 16), (1, 8), (2, 24), (4, 0), (2, 12)),
    prose=frozenset({1, 4}),
)


def _write_csv(out: TextIO, rows: Iterable[Row]) -> None:
    escape = out.isatty()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(RESIDUAL_COLUMNS)
    for row in rows:
        cells = [row[name] for name in RESIDUAL_COLUMNS]
        writer.writerow([printable(c or "") for c in cells] if escape else cells)


def _write_residual(out: TextIO, rows: Iterable[Row]) -> int:
    cells = (
        (r["row_id"], _type(r["artifact_type"]), r["path"], r["reason"], r["detail"] or "")
        for r in rows
    )
    return tables.write_table(out, RESIDUAL_LAYOUT, cells, tables.list_columns())


def _type(name: str | None) -> str:
    return NO_TYPE if name is None else name


@click.group(no_args_is_help=False)
def drift_command() -> None:
    """Look at stored hashes that differed from the file's."""


@drift_command.command("list")
@database_options
@_table_option
@click.option("--run", "run_id", type=_run_number, help="Only what this run found.")
@click.option("--kind", type=click.Choice([str(k) for k in DriftKind]), help="Only this kind.")
@click.option("--open", "only_open", is_flag=True, help="Only those not decided yet.")
@json_option
def drift_list_command(
    dsn: str | None,
    table: str | None,
    run_id: int | None,
    kind: str | None,
    only_open: bool,
    as_json: bool,
) -> None:
    """List drifts in the order they were found, of all runs.

    \b
    modified  size or mtime of the file have moved since the marker was set
    corrupt   they have not, yet the content differs: bit rot
    unknown   there was no marker to compare with
    """
    from fasthash.store import reports  # noqa: PLC0415

    with _ledger(dsn, "drift") as connection:
        if run_id is not None:
            reports.read_run(connection, run_id)
            table = None
        found = reports.iterate_drift(connection, run_id, kind, table, only_open=only_open)
        with contextlib.closing(found) as rows, tables.standard_output() as out:
            if as_json:
                tables.write_json_array(out, rows)
            else:
                _write_drifts(out, rows)


def _write_drifts(out: TextIO, rows: Iterable[Row]) -> None:
    kinds: Counter[str] = Counter()
    for row in rows:
        kinds[row["kind"]] += 1
        print("\n".join(map(printable, _drift_lines(row))), end="\n\n", file=out)
    total = sum(kinds.values())
    parts = ", ".join(f"{n:,} {kind}" for kind, n in sorted(kinds.items()))
    print(f"{total:,} drift{'' if total == 1 else 's'}: {parts}" if total else "no drift", file=out)


def _drift_lines(row: Row) -> list[str]:
    """One drift: a heading and its evidence; control characters are still in it."""
    old_size, new_size = row["old_size_bytes"], row["new_size_bytes"]
    before = "not known" if old_size is None else f"{old_size:,}"
    lines = [
        f"drift {row['drift_id']}: row {row['row_id']} ({_type(row['artifact_type'])}),"
        f" run {row['run_id']}: {row['kind']}, {row['resolution']}",
        f"  path    {row['path']}",
        f"  old     {shorten(printable(row['old_hash']), MOST_OF_A_HASH)}",
        f"  new     {row['new_hash']}",
        f"  bytes   {new_size:,}, before {before}",
        f"  mtime   {_utc(row['file_mtime'])}",
        f"  found   {_utc(row['found_at'])}",
    ]
    if row["old_marker"] is not None:
        lines.append(f"  marker  {shorten(printable(row['old_marker']), MOST_OF_A_HASH)}")
    if row["resolved_at"] is not None or row["resolved_by"] is not None:
        who = row["resolved_by"] or "(unknown)"
        lines.append(f"  settled {_utc(row['resolved_at'])} by {who}")
    if row["comment"] is not None:
        lines.append(f"  comment {row['comment']}")
    return lines


def _utc(time: datetime | None) -> str:
    return "(unknown)" if time is None else f"{time:%Y-%m-%d %H:%M:%S} UTC"
