-- name: sizes_and_ages
-- Rows with a path and their recorded bytes, by the number of decimal digits of the size (NULL:
-- none is recorded) and by how old the marker is: 0 for the oldest, counted by the cutoffs (NULL:
-- there is none, or none that is a time).
SELECT t.size_digits, t.age_class, count(*) AS rows, coalesce(sum(t.size_bytes), 0)::bigint AS bytes
FROM (
    SELECT s.size_bytes, length(s.size_bytes::text) AS size_digits,
           CASE WHEN s.marker ~ '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T'
                THEN width_bucket(s.marker COLLATE "C", %(cutoffs)s::text[]) END AS age_class
    FROM (
        SELECT {marker} AS marker,
               CASE WHEN a.{metadata} ->> 'file_size_bytes' ~ '^[0-9]{{1,18}}$'
                    THEN (a.{metadata} ->> 'file_size_bytes')::bigint END AS size_bytes
        FROM {catalog} a WHERE a.{path} IS NOT NULL
    ) s
) t
GROUP BY t.size_digits, t.age_class
ORDER BY t.size_digits NULLS LAST, t.age_class NULLS LAST

-- name: largest_duplicates
-- The contents that could save most, how many there are, and what all of them could save.
SELECT d.digest, d.size_bytes, d.copies, d.size_bytes * (d.copies - 1) AS could_be_saved_bytes,
       d.artifact_type, d.example, count(*) OVER () AS groups,
       (sum(d.size_bytes * (d.copies - 1)) OVER ())::bigint AS all_bytes
FROM (
    SELECT lower(a.{metadata} ->> 'file_sha256') AS digest, count(*) AS copies,
           max(CASE WHEN a.{metadata} ->> 'file_size_bytes' ~ '^[0-9]{{1,18}}$'
                    THEN (a.{metadata} ->> 'file_size_bytes')::bigint ELSE 0 END) AS size_bytes,
           min(a.{type}::text) AS artifact_type, min(a.{path}::text) AS example
    FROM {catalog} a
    WHERE a.{path} IS NOT NULL AND a.{metadata} ->> 'file_sha256' ~ '^[0-9a-fA-F]{{64}}$'
    GROUP BY 1
    HAVING count(*) > 1
) d
WHERE d.size_bytes > 0
ORDER BY could_be_saved_bytes DESC, d.digest
LIMIT %(limit)s

-- name: drifts
-- The drifts that a run found, and those of the same catalog that wait for a decision.
SELECT d.drift_id, d.run_id, d.row_id, d.artifact_type, d.path, d.kind, d.old_hash,
       encode(d.new_sha256, 'hex') AS new_hash, d.old_size_bytes, d.new_size_bytes,
       d.file_mtime, d.old_mtime, d.file_ctime, d.old_ctime, d.old_marker, d.resolution,
       d.resolved_by, d.resolved_at, d.comment, d.found_at, count(*) OVER () AS total
FROM fasthash.drift d
JOIN fasthash.run r ON r.run_id = d.run_id
WHERE d.run_id = %(run_id)s OR (d.resolution = 'open' AND r.catalog = %(catalog)s)
ORDER BY d.resolution <> 'open', d.kind <> 'corrupt', d.drift_id
LIMIT %(limit)s

-- name: residual
-- The rows of a run that got no verdict.
SELECT r.row_id, r.artifact_type, r.path, r.reason, r.detail
FROM fasthash.residual r
WHERE r.run_id = %(run_id)s
ORDER BY r.reason, r.artifact_type NULLS LAST, r.row_id
LIMIT %(limit)s
