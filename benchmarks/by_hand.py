"""What a user would write by hand: a process pool, `file_digest`, `executemany`. No more than that.

No journal, no check against the old value, no resume, nothing about files that change. Arguments:
connection string and root.
"""

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial

import psycopg

BATCH_ROWS = 1_000


def digest(root: str, row: tuple[str, str]) -> tuple[str, int, str, str]:
    """One row of parameters."""
    row_id, name = row
    path = os.path.join(root, name)
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return sha256, os.path.getsize(path), datetime.now(UTC).isoformat(), row_id


def main() -> None:
    """Every row."""
    dsn, root = sys.argv[1:]
    with psycopg.connect(dsn) as connection, ProcessPoolExecutor() as pool:
        rows = connection.execute("SELECT id, file_path FROM artifacts ORDER BY id").fetchall()
        batch = []
        for values in pool.map(partial(digest, root), rows, chunksize=500):
            batch.append(values)
            if len(batch) == BATCH_ROWS:
                write(connection, batch)
                batch = []
        write(connection, batch)


def write(connection: psycopg.Connection, batch: list[tuple[str, int, str, str]]) -> None:
    """A batch in a transaction of its own."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE artifacts SET metadata = metadata || jsonb_build_object('file_sha256', "
            "%s::text, 'file_size_bytes', %s::bigint, 'file_sha256_computed_at', %s::text) "
            "WHERE id = %s",
            batch,
        )
    connection.commit()


if __name__ == "__main__":
    main()
