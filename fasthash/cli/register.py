"""`fasthash register`: files into the catalog."""

from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fasthash.cli import tables
from fasthash.cli.options import (
    CONFIG_CONTENT,
    CONFIG_GIVEN,
    Folder,
    catalog_names,
    catalog_options,
    database_options,
    find_dsn,
    json_option,
    log_options,
    set_up_logs,
)
from fasthash.database import EMBEDDED
from fasthash.logs import printable

if TYPE_CHECKING:
    from fasthash.register import Registered

_NAMES = frozenset({"table", "id_column", "type_column", "path_column", "metadata_column"})


def _type_name(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not (value and value.isprintable()):
        raise click.BadParameter("a type is a word of printable characters", context, parameter)
    return value


@click.command()
@click.argument("directory", metavar="DIR", type=Folder())
@click.option(
    "--type",
    "artifact_type",
    callback=_type_name,
    help="Of all files.  [default: the name of the first folder below DIR]",
)
@database_options
@catalog_options
@json_option
@log_options
def register_command(
    directory: str, artifact_type: str | None, as_json: bool, **values: Any
) -> None:
    """Add the files of DIR to the catalog.

    One row for each regular file below DIR whose absolute path the catalog lacks, so doing it
    again adds what is new since. Symbolic links are not followed. Table and ledger are made where
    they are missing. Exits with 1 if a directory could not be read, which is named.
    """
    set_up_logs(values)
    from fasthash import register  # noqa: PLC0415

    folder = register.find_folder(directory)
    by_folder = register.first_folder(folder)
    dsn = find_dsn(values["dsn"], make=True)
    done = register.register(
        dsn,
        catalog_names(values),
        folder,
        by_folder if artifact_type is None else lambda _: artifact_type,
        register.embedded_data(),
    )
    with tables.standard_output() as out:
        print(json.dumps(_as_json(done), indent=2) if as_json else _as_text(done), file=out)
    click.get_current_context().exit(1 if done.unreadable_directories else 0)


def _as_json(done: Registered) -> dict[str, Any]:
    return {
        "directory": done.directory,
        "files": done.files,
        "added": done.added,
        "already_there": done.already_there,
        "skipped": done.links + done.special_files,
        "unreadable_directories": done.unreadable_directories,
        "table_created": done.table_created,
    }


def _as_text(done: Registered) -> str:
    names = catalog_names(click.get_current_context().params)
    lines = [f"made table {names}"] if done.table_created else []
    files = _count(done.files, "file", "files")
    lines.append(
        f"{done.directory}: {files}, {done.added:,} added to {names}, "
        f"{done.already_there:,} already there"
    )
    skipped = [
        _count(n, one, many)
        for n, one, many in (
            (done.links, "symbolic link", "symbolic links"),
            (done.special_files, "special file", "special files"),
            (done.unreadable_directories, "unreadable directory", "unreadable directories"),
        )
        if n
    ]
    if skipped:
        lines.append(f"skipped: {', '.join(skipped)}")
    roots = _configured_roots()
    if roots and not any(_is_beneath(done.directory, root) for root in roots):
        lines.append(
            f"note: {done.directory} is outside the configured roots, where `fasthash run` looks: "
            f"{', '.join(roots)}"
        )
    lines.append(f"next: {_next_command()}")
    return "\n".join(printable(line) for line in lines)


def _configured_roots() -> list[str]:
    """The roots that `fasthash run` takes from the environment or the file."""
    in_file = click.get_current_context().meta.get(CONFIG_CONTENT, {}).get("roots") or []
    in_environment = os.environ.get("FASTHASH_ROOTS", "").split(os.pathsep)
    return [root for root in in_environment if root] or [str(root) for root in in_file]


def _is_beneath(directory: str, root: str) -> bool:
    there = os.path.join(os.path.realpath(root), "")
    return os.path.join(os.path.realpath(directory), "").startswith(there)


def _count(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def _next_command() -> str:
    """`fasthash run` with the names it needs; a connection string may hold a password."""
    context = click.get_current_context()
    words = ["fasthash", "run"]
    if CONFIG_GIVEN in context.meta:
        words += ["--config", shlex.quote(context.meta[CONFIG_GIVEN])]
    for parameter in context.command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue  # it is in the environment or in a file, where the next command finds it
        if name in _NAMES:
            words += [parameter.opts[0], shlex.quote(context.params[name])]
        elif name == "dsn":
            shown = str(context.params[name])
            words += ["--dsn", shlex.quote(shown) if shown.startswith(EMBEDDED) else ".."]
    return " ".join(words)
