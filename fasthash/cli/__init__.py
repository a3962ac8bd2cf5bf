"""The command line: what is typed, what is shown, and the exit status."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from fasthash import __version__, streams
from fasthash.errors import INTERNAL_ERROR_STATUS, FasthashError, ResultLost

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

EXIT_STATUS_HELP = """\b
Exit status:
  0        complete, nothing to look at
  1        complete, but drift was found or waits, rows failed, or files are gone
  2        usage or configuration, or the result could not be written
  3        could not go on (database lost, run given up by others, ..); progress is kept
  4        preflight failed, nothing begun
  70       internal error: a defect of fasthash; what was committed before is kept
  130/143  interrupted (SIGINT/SIGTERM); the same command goes on
"""

# What a shell sets to ask for completions.
COMPLETE_VARIABLE = "_FASTHASH_COMPLETE"

# By what they are for: command name -> its module, which is imported when it is called, and what it
# does.
GROUPS = {
    "Set up": {
        "init": ("setup", "Create or upgrade the ledger schema."),
        "grants": ("setup", "Print the grants a role needs to run fasthash."),
        "register": ("register", "Add the files of a directory to the catalog."),
        "doctor": ("doctor", "Check machine, roots and database, and say what to mend."),
        "config": ("config", "Show the settings in effect, and check a configuration file."),
        "bench": ("bench", "Measure this machine and find the settings for it."),
        "completion": ("completion", "Print what a shell needs to complete fasthash's commands."),
        "demo": ("demo", "Try it all on the Python standard library."),
    },
    "Work": {
        "run": ("run", "Hash every row that lacks the marker."),
        "scrub": ("scrub", "Read again what was hashed before, the oldest first."),
        "rate": ("rate", "Change the read rate of a run while it is under way."),
        "prune": ("prune", "Remove what old runs have left in the ledger."),
    },
    "Watch": {
        "status": ("status", "Show what a run is doing."),
        "runs": ("runs", "List all runs, or show one of them."),
        "summary": ("reports", "Show the result of a run."),
        "report": ("report", "Make a page about a run and its catalog."),
    },
    "Decide": {
        "drift": ("drift", "List stored hashes that differed from the file's, and decide."),
        "residual": ("reports", "List rows that could not be checked, and why."),
        "journal": ("listing", "Show every value that fasthash gave a row."),
    },
    "Undo": {
        "revert": ("revert", "Put back what was there before a run."),
    },
    "Export": {
        "manifest": ("listing", "Print the hashes in a form that other tools check."),
        "compare": ("compare", "Compare a manifest with the catalog."),
        "duplicates": ("listing", "List rows whose files have the same content."),
    },
}
COMMANDS = {name: found for group in GROUPS.values() for name, found in group.items()}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed: `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the groups."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command's module."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"fasthash.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands in their groups, without importing any of them."""
        widest = max(map(len, COMMANDS))
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(n.ljust(widest), t) for n, (_, t) in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names of commands, without importing any of them, and the group's own options."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415

        return [
            *(
                CompletionItem(n, help=t)
                for n, (_, t) in COMMANDS.items()
                if n.startswith(incomplete)
            ),
            *click.Command.shell_complete(self, ctx, incomplete),
        ]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Names the nearest command where there is none of that name."""
        from fasthash.config import did_you_mean  # noqa: PLC0415

        known = ctx.resilient_parsing or not args or args[0] in COMMANDS
        if not known and not args[0].startswith("-"):
            raise click.UsageError(
                f"no such command {args[0]!r}{did_you_mean(args[0], COMMANDS)}", ctx
            )
        return super().resolve_command(ctx, args)


@click.command(
    cls=LazyGroup,
    epilog=EXIT_STATUS_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="fasthash")
def cli() -> None:
    """Put file hashes into a PostgreSQL catalog and keep them true."""


def main(arguments: list[str] | None = None) -> None:
    """Runs a command and exits with its status; errors are one line on stderr."""
    signal.signal(signal.SIGTERM, _terminated)
    streams.keep_log()
    streams.watch_result()
    if COMPLETE_VARIABLE in os.environ:
        from fasthash.cli import completion  # noqa: PLC0415

        completion.prepare()
    status = _status_of(arguments)
    lost = streams.lost_result()
    if status in (0, 1) and lost is not None and not isinstance(lost, BrokenPipeError):
        status = _complain(str(ResultLost(lost)), ResultLost.exit_status)
    sys.exit(status)


def _status_of(arguments: list[str] | None) -> int:
    """Runs a command; what ends it is said in one line."""
    try:
        status = cli.main(
            arguments,
            prog_name="fasthash",
            complete_var=COMPLETE_VARIABLE,
            standalone_mode=False,
        )
    except click.exceptions.Exit as stop:
        status = stop.exit_code
    except SystemExit as stop:
        # By _terminated; or by click with 1, where a reader has enough: that is no drift.
        has_enough = stop.code == 1 and isinstance(streams.lost_result(), BrokenPipeError)
        status = 0 if has_enough else stop.code
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        status = error.exit_code
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        hint = f" (try `{where.command_path} --help`)" if where is not None else ""
        status = _complain(f"{error.format_message().rstrip('.')}{hint}", error.exit_code)
    except FasthashError as error:
        status = _complain(str(error), error.exit_status)
    except OSError as error:
        # What was lost of the result is said by `main`.
        status = _complain_of_database(error) if streams.lost_result() is None else 0
    except BaseException as error:  # a status of 1 would say something about the catalog
        status = _complain_of_database(error)
    return status if isinstance(status, int) else 0


def _terminated(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def _complain(message: str, status: int) -> int:
    from fasthash import logs  # noqa: PLC0415
    from fasthash.colour import Style, is_wanted, paint  # noqa: PLC0415

    streams.lost_result()  # what was written comes before the complaint
    if logs.is_json():
        log = logging.getLogger("fasthash")
        log.error("%s", message, extra=logs.event("error", exit_status=status))
    else:
        in_colour = is_wanted(sys.stderr)
        who = paint("fasthash:", Style.BAD) if in_colour else "fasthash:"
        click.echo(f"{who} {logs.shown(message, logs.LONGEST_ERROR)}", err=True, color=in_colour)
    return status


def _complain_of_database(error: BaseException) -> int:
    """One line for what a database can do; anything else is a defect, and shows where it is."""
    psycopg: Any = sys.modules.get("psycopg")
    if psycopg is None or not isinstance(error, psycopg.Error):
        return _complain_of_defect(error)
    from fasthash.store.answers import described  # noqa: PLC0415

    return _complain(f"the database refused: {described(error)}", 4)


def _complain_of_defect(error: BaseException) -> int:
    import traceback  # noqa: PLC0415

    from fasthash import logs  # noqa: PLC0415

    where = "".join(traceback.format_exception(error))
    if logs.is_json():
        log = logging.getLogger("fasthash")
        log.error("a defect of fasthash", extra=logs.event("defect", traceback=where))
    else:
        click.echo("\n".join(map(logs.shown, where.splitlines())), err=True)
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    message = (
        f"internal error, a defect of fasthash: {reason}; what was committed before is kept; "
        "please report it with the lines above"
    )
    return _complain(message, INTERNAL_ERROR_STATUS)
