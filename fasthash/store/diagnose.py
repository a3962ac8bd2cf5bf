"""The facts of a server and a catalog for `fasthash doctor`: it reads only, and not for long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import psycopg

from fasthash.config import CatalogNames
from fasthash.errors import PreflightFailed
from fasthash.facts import HeapFacts, IndexFacts, LedgerFacts, ServerFacts, TableFacts, TriggerFacts
from fasthash.store import schema
from fasthash.store.answers import is_away, one_line
from fasthash.store.catalog import Catalog, find_catalog
from fasthash.store.hindrances import held_back
from fasthash.store.pooling import pooling_of
from fasthash.store.preflight import missing_grants
from fasthash.store.queries import query
from fasthash.store.session import Connection, connect_once
from fasthash.store.strain import read_strain

T = TypeVar("T")

# What each look may take: a count of a catalog that takes longer is estimated.
LOOK_S = 3.0
ROUND_TRIPS = 5
SETTINGS = (
    "autovacuum", "track_counts", "fsync", "full_page_writes", "synchronous_commit",
    "synchronous_standby_names", "statement_timeout", "lock_timeout",
    "idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout",
    "max_wal_size", "checkpoint_timeout", "max_connections", "archive_mode",
)  # fmt: skip


class Look:
    """A session that only reads, and what this role could not see through it."""

    def __init__(self, dsn: str) -> None:
        """Connects.

        Raises:
            DatabaseUnreachable: with libpq's reason.
        """
        self.dsn = dsn
        self.connection = connect_once(dsn, "doctor")
        self.unseen: list[tuple[str, str]] = []

    def see(self, what: str, look: Callable[..., T], *arguments: object) -> T | None:
        """What a function finds; None, and a note of it, where the server refuses.

        Raises:
            psycopg.Error: the connection is lost.
        """
        try:
            with limited(self.connection):
                return look(self.connection, *arguments)
        except psycopg.Error as error:
            if is_away(error, self.connection):
                raise
            self.unseen.append((what, one_line(error)))
        except PreflightFailed as error:
            self.unseen.append((what, str(error)))
        return None

    def pooling(self) -> str:
        """How a pooler between here and the server hands out its sessions."""
        try:
            return str(pooling_of(self.dsn, self.connection))
        except psycopg.OperationalError as error:
            self.unseen.append(("the pooler", one_line(error)))
            return "unknown"

    def objection(self, what: str, check: Callable[..., object], *arguments: object) -> str | None:
        """What a check of the preflight has to say against something, if anything."""

        def look(connection: Connection) -> str | None:
            try:
                check(connection, *arguments)
            except PreflightFailed as error:
                return str(error)
            return None

        return self.see(what, look)

    @property
    def where(self) -> str:
        """The database and its host."""
        info = self.connection.info
        return f"database {info.dbname} on {info.host or 'the local socket'}"

    def close(self) -> None:
        """Ends the session."""
        self.connection.close()


@contextmanager
def limited(connection: Connection, seconds: float = LOOK_S) -> Iterator[None]:
    """A transaction that writes nothing, and whose statements take no longer."""
    with connection.transaction():
        connection.execute(query("doctor", "read_only"))
        connection.execute(query("doctor", "limit_time"), {"ms": int(seconds * 1000)})
        yield


def server_facts(connection: Connection) -> ServerFacts:
    """The server as this role sees it."""
    facts = connection.execute(query("doctor", "server")).fetchone() or {}
    ahead_s, round_trip_s = _clock(connection)
    rows = connection.execute(query("doctor", "settings"), {"names": list(SETTINGS)}).fetchall()
    settings = {row["name"]: row["value"] or "" for row in rows}
    used = connection.execute(query("doctor", "connections")).fetchone() or {}
    most, used_now = used["most"], used["used"]
    limit = used["role_limit"]
    of_role = limit is not None and 0 <= limit < most - used_now + used["used_by_role"]
    if of_role:
        most, used_now = limit, used["used_by_role"]
    found = ServerFacts(
        **facts,
        settings=settings,
        fixed=tuple(row["name"] for row in rows if row["is_fixed"]),
        connections_used=used_now,
        connections_most=most,
        connections_of_role=of_role,
        clock_ahead_s=ahead_s,
        round_trip_s=round_trip_s,
        sessions_hidden=used["hidden"],
    )
    return found if found.is_standby else _with_surroundings(connection, found)


def _with_surroundings(connection: Connection, found: ServerFacts) -> ServerFacts:
    """A primary's archiver, standbys, and whatever holds it back."""
    failing = connection.execute(query("doctor", "archiver")).fetchone()
    standbys = connection.execute(query("doctor", "standbys")).fetchone()
    seen = standbys is not None and not standbys["hidden"]
    return replace(
        found,
        held_back=held_back(connection),
        archiver_fails=failing["segment"] if failing else None,
        sync_standbys=standbys["synchronous"] if standbys and seen else None,
        wal_backlog=read_strain(connection).wal_backlog,
    )


def _clock(connection: Connection) -> tuple[float, float]:
    """How far the server's clock is ahead of ours, by the quickest of some round trips; in s."""
    best = (0.0, float("inf"))
    for _ in range(ROUND_TRIPS):
        began_s, asked_s = time.time(), time.perf_counter()
        row = connection.execute(query("doctor", "clock")).fetchone()
        took_s = time.perf_counter() - asked_s
        if row is not None and took_s < best[1]:
            best = (row["now_s"] - (began_s + took_s / 2), took_s)
    return best


def table_facts(connection: Connection, names: CatalogNames) -> TableFacts | None:
    """The table and all that an update of its metadata involves; None where it is missing."""
    found = connection.execute(
        query("preflight", "find_table"), {"schema": names.schema, "table": names.table}
    ).fetchone()
    if found is None:
        return None
    key = {"table_oid": found["table_oid"], "metadata": names.metadata}
    columns = connection.execute(query("preflight", "columns"), key).fetchall()
    quoted = connection.execute(query("doctor", "quoted_columns"), key).fetchall()
    named = connection.execute(query("doctor", "names"), key).fetchone() or {}
    changing = query("doctor", "changing_columns")
    generated = query("doctor", "generated", changing_columns=changing)
    tables = query("doctor", "tables")
    indexes = query("doctor", "indexes", tables=tables)
    triggers = query("doctor", "triggers", changing_columns=changing, tables=tables)
    return TableFacts(
        columns={row["name"]: row["type"] for row in columns},
        quoted_columns={row["name"]: row["quoted"] for row in quoted},
        indexes=tuple(
            IndexFacts(**{**row, "columns": tuple(row["columns"])})
            for row in connection.execute(indexes, key)
        ),
        missing_grants=tuple(missing_grants(connection, names, found["table_oid"], writing=True)),
        heaps=tuple(HeapFacts(**row) for row in connection.execute(query("doctor", "heaps"), key)),
        triggers=tuple(TriggerFacts(**row) for row in connection.execute(triggers, key)),
        generated=tuple(row["name"] for row in connection.execute(generated, key)),
        **{
            **named,
            "publications": tuple(named["publications"]),
            "partition_key": tuple(named["partition_key"]),
        },
    )


def ledger_facts(connection: Connection) -> LedgerFacts:
    """The ledger, as far as this role may look at it."""
    row = connection.execute(query("preflight", "ledger_exists")).fetchone()
    sent_by = schema.publications(connection)
    if row is None or not row["present"]:
        return LedgerFacts(0, schema.VERSION, publications=sent_by)
    missing = tuple(schema.missing_ledger_grants(connection))
    if not row["usable"] or any("schema_version" in statement for statement in missing):
        return LedgerFacts(schema.VERSION, schema.VERSION, missing, sent_by)
    return LedgerFacts(schema.ledger_version(connection), schema.VERSION, missing, sent_by)


def bind(connection: Connection, names: CatalogNames) -> Catalog | str:
    """The catalog, or why it is none."""
    try:
        return find_catalog(connection, names)
    except PreflightFailed as error:
        return str(error)


def open_drifts(connection: Connection, catalog: Catalog) -> int:
    """How many drifts wait for a decision."""
    row = connection.execute(query("report", "open_drifts"), {"catalog": catalog.key}).fetchone()
    return int(row["n"]) if row else 0
