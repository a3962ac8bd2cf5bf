"""Undoing what a run wrote: batch by batch, only where it still stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Rollback, sql
from psycopg.types.json import Jsonb

from fasthash.errors import ConfigError
from fasthash.store.applying import has_triggers
from fasthash.store.catalog import Catalog
from fasthash.store.queries import query
from fasthash.store.session import Connection, Row
from fasthash.store.transactions import transaction

BATCH_ROWS = 1_000
KEYS = ("file_sha256", "file_size_bytes", "file_sha256_computed_at")


def open_revert(connection: Connection, catalog: Catalog, of: int, host: str) -> int:
    """The run that undoes run `of`: the one that was interrupted, or a new one.

    Raises:
        ConfigError: another run is being undone and not at its end.
    """
    while True:
        row = connection.execute(
            query("revert", "open_revert"), {"catalog": catalog.key}
        ).fetchone()
        if row is not None:
            if row["of"] != of:
                raise ConfigError(
                    f"undoing run {row['of']} is unfinished: `fasthash revert {row['of']}` first"
                )
            return int(row["run_id"])
        key = {"catalog": catalog.key, "of": of, "host": host}
        made = connection.execute(query("revert", "begin_revert"), key).fetchone()
        if made is not None:
            return int(made["run_id"])


def revert(
    connection: Connection,
    catalog: Catalog,
    of: int,
    run_id: int,
    *,
    blake3: bool,
    dry_run: bool,
) -> Iterator[Counter[str]]:
    """Puts the keys back as they were before a run, in batches of a transaction each.

    Doing it again is harmless: what was put back is no longer what the run wrote.

    Args:
        of: the run to undo.
        run_id: the run that does it, for the journal.
        blake3: the run wrote the second digest, too.
        dry_run: only look.

    Yields:
        For each batch how many rows were `reverted`, or left because they are `changed` since,
        `gone`, `locked` by another session, or `refused` by a trigger of the catalog.
    """
    marker = query("result", "marker_text", ns=sql.SQL("j.read_at_ns"))
    # Read once, sorted once; no transaction stays open meanwhile (WITH HOLD).
    with connection.cursor(name="written", withhold=True) as written:
        written.execute(query("revert", "written_by", marker=marker), {"of": of})
        while rows := written.fetchmany(BATCH_ROWS):
            refused: set[str] = set()
            while True:
                batch = _Batch(catalog, run_id, rows, blake3, dry_run, frozenset(refused))
                found, more = batch.put_back(connection)
                if not more:
                    break
                refused |= more
            yield found
    if not dry_run:
        connection.execute(query("revert", "end_revert"), {"run_id": run_id})


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows that are put back in one transaction, but for those that are known to refuse it."""

    catalog: Catalog
    run_id: int
    rows: Sequence[Row]
    blake3: bool
    dry_run: bool
    refused: frozenset[str]

    def put_back(self, connection: Connection) -> tuple[Counter[str], set[str]]:
        """How many rows came to what; or the rows that refused it, and then nothing was done."""
        catalog = self.catalog
        is_back = catalog.query("revert", "is_back")
        columns: dict[str, Any] = {
            name: [row[name] for row in self.rows]
            for name in ("row_id", "new_sha256", "size_bytes", "marker")
        }
        columns["old_keys"] = [
            None if r["old_keys"] is None else Jsonb(r["old_keys"]) for r in self.rows
        ]
        statement = catalog.query(
            "revert",
            "put_back",
            put_back=catalog.query("revert", f"put_back_{catalog.metadata_type}"),
            is_back=is_back,
        )
        values = {
            **columns,
            "run_id": self.run_id,
            "dry_run": self.dry_run,
            "refused": list(self.refused),
            "keys": [*KEYS, "file_blake3"] if self.blake3 else list(KEYS),
        }
        counts: Counter[str] = Counter()
        refusing: set[str] = set()
        with transaction(connection):
            found = {r["outcome"]: r for r in connection.execute(statement, values)}
            refusing.update(found.pop("not_back")["row_ids"] or ())
            counts.update({outcome: r["n"] for outcome, r in found.items()})
            if "reverted" in found and not self.dry_run and has_triggers(connection, catalog):
                connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                back = {**values, "back": found["reverted"]["row_ids"]}
                look = catalog.query("revert", "not_back", is_back=is_back)
                refusing.update(r["row_id"] for r in connection.execute(look, back))
            if refusing:
                raise Rollback
        return counts, refusing
