"""`fasthash report`: a run and its catalog as one page for a browser, or as JSON."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

import click

from fasthash.cli import tables
from fasthash.cli.options import (
    column_names,
    column_options,
    database_options,
    json_option,
    set_up_logs,
)
from fasthash.cli.reports import ledger, run_argument, table_option
from fasthash.errors import ConfigError
from fasthash.logs import printable

if TYPE_CHECKING:
    from fasthash.page.facts import Facts


@click.command()
@run_argument
@database_options
@table_option
@column_options
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(),
    help="The page; `-` is standard output. A file that is there is replaced.",
)
@json_option
def report_command(
    run_id: int | None,
    dsn: str | None,
    table: str | None,
    output: str | None,
    as_json: bool,
    **columns: str,
) -> None:
    """Make a page about the latest run, or run number RUN, and its catalog.

    The page is one HTML file that loads nothing from anywhere: the verdict, totals, charts of
    speed, sizes and ages, drifts with their evidence, all rows that were not verified, and equal
    files. --json prints the same facts. The page needs jinja2 and matplotlib (extra `report`).
    Exits with 0 whatever the facts are.
    """
    if as_json == (output is not None):
        how = "--json and -o exclude each other" if as_json else "say where to: -o report.html"
        raise click.UsageError(how, click.get_current_context())
    from fasthash.page import render, words  # noqa: PLC0415
    from fasthash.store import facts as stored  # noqa: PLC0415
    from fasthash.store import reports  # noqa: PLC0415

    set_up_logs({})
    if not as_json:
        render.require_extra()
    names = column_names(columns)
    with ledger(dsn, "report") as connection:
        run_id = reports.resolve_run(connection, run_id, table)

        def write(file: TextIO) -> str:
            # The snapshot ends when all is written: nobody who reads keeps it open.
            with stored.gathered(connection, run_id, names) as facts:
                file.writelines(_json(facts) if as_json else render.html(facts))
                return f"run {run_id} of {facts.summary.catalog}: {words.verdict(facts).sentence}"

        if as_json or output == "-" or output is None:
            _to_standard_output(write)
        else:
            with _replacing(output) as file:
                said = write(file)
            with tables.standard_output() as out:
                print(printable(f"{output}: {said}"), file=out)


def _json(facts: Facts) -> Iterator[str]:
    """One object: the facts, then the two lists, an object a line."""
    from fasthash.page import words  # noqa: PLC0415

    verdict = words.verdict(facts)
    said = {"level": verdict.level, "sentence": verdict.sentence, "notes": verdict.notes}
    yield tables.to_json({"verdict": said, **facts.as_json()}, indent=2).removesuffix("\n}")
    for name, rows in (("drift", facts.drifts), ("residual", facts.residual)):
        lead = f',\n  "{name}": ['
        for row in rows:
            yield f"{lead}\n    {tables.to_json(row)}"
            lead = ","
        yield f"{lead}]" if lead != "," else "\n  ]"
    yield "\n}\n"


def _to_standard_output(write: Callable[[TextIO], object]) -> None:
    """Written to a file without a name first: a reader may take a night for it."""
    with _spool() as spool:
        try:
            write(spool)
        except OSError as error:
            raise ConfigError(f"cannot write a temporary file: {error.strerror}") from error
        spool.seek(0)
        with tables.standard_output(exact=True) as out:
            shutil.copyfileobj(spool, out)


def _spool() -> TextIO:
    try:
        return tempfile.TemporaryFile("w+", encoding="utf-8")
    except OSError as error:
        why = f"cannot make a temporary file: {error.strerror}"
        raise ConfigError(f"{why}; set TMPDIR to a directory that can be written") from error


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[TextIO]:
    """A file that takes the place of another when it is whole, and not before.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        old = os.stat(path) if os.path.exists(path) else None
        if old is not None and not stat.S_ISREG(old.st_mode):
            # A device or a pipe is written to, not replaced; a folder is refused.
            with open(path, "w", encoding="utf-8") as file:
                yield file
            return
        target = os.path.realpath(path)
        folder, name = os.path.split(target)
        new = os.path.join(folder, f".{name[:200]}.{secrets.token_hex(4)}.new")
        try:
            with open(new, "x", encoding="utf-8") as file:
                if old is not None:
                    os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
