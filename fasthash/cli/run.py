"""`fasthash run`: the main job."""

from __future__ import annotations

from typing import Any

import click

from fasthash import parsing
from fasthash.cli import EXIT_STATUS_HELP
from fasthash.cli.grouped_help import GroupedCommand, help_all_option
from fasthash.cli.job import work
from fasthash.cli.options import Parsed, catalog_options, database_options, option
from fasthash.cli.work_options import courtesy_options, how_options, work_options


@click.command(cls=GroupedCommand, epilog=EXIT_STATUS_HELP)
@database_options
@catalog_options
@work_options
@option(
    "--since",
    example="2026-01-31",
    type=Parsed("TIME", parsing.parse_time),
    help="Markers before this count as absent: 2026-01-31, or with a time of day.",
)
@courtesy_options
@how_options
@help_all_option
def run_command(**values: Any) -> None:
    """Hash every row that lacks the marker.

    Goes on with an interrupted run, joins one that is under way, or begins a new one. SIGINT or
    SIGTERM stops it safely within seconds; the next `fasthash run` picks up there. SIGUSR1 has it
    say what every worker is doing, SIGHUP read the rates in the configuration file again.
    """
    work(values)
