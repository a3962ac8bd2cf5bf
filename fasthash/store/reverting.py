"""Undoing what a run wrote: batch by batch, only where it still stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from fasthash.errors import ConfigError
from fasthash.store.catalog import Catalog
from fasthash.store.queries import query
from fasthash.store.session import Connection, Row, transaction

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
        `gone`, or `locked` by another session.
    """
    marker = query("result", "marker_text", ns=sql.SQL("j.read_at_ns"))
    # Read once, sorted once; no transaction stays open meanwhile (WITH HOLD).
    with connection.cursor(name="written", withhold=True) as written:
        written.execute(query("revert", "written_by", marker=marker), {"of": of})
        while rows := written.fetchmany(BATCH_ROWS):
            with transaction(connection):
                found = _put_back(connection, catalog, run_id, rows, blake3=blake3, dry_run=dry_run)
            yield found
    if not dry_run:
        connection.execute(query("revert", "end_revert"), {"run_id": run_id})


def _put_back(
    connection: Connection,
    catalog: Catalog,
    run_id: int,
    rows: Sequence[Row],
    *,
    blake3: bool,
    dry_run: bool,
) -> Counter[str]:
    put_back = catalog.query("revert", f"put_back_{catalog.metadata_type}")
    columns: dict[str, Any] = {
        name: [row[name] for row in rows]
        for name in ("row_id", "new_sha256", "size_bytes", "marker")
    }
    columns["old_keys"] = [None if r["old_keys"] is None else Jsonb(r["old_keys"]) for r in rows]
    found = connection.execute(
        catalog.query("revert", "put_back", put_back=put_back),
        {
            **columns,
            "run_id": run_id,
            "dry_run": dry_run,
            "keys": [*KEYS, "file_blake3"] if blake3 else list(KEYS),
        },
    )
    return Counter({row["outcome"]: row["n"] for row in found})
