"""`fasthash config`: which settings are in effect, where they come from, and their mistakes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from fasthash import config, windows
from fasthash.cli import keys, tables
from fasthash.cli.keys import Parsed, Setting
from fasthash.cli.options import (
    CONFIG_USED,
    config_option,
    json_option,
)
from fasthash.database import EMBEDDED, LIBPQ_VARIABLES
from fasthash.errors import ConfigError
from fasthash.logs import printable

# Values come last and whole: half a path is no answer.
LAYOUT = tables.Layout(("key", "from", "value"), steps=())
SOURCES = {
    ParameterSource.COMMANDLINE: "flag",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "file",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A setting as it is in effect."""

    key: str
    value: Any  # as it was written; None where there is none
    source: str  # flag, environment, file or default
    place: str | None  # the flag, the variables or the file
    line: int | None = None
    note: str | None = None  # what is done where there is no value

    def cells(self) -> tuple[str, str, str]:
        """For a person."""
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        text = ", ".join(_text(value) for value in values)
        if self.value in (None, ()):
            text = f"({self.note or 'none'})"
        place = f" {self.place}" if self.place else ""
        if self.source == "file":  # which one is said once, below
            place = "" if self.line is None else f", line {self.line}"
        return self.key, f"{self.source}{place}", text

    def as_json(self) -> dict[str, Any]:
        """For a machine."""
        names = ("key", "value", "source", "place", "line")
        return {name: getattr(self, name) for name in names}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


@click.group(no_args_is_help=False)
def config_command() -> None:
    """Show which settings are in effect and where each comes from; check a file."""


@config_command.command("show", params=list(keys.known().values()))
@config_option
@click.option("--all", "with_defaults", is_flag=True, help="Those that nobody has set, too.")
@json_option
def config_show_command(with_defaults: bool, as_json: bool, **values: Any) -> None:
    """Show the settings in effect, and where each comes from.

    Those are shown that a run or a scrub would have. A flag goes before an environment variable,
    that before the configuration file, and that before the default; any flag of `run` or `scrub`
    that can stand in a file may be given here, too. Passwords are masked; no database is asked.
    """
    context = click.get_current_context()
    path = context.meta.get(CONFIG_USED)
    known = keys.known()
    found = [_find(context, setting, values[key], path) for key, setting in known.items()]
    libpq = list(_libpq(values["dsn"]))
    found[list(known).index("dsn")] = _dsn(found[list(known).index("dsn")], libpq)
    is_set = [shown for shown in found if shown.source != "default"]
    chosen = [*is_set, *(s for s in found if s.source == "default")] if with_defaults else is_set
    with tables.standard_output() as out:
        if as_json:
            facts = {
                "file": path,
                "settings": [shown.as_json() for shown in chosen],
                "libpq": dict(libpq),
            }
            print(tables.to_json(facts, indent=2), file=out)
            return
        tables.write_table(out, LAYOUT, (shown.cells() for shown in chosen), tables.list_columns())
        for line in _notes(path, libpq, len(found) - len(chosen)):
            print(printable(line), file=out)


def _notes(path: str | None, libpq: list[tuple[str, str]], left_out: int) -> Iterator[str]:
    yield ""
    yield f"configuration file: {path or 'none'}"
    if libpq:
        yield f"libpq takes from the environment: {', '.join(f'{n}={v}' for n, v in libpq)}"
    if left_out:
        yield f"{left_out} more have their defaults: --all shows them"


def _find(context: click.Context, setting: Setting, value: Any, path: str | None) -> Shown:
    """A setting's value, as it was written, and where it was."""
    key = setting.name
    if isinstance(setting.type, Parsed) and value not in (None, ()):
        value = context.meta[keys.WRITTEN][key]
        value = tuple(value) if setting.multiple else value
    found = context.get_parameter_source(key)
    source = SOURCES.get(found, "default") if found is not None else "default"
    if source == "flag":
        names = setting.secondary_opts if value is False else setting.opts
        return Shown(key, value, source, names[0])
    if source == "environment":
        return Shown(key, value, source, str(setting.envvar))
    if source == "file" and path is not None:
        return Shown(key, value, source, path, config.find_line(path, key))
    return Shown(key, value, source, None, note=setting.unset)


def _libpq(dsn: str | None) -> Iterator[tuple[str, str]]:
    """libpq's variables that will be used: none for the embedded server."""
    if dsn is None and not any(os.environ.get(name) for name in LIBPQ_VARIABLES):
        return
    if dsn is None or not dsn.startswith(EMBEDDED):
        from fasthash.store import conninfo  # noqa: PLC0415

        yield from conninfo.variables(os.environ)


def _dsn(shown: Shown, libpq: list[tuple[str, str]]) -> Shown:
    """The connection without its secrets, and the place that it really comes from."""
    if shown.value and not shown.value.startswith(EMBEDDED):
        from fasthash.store import conninfo  # noqa: PLC0415

        value = conninfo.masked(shown.value)
        return Shown(shown.key, value, shown.source, shown.place, shown.line)
    if not shown.value and libpq:
        place = ", ".join(name for name, _ in libpq if name in LIBPQ_VARIABLES)
        return Shown(shown.key, None, "environment", place, note="as libpq's variables say")
    if not shown.value:
        return Shown(shown.key, f"{EMBEDDED}fasthash", "default", None)
    return shown


@config_command.command("check")
@click.argument("path", metavar="[FILE]", required=False, type=click.Path())
@json_option
def config_check_command(path: str | None, as_json: bool) -> None:
    """Find mistakes in FILE, or in the file and the environment in use.

    The first mistake is said in one line, with status 2: a key that there is not, a value of the
    wrong kind, one that cannot be. Whether the database is there, and the directories, is not
    looked at.
    """
    if path is not None:
        where, known = path, keys.known()
        values = {
            key: known[key].type_cast_value(click.get_current_context(), value)
            for key, value in keys.load(path).items()
        }
    else:
        keys.check_variables(os.environ)
        context = config_show_command.make_context(
            "check", [], parent=click.get_current_context().parent
        )
        path = context.meta.get(CONFIG_USED)
        where = "environment" if path is None else f"{path} and environment"
        is_set = [k for k in keys.known() if context.get_parameter_source(k) in SOURCES]
        values = {key: context.params[key] for key in is_set}
    _check_together(where, values)
    count = len(values)
    with tables.standard_output() as out:
        if as_json:
            print(tables.to_json({"file": path, "settings": count}, indent=2), file=out)
        else:
            what = f"{count} setting{'' if count == 1 else 's'}, no mistake"
            print(printable(f"{where}: {what}"), file=out)


def _check_together(where: str, values: Mapping[str, Any]) -> None:
    """What one value alone cannot tell.

    Raises:
        ConfigError: windows overlap, or libpq cannot parse the connection string.
    """
    try:
        windows.check(values.get("windows", ()))
        dsn = values.get("dsn")
        if dsn and not dsn.startswith(EMBEDDED):
            from fasthash.store.session import check_dsn  # noqa: PLC0415

            check_dsn(dsn)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
