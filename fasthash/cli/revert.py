"""`fasthash revert`: undoing what a run wrote."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any

import click

from fasthash.cli import tables
from fasthash.cli.options import catalog_names, catalog_options, database_options, json_option
from fasthash.cli.reports import ledger, run_number
from fasthash.errors import ConfigError


@click.command()
@click.argument("run_id", metavar="RUN", type=run_number)
@click.option("--dry-run", is_flag=True, help="Only count what would be put back.")
@database_options
@catalog_options
@json_option
def revert_command(run_id: int, dry_run: bool, as_json: bool, **values: Any) -> None:
    """Put the keys that run RUN wrote back as they were before it.

    Only where they still are what the run wrote: rows that have another hash or marker since are
    left alone and counted as changed. In batches, through the journal; interrupted, it goes on when
    it is called again. What a scrub only confirmed keeps its newer marker. A run whose journal was
    pruned (`fasthash prune`) cannot be undone. Exits with 1 if rows
    were left because another session has locked them, or a trigger did not let them be written.
    """
    from fasthash.store import preflight, pruning, reports, reverting  # noqa: PLC0415

    with ledger(values["dsn"], "revert") as connection:
        catalog = preflight.check_catalog(
            connection, catalog_names(values), writing=not dry_run, update_function=None
        )
        run = reports.read_run(connection, run_id)
        if run["catalog"] != catalog.key:
            raise ConfigError(f"run {run_id} is of {run['catalog']}: name it with --table")
        if run["state"] == "running" and run_id in reports.runs_under_way(connection):
            raise ConfigError(f"run {run_id} is being worked on: stop it first")
        pruning.require_whole(connection, run_id)
        blake3 = "blake3" in (run["options"].get("algorithm") or "")
        number = 0
        if not dry_run:
            number = reverting.open_revert(connection, catalog, run_id, socket.gethostname())
            pruning.hold_whole(connection, run_id, number)
        counts: Counter[str] = Counter()
        for batch in reverting.revert(
            connection, catalog, run_id, number, blake3=blake3, dry_run=dry_run
        ):
            counts += batch
    names = ("reverted", "changed", "gone", "locked", "refused")
    with tables.standard_output() as out:
        if as_json:
            facts = {"run_id": number or None, "of": run_id, "dry_run": dry_run}
            print(tables.to_json({**facts, **{n: counts[n] for n in names}}, indent=2), file=out)
        else:
            verb = "would be put back" if dry_run else "put back"
            print(f"{counts['reverted']:,} rows {verb} as they were before run {run_id}", file=out)
            for name, text in (
                ("changed", "have another hash or marker since, and were left alone"),
                ("gone", "are gone"),
                ("locked", "are locked by other sessions: call it again"),
                ("refused", "did not take it: a trigger or a rule of the catalog changed it back"),
            ):
                if counts[name]:
                    print(f"{counts[name]:,} {text}", file=out)
    click.get_current_context().exit(1 if counts["locked"] or counts["refused"] else 0)
