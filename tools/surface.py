"""What can be typed: every command with its options, and every key, as data for the pages."""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from fasthash.cli import cli, keys
from fasthash.cli.keys import Parsed, Setting

# An option that means the same in so many commands is described once, for all of them.
COMMON_FROM = 4
# The command that takes every key, only to show it.
SHOWS = "fasthash config show"


@dataclass(frozen=True)
class Entry:
    """An option: how it is written, and what it does."""

    names: str
    text: str

    @property
    def flag(self) -> str:
        """The option's first name."""
        return self.names.split()[0].rstrip(",")


@dataclass(frozen=True)
class Command:
    """A command that does something (no group of others)."""

    name: str  # `fasthash drift list`
    usage: str
    paragraphs: tuple[str, ...]  # those that begin with \b are to stay as they are
    entries: tuple[Entry, ...]
    settings: tuple[str, ...]  # keys


@dataclass(frozen=True)
class Key:
    """A key of the configuration file."""

    name: str
    flag: str
    variable: str
    meaning: str
    accepts: str
    default: str
    example: str  # a line of the file
    commands: tuple[str, ...]


def commands() -> list[Command]:
    """Every command, in the order of `fasthash --help`."""
    return list(_walk(cli, click.Context(cli, info_name="fasthash"), "fasthash"))


def _walk(command: click.Command, context: click.Context, name: str) -> Iterator[Command]:
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            if found := command.get_command(context, each):
                below = click.Context(found, info_name=each, parent=context)
                yield from _walk(found, below, f"{name} {each}")
        return
    options = (p for p in command.params if isinstance(p, click.Option))
    records = [option.get_help_record(context) for option in options]
    yield Command(
        name,
        " ".join([name, *command.collect_usage_pieces(context)]),
        tuple(inspect.cleandoc(command.help or "").split("\n\n")),
        tuple(_entry(*record) for record in records if record is not None),
        tuple(setting.name for setting in keys.settings_of(command)),
    )


def _entry(names: str, text: str) -> Entry:
    # The text of `[default: ..]` stands apart by two blanks on the screen.
    return Entry(re.sub(r"(INTEGER|FLOAT)( RANGE)?$", "N", names), " ".join(text.split()))


def common(found: list[Command]) -> list[Entry]:
    """The options that many commands have, in the order in which one meets them."""
    counts = Counter(entry for command in found for entry in command.entries)
    return [entry for entry, count in counts.items() if count >= COMMON_FROM]


def all_keys(found: list[Command]) -> list[Key]:
    """Every key, in the order of the help."""
    return [
        Key(
            name,
            setting.opts[0],
            str(setting.envvar),
            _meaning(setting),
            accepts(setting),
            _default(setting),
            f"{name} = {json.dumps(_example(setting))}",
            tuple(
                c.name.removeprefix("fasthash ")
                for c in found
                if name in c.settings and c.name != SHOWS
            ),
        )
        for name, setting in keys.known().items()
    ]


def _meaning(setting: Setting) -> str:
    text = (setting.help or "").removesuffix(f"[default: {setting.unset}]")
    return " ".join(text.split())


def accepts(setting: Setting) -> str:
    """The type of a key's value in TOML, and which values there are."""
    kind: Any = setting.type
    if setting.is_flag:
        return "boolean"
    if isinstance(kind, click.IntRange | click.FloatRange):
        number = "integer" if isinstance(kind, click.IntRange) else "float"
        return f"{number}, {_bounds(kind)}"
    if isinstance(kind, click.Choice):
        return f"string: {', '.join(f'`{choice}`' for choice in kind.choices)}"
    many = "array of strings" if setting.multiple else "string"
    if not isinstance(kind, Parsed):
        return many
    how = inspect.cleandoc(kind.parse.__doc__ or "").split("\n\n")[0]
    return f"{many}. {' '.join(how.split()).rstrip('.')}"


def _bounds(kind: Any) -> str:
    return f"at least {kind.min}" if kind.max is None else f"{kind.min} to {kind.max}"


def _has_default(setting: Setting) -> bool:
    return isinstance(setting.default, str | int | float)  # click has a sentinel for none


def _default(setting: Setting) -> str:
    if _has_default(setting):
        return f"`{json.dumps(setting.default)}`"
    return setting.unset or "none"


def _example(setting: Setting) -> object:
    if setting.example is not None:
        return setting.example
    if not _has_default(setting):
        raise ValueError(f"{setting.opts[0]} has neither a default nor an example")
    return setting.default
