"""`fasthash status`: what a run is doing, once or again and again."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from fasthash.cli import tables
from fasthash.cli.options import Parsed, database_options, find_dsn, json_option
from fasthash.cli.reports import ledger, run_argument, table_option
from fasthash.errors import ConfigError, DatabaseUnreachable
from fasthash.parsing import parse_duration

# The terminal's second screen, without a cursor; and back.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

# A run that nobody works on was interrupted, or is about to find its database again.
NOBODY_FOR_S = 5.0


def _parse_pause(text: str) -> float:
    """A time between two looks.

    Raises:
        ConfigError: it is none, or too short.
    """
    seconds = parse_duration(text)
    if seconds < 0.1:
        raise ConfigError(f"{text} is too short to look at: at least 100ms")
    return seconds


@click.command()
@run_argument
@database_options
@table_option
@click.option("--watch", is_flag=True, help="Look again and again, until the run has ended.")
@click.option(
    "--every",
    "pause_s",
    type=Parsed("TIME", _parse_pause),
    default="2s",
    show_default=True,
    help="How often to look, with --watch.",
)
@json_option
def status_command(
    run_id: int | None,
    dsn: str | None,
    table: str | None,
    watch: bool,
    pause_s: float,
    as_json: bool,
) -> None:
    """Show what a run is doing: run number RUN, else one that is under way, else the latest.

    `fasthash runs` lists them all.

    Works from any terminal and host, while the run goes on and after it. Each coordinator tells the
    ledger every 5 seconds what its workers are reading.

    With --watch the terminal is drawn anew until the run has ended or Ctrl-C; where the output is
    no terminal, each look is printed after the other (with --json as a line). A database that is
    away meanwhile is waited for.
    """
    where = find_dsn(dsn, make=False)
    first = _look(run_id, where, table)
    if watch:
        _watch(first, where, pause_s, as_json=as_json)
        return
    with tables.standard_output() as out:
        print(_text(first, as_json=as_json, indent=2), file=out)


def _look(run_id: int | None, dsn: str, table: str | None = None) -> dict[str, Any]:
    from fasthash.store import reports  # noqa: PLC0415
    from fasthash.store.status import read_status  # noqa: PLC0415

    with ledger(dsn, "status") as connection:
        return read_status(connection, reports.live_or_latest(connection, run_id, table))


def _watch(status: dict[str, Any], dsn: str, pause_s: float, *, as_json: bool) -> None:
    """Shows a run until it has ended, or somebody has seen enough (Ctrl-C)."""
    is_screen = not as_json and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    with tables.standard_output() as out:
        drawing = _second_screen() if is_screen else contextlib.nullcontext()
        with contextlib.suppress(KeyboardInterrupt), drawing:
            for found in _looks(status, dsn, pause_s):
                status = found
                text = _text(status, as_json=as_json)
                if is_screen:
                    _draw(text)
                else:
                    print(text, end="\n" if as_json else "\n\n", file=out)
                    out.flush()
        if is_screen:
            print(_text(status), file=out)


def _looks(status: dict[str, Any], dsn: str, pause_s: float) -> Iterator[dict[str, Any]]:
    """The status, again and again, until the run has ended.

    While the database cannot be reached it is the last one, with the reason as `unreachable`.
    """
    from fasthash.store.answers import DatabaseError, one_line  # noqa: PLC0415

    yield status
    is_given_up = status["state"] != "running"
    seen_at_s = time.monotonic()
    while not is_given_up:
        time.sleep(pause_s)
        try:
            status = _look(status["run_id"], dsn)
        except (DatabaseUnreachable, DatabaseError) as error:
            status = {**status, "unreachable": one_line(error)}
        if status["state"] == "running":
            seen_at_s = time.monotonic()
        since_s = time.monotonic() - seen_at_s
        is_given_up = status["state"] in ("complete", "failed") or since_s > NOBODY_FOR_S
        yield status


def _text(status: dict[str, Any], *, as_json: bool = False, indent: int | None = None) -> str:
    if as_json:
        return tables.to_json(status, indent)
    from fasthash.cli.colour import coloured  # noqa: PLC0415
    from fasthash.cli.screen import status_text  # noqa: PLC0415

    columns, ascii_only = tables.screen_columns(), not tables.has_blocks()
    return coloured(status_text(status, columns, ascii_only=ascii_only), sys.stdout)


@contextlib.contextmanager
def _second_screen() -> Iterator[None]:
    sys.stdout.write(_ENTER)
    try:
        yield
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _draw(text: str) -> None:
    """Overwrites the screen line by line, which does not flicker; what does not fit is counted."""
    height = os.get_terminal_size(sys.stdout.fileno()).lines
    lines = text.splitlines()
    if len(lines) > height:
        lines[height - 1 :] = [f"({len(lines) - height + 1} more lines)"]
    drawn = f"{_REST_OF_LINE}\r\n".join(lines)
    sys.stdout.write(f"{_HOME}{drawn}{_REST_OF_LINE}{_REST_OF_SCREEN}")
    sys.stdout.flush()
