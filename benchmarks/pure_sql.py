"""Writing the same rows with known hashes by batched SQL: what the database alone costs."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import psycopg

# The shapes of a journal row: typed columns, or the change as one jsonb.
JOURNALS = {
    "typed": (
        "CREATE TABLE journal (run_id int, size bigint, at timestamptz, row_id text, new bytea, "
        "old bytea)",
        "INSERT INTO journal (run_id, row_id, at, old, new, size) "
        "SELECT 1, i.id, clock_timestamp(), decode(l.old, 'hex'), i.hash, i.size "
        "FROM input i JOIN locked l USING (id)",
    ),
    "jsonb": (
        "CREATE TABLE journal (run_id int, at timestamptz, row_id text, change jsonb)",
        "INSERT INTO journal (run_id, row_id, at, change) "
        "SELECT 1, i.id, clock_timestamp(), jsonb_build_object('old', l.old, 'new', "
        "encode(i.hash, 'hex'), 'size', i.size) FROM input i JOIN locked l USING (id)",
    ),
    "none": ("SELECT 1", "SELECT count(*) FROM locked"),
}
WRITE = """
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(%b::text[], %b::bytea[], %b::bigint[]) AS i (id, hash, size)),
locked AS MATERIALIZED (
    SELECT a.id, a.metadata ->> 'file_sha256' AS old
    FROM artifacts a WHERE a.id IN (SELECT id FROM input) ORDER BY a.id FOR NO KEY UPDATE),
written AS (
    UPDATE artifacts a
    SET metadata = coalesce(a.metadata, '{}') || jsonb_build_object(
        'file_sha256', encode(i.hash, 'hex'), 'file_size_bytes', i.size,
        'file_sha256_computed_at', '2026-01-01T00:00:00.000000Z')
    FROM input i JOIN locked l USING (id) WHERE a.id = i.id)
"""


@dataclass(frozen=True)
class Shape:
    """How the rows are written."""

    batch_rows: int = 1_000
    journal: str = "typed"
    synchronous_commit: str = "off"


def write_known(dsn: str, shape: Shape) -> float:
    """Seconds to write every row when the hashes are known already, and the rows' ids too."""
    table, insert = JOURNALS[shape.journal]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"SET synchronous_commit = {shape.synchronous_commit}")
        connection.execute("SET jit = off")
        connection.execute("DROP TABLE IF EXISTS journal")
        connection.execute(table)
        rows = connection.execute("SELECT id FROM artifacts ORDER BY artifact_type, id")
        ids = [row[0] for row in rows]
        hashes = [os.urandom(32) for _ in ids]
        statement = (WRITE + insert).encode()
        started = time.monotonic()
        for n in range(0, len(ids), shape.batch_rows):
            batch = ids[n : n + shape.batch_rows]
            values = (batch, hashes[n : n + shape.batch_rows], [8_000] * len(batch))
            connection.execute(statement, values)
        return time.monotonic() - started
