"""What the facts mean for the next run: how much there is to do, and what is in the way."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from fasthash.facts import DatabaseFacts, Facts, Finding, Level

LONG_HELD = {"window": Level.NOTE, "pause_file": Level.WARNING}


def judge(facts: Facts) -> list[Finding]:
    """The findings."""
    return [
        *_rows(facts.database),
        *_workers(facts),
        *_hold(facts),
        *_open_runs(facts.database),
        *(Finding("run.options", Level.PROBLEM, text) for text in facts.database.refusals),
    ]


def _rows(facts: DatabaseFacts) -> Iterator[Finding]:
    rows = facts.rows
    if rows is not None and rows.with_path == 0 and rows.how == "count":
        text = "no row has a path: there is nothing to hash"
        yield Finding("run.rows", Level.WARNING, text, "fasthash register DIR")
    elif rows is not None:
        about, how = ("", "counted") if rows.how == "count" else ("about ", "estimated")
        to_do = max(0, rows.with_path - rows.marked)
        text = f"`run` would hash {about}{to_do:,} of {rows.with_path:,} rows with a path, `scrub`"
        yield Finding("run.rows", Level.OK, f"{text} {rows.marked:,} ({how})")
    if facts.drifts_open:
        one = facts.drifts_open == 1
        text = f"{facts.drifts_open:,} drift{' waits' if one else 's wait'} for a decision"
        yield Finding("run.drifts", Level.WARNING, text, "fasthash drift list --open")


def _workers(facts: Facts) -> Iterator[Finding]:
    count, wished = facts.workers, facts.wishes.workers
    why = "as configured" if wished is not None else "as many as cores and disks can use"
    yield Finding("run.workers", Level.OK, f"{count} worker{'' if count == 1 else 's'}, {why}")
    if facts.wishes.config_file is not None:
        yield Finding("run.config", Level.OK, f"configured in {facts.wishes.config_file}")
    if facts.wishes.rate is not None:
        yield Finding("run.rate", Level.NOTE, f"kept to {facts.wishes.rate}")


def _hold(facts: Facts) -> Iterator[Finding]:
    if facts.hold is None:
        return
    level = LONG_HELD.get(facts.hold.cause, Level.WARNING)
    remedy = ""
    if facts.hold.cause == "pause_file" and facts.wishes.pause_file is not None:
        remedy = f"rm {shlex.quote(facts.wishes.pause_file)}"
    yield Finding("run.hold", level, f"nothing would be read now: {facts.hold.reason}", remedy)


def _open_runs(facts: DatabaseFacts) -> Iterator[Finding]:
    for run in facts.runs:
        command = "run" if run.kind == "backfill" else run.kind
        if run.refusal is not None and run.kind == "backfill":
            remedy = (run.goes_on_by or "", "# or: fasthash run --restart")
            yield Finding("run.open", Level.PROBLEM, run.refusal, remedy)
        elif run.alive:
            text = f"run {run.run_id} ({run.kind}) is under way: `fasthash {command}` joins it"
            yield Finding("run.open", Level.NOTE, text, "fasthash status")
        else:
            text = f"run {run.run_id} ({run.kind}) is unfinished: `fasthash {command}` goes on"
            yield Finding("run.open", Level.NOTE, text, f"fasthash {command}")
