"""How fast a database takes rows, tried on a temporary table: nothing of anybody's is touched."""

from __future__ import annotations

import os
import time

from fasthash.store.queries import query
from fasthash.store.session import Connection

ROWS, BATCH_ROWS = 20_000, 1_000


def write_rate(connection: Connection, seconds: float) -> float:
    """Rows per second, written in batches for a number of seconds (at least one batch).

    A temporary table has no write-ahead log and no journal beside it: a run comes to half of this.

    Raises:
        psycopg.Error: among others where this role may not create temporary tables.
    """
    connection.execute(query("bench", "make_rows"))
    connection.execute(query("bench", "make_index"))
    rows, began_s = 0, time.monotonic()
    while rows == 0 or time.monotonic() - began_s < seconds:
        first = rows % ROWS + 1
        batch = {
            "id": list(range(first, first + BATCH_ROWS)),
            "sha256": [os.urandom(32) for _ in range(BATCH_ROWS)],
        }
        connection.execute(query("bench", "write_batch"), batch)
        rows += BATCH_ROWS
    return rows / (time.monotonic() - began_s)
