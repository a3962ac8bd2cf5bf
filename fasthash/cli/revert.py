"""`fasthash revert`: undoing what a run wrote."""

from __future__ import annotations

import socket
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

# On a screen; `--json` has all.
LISTED_ROWS = 20


@click.command()
@click.argument("run_id", metavar="RUN", type=run_number)
@click.option("--dry-run", is_flag=True, help="Only count what would be put back.")
@database_options
@catalog_options
@option("--update-function", help="schema.function(ids, jsonb patches) to write through.")
@json_option
def revert_command(run_id: int, dry_run: bool, as_json: bool, **values: Any) -> None:
    """Put the keys that run RUN wrote back as they were before it.

    Only where they still are what the run wrote: rows that have another hash or marker since are
    left alone and counted as changed. What is put back is the very value that was there, or, in a
    column of type json, its very text; metadata that was NULL is NULL again, unless others have
    added to it. In batches, through the journal; interrupted, it goes on when it is called again.
    What a scrub only confirmed keeps its newer marker. A run whose journal was pruned (`fasthash
    prune`) cannot be undone. Exits with 1 if rows were left because another session has locked
    them, or the database did not let them be written: these are listed.
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
