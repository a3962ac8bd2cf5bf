"""The grouped help of commands with many options."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from fasthash.cli.grouped_help import GROUPS
from fasthash.cli.run import run_command
from fasthash.cli.scrub import scrub_command

BOTH = pytest.mark.parametrize("command", [run_command, scrub_command], ids=["run", "scrub"])


def shown(command: click.Command, option: str) -> str:
    done = CliRunner().invoke(command, [option], terminal_width=80)
    assert done.exit_code == 0, done.output
    return done.output


@BOTH
def test_every_option_is_in_one_group(command: click.Command) -> None:
    names = [name for group in GROUPS.values() for name in group if name is not None]
    assert len(names) == len(set(names))
    context = click.Context(command)
    own = command.get_help_option(context)
    ungrouped = [p.name for p in command.get_params(context) if p is not own]
    assert not set(ungrouped) - set(names)


def test_no_group_names_what_is_no_option() -> None:
    contexts = [(command, click.Context(command)) for command in (run_command, scrub_command)]
    there = {p.name for command, context in contexts for p in command.get_params(context)}
    named = {name for group in GROUPS.values() for name in group if name is not None}
    assert named - there <= {"help"}


@BOTH
def test_all_options_are_shown_on_demand(command: click.Command) -> None:
    everything, everyday = shown(command, "--help-all"), shown(command, "--help")
    for param in command.get_params(click.Context(command)):
        assert f"{param.opts[-1]}" in everything
    for text in (everything, everyday):
        assert "Exit status:" in text
        assert "--help-all" in text
    for option in ("--type", "--limit", "--dry-run", "--root", "--window", "--rate", "--workers"):
        assert f" {option} " in everyday
    for option in ("--lease-ttl", "--max-wal-backlog", "--id-column"):
        assert option in everything
        assert option not in everyday
