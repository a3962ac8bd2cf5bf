-- name: hashed_rows
-- Rows with a digest, in the order of type and id. (A regular expression that counts to 64 takes
-- ten times as long.)
SELECT a.{id}::text AS row_id, a.{type}::text AS artifact_type, a.{path}::text AS path,
       lower(a.{metadata} ->> {key}) AS digest,
       CASE WHEN a.{metadata} ->> 'file_size_bytes' ~ '^[0-9]{{1,18}}$'
            THEN (a.{metadata} ->> 'file_size_bytes')::bigint END AS size_bytes,
       a.{metadata} ->> 'file_sha256_computed_at' AS computed_at
FROM {catalog} a
WHERE a.{path} IS NOT NULL AND length(a.{metadata} ->> {key}) = 64
      AND a.{metadata} ->> {key} !~ '[^0-9a-fA-F]' {of_types}
ORDER BY a.{type}, a.{id}

-- name: journal_of
-- Every value that a row was given, the oldest first. First hashes lie in the order of keys, which
-- BRIN finds; whatever was written later has an index of its own.
SELECT j.at, j.run_id, r.kind, r.host, encode(j.old_sha256, 'hex') AS old_sha256,
       j.old_keys::text AS old_keys,
       encode(j.new_sha256, 'hex') AS new_sha256, j.size_bytes, j.read_at_ns,
       {marker} AS marker
FROM (
    SELECT f.at, f.run_id, f.old_sha256, f.old_keys, f.new_sha256, f.size_bytes, f.read_at_ns
    FROM fasthash.journal f
    WHERE f.row_id = %(row_id)s AND f.old_keys IS NULL
    UNION ALL
    SELECT c.at, c.run_id, c.old_sha256, c.old_keys, c.new_sha256, c.size_bytes, c.read_at_ns
    FROM fasthash.journal c
    WHERE c.row_id = %(row_id)s AND c.old_keys IS NOT NULL
) j
JOIN fasthash.run r ON r.run_id = j.run_id
WHERE r.catalog = %(catalog)s
ORDER BY j.at, j.run_id

-- name: by_index
-- For the rest of a transaction: whatever the statistics say, the journal is not read as a whole.
SELECT set_config('enable_seqscan', 'off', true)

-- name: duplicate_rows
-- Rows that share a digest with others, the groups that could save most first.
SELECT d.digest, d.size_bytes, d.copies, a.{id}::text AS row_id, a.{type}::text AS artifact_type,
       a.{path}::text AS path
FROM (
    SELECT lower(b.{metadata} ->> 'file_sha256') AS digest, count(*) AS copies,
           max(CASE WHEN b.{metadata} ->> 'file_size_bytes' ~ '^[0-9]{{1,18}}$'
                    THEN (b.{metadata} ->> 'file_size_bytes')::bigint END) AS size_bytes
    FROM {catalog} b
    WHERE b.{path} IS NOT NULL AND length(b.{metadata} ->> 'file_sha256') = 64
      AND b.{metadata} ->> 'file_sha256' !~ '[^0-9a-fA-F]'
    GROUP BY 1
    HAVING count(*) > 1
) d
JOIN {catalog} a ON lower(a.{metadata} ->> 'file_sha256') = d.digest AND a.{path} IS NOT NULL
ORDER BY coalesce(d.size_bytes, 0) * (d.copies - 1) DESC, d.digest, a.{type}, a.{id}
