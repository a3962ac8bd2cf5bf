"""`fasthash run`: the main job."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from fasthash import config
from fasthash.cli import EXIT_STATUS_HELP
from fasthash.cli.options import (
    Parsed,
    catalog_options,
    combine,
    database_options,
    find_dsn,
    json_option,
    log_options,
    option,
    set_up_logs,
    settings_from,
)
from fasthash.errors import ConfigError

if TYPE_CHECKING:
    from fasthash.summary import RunSummary

work_options = combine(
    option(
        "--root",
        key="roots",
        multiple=True,
        type=click.Path(),
        help="Directory that files lie in; may be given several times.  "
        "[default: those that `fasthash register` was given]",
    ),
    option("--root-sentinel", help="A name that must exist beneath every root: is it mounted?"),
    option("--resolver", help="package.module:function from path text to path, or None."),
    option("--update-function", help="schema.function(ids, jsonb patches) to write through."),
    option(
        "--workers",
        type=click.IntRange(1, 1024),
        help="Worker processes.  [default: as many as cores; one a rotational disk]",
    ),
    option(
        "--range-rows",
        type=click.IntRange(1, 1_000_000),
        default=config.DEFAULT_RANGE_ROWS,
        help="Rows a leased range.",
    ),
    option(
        "--chunk-size",
        type=Parsed("SIZE", config.parse_chunk_size),
        default="256KiB",
        help="Read buffer for large files.",
    ),
    option(
        "--reader",
        type=click.Choice(["readinto", "mmap"]),
        default="readinto",
        help="mmap is faster on warm large local files; never for network file systems.",
    ),
    option(
        "--disk",
        type=click.Choice(["auto", "rotational", "solid"]),
        default="auto",
        help="Rotational disks are read by one worker each, along the disk.",
    ),
    option(
        "--on-drift",
        type=click.Choice(["overwrite", "hold"]),
        default="overwrite",
        help="hold keeps the old hash and records the drift as open.",
    ),
    option(
        "--db-timeout",
        type=Parsed("TIME", config.parse_duration),
        default="5min",
        help="How long the database may be away.",
    ),
    option(
        "--lease-ttl",
        type=Parsed("TIME", config.parse_lease_ttl),
        default="60s",
        help="Life of a lease; it is renewed five times in it.",
    ),
    click.option(
        "--type",
        "types",
        multiple=True,
        help=f"Only rows of this type; may be repeated, {config.NO_TYPE} for none.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Stop after so many rows."),
)


@click.command(epilog=EXIT_STATUS_HELP)
@database_options
@catalog_options
@work_options
@click.option("--dry-run", is_flag=True, help="Hash and report; write nothing.")
@click.option("--restart", is_flag=True, help="Give an unfinished run up and begin a new one.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no notes: warnings only.")
@json_option
@log_options
def run_command(**values: Any) -> None:
    """Hash every row that lacks the marker.

    Goes on with an interrupted run, joins one that is under way, or begins a new one. SIGINT or
    SIGTERM stops it safely within seconds; the next `fasthash run` picks up there.
    """
    _end_at_once_when_told()
    set_up_logs(values)
    from fasthash.cli.progress import choose_progress  # noqa: PLC0415
    from fasthash.main_job import run_job  # noqa: PLC0415

    settings = settings_from(values, find_dsn(values["dsn"], make=False))
    progress = choose_progress(quiet=values["quiet"], log_format=settings.log_format)
    finished = run_job(settings, progress)
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
    from fasthash.summary import as_text  # noqa: PLC0415

    try:
        # A reader who has enough does not change the exit status either.
        with contextlib.suppress(click.exceptions.Exit), tables.standard_output() as out:
            if as_json:
                print(json.dumps(summary.as_json(), indent=2), file=out)
            else:
                print(as_text(tables.harmless(summary), tables.list_columns()), file=out)
    except ConfigError as error:
        return error
    return None
