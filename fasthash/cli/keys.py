"""The keys of fasthash.toml: each is an option that is also an environment variable."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fasthash import config
from fasthash.errors import ConfigError

# The commands whose options are all the keys there are.
COMMANDS = ("run", "scrub")
PREFIX = "FASTHASH_"
# Variables that are no keys, and what they are for.
OTHER_VARIABLES = {
    "FASTHASH_CONFIG": "The configuration file, as --config names it.",
    "FASTHASH_DATA_DIR": "Where the embedded PostgreSQL lives; ~/.local/share/fasthash without it.",
    "FASTHASH_NATIVE": "`off` reads small files in Python, not in C.",
}
# In a context's `meta`: values by key as they were written, before they were parsed.
WRITTEN = "fasthash.written"

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic only from click 8.4 on


class Parsed(ParamType):
    """A value with a unit, parsed by a function that raises ConfigError."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self.parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The parsed value; a bad one is a usage error."""
        try:
            return self.parse(value) if isinstance(value, str) else value
        except ConfigError as error:
            self.fail(str(error), param, ctx)


class Checked(Parsed):
    """A text that some function can parse, unchanged."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The text; a bad one is a usage error."""
        super().convert(value, param, ctx)
        return value


class Place(ParamType):
    """A file's path, which the shell completes.

    Not click's own path: that looks at each, and a dead mount would hold it. Whoever uses the
    place says what is wrong with it; that it may not be listed need not be any harm.
    """

    name = "path"
    completes = "file"
    envvar_list_splitter = os.pathsep  # of several in a variable; names may have spaces

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The shell looks for files and directories by itself."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415

        return [CompletionItem(incomplete, type=self.completes)]


class Folder(Place):
    """A directory's path; the shell offers no others."""

    completes = "dir"


class Setting(click.Option):
    """An option that is also a key of the configuration file and an environment variable."""

    name: str

    def __init__(self, *args: Any, example: object = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Where a bad value stands: a variable is not one's own typing error."""
        if ctx and ctx.get_parameter_source(self.name) is ParameterSource.ENVIRONMENT:
            return str(self.envvar)
        return super().get_error_hint(ctx)

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Keeps the value as it was written, which is what people want to see again."""
        ctx.meta.setdefault(WRITTEN, {})[self.name] = value
        return super().process_value(ctx, value)

    @property
    def accepts(self) -> str:
        """What a file's value has to be."""
        return f"a list, each {self._one_is}" if self.multiple else self._one_is

    @property
    def _one_is(self) -> str:
        if self.is_flag:
            return "true or false"
        if isinstance(self.type, click.types.FloatParamType):
            return "a number"
        if isinstance(self.type, click.types.IntParamType):
            return "a whole number"
        return "a text"

    @property
    def unset(self) -> str | None:
        """What is done where nobody has set it, as its help says: `[default: ...]`."""
        found = re.search(r"\[default: (.*)\]$", self.help or "")
        return found[1] if found else None

    def from_file(self, value: object) -> object:
        """A file's value as the command line would have it.

        Raises:
            ConfigError: it is of another kind than this key wants, or not one of its values.
        """
        if not self.multiple:
            return self._one_from_file(value)
        if not isinstance(value, list):
            raise ConfigError(f"{self.name} wants a list: {self.name} = [{_toml(value)}]")
        return [self._one_from_file(each) for each in value]

    def _one_from_file(self, value: object) -> object:
        if not isinstance(value, self._kinds) or (isinstance(value, bool) and not self.is_flag):
            raise ConfigError(f"{self.name} wants {self.accepts}, not {_toml(value)}")
        if isinstance(self.type, Parsed):
            value = value.isoformat() if isinstance(value, date) else str(value)
        try:
            self.type.convert(value, self, None)
        except click.BadParameter as error:
            raise ConfigError(f"{self.name}: {error.message.rstrip('.')}") from error
        return value

    @property
    def _kinds(self) -> tuple[type, ...]:
        if self.is_flag:
            return (bool,)
        if isinstance(self.type, Parsed):
            return str, int, float, date
        if isinstance(self.type, click.types.FloatParamType):
            return int, float
        return (int,) if isinstance(self.type, click.types.IntParamType) else (str,)


def _toml(value: object) -> str:
    """A value for an error message, about as it stands in the file."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a section"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def settings_of(command: click.Command) -> Iterator[Setting]:
    """The options of a command that are keys."""
    return (p for p in command.params if isinstance(p, Setting))


@cache
def known() -> Mapping[str, Setting]:
    """Every key there is, in the order in which the help of `run` and `scrub` shows them."""
    found: dict[str, Setting] = {}
    for name in COMMANDS:
        command = getattr(import_module(f"fasthash.cli.{name}"), f"{name}_command")
        for setting in settings_of(command):
            found.setdefault(setting.name, setting)
    return found


def load(path: str) -> dict[str, Any]:
    """The keys of a configuration file, all of them checked, as the command line would have them.

    Raises:
        ConfigError: naming the file and where it is wrong.
    """
    content = config.load_file(path, known())
    for key, value in content.items():
        try:
            content[key] = known()[key].from_file(value)
        except ConfigError as error:
            raise ConfigError(f"{config.place(path, key)}: {error}") from error
    return content


def check_variables(environment: Mapping[str, str]) -> None:
    """Refuses variables that look like keys and are none.

    Raises:
        ConfigError: naming the variable, and the nearest that there is.
    """
    names = {PREFIX + key.upper() for key in known()} | set(OTHER_VARIABLES)
    for name in sorted(environment):
        if re.match(f"{PREFIX}(?!TEST_|FAULT)", name) and name not in names:
            raise ConfigError(f"{name} sets nothing{config.did_you_mean(name, names)}")
