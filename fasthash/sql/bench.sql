-- name: make_rows
-- Rows like a catalog's, in a table that nobody else sees and that goes with the session.
CREATE TEMPORARY TABLE fasthash_bench ON COMMIT PRESERVE ROWS AS
SELECT n AS id, jsonb_build_object('n', n, 'title', repeat('x', 340)) AS metadata
FROM generate_series(1, 20000) AS n

-- name: make_index
-- Its key.
CREATE UNIQUE INDEX ON pg_temp.fasthash_bench (id)

-- name: write_batch
-- What a run does to a batch of rows, but for the journal.
UPDATE pg_temp.fasthash_bench b
SET metadata = b.metadata || jsonb_build_object(
    'file_sha256', encode(i.sha256, 'hex'), 'file_size_bytes', 8000,
    'file_sha256_computed_at', '2026-01-01T00:00:00.000000Z')
FROM unnest(%(id)b::integer[], %(sha256)b::bytea[]) AS i (id, sha256)
WHERE b.id = i.id
