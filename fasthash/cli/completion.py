"""`fasthash completion`: what shells need to complete commands, and what they are answered."""

from __future__ import annotations

from typing import Any

import click
from click import shell_completion
from click.shell_completion import ShellComplete

from fasthash.cli import COMPLETE_VARIABLE, cli, tables

SHELLS = ("bash", "zsh", "fish")


class Bash(shell_completion.BashComplete):
    """Bash, which makes three words of --option=value."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the cursor's, without such signs, and the cursor's own."""
        words, incomplete = super().get_completion_args()
        return [word for word in words if word != "="], incomplete


class Fish(shell_completion.FishComplete):
    """Fish, whose script of click's would cut values and descriptions at a comma."""

    source_template = shell_completion.FishComplete.source_template.replace(
        'string split ","', 'string split --max 1 ","'
    )


def prepare() -> None:
    """Has click answer shells by these classes."""
    shell_completion.add_completion_class(Bash)
    shell_completion.add_completion_class(Fish)


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(shell: str) -> None:
    """Print the script by which SHELL completes commands, options, their values and files.

    \b
    bash  echo 'eval "$(fasthash completion bash)"' >> ~/.bashrc
    zsh   fasthash completion zsh > ~/.zfunc/_fasthash
          where ~/.zfunc is in $fpath before compinit is called
    fish  fasthash completion fish > ~/.config/fish/completions/fasthash.fish

    It takes effect in the next shell, and asks `fasthash` itself, so that it need not be made
    again when there is a new version. No database is asked.
    """
    prepare()
    found: Any = shell_completion.get_completion_class(shell)
    complete: ShellComplete = found(cli, {}, "fasthash", COMPLETE_VARIABLE)
    with tables.standard_output(exact=True) as out:
        # Not the class's own `source`: that of bash looks which bash is installed here.
        print(ShellComplete.source(complete), file=out)
