-- name: table_of
-- The table that the ledger means by a catalog's name: by its oid, or else by what it was called.
SELECT n.nspname AS schema_name, t.relname AS table_name
FROM pg_catalog.pg_class t
JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN fasthash.catalog c ON c.name = %(catalog)s
WHERE t.relkind IN ('r', 'p')
  AND ((t.oid = c.table_oid AND c.ledger_oid = 'fasthash.catalog'::regclass::oid)
       OR (n.nspname = c.table_schema AND t.relname = c.table_name
           AND NOT EXISTS (SELECT FROM fasthash.catalog o
                           WHERE o.table_oid = t.oid AND o.catalog_no <> c.catalog_no
                             AND o.ledger_oid = 'fasthash.catalog'::regclass::oid))
       OR (c.table_name IS NULL AND n.nspname || '.' || t.relname = %(catalog)s))
ORDER BY (t.oid = c.table_oid AND c.ledger_oid = 'fasthash.catalog'::regclass::oid) IS TRUE DESC,
         n.nspname
LIMIT 1

-- name: snapshot
-- When the snapshot was taken that everything is read in. Grouping five million digests takes four
-- times as long in the 4 MB that a session has by default.
SELECT now() AS made_at, set_config('work_mem', '64MB', true) AS work_mem

-- name: shape
-- The whole catalog in one pass: rows by how many digits their size has (NULL: no size) and by how
-- old their marker is (NULL: none; else how many of the limits it is not before).
SELECT s.digits, s.age, count(*) AS n, coalesce(sum(s.size_bytes), 0) AS bytes
FROM (
    SELECT z.size_bytes, CASE WHEN z.size_bytes = 0 THEN 0 ELSE length(z.size_bytes::text) END
               AS digits,
           CASE WHEN z.marker <> '' THEN width_bucket(z.marker, %(limits)s::text[] COLLATE "C")
           END AS age
    FROM (
        SELECT {marker} AS marker, {size} AS size_bytes
        FROM {catalog} a
        WHERE a.{path} IS NOT NULL
        OFFSET 0
    ) z
) s
GROUP BY s.digits, s.age

-- name: duplicates
-- The groups of equal files that could save most, with what all groups could: files that were found
-- good when they were looked at last, and no others. Rows with one path are one file. Of equal files that are empty nothing could be saved. Groups are looked for by a
-- number, which takes a quarter of the memory that digests do; those that share it by chance are
-- told apart afterwards.
WITH shared AS MATERIALIZED (
    SELECT hashtextextended({digest}, 0) AS number
    FROM {catalog} a
    WHERE a.{path} IS NOT NULL AND {digest} IS NOT NULL
    GROUP BY 1
    HAVING count(*) > 1
),
copies AS MATERIALIZED (
    SELECT m.digest, max(m.size_bytes) AS size_bytes, count(*) AS n,
           count(DISTINCT m.path COLLATE "C") AS files,
           min(m.path COLLATE "C") AS first_path, max(m.path COLLATE "C") AS last_path
    FROM (
        SELECT {path_text} AS path, {digest} AS digest, {size} AS size_bytes
        FROM {catalog} a
        WHERE a.{path} IS NOT NULL AND {marker} IS NOT NULL AND NOT {is_bad}
          AND hashtextextended({digest}, 0) IN (SELECT s.number FROM shared s)
    ) m
    GROUP BY m.digest
    HAVING min(m.path COLLATE "C") <> max(m.path COLLATE "C") AND max(m.size_bytes) > 0
)
SELECT c.digest AS sha256, c.size_bytes, c.files, c.n AS rows, c.first_path, c.last_path,
       c.size_bytes * (c.files - 1)::numeric AS could_be_saved_bytes,
       count(*) OVER () AS groups,
       sum(c.size_bytes * (c.files - 1)::numeric) OVER () AS all_could_be_saved_bytes
FROM copies c
ORDER BY c.size_bytes * (c.files - 1)::numeric DESC, c.digest
LIMIT %(most)s

-- name: throughput
-- Rows and bytes a second over a run, in equal pieces. What a coordinator did between two samples
-- is spread evenly over the time between them, so that the pieces add up to what was done; its
-- first sample follows on its start.
WITH ticks AS (
    SELECT p.holder_id, p.at, p.rows, p.bytes
    FROM fasthash.sample p WHERE p.run_id = %(run_id)s
    UNION ALL
    SELECT h.holder_id, h.started_at, 0, 0
    FROM fasthash.holder h WHERE h.run_id = %(run_id)s
),
steps AS (
    SELECT extract(epoch FROM lag(t.at) OVER w)::float8 AS since,
           extract(epoch FROM t.at)::float8 AS until,
           greatest(0, t.rows - lag(t.rows) OVER w) AS rows,
           greatest(0, t.bytes - lag(t.bytes) OVER w) AS bytes
    FROM ticks t
    WINDOW w AS (PARTITION BY t.holder_id ORDER BY t.at, t.rows)
),
-- Once, not for each step: what is thought to be one step is joined by a loop, and 5,000 took 5 s.
whole AS MATERIALIZED (
    SELECT min(s.since) AS first, max(s.until) AS last,
           greatest(%(least_s)s::float8, (max(s.until) - min(s.since)) / %(pieces)s) AS piece_s
    FROM steps s WHERE s.until > s.since
),
cut AS (
    SELECT n.piece_no, greatest(s.since, w.first + n.piece_no * w.piece_s) AS since,
           least(s.until, w.first + (n.piece_no + 1) * w.piece_s) AS until,
           s.rows / (s.until - s.since) AS rows_per_s, s.bytes / (s.until - s.since) AS bytes_per_s
    FROM steps s
    CROSS JOIN whole w
    CROSS JOIN LATERAL generate_series(
        floor((s.since - w.first) / w.piece_s)::integer,
        floor((s.until - w.first) / w.piece_s)::integer) AS n (piece_no)
    WHERE s.until > s.since
)
-- Of a piece the time in which anybody worked; where several did, they overlap as far as they can.
SELECT to_timestamp(min(c.since)) AS since,
       least(max(c.until) - min(c.since), sum(c.until - c.since))::float8 AS seconds,
       sum(c.rows_per_s * (c.until - c.since))::float8 AS rows,
       sum(c.bytes_per_s * (c.until - c.since))::float8 AS bytes
FROM cut c
WHERE c.until > c.since
GROUP BY c.piece_no
ORDER BY c.piece_no

-- name: drift_counts
-- Drifts of a run, and what waits for a decision of earlier ones.
SELECT d.kind, d.resolution, d.run_id = %(run_id)s AS is_of_run, count(*) AS n,
       count(*) FILTER (WHERE d.old_marker IS NULL) AS unmarked
FROM fasthash.drift d
JOIN fasthash.run r ON r.run_id = d.run_id
WHERE d.run_id = %(run_id)s OR (d.resolution = 'open' AND r.catalog = %(catalog)s)
GROUP BY 1, 2, 3

-- name: bad_elsewhere
-- Rows that are known to be bad of which neither list of a run tells.
SELECT count(*) AS n
FROM fasthash.bad_row b
JOIN {catalog} a ON a.{id}::text COLLATE "C" = b.row_id
WHERE b.catalog_no = %(catalog_no)s AND a.{path} IS NOT NULL
  AND NOT EXISTS (SELECT FROM fasthash.residual x
                  WHERE x.run_id = %(run_id)s AND x.row_id = b.row_id)
  AND NOT EXISTS (SELECT FROM fasthash.drift d JOIN fasthash.run r ON r.run_id = d.run_id
                  WHERE d.row_id = b.row_id AND r.catalog = %(catalog)s
                    AND (d.resolution = 'open'
                         OR (d.run_id = %(run_id)s AND d.resolution = 'rejected')))

-- name: drift_rows
-- The same drifts with their evidence: those that wait first, the corrupt ones before others.
SELECT d.drift_id, d.run_id, d.row_id, d.artifact_type, d.path, d.kind, d.old_hash, d.was_lost,
       encode(d.new_sha256, 'hex') AS new_hash, d.old_size_bytes, d.new_size_bytes,
       d.file_mtime, d.old_mtime, d.file_ctime, d.old_ctime, d.moved, d.old_marker, d.resolution,
       d.resolved_by, d.resolved_at, d.comment, d.found_at
FROM fasthash.drift d
JOIN fasthash.run r ON r.run_id = d.run_id
WHERE d.run_id = %(run_id)s OR (d.resolution = 'open' AND r.catalog = %(catalog)s)
ORDER BY d.resolution <> 'open', d.kind <> 'corrupt', d.drift_id

-- name: drifted_hashes
-- The hashes that drifted files should have, so far as a page can name copies of them.
SELECT d.old_hash
FROM fasthash.drift d
JOIN fasthash.run r ON r.run_id = d.run_id
WHERE (d.run_id = %(run_id)s OR (d.resolution = 'open' AND r.catalog = %(catalog)s))
  AND d.resolution IN ('open', 'rejected')
LIMIT 100000

-- name: residual_rows
-- The rows of a run that got no verdict, reason by reason.
SELECT r.row_id, r.artifact_type, r.path, r.reason, r.detail
FROM fasthash.residual r
WHERE r.run_id = %(run_id)s
ORDER BY r.reason, r.artifact_type NULLS LAST, r.row_id COLLATE "C"

-- name: hosts
-- Who took part in a run.
SELECT h.host, count(*) AS sessions, min(h.started_at) AS first_at, max(h.seen_at) AS last_at
FROM fasthash.holder h
WHERE h.run_id = %(run_id)s
GROUP BY h.host
ORDER BY min(h.started_at)
