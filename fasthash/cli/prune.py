"""`fasthash prune`: dropping what the ledger keeps of old runs row by row."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

import click
from tqdm import tqdm

from fasthash import logs, parsing, retention
from fasthash.cli import progress, tables
from fasthash.cli.options import (
    Parsed,
    catalog_names,
    catalog_options,
    database_options,
    find_dsn,
    json_option,
    log_options,
    set_up_logs,
)
from fasthash.cli.reports import ledger
from fasthash.retention import Policy, Reason, Verdict
from fasthash.summary import human_seconds

if TYPE_CHECKING:
    from fasthash.store.catalog import Catalog
    from fasthash.store.pruning import Dropped, Step
    from fasthash.store.session import Connection

log = logging.getLogger("fasthash")

# As long as a run waits, when nothing is configured.
DATABASE_TIMEOUT_S = 60.0
WORDS = {
    "journal_entries": ("journal entry that only confirmed", "journal entries that only confirmed"),
    "residual_rows": ("row without a verdict", "rows without a verdict"),
    "samples": ("sample", "samples"),
    "holder_reports": ("last report", "last reports"),
    "ranges": ("range", "ranges"),
}


@click.command()
@database_options
@catalog_options
@click.option(
    "--keep-last",
    type=click.IntRange(min=1),
    metavar="N",
    help="Keep the last N complete runs of each kind (backfill, scrub, revert).",
)
@click.option(
    "--keep-within",
    type=Parsed("TIME", parsing.parse_duration),
    help="Keep runs that ended within this time: 90d, 12w, 6mo (of 30 days), 1y (of 365).",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be dropped.")
@log_options
@json_option
def prune_command(
    keep_last: int | None,
    keep_within: float | None,
    dry_run: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Drop what old runs have left in the ledger that nothing rests on any more.

    A run is kept whole if any rule keeps it; at least one rule has to be given. Kept in any case
    are runs that are not at their end, the last complete one of each kind, and those that are just
    being undone.

    Of the others these go: journal entries that only confirmed a hash, once the ledger has taken
    over what they tell of the file; the list of rows without a verdict; samples of the speed; what
    coordinators reported last; what a run that was given up had to keep in mind; and their ranges
    become one row a type. These stay for ever: the first and every changed value of a row, drifts
    and decisions, and each run's counts. A run whose journal was pruned cannot be undone by
    `fasthash revert` any more.

    It may go on beside runs, and be stopped at any time: called again, it does the rest. It needs
    privileges that runs have no use for, and names those that are missing. The space is used again
    after the next (auto)vacuum.
    """
    if keep_last is None and keep_within is None:
        raise click.UsageError(
            "say what to keep: --keep-last N, --keep-within TIME, or both",
            click.get_current_context(),
        )
    set_up_logs(values)
    policy = Policy(keep_last, keep_within)
    from fasthash.store import pruning  # noqa: PLC0415
    from fasthash.store.session import Session  # noqa: PLC0415

    with ledger(values["dsn"], "prune") as connection:
        catalog = _check(connection, values, dry_run=dry_run)
        runs, now = pruning.read_runs(connection, catalog)
    verdicts = retention.decide(runs, policy, now)
    pruned = [v.run for v in verdicts if not v.is_kept]
    run_ids = [run.run_id for run in pruned]
    given_up = {run.run_id for run in pruned if run.state != "complete"}
    dropped: Dropped = {}
    if pruned:
        dsn = find_dsn(values["dsn"], make=False)
        session = Session(dsn, "prune", DATABASE_TIMEOUT_S, timeouts=pruning.TIMEOUTS)
        try:
            steps = (
                pruning.look(session, catalog, run_ids)
                if dry_run
                else pruning.prune(session, catalog, run_ids, given_up)
            )
            dropped = _add_up(_shown(steps, values["log_format"]))
        finally:
            session.close()
    with tables.standard_output() as out:
        if as_json:
            print(
                tables.to_json(_as_json(catalog, policy, verdicts, dropped, dry_run), 2), file=out
            )
        else:
            _write(out, catalog, policy, verdicts, dropped, dry_run)


def _check(connection: Connection, values: dict[str, Any], *, dry_run: bool) -> Catalog:
    from fasthash.store import preflight, pruning  # noqa: PLC0415
    from fasthash.store.catalog import find_catalog  # noqa: PLC0415

    preflight.check_server(connection, writing=not dry_run)
    catalog = find_catalog(connection, catalog_names(values))
    if not dry_run:
        pruning.require_privileges(connection)
    return catalog


def _add_up(steps: Iterable[Step]) -> Dropped:
    found: Dropped = {}
    for step in steps:
        for run_id, counts in step.dropped.items():
            found.setdefault(run_id, Counter()).update(counts)
    return found


def _shown(steps: Iterable[Step], log_format: str) -> Iterator[Step]:
    """The same, with a bar on a terminal and a line now and then elsewhere."""
    if sys.stderr.isatty() and log_format == "text":
        with tqdm(unit="block", dynamic_ncols=True, leave=False) as bar:
            for step in steps:
                bar.total = step.of_blocks
                bar.update(step.blocks - bar.n)
                yield step
        return
    next_s = time.monotonic() + progress.LINE_EVERY_S
    entries = rows = 0
    for step in steps:
        entries += sum(c["journal_entries"] for c in step.dropped.values())
        rows += sum(c["residual_rows"] + c["samples"] for c in step.dropped.values())
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + progress.LINE_EVERY_S
            log.info(
                "%s of %s blocks of the journal; %s entries, %s other rows so far",
                f"{step.blocks:,}",
                f"{step.of_blocks:,}",
                f"{entries:,}",
                f"{rows:,}",
                extra=logs.event(
                    "pruning",
                    blocks=step.blocks,
                    of_blocks=step.of_blocks,
                    journal_entries=entries,
                    other_rows=rows,
                ),
            )
        yield step


def _as_json(
    catalog: Catalog,
    policy: Policy,
    verdicts: list[Verdict],
    dropped: Dropped,
    dry_run: bool,
) -> dict[str, Any]:
    return {
        "catalog": catalog.full_name,
        "dry_run": dry_run,
        "keep_last": policy.keep_last,
        "keep_within_s": policy.keep_within_s,
        "dropped": _counts(sum(dropped.values(), Counter())),
        "runs": [
            {
                "run_id": v.run.run_id,
                "kind": v.run.kind,
                "state": v.run.state,
                "finished_at": v.run.finished_at,
                "kept": v.is_kept,
                "reasons": list(v.reasons),
                "dropped": _counts(dropped.get(v.run.run_id, Counter())),
            }
            for v in verdicts
        ],
    }


def _counts(counts: Counter[str]) -> dict[str, int]:
    return {kind: counts[kind] for kind in WORDS}


LAYOUT = tables.Layout(
    ("run", "kind", "state", "ended", "", "why, or what of it"),
    steps=((5, 20), (3, 0)),
    prose=frozenset({5}),
)


def _write(
    out: TextIO,
    catalog: Catalog,
    policy: Policy,
    verdicts: list[Verdict],
    dropped: Dropped,
    dry_run: bool,
) -> None:
    kept = sum(v.is_kept for v in verdicts)
    print(f"{catalog.full_name}: {kept:,} of {len(verdicts):,} runs are kept whole", file=out)
    if verdicts:
        print(file=out)
        rows = (_row(v, policy, dropped.get(v.run.run_id, Counter())) for v in verdicts)
        tables.write_table(out, LAYOUT, rows, tables.list_columns())
        print(file=out)
    total = sum(dropped.values(), Counter())
    what = _in_words(total) or "nothing"
    print(f"{'would be dropped, at the most' if dry_run else 'dropped'}: {what}", file=out)
    if total and not dry_run:
        print("the tables use this space again after the next (auto)vacuum", file=out)


def _row(verdict: Verdict, policy: Policy, dropped: Counter[str]) -> tuple[str, ...]:
    run = verdict.run
    ended = "" if run.finished_at is None else f"{run.finished_at:%Y-%m-%d %H:%M}"
    if verdict.is_kept:
        what = ", ".join(_because(r, run.kind, policy) for r in verdict.reasons)
    else:
        what = _in_words(dropped)
    state = "given up" if run.superseded else run.state
    action = "keep" if verdict.is_kept else "prune"
    return str(run.run_id), run.kind, state, ended, action, what


def _because(reason: Reason, kind: str, policy: Policy) -> str:
    if reason is Reason.LAST_COMPLETE:
        return f"the last complete {kind}"
    if reason is Reason.KEEP_LAST:
        return f"one of the last {policy.keep_last:,}"
    if reason is Reason.KEEP_WITHIN:
        return f"ended within {_duration(policy.keep_within_s or 0.0)}"
    return reason.replace("_", " ")


def _duration(seconds: float) -> str:
    days, rest = divmod(seconds, 86_400)
    return human_seconds(seconds) if rest or not days else f"{days:,.0f} d"


def _in_words(dropped: Counter[str]) -> str:
    parts = (f"{dropped[k]:,} {words[dropped[k] != 1]}" for k, words in WORDS.items() if dropped[k])
    return ", ".join(parts)
