-- name: chosen_drifts
-- Drifts that somebody is to decide about: some by number, or all that match.
SELECT d.drift_id, d.run_id, d.row_id, d.artifact_type, d.path, d.kind, d.old_hash,
       encode(d.new_sha256, 'hex') AS new_hash, d.was_lost, d.resolution
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
          WHERE a.{id} = %(row_id)s{as_id}
            AND a.{path}::text COLLATE "C" = %(path)s
            AND a.{metadata} ->> 'file_sha256' IS NOT DISTINCT FROM
                CASE WHEN d.was_lost THEN NULL ELSE d.old_hash END
          FOR NO KEY UPDATE)
    RETURNING d.drift_id, d.run_id
),
patched AS MATERIALIZED (
    SELECT a.{id} AS row_id, %(path)s::text AS path, a.{metadata} ->> 'file_sha256' AS old_hash,
           a.{metadata} -> 'file_sha256' AS old_hash_json,
           a.{metadata} -> 'file_size_bytes' AS old_size_json,
           a.{metadata} -> 'file_sha256_computed_at' AS old_marker_json,
           a.{metadata} -> 'file_blake3' AS old_blake3_json,
           {old_json} AS old_json, a.{metadata} IS NULL AS was_null,
           %(sha256)s::bytea AS sha256, %(size_bytes)s::bigint AS size_bytes,
           {new_marker} AS new_marker,
           jsonb_build_object('file_sha256', encode(%(sha256)s, 'hex'),
                              'file_size_bytes', %(size_bytes)s::bigint,
                              'file_sha256_computed_at', {new_marker})
           || CASE WHEN a.{metadata} ->> 'file_blake3' IS NULL THEN '{{}}'::jsonb
                   ELSE jsonb_build_object('file_blake3', encode(%(blake3)s, 'hex')) END AS patch
    FROM {catalog} a, decided
    WHERE a.{id} = %(row_id)s{as_id} AND a.{path}::text COLLATE "C" = %(path)s
),
{write},
journaled AS (
    INSERT INTO fasthash.journal
        (run_id, size_bytes, at, read_at_ns, path_hash, row_id, new_sha256, stamps, old_sha256,
         old_keys, old_json, was_null)
    SELECT %(run_id)s, p.size_bytes, clock_timestamp(), %(read_at_ns)s,
           hashtextextended(%(path)s::text COLLATE "C", 0), p.row_id::text, p.sha256, %(stamps)s,
           decode({old_digest}, 'hex'),
           coalesce({old_keys}, '{{}}'), p.old_json, CASE WHEN p.was_null THEN true END
    FROM patched p
),
cured AS (
    DELETE FROM fasthash.bad_row b
    USING decided
    WHERE b.catalog_no = %(catalog_no)s AND b.row_id = %(row_id)s
),
-- The next run takes over what a run of long ago has journaled now. The time becomes another one
-- whatever it was, so that somebody who takes over at this moment sees that there is more.
unfolded AS (
    UPDATE fasthash.run r
    SET unfolded_since = least(coalesce(r.unfolded_since, statement_timestamp()),
                               statement_timestamp()) - interval '1 microsecond'
    FROM decided
    WHERE r.run_id = decided.run_id
)
SELECT p.row_id::text AS row_id, encode(p.sha256, 'hex') AS sha256, p.size_bytes,
       p.new_marker AS marker, {holds} AS holds
FROM patched p
LEFT JOIN written w ON {joined}

-- name: reject
-- The stored hash stays.
UPDATE fasthash.drift d
SET resolution = 'rejected', resolved_by = %(who)s, resolved_at = clock_timestamp(),
    comment = %(comment)s
WHERE d.drift_id = ANY (%(drift_ids)s::bigint[]) AND d.resolution = 'open'
RETURNING d.drift_id
