"""`fasthash init` and `fasthash grants`."""

from __future__ import annotations

import sys
from typing import Any

import click

from fasthash.cli import tables
from fasthash.cli.options import (
    catalog_names,
    catalog_options,
    database_options,
    find_dsn,
    json_option,
    option,
    set_up_logs,
)
from fasthash.errors import LedgerPublished, PreflightFailed


@click.command()
@database_options
@click.option("--print-sql", is_flag=True, help="Print the script for a DBA; touch no database.")
@click.option("--yes", is_flag=True, help="Go on although a publication sends every table.")
@json_option
def init_command(dsn: str | None, print_sql: bool, yes: bool, as_json: bool) -> None:
    """Create or upgrade the ledger: schema fasthash, beside the catalog.

    Doing it again changes nothing. In a database with a publication of all tables (or of all in
    schema fasthash) its subscribers need the ledger's tables first: nothing is done then without
    --yes, or without a yes on a terminal.
    """
    from fasthash.store import preflight, schema, session  # noqa: PLC0415

    if print_sql:
        with tables.standard_output(exact=True) as out:
            out.write(schema.schema_script())
        return
    with session.connect_once(find_dsn(dsn, make=True), "init") as connection:
        preflight.check_server(connection)
        try:
            applied = schema.migrate(connection, although_published=yes)
        except LedgerPublished as error:
            if not _is_meant(error):
                raise
            applied = schema.migrate(connection, although_published=True)
    with tables.standard_output() as out:
        if as_json:
            facts = {"version": schema.VERSION, "applied": applied}
            print(tables.to_json(facts, indent=2), file=out)
        elif applied:
            print(f"ledger: schema fasthash is now at version {applied[-1]}", file=out)
        else:
            print(f"ledger: schema fasthash is at version {schema.VERSION} already", file=out)


def _is_meant(error: LedgerPublished) -> bool:
    """Whether somebody at a terminal says so."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    click.echo(f"{error}.", err=True)
    return click.confirm("Go on now?", err=True)


@click.command()
@click.argument("role")
@database_options
@catalog_options
@option("--update-function", help="The site's own update function, if it is used.")
@json_option
def grants_command(role: str, as_json: bool, **values: Any) -> None:
    """Print the grants that ROLE needs to run fasthash, and no others."""
    set_up_logs(values)
    from fasthash.store import preflight, schema, session  # noqa: PLC0415

    with session.connect_once(find_dsn(values["dsn"], make=False), "grants") as connection:
        schema.require_ledger(connection)
        catalog = preflight.check_catalog(
            connection,
            catalog_names(values),
            writing=False,
            update_function=values["update_function"],
        )
        if not preflight.role_exists(connection, role):
            raise PreflightFailed(f"there is no role {role}: CREATE ROLE it first")
        statements = schema.grant_statements(connection, catalog, role)
    with tables.standard_output(exact=True) as out:
        if as_json:
            print(tables.to_json({"role": role, "statements": statements}, indent=2), file=out)
        else:
            out.writelines(f"{statement}\n" for statement in statements)
