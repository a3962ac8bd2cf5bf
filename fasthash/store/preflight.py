"""What has to be true of the database before a run begins; each failure says what to do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import psycopg
from psycopg import sql

from fasthash import logs
from fasthash.config import NO_TYPE, CatalogNames, did_you_mean
from fasthash.errors import PreflightFailed
from fasthash.facts import CONNECTIONS
from fasthash.parsing import parse_table
from fasthash.store import schema
from fasthash.store.answers import IN_THE_WAY, DatabaseError, described, is_gone
from fasthash.store.applying import Target, probe
from fasthash.store.catalog import Catalog, find_catalog, read_indexes, read_types
from fasthash.store.queries import query
from fasthash.store.session import Connection
from fasthash.store.transactions import Rollback, transaction

log = logging.getLogger("fasthash")

OLDEST_SERVER = 140000


def check_server(connection: Connection, *, writing: bool = True) -> None:
    """Checks the server's version, and that it takes writes.

    Raises:
        PreflightFailed: it is too old, or a standby.
    """
    facts = connection.execute(query("preflight", "server_facts")).fetchone()
    if facts is None or facts["version_num"] < OLDEST_SERVER:
        found = "one of unknown version" if facts is None else f"version {facts['version_text']}"
        raise PreflightFailed(f"the server is {found}; fasthash needs PostgreSQL 14 or newer")
    if writing and facts["read_only"]:
        raise PreflightFailed("the database is read-only (a standby?); give the primary's --dsn")


def check_room(connection: Connection) -> None:
    """Checks that a run will get its connections, and that its commits need not wait for ever.

    Raises:
        PreflightFailed: too few are free, or no synchronous standby is there.
    """
    used = connection.execute(query("doctor", "connections")).fetchone() or {}
    limit = used["role_limit"]
    if limit is not None and 0 <= limit < used["used_by_role"] - 1 + CONNECTIONS:
        raise PreflightFailed(
            f"this role may have {limit} connections, {used['used_by_role']} are in use, and a run "
            f"takes up to {CONNECTIONS}: ALTER ROLE .. CONNECTION LIMIT"
        )
    standby = connection.execute(query("preflight", "missing_standby")).fetchone()
    if standby is not None and standby["names"] is not None:
        raise PreflightFailed(
            "no synchronous standby is connected, and every commit that has to be kept would wait "
            f"for one (synchronous_standby_names = {standby['names']}): start it, or change that"
        )


def check_catalog(
    connection: Connection, names: CatalogNames, *, writing: bool, update_function: str | None
) -> Catalog:
    """Finds the catalog and checks what this role may do with it.

    Raises:
        PreflightFailed: it is missing, of no use, or out of reach; names the grant.
    """
    catalog = find_catalog(connection, names)
    _check_privileges(connection, catalog, writing=writing)
    if update_function is not None:
        catalog = replace(
            catalog, update_function=find_function(connection, catalog, update_function)
        )
    return catalog


def check_ledger(connection: Connection) -> None:
    """Checks that the ledger is there and that this role may write it.

    Raises:
        NotInitialized: `fasthash init` was not done.
        PreflightFailed: a privilege is missing; names the grant.
    """
    schema.require_ledger(connection)
    missing = schema.missing_privileges(connection, schema.PRIVILEGES)
    if missing:
        raise PreflightFailed(
            f"{len(missing)} ledger privileges are missing, the first: {missing[0]} "
            "(`fasthash grants ROLE` prints all)"
        )


def try_to_write(connection: Connection, catalog: Catalog) -> None:
    """Has the server check the statement that writes results, with no row.

    Raises:
        PreflightFailed: it would refuse every row.
    """
    try:
        with transaction(connection):
            probe(connection, Target(catalog, 0, 0, "overwrite"))
            raise Rollback
    except IN_THE_WAY:
        pass  # somebody has locked the table: that may be over when the first batch comes
    except DatabaseError as error:
        if is_gone(connection):
            raise
        raise PreflightFailed(f"{catalog.key} cannot be written: {described(error)}") from error


def hint_at_children(catalog: Catalog) -> None:
    """Logs that ids may repeat, where tables inherit from the catalog."""
    if catalog.children:
        log.warning(
            "%d tables inherit from %s: their rows count as its own, and no index keeps their ids "
            "apart; an id that several rows have is refused",
            catalog.children,
            catalog.key,
            extra=logs.event("inheritance", children=catalog.children),
        )


def hint_at_indexes(connection: Connection, catalog: Catalog) -> None:
    """Logs what the catalog's indexes will cost."""
    names = catalog.names
    for index in read_indexes(connection, catalog.table_oid):
        mentions = names.metadata in index["columns"] or (
            (index["has_expressions"] or index["is_partial"])
            and names.metadata in index["definition"]
        )
        if mentions:
            log.info(
                "index %s covers column %s: every update has to change it as well",
                index["name"],
                names.metadata,
                extra=logs.event("slow_index", index=index["name"], column=names.metadata),
            )


def _check_privileges(connection: Connection, catalog: Catalog, *, writing: bool) -> None:
    missing = missing_grants(connection, catalog.names, catalog.table_oid, writing=writing)
    if missing:
        raise PreflightFailed(f"missing privilege; grant it with: {' '.join(missing)}")


def missing_grants(
    connection: Connection, names: CatalogNames, table_oid: int, *, writing: bool
) -> list[str]:
    """Statements for the privileges on the catalog that this role lacks.

    Args:
        names: of which columns that the table does not have are left out.
        table_oid: the table.
        writing: whether the metadata are to be updated.
    """
    facts = connection.execute(
        query("preflight", "table_privileges"), {"table_oid": table_oid}
    ).fetchone()
    rows = connection.execute(query("preflight", "columns"), {"table_oid": table_oid}).fetchall()
    if facts is None:
        return []
    role, schema = sql.Identifier(facts["role"]), sql.Identifier(facts["schema"])
    grants: list[sql.Composable] = []
    if not facts["schema_usable"]:
        grants.append(sql.SQL("GRANT USAGE ON SCHEMA {} TO {};").format(schema, role))
    wanted = [(name, "SELECT") for name in (names.id, names.type, names.path, names.metadata)]
    if writing:
        wanted.append((names.metadata, "UPDATE"))
    may = {(r["name"], "SELECT"): r["selectable"] for r in rows}
    may |= {(r["name"], "UPDATE"): r["updatable"] for r in rows}
    missing = [w for w in dict.fromkeys(wanted) if may.get(w) is False]
    if missing:
        listed = sql.SQL(", ").join(
            sql.SQL("{} ({})").format(sql.SQL(privilege), sql.Identifier(column))
            for column, privilege in missing
        )
        table = sql.Identifier(facts["schema"], facts["table"])
        grants.append(sql.SQL("GRANT {} ON {} TO {};").format(listed, table, role))
    return [grant.as_string(connection) for grant in grants]


def find_function(connection: Connection, catalog: Catalog, name: str) -> tuple[str, ...]:
    """The site's update function, by its parts.

    Raises:
        PreflightFailed: there is none with these arguments, or this role may not call it.
    """
    schema_name, function = parse_table(name)
    found = connection.execute(
        query("preflight", "find_function"),
        {"schema": schema_name, "function": function, "id_type": catalog.id_type},
    ).fetchone()
    if found is None:
        raise PreflightFailed(
            f"there is no function {name}({catalog.id_type}[], jsonb[]) (--update-function)"
        )
    if not found["callable"]:
        raise PreflightFailed(f"this role may not call {name}: GRANT EXECUTE on it")
    return (function,) if schema_name is None else (schema_name, function)


def check_types(connection: Connection, catalog: Catalog, types: Sequence[str]) -> None:
    """Checks that the types that were asked for exist.

    Raises:
        PreflightFailed: one does not; names the nearest.
    """
    if not types:
        return
    known = [NO_TYPE if t is None else t for t in read_types(connection, catalog)]
    for wanted in types:
        if wanted not in known and not _is_type(connection, catalog, wanted):
            raise PreflightFailed(f"no row has type {wanted!r}{did_you_mean(wanted, known)}")


def _is_type(connection: Connection, catalog: Catalog, wanted: str) -> bool:
    """Whether a row's type is equal to it, though not the same text: `Figure` of type citext."""
    try:
        with transaction(connection):
            return bool(read_types(connection, catalog, [wanted]))
    except psycopg.errors.DataError:
        return False  # it is no value of the type: of an enumeration, say


def registered_roots(connection: Connection) -> list[str]:
    """The directories that `register` was given; none where there is no ledger."""
    if schema.ledger_version(connection) == 0:
        return []
    return [row["path"] for row in connection.execute(query("preflight", "registered_roots"))]


def role_exists(connection: Connection, role: str) -> bool:
    """Whether there is a role of that name."""
    row = connection.execute(query("preflight", "role_exists"), {"role": role}).fetchone()
    return bool(row and row["found"])
