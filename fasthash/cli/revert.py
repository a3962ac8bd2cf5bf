"""`fasthash revert`: undoing what a run wrote."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any

import click

from fasthash.cli import tables
from fasthash.cli.options import (
    catalog_names,
    catalog_options,
    database_options,
    find_dsn,
    json_option,
    option,
)
from fasthash.cli.reports import ledger, run_number
from fasthash.errors import ConfigError
from fasthash.logs import shown

if TYPE_CHECKING:
    from fasthash.store.reverting import Reverted
    from fasthash.store.session import Row

# On a screen; `--json` has all.
LISTED_ROWS = 20


@click.command()
@click.argument("run_id", metavar="RUN", type=run_number)
@click.option("--dry-run", is_flag=True, help="Only count what would be put back.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation on a terminal.")
@database_options
@catalog_options
@option("--update-function", help="schema.function(ids, jsonb patches) to write through.")
@json_option
def revert_command(run_id: int, dry_run: bool, yes: bool, as_json: bool, **values: Any) -> None:
    """Put the keys that run RUN wrote back as they were before it.

    Only where they still are what the run wrote: rows that have another hash or marker since are
    left alone and counted as changed, also those that a later run only confirmed. What is put back
    is the very value that was there, or, in a column of type json, its very text; metadata that was
    NULL is NULL again, unless others have added to it. In batches, through the journal;
    interrupted, it goes on when it is called again. Later runs that have written are named, with
    the order in which to undo what they changed. On a terminal what would be put back is counted,
    and confirmation asked for. A run whose journal was pruned (`fasthash prune`) cannot be undone.
    Exits with 1 if rows were left because another session has locked them, or the database did not
    let them be written: these are listed.
    """
    from fasthash.store import pooling, preflight, pruning, reports, reverting  # noqa: PLC0415

    with ledger(values["dsn"], "revert") as connection:
        pooling.require_session(find_dsn(values["dsn"], make=False), connection)
        catalog = preflight.check_catalog(
            connection,
            catalog_names(values),
            writing=not dry_run,
            update_function=values["update_function"],
        )
        run = reports.read_run(connection, run_id)
        if run["catalog"] != catalog.key:
            raise ConfigError(f"run {run_id} is of {run['shown']}: name it with --table")
        if run["state"] == "running" and run_id in reports.runs_under_way(connection):
            raise ConfigError(f"run {run_id} is being worked on: stop it first")
        pruning.require_whole(connection, run_id)
        blake3 = "blake3" in (run["options"].get("algorithm") or "")
        _warn_of_later(run_id, reports.writers_since(connection, run_id))
        if not (dry_run or yes) and sys.stdin.isatty() and sys.stderr.isatty():
            looked = reverting.Reverted()
            for batch in reverting.revert(
                connection, catalog, run_id, 0, blake3=blake3, dry_run=True
            ):
                looked += batch
            _confirm(run_id, looked)
        number = 0
        if not dry_run:
            number = reverting.open_revert(connection, catalog, run_id, socket.gethostname())
            pruning.hold_whole(connection, run_id, number)
        found = reverting.Reverted()
        for batch in reverting.revert(
            connection, catalog, run_id, number, blake3=blake3, dry_run=dry_run
        ):
            found += batch
    _tell(found, run_id, number, dry_run=dry_run, as_json=as_json)
    counts = found.counts
    click.get_current_context().exit(1 if counts["locked"] or counts["refused"] else 0)


def _warn_of_later(of: int, later: list[Row]) -> None:
    """Says which runs have written since, and in which order all are undone."""
    if later:
        names = ", ".join(f"{row['run_id']} ({row['kind']})" for row in later)
        order = ", ".join(str(row["run_id"]) for row in later)
        click.echo(
            f"fasthash: later runs have written, too: {names}; rows that they changed or confirmed "
            f"have another marker than run {of} wrote, and stay as they are. To undo what they "
            f"changed as well, revert the latest first: {order}",
            err=True,
        )


def _confirm(of: int, looked: Reverted) -> None:
    """Asks whether to go on.

    Raises:
        ConfigError: not.
    """
    counts = looked.counts
    click.echo(
        f"run {of}: {counts['reverted']:,} rows would be put back, {counts['changed']:,} have "
        "another hash or marker since and stay",
        err=True,
    )
    if not click.confirm("Put them back?", err=True):
        raise ConfigError("not confirmed: nothing was changed")


def _tell(found: Reverted, of: int, number: int, *, dry_run: bool, as_json: bool) -> None:
    """Prints what became of the rows.

    Args:
        of: the run that was undone.
        number: of the run that did it; 0 in a dry run.
    """
    counts = found.counts
    with tables.standard_output() as out:
        if as_json:
            facts: dict[str, Any] = {"run_id": number or None, "of": of, "dry_run": dry_run}
            names = ("reverted", "changed", "gone", "locked", "refused")
            left = [{"row_id": row_id, "reason": reason} for row_id, reason in found.left]
            facts |= {**{n: counts[n] for n in names}, "left": left}
            print(tables.to_json(facts, indent=2), file=out)
            return
        verb = "would be put back" if dry_run else "put back"
        print(f"{counts['reverted']:,} rows {verb} as they were before run {of}", file=out)
        for name, text in (
            ("changed", "have another hash or marker since, and were left alone"),
            ("gone", "are gone"),
            ("locked", "are locked by other sessions: call it again"),
            ("refused", "could not be put back, and are as they were"),
        ):
            if counts[name]:
                print(f"{counts[name]:,} {text}", file=out)
        for row_id, reason in found.left[:LISTED_ROWS]:
            print(f"  row {shown(row_id)}: {shown(reason)}", file=out)
        if len(found.left) > LISTED_ROWS:
            more = len(found.left) - LISTED_ROWS
            print(f"  and {more:,} more, all listed by --json", file=out)
