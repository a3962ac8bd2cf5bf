"""`fasthash runs`: what runs there were, which are under way, and what can be done about each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from fasthash.cli import tables
from fasthash.cli.options import database_options, json_option
from fasthash.cli.reports import ledger, run_number, table_option
from fasthash.logs import printable
from fasthash.summary import human_bytes, human_seconds
from fasthash.widths import human_time

if TYPE_CHECKING:
    from fasthash.store.session import Row

LAYOUT = tables.Layout(
    ("run", "kind", "state", "began", "rows", "written", "differed", "missing", "failed", "note"),
    # Any one time is as good as the others to the minute; a part of one says nothing.
    steps=((9, 20), (9, 0), (5, 0), (8, 0), (3, 0)),
    prose=frozenset({9}),
)


@click.group(invoke_without_command=True)
@database_options
@table_option
@click.option(
    "--last", metavar="N", type=click.IntRange(min=1), default=20, help="So many at most."
)
@json_option
@click.pass_context
def runs_command(
    context: click.Context, dsn: str | None, table: str | None, last: int, as_json: bool
) -> None:
    """List the latest runs, those that are under way first.

    \b
    state     running, complete, interrupted or failed; an unfinished run goes
              on when its command is called again
    differed  rows whose stored hash was not the file's (`fasthash drift list`)
    missing, failed
              rows without a verdict (`fasthash residual RUN`)
    note      where it runs, why it ended, what has undone it
    """
    if context.invoked_subcommand is not None:
        return
    from fasthash.store import reports  # noqa: PLC0415

    with ledger(dsn, "runs") as connection:
        found = reports.read_runs(connection, table, last)
    with tables.standard_output() as out:
        if as_json:
            tables.write_json_array(out, found)
        elif not tables.write_table(out, LAYOUT, map(_cells, found), tables.list_columns()):
            print("there is no run yet: start one with `fasthash run`", file=out)


@runs_command.command("show")
@click.argument("run_id", metavar="RUN", type=run_number)
@database_options
def show_command(run_id: int, dsn: str | None) -> None:
    """Show one run: how it is or was, with which options, and what can be done about it."""
    from fasthash.cli.screen import status_text  # noqa: PLC0415
    from fasthash.store import reports  # noqa: PLC0415
    from fasthash.store.status import read_status  # noqa: PLC0415

    with ledger(dsn, "runs") as connection:
        status = read_status(connection, run_id)
        (run,) = reports.read_runs(connection, None, 1, run_id)
    columns = tables.screen_columns()
    with tables.standard_output() as out:
        print(status_text(status, columns, ascii_only=not tables.has_blocks()), file=out)
        print("\n".join(["", *_options(run), *_undoing(run)]), file=out)


def _cells(run: Row) -> Sequence[str]:
    counts = ("rows_scanned", "rows_updated", "drift_events", "rows_skipped_no_file", "rows_failed")
    return [
        str(run["run_id"]),
        run["kind"],
        run["state"],
        run["started_at"].astimezone().isoformat(timespec="minutes"),
        *(f"{run[name]:,}" for name in counts),
        "; ".join(_notes(run)),
    ]


def _notes(run: Row) -> Iterator[str]:
    if run["is_live"]:
        yield f"on {', '.join(run['hosts'])}"
    elif run["finished_at"] is not None:
        took = (run["finished_at"] - run["started_at"]).total_seconds()
        yield f"in {human_seconds(took)}, {human_bytes(run['bytes_hashed'])}"
    if run["kind"] == "revert":
        yield f"undid run {run['options'].get('of')}"
    if run["superseded"]:
        yield "given up for another run"
    elif run["state"] == "interrupted" and run["ended_for"]:
        yield f"ended for its {run['ended_for']}"
    if run["undone_by"] is not None:
        yield f"undone by run {run['undone_by']}"
    if run["pruned_at"] is not None:
        yield "its details are pruned"
    if run["error"]:
        yield run["error"]


def _options(run: Row) -> Iterator[str]:
    """What it was asked for, where it is not what anybody gets."""
    given = {k: v for k, v in run["options"].items() if v not in (None, [], False)}
    for name, value in sorted(given.items()):
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield printable(f"  {name.replace('_', ' '):<9} {text}")


def _undoing(run: dict[str, Any]) -> Iterator[str]:
    number = run["run_id"]
    if run["kind"] == "revert":
        return
    if run["undone_by"] is not None:
        yield f"  undone by run {run['undone_by']}"
    elif run["pruned_at"] is not None:
        when = human_time(run["pruned_at"])
        yield f"  cannot be undone: its details were dropped by `fasthash prune` at {when}"
    elif not run["is_live"] and run["rows_updated"]:
        yield f"  `fasthash revert {number} --dry-run` says what undoing it would put back"
