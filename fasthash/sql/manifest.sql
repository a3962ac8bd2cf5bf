-- name: rows_with_path
-- Rows with a path, and their digest if there is one, in the order of type and id.
SELECT a.{id}::text AS row_id, a.{type}::text AS artifact_type, {path_text} AS path,
       {wanted} AS digest, {size} AS size_bytes, {marker_text} AS computed_at,
       {digest} IS NOT NULL AS is_hashed
FROM {catalog} a
WHERE a.{path} IS NOT NULL {only_hashed} {of_types}
ORDER BY a.{type}, a.{id}

-- name: only_hashed
-- Fragment: those with a digest.
AND {wanted} IS NOT NULL

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

-- name: rows_with_digest
-- Rows with one of these digests, whose file was good when it was looked at last.
SELECT {digest} AS digest, a.{id}::text AS row_id, a.{type}::text AS artifact_type,
       {path_text} AS path, {size} AS size_bytes, {marker} AS verified_at, true AS is_verified,
       false AS is_bad
FROM {catalog} a
WHERE a.{path} IS NOT NULL AND {digest} = ANY (%(digests)s::text[]) AND {marker} IS NOT NULL
  AND NOT {is_bad}
ORDER BY 1, a.{type}, a.{id}

-- name: some_with_digest
-- Up to three rows for each of these digests.
SELECT c.digest, c.row_id, c.artifact_type, c.path, c.verified_at
FROM (
    SELECT {digest} AS digest, a.{id}::text AS row_id, a.{type}::text AS artifact_type,
           {path_text} AS path, {marker} AS verified_at,
           row_number() OVER (PARTITION BY {digest} ORDER BY a.{type}, a.{id}) AS n
    FROM {catalog} a
    WHERE a.{path} IS NOT NULL AND {digest} = ANY (%(digests)s::text[]) AND {marker} IS NOT NULL
      AND NOT {is_bad}
) c
WHERE c.n <= 3
ORDER BY c.digest, c.n

-- name: lost_rows
-- Rows of a run without a verdict whose hash is known: what their file held.
SELECT r.row_id, r.digest, r.size_bytes
FROM (
    SELECT b.row_id,
           (SELECT {digest} FROM {catalog} a WHERE a.{id} = b.row_id{as_id}) AS digest,
           (SELECT {size} FROM {catalog} a WHERE a.{id} = b.row_id{as_id}) AS size_bytes
    FROM fasthash.residual b
    WHERE b.run_id = %(run_id)s AND (%(reason)s::text IS NULL OR b.reason = %(reason)s)
      AND b.reason IN ('no_file', 'unreadable', 'unstable', 'not_regular', 'outside_root')
) r
WHERE r.digest IS NOT NULL
ORDER BY r.row_id
LIMIT %(most)s

-- name: duplicate_rows
-- Rows that share a digest with others, the groups that could save most first. Whether the file was
-- found good when it was looked at last tells whether it is a copy that counts.
SELECT d.digest, {size} AS size_bytes, a.{id}::text AS row_id, a.{type}::text AS artifact_type,
       {path_text} AS path, {marker} IS NOT NULL AS is_verified, {is_bad} AS is_bad
FROM (
    SELECT {digest} AS digest, count(*) AS copies, max({size}) AS size_bytes
    FROM {catalog} a
    WHERE a.{path} IS NOT NULL AND {digest} IS NOT NULL
    GROUP BY 1
    HAVING count(*) > 1
) d
JOIN {catalog} a ON {digest} = d.digest AND a.{path} IS NOT NULL
ORDER BY coalesce(d.size_bytes, 0) * (d.copies - 1) DESC, d.digest, a.{type}, a.{id}
