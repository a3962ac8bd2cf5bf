"""The ledger's schema: creating it, its version, and the privileges a role needs."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from fasthash.errors import LedgerPublished, NotInitialized, PreflightFailed
from fasthash.logs import printable
from fasthash.store.catalog import Catalog
from fasthash.store.queries import query, script
from fasthash.store.session import Connection
from fasthash.store.transactions import transaction

# Applied in this order, each in a transaction of its own; never changed once released.
MIGRATIONS: Sequence[str] = (
    "schema_001",
    "schema_002",
    "schema_003",
    "schema_004",
    "schema_005",
    "schema_006",
)
VERSION = len(MIGRATIONS)
PUBLISHES_SCHEMAS_SINCE = 150000

# What `run` does with each ledger table: no more than this is granted, or checked for.
PRIVILEGES = {
    "schema_version": ("SELECT",),
    "root": ("SELECT",),
    "run": ("SELECT", "INSERT", "UPDATE"),
    "holder": ("SELECT", "INSERT", "UPDATE"),
    "checkpoint": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "segment": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "journal": ("SELECT", "INSERT"),
    "drift": ("SELECT", "INSERT", "UPDATE"),
    "residual": ("SELECT", "INSERT"),
    "sample": ("SELECT", "INSERT"),
    "catalog": ("SELECT", "INSERT", "UPDATE"),
    "file_state": ("SELECT", "INSERT", "UPDATE"),
    "bad_row": ("SELECT", "INSERT", "DELETE"),
    "met": ("SELECT", "INSERT", "DELETE"),
    "left_over": ("SELECT", "INSERT", "DELETE"),
}

# What `prune` does: no business of the role that runs have.
PRUNE_PRIVILEGES = {
    "run": ("SELECT", "UPDATE"),
    "holder": ("SELECT", "UPDATE"),
    "checkpoint": ("SELECT", "INSERT", "DELETE"),
    "segment": ("SELECT", "DELETE"),
    "journal": ("SELECT", "DELETE"),
    "residual": ("SELECT", "DELETE"),
    "sample": ("SELECT", "DELETE"),
    "catalog": ("SELECT", "INSERT", "UPDATE"),
    "file_state": ("SELECT", "INSERT", "UPDATE"),
    "met": ("SELECT", "DELETE"),
    "left_over": ("SELECT", "DELETE"),
}


def ledger_version(connection: Connection) -> int:
    """The version of the ledger; 0 where there is none.

    Raises:
        PreflightFailed: there is one, but this role may not look at it.
    """
    row = connection.execute(query("preflight", "ledger_exists")).fetchone()
    if row is None or not row["present"]:
        return 0
    if not row["usable"]:
        raise PreflightFailed(
            "this role may not use schema fasthash: grant what `fasthash grants ROLE` prints"
        )
    missing = missing_privileges(connection, {"schema_version": ("SELECT",)})
    if missing:
        raise PreflightFailed(f"missing privilege; grant it with: {missing[0]}")
    found = connection.execute(query("preflight", "ledger_version")).fetchone()
    return int(found["version"] or 0) if found else 0


def require_ledger(connection: Connection) -> None:
    """Checks that `init` was done, by this version.

    Raises:
        NotInitialized: it was not.
        PreflightFailed: the ledger is of a newer fasthash.
    """
    version = ledger_version(connection)
    if version == 0:
        raise NotInitialized("the ledger schema is missing: run `fasthash init` first")
    if version < VERSION:
        raise NotInitialized(
            f"the ledger has version {version}, this fasthash needs {VERSION}: run `fasthash init`"
        )
    _refuse_newer(version)


def _refuse_newer(version: int) -> None:
    if version > VERSION:
        raise PreflightFailed(
            f"the ledger has version {version}, this fasthash knows {VERSION}: upgrade fasthash"
        )


def is_readable(connection: Connection) -> bool:
    """Whether there is a ledger of this version that this role may read."""
    try:
        if ledger_version(connection) != VERSION:
            return False
    except PreflightFailed:
        return False
    return not missing_privileges(connection, dict.fromkeys(PRIVILEGES, ("SELECT",)))


def publications(connection: Connection) -> tuple[str, ...]:
    """Publications that send the ledger's tables, too, whatever these are."""
    of_schemas = connection.info.server_version >= PUBLISHES_SCHEMAS_SINCE
    name = "publications_of_schema" if of_schemas else "publications"
    return tuple(row["name"] for row in connection.execute(query("preflight", name)))


def migrate(connection: Connection, *, although_published: bool = False) -> list[int]:
    """Creates or upgrades the ledger.

    Args:
        although_published: there may be subscribers that do not have its tables as they will be.

    Returns:
        The versions that were applied; none where all was there.

    Raises:
        PreflightFailed: the ledger is of a newer fasthash.
        LedgerPublished: it would be published, and that was not foreseen.
    """
    applied = []
    with transaction(connection):
        # Two `init` at once: the second waits, and finds all done.
        connection.execute("SELECT pg_advisory_xact_lock(1178686568)")
        found = ledger_version(connection)
        _refuse_newer(found)
        sent_by = publications(connection) if found < VERSION else ()
        if sent_by and not although_published:
            raise LedgerPublished(_what_subscribers_need(sent_by))
        for version in range(found + 1, VERSION + 1):
            name = MIGRATIONS[version - 1]
            connection.execute(sql.SQL(script(name, name)))
            applied.append(version)
    return applied


def _what_subscribers_need(sent_by: Sequence[str]) -> str:
    return (
        f"publication {', '.join(map(printable, sent_by))} sends every table, the ledger's, too: "
        "subscribers that do not have them as they will be stop at the first change of one. Have "
        "each of them run what `fasthash init --print-sql` prints, then `fasthash init --yes`, "
        "then ALTER SUBSCRIPTION .. REFRESH PUBLICATION there"
    )


def schema_script() -> str:
    """All migrations as one script for a DBA."""
    return "BEGIN;\n\n" + "\n\n".join(script(name, name) for name in MIGRATIONS) + "\n\nCOMMIT;\n"


def grant_statements(connection: Connection, catalog: Catalog, role: str) -> list[str]:
    """The grants that a role needs to run fasthash, and no others."""
    names = catalog.names
    who = sql.Identifier(role)
    columns = sql.SQL(", ").join(
        sql.Identifier(c) for c in dict.fromkeys((names.id, names.type, names.path, names.metadata))
    )
    table = sql.Identifier(catalog.schema, names.table)
    row = connection.execute(query("preflight", "server_facts")).fetchone()
    database = sql.Identifier(row["database"] if row else "")
    statements: list[sql.Composable] = [
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {};").format(database, who),
        sql.SQL("GRANT USAGE ON SCHEMA {} TO {};").format(sql.Identifier(catalog.schema), who),
        sql.SQL("GRANT SELECT ({}), UPDATE ({}) ON {} TO {};").format(
            columns, sql.Identifier(names.metadata), table, who
        ),
        *_ledger_grants(who),
    ]
    if catalog.update_function is not None:
        statements.append(
            sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {};").format(
                sql.Identifier(*catalog.update_function), who
            )
        )
    return [s.as_string(connection) for s in statements]


def _ledger_grants(who: sql.Identifier) -> list[sql.Composable]:
    return [
        sql.SQL("GRANT USAGE ON SCHEMA fasthash TO {};").format(who),
        *(
            sql.SQL("GRANT {} ON fasthash.{} TO {};").format(
                sql.SQL(", ".join(privileges)), sql.Identifier(relation), who
            )
            for relation, privileges in PRIVILEGES.items()
        ),
    ]


def missing_ledger_grants(connection: Connection) -> list[str]:
    """Statements for what this role lacks of the ledger, which has to be there."""
    row = connection.execute(query("preflight", "ledger_exists")).fetchone()
    if row is not None and row["usable"]:
        return missing_privileges(connection, PRIVILEGES)
    role = connection.execute(query("preflight", "server_facts")).fetchone()
    who = sql.Identifier(role["role"] if role else "")
    return [statement.as_string(connection) for statement in _ledger_grants(who)]


def missing_privileges(connection: Connection, needed: dict[str, tuple[str, ...]]) -> list[str]:
    """Statements for the ledger privileges that this role lacks."""
    pairs = [(relation, p) for relation, privileges in needed.items() for p in privileges]
    role = connection.execute(query("preflight", "server_facts")).fetchone()
    rows = connection.execute(
        query("preflight", "ledger_privileges"),
        {"relation": [r for r, _ in pairs], "privilege": [p for _, p in pairs]},
    ).fetchall()
    who = sql.Identifier(role["role"] if role else "")
    statements = (
        sql.SQL("GRANT {} ON fasthash.{} TO {};").format(
            sql.SQL(row["privilege"]), sql.Identifier(row["relation"]), who
        )
        for row in rows
    )
    return [statement.as_string(connection) for statement in statements]
