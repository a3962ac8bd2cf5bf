"""Files into the catalog: the table where there is none, and the rows that it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from fasthash.config import CatalogNames
from fasthash.errors import PreflightFailed
from fasthash.store import schema
from fasthash.store.answers import one_line
from fasthash.store.catalog import Catalog, find_catalog
from fasthash.store.preflight import check_server
from fasthash.store.queries import EMPTY, identifier, query
from fasthash.store.session import Connection, Row
from fasthash.store.transactions import transaction

CONTENT_HASH = "content_hash"
# No statement is open for longer than it takes to find so many files: a walk may last for hours,
# and an open statement keeps vacuum from every table of the database.
COPY_ROWS = 10_000
# The types that hold a random UUID.
_UUID_HOLDERS = ("uuid", "text", "character varying")

File = tuple[str | None, str]  # type and path, as they will stand in the catalog


@dataclass(frozen=True, slots=True)
class Target:
    """The catalog that files are added to."""

    catalog: Catalog
    created: bool
    gives_id: bool  # the id has no default, so every new row is given one


def prepare(connection: Connection, names: CatalogNames) -> Target:
    """Makes ledger and table where they are missing, and a temporary place for the files.

    Raises:
        PreflightFailed: the table does not take new rows, or a privilege is missing (names the
            grant); nothing was made.
    """
    check_server(connection)
    found = _find_table(connection, names)
    facts = _check_database(connection, names, found)
    if found is not None:
        _check_columns(connection, find_catalog(connection, names))
    _make_ledger(connection, may_create=facts["may_create_schema"], database=facts["database"])
    with transaction(connection):
        _take_turns(connection)
        created = _find_table(connection, names) is None
        if created:
            _create_table(connection, names, facts["schema"])
    catalog = find_catalog(connection, names)
    gives_id = _check_columns(connection, catalog)
    connection.execute(catalog.query("register", "create_stage"), {})
    return Target(catalog, created, gives_id)


def add_files(
    connection: Connection, target: Target, files: Iterable[File], root: str, host: str
) -> int:
    """Adds the files that the catalog lacks, all or none, and notes the directory as a root.

    Args:
        files: taken as they come; they are never held.
        root: the directory, as a catalog text.
        host: this machine.

    Returns:
        How many were added.

    Raises:
        PreflightFailed: the columns do not take them; nothing was added.
    """
    try:
        _fill_stage(connection, files)
        with transaction(connection):
            _take_turns(connection)
            # What is reported as added survives a crash of the server.
            connection.execute("SET LOCAL synchronous_commit = on")
            added = connection.execute(_add_staged(target), {}).rowcount
            connection.execute(query("register", "add_root"), {"path": root, "host": host})
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        raise PreflightFailed(_refusal(target.catalog, error)) from error
    if target.created:
        connection.execute(target.catalog.query("register", "analyze_catalog"), {})
    return added


def set_metadata(
    connection: Connection, catalog: Catalog, path: str, metadata: dict[str, Any]
) -> None:
    """Replaces the metadata of the row of a path.

    Raises:
        LookupError: there is no such row.
    """
    parameters = {"path": path, "metadata": Jsonb(metadata)}
    done = connection.execute(catalog.query("register", "set_metadata"), parameters)
    if done.rowcount != 1:
        raise LookupError(path)


def sample_hashes(
    connection: Connection, catalog: Catalog, first: str, rows: int
) -> list[tuple[str, str]]:
    """Paths and recorded hashes of a few rows that have the marker.

    Args:
        first: a path that shall be among them.
        rows: so many at the most.
    """
    parameters = {"first": first, "rows": rows}
    found = connection.execute(catalog.query("register", "sample_hashes"), parameters)
    return [(row["path"], row["sha256"]) for row in found]


def _fill_stage(connection: Connection, files: Iterable[File]) -> None:
    connection.execute(query("register", "empty_stage"))
    for lot in _lots(files):
        with (
            connection.cursor() as cursor,
            cursor.copy(query("register", "fill_stage")) as copy,
        ):
            for file in lot:
                copy.write_row(file)
    connection.execute(query("register", "analyze_stage"))


def _lots(files: Iterable[File]) -> Iterator[Iterable[File]]:
    """The files as they come, so many a statement."""
    rest = iter(files)
    for first in rest:
        yield chain([first], islice(rest, COPY_ROWS - 1))


def _add_staged(target: Target) -> sql.Composed:
    id_column: sql.Composable = EMPTY
    new_id: sql.Composable = EMPTY
    if target.gives_id:
        id_column = target.catalog.query("register", "id_column")
        new_id = query("register", "new_id")
    return target.catalog.query("register", "add_staged", id_column=id_column, new_id=new_id)


def _refusal(catalog: Catalog, error: psycopg.Error) -> str:
    column = error.diag.column_name
    if isinstance(error, psycopg.errors.NotNullViolation) and column == catalog.names.type:
        return (
            f"column {column} of {catalog.names} takes no NULL, and files that lie directly in "
            "the directory have no type: give all files one with --type"
        )
    return f"{catalog.names} does not take these files: {one_line(error)}"


def _take_turns(connection: Connection) -> None:
    # Another `register` may be adding millions of rows: that is no reason to give up.
    connection.execute(query("register", "wait_without_end"))
    connection.execute(query("register", "take_turns"))


def _find_table(connection: Connection, names: CatalogNames) -> Row | None:
    wanted = {"schema": names.schema, "table": names.table}
    return connection.execute(query("preflight", "find_table"), wanted).fetchone()


def _create_table(connection: Connection, names: CatalogNames, home: str) -> None:
    columns = (names.id, names.type, names.path, names.metadata)
    parts: dict[str, sql.Composable] = {
        "catalog": identifier(home, names.table),
        **dict(zip(("id", "type", "path", "metadata"), map(identifier, columns), strict=True)),
    }
    extra = EMPTY if CONTENT_HASH in columns else query("register", "content_hash")
    connection.execute(query("register", "create_table", content_hash=extra, **parts), {})
    for index in ("create_index_for_runs", "create_index_for_paths"):
        connection.execute(query("register", index, **parts), {})


def _check_database(connection: Connection, names: CatalogNames, found: Row | None) -> Row:
    """The schema of the table, and what this role may do there, if that is enough."""
    schema_name = names.schema if found is None else found["schema"]
    facts = connection.execute(
        query("register", "database_facts"), {"schema": schema_name}
    ).fetchone()
    if facts is None:
        raise LookupError("a query that gives one row gave none")
    if not facts["may_create_temporary"]:
        raise _missing(connection, "TEMPORARY", "DATABASE", facts["database"])
    if facts["schema"] is None:
        if names.schema is not None:
            raise PreflightFailed(f"there is no schema {names.schema}: CREATE SCHEMA it first")
        raise PreflightFailed("there is no schema to make the table in: give --table schema.table")
    if not facts["may_use"]:
        raise _missing(connection, "USAGE", "SCHEMA", facts["schema"])
    if found is None and not facts["may_create_table"]:
        raise _missing(connection, "CREATE", "SCHEMA", facts["schema"])
    return facts


def _make_ledger(connection: Connection, *, may_create: bool, database: str) -> None:
    if schema.ledger_version(connection) == 0:
        if not may_create:
            raise _missing(connection, "CREATE", "DATABASE", database)
        schema.migrate(connection)
    schema.require_ledger(connection)
    missing = schema.missing_privileges(connection, {"root": ("INSERT",)})
    if missing:
        raise PreflightFailed(f"missing privilege; grant it with: {missing[0]}")


def _check_columns(connection: Connection, catalog: Catalog) -> bool:
    """Whether new rows have to be given an id; refuses a table that cannot be given new rows."""
    names = catalog.names
    wanted = {"table_oid": catalog.table_oid, "id": names.id}
    rows = connection.execute(query("register", "columns_to_give"), wanted).fetchall()
    to_give = [row["name"] for row in rows]
    gives_id = names.id in to_give
    if gives_id and catalog.id_type not in _UUID_HOLDERS:
        raise PreflightFailed(
            f"column {names.id} of {names} is of type {catalog.id_type} and has no default, so "
            "new rows would have no id: give it one (an identity or a sequence)"
        )
    given = [names.type, names.path, names.metadata, *([names.id] if gives_id else [])]
    others = [name for name in to_give if name not in given]
    if others:
        raise PreflightFailed(
            f"{names} has columns that are NOT NULL and have no default: {', '.join(others)}; "
            "give them one, or add the rows in your own way"
        )
    _check_privileges(connection, catalog, given)
    return gives_id


def _check_privileges(connection: Connection, catalog: Catalog, given: list[str]) -> None:
    names, table = catalog.names, {"table_oid": catalog.table_oid}
    columns = connection.execute(query("preflight", "columns"), table).fetchall()
    wanted = {"selectable": (names.type, names.path), "insertable": given}
    words = {"selectable": "SELECT", "insertable": "INSERT"}
    missing = [
        sql.SQL(words[may] + " ({})").format(sql.Identifier(column["name"]))
        for may in words
        for column in columns
        if column["name"] in wanted[may] and not column[may]
    ]
    if missing:
        what = sql.SQL(", ").join(missing)
        raise _missing(connection, what, "TABLE", catalog.schema, names.table)
    found = connection.execute(
        query("register", "sequences_out_of_reach"), {**table, "given": given}
    ).fetchone()
    if found is not None:
        raise _missing(connection, "USAGE", "SEQUENCE", found["schema"], found["name"])


def _missing(
    connection: Connection, what: str | sql.Composable, kind: str, *name: str
) -> PreflightFailed:
    """The error for a missing privilege, with the grant that gives it."""
    facts = connection.execute(query("preflight", "server_facts")).fetchone()
    grant = sql.SQL("GRANT {} ON {} {} TO {};").format(
        sql.SQL(what) if isinstance(what, str) else what,
        sql.SQL(kind),
        sql.Identifier(*name),
        sql.Identifier(facts["role"] if facts else ""),
    )
    return PreflightFailed(f"missing privilege; grant it with: {grant.as_string(connection)}")
