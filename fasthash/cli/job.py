"""What `fasthash run` and `fasthash scrub` have in common: options, and how the job is done."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from fasthash import config, logs, neighbourly, parsing, windows
from fasthash.cli.metrics import metrics_options, start_metrics, tell_end, tell_failure
from fasthash.cli.options import (
    Parsed,
    combine,
    find_dsn,
    json_option,
    log_options,
    option,
    reload_rates,
    set_up_logs,
    settings_from,
)
from fasthash.errors import ConfigError
from fasthash.fixity import Outcome

if TYPE_CHECKING:
    from fasthash.coordinator import Finished
    from fasthash.summary import RunSummary

log = logging.getLogger("fasthash")

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
        type=Parsed("SIZE", parsing.parse_chunk_size),
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
        help="hold keeps the old hash and records the drift as open.  [default: overwrite; a scrub "
        "only overwrites what was modified]",
    ),
    option(
        "--db-timeout",
        type=Parsed("TIME", parsing.parse_duration),
        default="5min",
        help="How long the database may be away.",
    ),
    option(
        "--lease-ttl",
        type=Parsed("TIME", parsing.parse_lease_ttl),
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
    option(
        "--algorithm",
        type=click.Choice(["sha256", "sha256,blake3"]),
        default="sha256",
        help="blake3 goes to metadata.file_blake3, made in the same read.",
    ),
    option(
        "--precheck",
        type=click.Choice(["off", "stat", "xxh3"]),
        default="off",
        help="What spares hashing again: the same size, times and inode; or the same XXH3-128 of "
        "all bytes.",
    ),
)

courtesy_options = combine(
    option(
        "--rate",
        type=Parsed("RATE", parsing.parse_rate),
        default="off",
        help="Bytes a second that are read on this host, 50MB/s.",
    ),
    option(
        "--files-rate",
        type=Parsed("NUMBER", parsing.parse_files_rate),
        default="off",
        help="Files a second, for disks that have to seek.",
    ),
    option(
        "--window",
        key="windows",
        multiple=True,
        type=Parsed("HH:MM-HH:MM", windows.parse_window),
        help="Read only at these times of day; may be repeated, may pass midnight.",
    ),
    option("--timezone", help="Of the windows, Europe/Berlin.  [default: this host's]"),
    option(
        "--wait/--no-wait",
        key="wait",
        default=True,
        help="Outside the windows: wait, or end; the next call goes on.",
    ),
    option(
        "--budget",
        type=Parsed("SIZE", parsing.parse_budget),
        help="End before more than this is read, but not before one file is.",
    ),
    option(
        "--for",
        key="for_time",
        type=Parsed("TIME", parsing.parse_duration),
        help="End after this time; files in hand are finished.",
    ),
    option("--pause-file", type=click.Path(), help="Nothing is read while this file exists."),
    option("--nice", type=click.IntRange(0, 19), default=0, help="Niceness of the workers."),
    option(
        "--ionice",
        type=Parsed("CLASS", neighbourly.checked_ionice),
        help="idle, best-effort or best-effort:0..7, for the workers.",
    ),
    option(
        "--max-io-pressure",
        type=click.FloatRange(0, 100),
        default=0,
        help="Hold while processes wait for disks more of the time, in percent; 0 is off.",
    ),
    option(
        "--max-replication-lag",
        type=Parsed("TIME", parsing.parse_duration),
        default="0s",
        help="Hold while a standby is further behind; 0s is off.",
    ),
    option(
        "--max-wal-backlog",
        type=click.IntRange(min=0),
        default=42,
        help="Hold while more WAL segments wait for the archiver; 0 is off.",
    ),
)

how_options = combine(
    click.option("--dry-run", is_flag=True, help="Hash and report; write nothing."),
    click.option("--restart", is_flag=True, help="Give an unfinished run up and begin a new one."),
    click.option("-q", "--quiet", is_flag=True, help="No progress, no notes: warnings only."),
    json_option,
    log_options,
    metrics_options,
)


def work(values: dict[str, Any]) -> None:
    """Does the job that a command's parameters describe, shows the summary, and exits."""
    _end_at_once_when_told()
    set_up_logs(values)
    from fasthash.cli.progress import choose_progress  # noqa: PLC0415
    from fasthash.main_job import run_job  # noqa: PLC0415
    from fasthash.metrics import NO_METRICS  # noqa: PLC0415

    settings = settings_from(values, find_dsn(values["dsn"], make=False))
    metrics = start_metrics(values, settings)
    progress = choose_progress(quiet=values["quiet"], log_format=settings.log_format)
    try:
        reload = reload_rates(click.get_current_context())
        finished = run_job(settings, progress, metrics or NO_METRICS, reload)
    except Exception as error:
        if metrics is not None:
            tell_failure(metrics, error)
        raise
    _end_at_once_when_told()
    if metrics is not None:
        tell_end(metrics, finished)
    _log_end(finished)
    unshown = _show(finished.summary, as_json=values["as_json"])
    if finished.error is not None:
        raise finished.error from unshown
    if finished.stopped_by is not None:
        sys.stdout.flush()
        sys.stderr.flush()
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
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # a question that nobody can answer now


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
