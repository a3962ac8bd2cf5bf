"""The pages in Markdown, and the example of a configuration file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from surface import Command, Entry, Key, common

from fasthash.cli import EXIT_STATUS_HELP
from fasthash.cli.keys import OTHER_VARIABLES

MADE = "<!-- Made by `make docs` from the program itself: change it there. -->"


def commands_page(found: list[Command]) -> str:
    """docs/commands.md"""
    shared = common(found)
    lines = [
        MADE,
        "",
        "# Commands",
        "",
        "What `--help` (`--help-all` of `run` and `scrub`) says, on one page. Most options can",
        "also be set in the [configuration file](configuration.md) or in the environment.",
        "",
        *(f"- [{c.name}](#{c.name.replace(' ', '-')})" for c in found),
        "- [Common options](#common-options)",
        "- [Exit status](#exit-status)",
    ]
    for command in found:
        lines += ["", *_command(command, shared)]
    lines += ["", "## Common options", "", *_table(shared)]
    lines += ["", "## Exit status", "", "| status | meaning |", "|---|---|"]
    lines += [f"| {status} | {meaning} |" for status, meaning in exit_statuses()]
    return "\n".join(lines) + "\n"


def exit_statuses() -> Iterator[tuple[str, str]]:
    """Each status and its meaning."""
    for line in EXIT_STATUS_HELP.splitlines()[2:]:
        status, _, meaning = line.strip().partition(" ")
        yield status, meaning.strip()


def _command(command: Command, shared: list[Entry]) -> Iterator[str]:
    yield f"## {command.name}"
    yield from ("", "```text", command.usage, "```")
    for paragraph in command.paragraphs:
        yield ""
        if paragraph.startswith("\b"):
            yield from ("```text", *paragraph.splitlines()[1:], "```")
        else:
            yield paragraph
    own = [e for e in command.entries if e not in shared]
    if own:
        yield ""
        yield from _table(own)
    others = [f"`{e.flag}`" for e in command.entries if e in shared]
    if others:
        yield ""
        yield from textwrap.wrap(
            f"[Common options](#common-options): {', '.join(others)}", 98, break_on_hyphens=False
        )


def _table(entries: Sequence[Entry]) -> list[str]:
    rows = [f"| `{_cell(entry.names)}` | {_cell(entry.text)} |" for entry in entries]
    return ["| option | |", "|---|---|", *rows]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def configuration_page(keys: list[Key]) -> str:
    """docs/configuration.md"""
    lines = [
        MADE,
        "",
        "# Configuration",
        "",
        "A setting is looked for in four places; the first that has it counts:",
        "",
        "1. a flag, `--rate 50MB/s`;",
        "2. the environment, `FASTHASH_RATE=50MB/s` (set and not empty); several roots with `:`",
        "   between them, several windows with blanks;",
        '3. the configuration file, `rate = "50MB/s"`: the one that `--config` or',
        "   `FASTHASH_CONFIG` names, else `./fasthash.toml`, else",
        "   `~/.config/fasthash/fasthash.toml` (`XDG_CONFIG_HOME`);",
        "4. the default.",
        "",
        "`fasthash config show` has what is in effect and where it comes from, `fasthash config",
        "check` finds mistakes. A file with a mistake in any key is refused by every command; so",
        "is one that everybody could have written, or that belongs to another user than root. It",
        "is flat [TOML](https://toml.io), without sections; where a text stands for a size, a time",
        "or a number, a number will do. [An example](../examples/fasthash.toml) has all keys.",
        "",
        "| key | default | |",
        "|---|---|---|",
        *(f"| [`{k.name}`](#{k.name}) | {_cell(k.default)} | {_cell(k.meaning)} |" for k in keys),
    ]
    for key in keys:
        lines += ["", *_key(key)]
    lines += ["", "## Other variables", "", "| variable | |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in OTHER_VARIABLES.items()]
    lines += [f"| {name} | {text} |" for name, text in LATER_VARIABLES]
    return "\n".join(lines) + "\n"


# What other programs' conventions say, and is kept to.
LATER_VARIABLES = (
    ("`PGHOST`, `PGSERVICE`, `PGPASSFILE`, ..", "libpq's own; not for the embedded server."),
    ("`NO_COLOR`", "Set and not empty: no colour. `TERM=dumb` is as good."),
    ("`FORCE_COLOR`, `CLICOLOR_FORCE`", "Colour in files and pipes, too, unless 0."),
)


def _key(key: Key) -> Iterator[str]:
    yield f"## {key.name}"
    yield from ("", key.meaning, "", "| | |", "|---|---|")
    yield f"| type | {_cell(key.accepts)} |"
    yield f"| default | {_cell(key.default)} |"
    yield f"| environment | `{key.variable}` |"
    yield f"| flag | `{key.flag}` |"
    yield f"| commands | {', '.join(key.commands)} |"
    yield from ("", "```toml", key.example, "```")


def example_file(keys: list[Key]) -> str:
    """examples/fasthash.toml"""
    lines = [
        "# fasthash.toml: every key there is, commented out.",
        "# Flags (--rate) go before variables (FASTHASH_RATE), and those before this file:",
        "# `fasthash config show` has what is in effect, `fasthash config check` finds mistakes.",
    ]
    for key in keys:
        default = key.default.strip("`")
        text = f"{key.meaning} Default: {default}".replace("`", "")
        lines += ["", *(f"# {line}" for line in textwrap.wrap(text, 96, break_on_hyphens=False))]
        lines.append(f"#{key.example}")
    return "\n".join(lines) + "\n"
