"""`fasthash report`: a run as one page, for people who were not there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any

import click

from fasthash import parsing
from fasthash.cli import tables
from fasthash.cli.options import catalog_options, database_options, json_option
from fasthash.cli.reports import ledger, run_argument
from fasthash.config import CatalogNames
from fasthash.errors import ConfigError
from fasthash.logs import printable


@click.command()
@run_argument
@database_options
@catalog_options
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(),
    default="report.html",
    show_default=True,
    help="Where the page goes; - is standard output.",
)
@json_option
def report_command(run_id: int | None, output: str, as_json: bool, **values: Any) -> None:
    """Write a page about a run: the latest, or run number RUN.

    One HTML file that needs nothing else and loads nothing: what the run came to in words, totals,
    by type, throughput over time, file sizes, how long ago everything was verified, drift with its
    evidence, every row without a verdict, and what is stored more than once. With --json the same
    facts go to standard output, and no page is written.
    """
    from fasthash.store import overview, reports  # noqa: PLC0415

    names = _names(values)
    with ledger(values["dsn"], "report") as connection:
        found = reports.resolve_run(connection, run_id, values["table"])
        facts = overview.read_facts(connection, found, names)
    if as_json:
        with tables.standard_output() as out:
            print(tables.to_json(facts.as_json(), indent=2), file=out)
        return
    from fasthash.report.page import render  # noqa: PLC0415

    page = render(facts)
    if output == "-":
        with tables.standard_output(exact=True) as out:
            out.write(page)
        return
    _replace(output, page)
    with tables.standard_output() as out:
        print(printable(f"run {found}: {output}"), file=out)


def _names(values: dict[str, Any]) -> CatalogNames:
    schema, table = parsing.parse_table(values["table"])
    columns = (values[f"{name}_column"] for name in ("id", "type", "path", "metadata"))
    return CatalogNames(table, schema, *columns)


def _replace(path: str, text: str) -> None:
    """Writes a file whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    folder = os.path.dirname(path) or "."
    try:
        descriptor, beside = tempfile.mkstemp(prefix=".fasthash-report-", dir=folder)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(beside, 0o666 & ~_umask())
            os.replace(beside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
