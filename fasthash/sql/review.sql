-- name: chosen_drifts
-- Drifts that somebody is to decide about: some by number, or all that match.
SELECT d.drift_id, d.run_id, d.row_id, d.artifact_type, d.path, d.kind, d.old_hash,
       encode(d.new_sha256, 'hex') AS new_hash, d.resolution
FROM fasthash.drift d
JOIN fasthash.run r ON r.run_id = d.run_id
WHERE r.catalog = %(catalog)s
  AND (d.drift_id = ANY (%(drift_ids)s::bigint[])
       OR (%(all)s::boolean AND d.resolution = 'open'
           AND (%(kind)s::text IS NULL OR d.kind = %(kind)s)
           AND (%(run_id)s::bigint IS NULL OR d.run_id = %(run_id)s)
           AND (cardinality(%(types)s::text[]) = 0 AND NOT %(with_no_type)s::boolean
                OR d.artifact_type = ANY (%(types)s::text[])
                OR (%(with_no_type)s::boolean AND d.artifact_type IS NULL))))
ORDER BY d.drift_id

-- name: accept
-- The file's hash takes the place of the stored one, if that and the path are still what they were
-- when the drift was found, and nobody has decided meanwhile.
WITH decided AS (
    UPDATE fasthash.drift d
    SET resolution = 'accepted', resolved_by = %(who)s, resolved_at = clock_timestamp(),
        comment = %(comment)s
    WHERE d.drift_id = %(drift_id)s AND d.resolution = 'open'
      AND EXISTS (
          SELECT FROM {catalog} a
          WHERE a.{id} = %(row_id)s::text::{id_type} AND a.{path}::text = %(path)s
            AND a.{metadata} ->> 'file_sha256' = %(old_hash)s
          FOR NO KEY UPDATE)
    RETURNING d.drift_id
),
patched AS MATERIALIZED (
    SELECT a.{id} AS row_id, a.{metadata} -> 'file_sha256' AS old_hash_json,
           a.{metadata} -> 'file_size_bytes' AS old_size_json,
           a.{metadata} -> 'file_sha256_computed_at' AS old_marker_json,
           a.{metadata} -> 'file_blake3' AS old_blake3_json,
           jsonb_build_object('file_sha256', encode(%(sha256)s, 'hex'),
                              'file_size_bytes', %(size_bytes)s::bigint,
                              'file_sha256_computed_at', {new_marker})
           || CASE WHEN a.{metadata} ->> 'file_blake3' IS NULL THEN '{{}}'::jsonb
                   ELSE jsonb_build_object('file_blake3', encode(%(blake3)s, 'hex')) END AS patch
    FROM {catalog} a, decided
    WHERE a.{id} = %(row_id)s::text::{id_type}
),
{write},
journaled AS (
    INSERT INTO fasthash.journal
        (run_id, size_bytes, at, read_at_ns, row_id, new_sha256, stamps, old_sha256, old_keys)
    SELECT %(run_id)s, %(size_bytes)s, clock_timestamp(), %(read_at_ns)s, p.row_id::text,
           %(sha256)s, %(stamps)s,
           CASE WHEN %(old_hash)s ~ '^[0-9a-fA-F]{{64}}$' THEN decode(%(old_hash)s, 'hex') END,
           jsonb_strip_nulls(jsonb_build_object(
               'file_sha256', p.old_hash_json, 'file_size_bytes', p.old_size_json,
               'file_sha256_computed_at', p.old_marker_json, 'file_blake3', p.old_blake3_json))
    FROM patched p
),
remembered AS (
    INSERT INTO fasthash.file_state
        (catalog_no, run_id, checked_at, read_at_ns, size_bytes, mtime_ns, ctime_ns, device,
         inode, row_id)
    SELECT %(catalog_no)s, %(run_id)s, clock_timestamp(), %(read_at_ns)s, %(size_bytes)s,
           {mtime_ns}, {ctime_ns}, {device}, {inode}, p.row_id::text
    FROM patched p
    ON CONFLICT (row_id, catalog_no) DO UPDATE
    SET run_id = excluded.run_id, checked_at = excluded.checked_at,
        read_at_ns = excluded.read_at_ns, size_bytes = excluded.size_bytes,
        mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, device = excluded.device,
        inode = excluded.inode, xxh3 = NULL
)
SELECT count(*) AS n FROM patched
{called}

-- name: called
-- Fragment: a SELECT in a WITH clause runs only if something reads it.
UNION ALL
SELECT 0 * count(*) FROM written

-- name: reject
-- The stored hash stays.
UPDATE fasthash.drift d
SET resolution = 'rejected', resolved_by = %(who)s, resolved_at = clock_timestamp(),
    comment = %(comment)s
WHERE d.drift_id = ANY (%(drift_ids)s::bigint[]) AND d.resolution = 'open'
RETURNING d.drift_id
