"""`fasthash scrub`: reading again what was hashed before."""

from __future__ import annotations

from typing import Any

import click

from fasthash import parsing
from fasthash.cli import EXIT_STATUS_HELP
from fasthash.cli.grouped_help import GroupedCommand, help_all_option
from fasthash.cli.job import work
from fasthash.cli.options import Parsed, catalog_options, database_options, option
from fasthash.cli.work_options import courtesy_options, how_options, work_options
from fasthash.config import Scrub


@click.command(cls=GroupedCommand, epilog=EXIT_STATUS_HELP)
@database_options
@catalog_options
@option(
    "--older-than",
    example="90d",
    type=Parsed("TIME", parsing.parse_duration),
    default="0s",
    help="Only rows whose marker is older than this, and those known to be bad.",
)
@option(
    "--sample",
    example="1%",
    type=Parsed("SHARE", parsing.parse_share),
    default="100%",
    help="Only this share of the rows.",
)
@option("--seed", default="0", help="Which rows the sample takes; the same for the same seed.")
@click.option("--missing", is_flag=True, help="Read nothing: only see that files exist, by size.")
@work_options
@courtesy_options
@how_options
@help_all_option
def scrub_command(**values: Any) -> None:
    """Read again every row that has the marker, the oldest first.

    A file whose content is another is drift: `modified` where its size or mtime has moved since it
    was hashed, which is overwritten, and `corrupt` where neither has, whatever other stamps did. A
    corrupt file's good hash stays until you decide (`fasthash drift`), unless you say --on-drift
    overwrite.

    Ended by --for, --budget, a window or a signal, it goes on from there the next time. What is
    missing or cannot be read is listed by `fasthash residual`; its hash stays.
    """
    scrub = Scrub(values["older_than"], values["sample"], values["seed"], values["missing"])
    work({**values, "since": None, "scrub": scrub})
