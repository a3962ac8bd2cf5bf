"""`fasthash register`: files into the catalog."""

from __future__ import annotations

import json
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fasthash.cli import tables
from fasthash.cli.options import (
    CONFIG_CONTENT,
    CONFIG_GIVEN,
    Folder,
    Place,
    catalog_names,
    catalog_options,
    database_options,
    find_dsn,
    json_option,
    log_options,
    set_up_logs,
)
from fasthash.cli.preview import counted, skipped_lines, write_preview
from fasthash.database import EMBEDDED
from fasthash.errors import NotInitialized
from fasthash.logs import is_json, printable

if TYPE_CHECKING:
    from fasthash.excluding import Excluded
    from fasthash.preview import Preview
    from fasthash.register import Registered, TypeOf, Walk

# This many files are announced on a terminal before they are added.
MANY_FILES = 1_000
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
@click.option(
    "--exclude",
    "patterns",
    metavar="GLOB",
    multiple=True,
    help="Leave out files and folders that match; may be repeated. See above.",
)
@click.option(
    "--exclude-from",
    "pattern_files",
    metavar="FILE",
    multiple=True,
    type=Place(),
    help="Leave out what a pattern of FILE matches: one a line; blank lines and lines that begin "
    "with # are none. May be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be added; write nothing.")
@database_options
@catalog_options
@json_option
@log_options
def register_command(
    directory: str, artifact_type: str | None, dry_run: bool, as_json: bool, **values: Any
) -> None:
    """Add the files of DIR to the catalog.

    One row for each regular file below DIR whose absolute path the catalog lacks, so doing it
    again adds what is new since. Symbolic links are not followed. Table and ledger are made where
    they are missing. Exits with 1 if a directory could not be read, which is named.

    A pattern of --exclude without a slash is compared with the name of each file and folder, at any
    depth. One with a slash (a trailing one aside) is compared with the path from DIR on: cache/tmp,
    or /tmp for what lies directly in DIR; one that begins with DIR's absolute path means what lies
    below DIR. *, ?, [abc] and [!abc] stand for characters of one name, ** between slashes for any
    number of folders (at the end for whatever lies in the folder), and a last slash means folders
    only. A folder that matches is not entered. Upper and lower case differ, names that begin with a
    dot are like others, and nothing is included again: a pattern may not begin with !.
    """
    set_up_logs(values)
    from fasthash import register  # noqa: PLC0415

    folder = register.find_folder(directory)
    excluded = _excluded(values["patterns"], values["pattern_files"], folder)
    by_folder = register.first_folder(folder)
    type_of = by_folder if artifact_type is None else lambda _: artifact_type
    if dry_run:
        walk = register.Walk(folder, register.embedded_data(), excluded)
        looked = _look(values, walk, type_of)
        write_preview(looked, catalog_names(values), as_json=as_json)
        click.get_current_context().exit(1 if looked.unreadable_directories else 0)
    done = register.register(
        find_dsn(values["dsn"], make=True),
        catalog_names(values),
        folder,
        type_of,
        register.embedded_data(),
        excluded,
        lambda files: _announce(folder, files),
    )
    with tables.standard_output() as out:
        print(json.dumps(_as_json(done), indent=2) if as_json else _as_text(done), file=out)
    click.get_current_context().exit(1 if done.unreadable_directories else 0)


def _excluded(patterns: tuple[str, ...], files: tuple[str, ...], folder: bytes) -> Excluded | None:
    if not (patterns or files):
        return None
    from fasthash.excluding import excluded_by, read_patterns  # noqa: PLC0415

    return excluded_by([*patterns, *(p for file in files for p in read_patterns(file))], folder)


def _look(values: dict[str, Any], walk: Walk, type_of: TypeOf) -> Preview:
    from fasthash import preview  # noqa: PLC0415

    try:
        dsn = find_dsn(values["dsn"], make=False)
    except NotInitialized:
        dsn = None  # the embedded server would be made
    return preview.preview(dsn, catalog_names(values), walk, type_of)


def _announce(folder: bytes, files: int) -> None:
    """Says on a terminal what begins, if it is much, before it is added."""
    if files >= MANY_FILES and sys.stderr.isatty() and not is_json():
        from fasthash import paths  # noqa: PLC0415

        name = printable(paths.encode(folder))
        click.echo(
            f"{name}: {files:,} files found; those that the catalog lacks are added now "
            "(--dry-run only counts them)",
            err=True,
        )


def _as_json(done: Registered) -> dict[str, Any]:
    return {
        "directory": done.directory,
        "files": done.files,
        "added": done.added,
        "already_there": done.already_there,
        "skipped": done.links + done.special_files,
        "excluded": done.excluded,
        "unreadable_directories": done.unreadable_directories,
        "table_created": done.table_created,
    }


def _as_text(done: Registered) -> str:
    names = catalog_names(click.get_current_context().params)
    lines = [f"made table {names}"] if done.table_created else []
    files = counted(done.files, "file", "files")
    lines.append(
        f"{done.directory}: {files}, {done.added:,} added to {names}, "
        f"{done.already_there:,} already there"
    )
    lines += skipped_lines(done)
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
