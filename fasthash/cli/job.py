"""How `fasthash run` and `fasthash scrub` do their job: from parameters to summary and status."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from fasthash.cli.options import find_dsn, reload_rates, set_up_logs, settings_from
from fasthash.errors import ConfigError

if TYPE_CHECKING:
    from fasthash.summary import RunSummary


def work(values: dict[str, Any]) -> None:
    """Does the job that a command's parameters describe, shows the summary, and exits."""
    _end_at_once_when_told()
    set_up_logs(values)
    from fasthash.cli.progress import choose_progress  # noqa: PLC0415
    from fasthash.controls import Signals  # noqa: PLC0415
    from fasthash.main_job import run_job  # noqa: PLC0415

    settings = settings_from(values, find_dsn(values["dsn"], make=False))
    progress = choose_progress(quiet=values["quiet"], log_format=settings.log_format)
    finished = run_job(settings, progress, Signals(reload_rates(click.get_current_context())))
    _end_at_once_when_told()
    unshown = _show(finished.summary, as_json=values["as_json"])
    if finished.error is not None:
        raise finished.error from unshown
    if finished.stopped_by is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(128 + finished.stopped_by)  # a thread may still wait for a dead database
    if unshown is not None:
        raise unshown
    click.get_current_context().exit(finished.summary.exit_status)


def _end_at_once_when_told() -> None:
    """SIGINT and SIGTERM before the run is open, and after it has ended: there is nothing to save.

    An exception instead would have to get out of a driver that waits for a dead server.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _frame: os._exit(128 + n))


def _show(summary: RunSummary, *, as_json: bool) -> ConfigError | None:
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
    except ConfigError as error:
        return error
    return None
