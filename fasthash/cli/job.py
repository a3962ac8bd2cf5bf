"""How `fasthash run` and `fasthash scrub` do their job: from parameters to summary and status."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from fasthash import logs
from fasthash.cli.metrics import start_metrics, tell_end, tell_failure
from fasthash.cli.options import find_dsn, reload_rates, set_up_logs, settings_from
from fasthash.errors import ResultLost
from fasthash.fixity import Outcome

if TYPE_CHECKING:
    from fasthash.coordinator import Finished
    from fasthash.summary import RunSummary

log = logging.getLogger("fasthash")


def work(values: dict[str, Any]) -> None:
    """Does the job that a command's parameters describe, shows the summary, and exits."""
    _end_at_once_when_told()
    set_up_logs(values)
    from fasthash.cli.progress import choose_progress  # noqa: PLC0415
    from fasthash.controls import Signals  # noqa: PLC0415
    from fasthash.main_job import run_job  # noqa: PLC0415
    from fasthash.metrics import NO_METRICS  # noqa: PLC0415

    settings = settings_from(values, find_dsn(values["dsn"], make=False))
    metrics = start_metrics(values, settings)
    progress = choose_progress(quiet=values["quiet"], log_format=settings.log_format)
    controls = Signals(reload_rates(click.get_current_context()))
    try:
        finished = run_job(settings, progress, controls, metrics or NO_METRICS)
    except Exception as error:
        if metrics is not None:
            tell_failure(metrics, error)
        raise
    _end_at_once_when_told()
    if metrics is not None:
        tell_end(metrics, finished)
    if logs.is_json() or not sys.stdout.isatty():
        _log_end(finished)  # on a terminal the summary follows
    unshown = _show(finished.summary, as_json=values["as_json"])
    if finished.error is not None:
        raise finished.error from unshown
    if finished.stopped_by is not None:
        os._exit(finished.exit_status)  # a thread may still wait for a dead database
    if unshown is not None:
        raise unshown
    click.get_current_context().exit(finished.exit_status)


def _log_end(finished: Finished) -> None:
    """For whoever reads the log alone: how it ended, and what it came to."""
    summary, total = finished.summary, finished.summary.total
    log.info(
        "%s %s: %s rows, exit status %d",
        "the dry run is" if summary.dry_run else f"run {summary.run_id} is",
        summary.state,
        f"{total.scanned:,}",
        finished.exit_status,
        extra=logs.event(
            "run_ended",
            state=summary.state,
            ended_for=summary.ended_for,
            exit_status=finished.exit_status,
            seconds=round(summary.seconds, 3),
            rows_scanned=total.scanned,
            outcomes={str(outcome): getattr(total, outcome) for outcome in Outcome},
            bytes_hashed=total.bytes_hashed,
            drift_open=summary.open_drifts,
        ),
    )


def _end_at_once_when_told() -> None:
    """SIGINT and SIGTERM before the run is open, and after it has ended: there is nothing to save.

    An exception instead would have to get out of a driver that waits for a dead server.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _frame: os._exit(128 + n))
    # A question that nobody can answer now, and a file that is read anyway, or was.
    for number in (signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _show(summary: RunSummary, *, as_json: bool) -> ResultLost | None:
    """Prints the summary; returns the error if it cannot: how the run ended goes before it."""
    from fasthash.cli import tables  # noqa: PLC0415
    from fasthash.cli.colour import coloured  # noqa: PLC0415
    from fasthash.summary import as_text  # noqa: PLC0415

    try:
        # A reader who has enough does not change the exit status either.
        with contextlib.suppress(click.exceptions.Exit), tables.standard_output() as out:
            if as_json:
                print(json.dumps(summary.as_json(), indent=2), file=out)
            else:
                text = as_text(tables.harmless(summary), tables.list_columns())
                print(coloured(text, out), file=out)
    except ResultLost as error:
        return error
    return None
