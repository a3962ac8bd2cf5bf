-- name: types_by_scan
-- The distinct types of rows that have a path, NULL last: distinct as their own type has it, which
-- may take texts for equal that are not the same.
SELECT t.artifact_type
FROM (SELECT min(a.{type}::text COLLATE "C") AS artifact_type
      FROM {catalog} a
      WHERE a.{path} IS NOT NULL {of_types}
      GROUP BY a.{type}) t
ORDER BY t.artifact_type NULLS LAST

-- name: types_by_index
-- The same by one index probe a type: for catalogs with an index that begins with the type.
WITH RECURSIVE types AS (
    (SELECT a.{type} AS t FROM {catalog} a WHERE a.{type} IS NOT NULL ORDER BY a.{type} LIMIT 1)
    UNION ALL
    SELECT (SELECT a.{type} FROM {catalog} a WHERE a.{type} > types.t ORDER BY a.{type} LIMIT 1)
    FROM types WHERE types.t IS NOT NULL
)
SELECT a.{type}::text AS artifact_type
FROM (SELECT types.t AS {type} FROM types) a
WHERE a.{type} IS NOT NULL {of_types}
UNION ALL
SELECT NULL WHERE EXISTS (SELECT FROM {catalog} a WHERE a.{type} IS NULL {of_types})

-- name: of_type
-- Fragment: rows of one type. The cast makes the comparison use the column's own index.
a.{type} = %(artifact_type)s{as_type}

-- name: of_no_type
-- Fragment: rows whose type is NULL, which no comparison ever selects.
a.{type} IS NULL

-- name: past
-- Fragment: rows behind an id.
AND a.{id} > %(after_id)s{as_id}

-- name: due_unmarked
-- Fragment: rows that a backfill is for.
AND (({is_ours}) IS NOT TRUE AND nullif({marker}, '') IS NULL)

-- name: due_since
-- Fragment: the same, where older markers count as absent.
AND coalesce({marker} < %(since)s, true)

-- name: due_scrub
-- Fragment: rows that a scrub is for: marked before the cutoff, or known to be bad. Markers that
-- are younger than the run's beginning (and those of the future) are fresh.
AND {marker} < %(started)s
AND ({marker} < %(cutoff)s OR {is_bad})

-- name: is_bad
-- Fragment: whether a row's file was found to be bad, and not good again since. A look by key for
-- each row: a list of all of them, in memory, is searched from end to end once it has grown.
(SELECT b.run_id FROM fasthash.bad_row b
 WHERE b.catalog_no = %(catalog_no)s AND b.row_id = a.{id}::text COLLATE "C") IS NOT NULL

-- name: in_sample
-- Fragment: a share of all rows that is the same whenever the seed is.
AND ('x' || left(md5(%(seed)s || ':' || a.{id}::text), 8))::bit(32)::bigint < %(share)s

-- name: not_met
-- Fragment: rows that this run has no residual and no held drift for. A look into the index for each
-- row, not NOT EXISTS: of a run that has just begun the statistics know nothing, and a join is then
-- planned as if there were one such row (50,000 rows took 30 s).
AND (SELECT r.run_id FROM fasthash.residual r
     WHERE r.run_id = %(run_id)s AND r.row_id = a.{id}::text COLLATE "C") IS NULL
AND (SELECT d.run_id FROM fasthash.drift d
     WHERE d.run_id = %(run_id)s AND d.row_id = a.{id}::text COLLATE "C"
       AND d.resolution <> 'overwritten'
     LIMIT 1) IS NULL

-- name: not_counted
-- Fragment: rows that this run has not counted, whatever their markers say. (The nested loops that
-- wrong statistics would lead to are ruled out where this is used.)
LEFT JOIN (
    SELECT DISTINCT j.row_id
    FROM (SELECT j.row_id FROM fasthash.journal j WHERE j.run_id = %(run_id)s
          UNION ALL
          SELECT i.row_id FROM fasthash.met m, unnest(m.row_ids) AS i (row_id)
          WHERE m.run_id = %(run_id)s) j
) counted ON counted.row_id = a.{id}::text COLLATE "C"

-- name: not_planned
-- Fragment: rows that are in no list of this run.
LEFT JOIN (
    SELECT DISTINCT j.row_id
    FROM (SELECT i.row_id FROM fasthash.checkpoint c, unnest(c.row_ids) AS i (row_id)
          WHERE c.run_id = %(run_id)s
          UNION ALL
          SELECT i.row_id FROM fasthash.met m, unnest(m.row_ids) AS i (row_id)
          WHERE m.run_id = %(run_id)s) j
) counted ON counted.row_id = a.{id}::text COLLATE "C"

-- name: counted_before
-- Of some rows those that this run has counted: written, or met as fresh.
SELECT w.row_id
FROM unnest(%(row_ids)s::text[]) AS w (row_id)
WHERE w.row_id IN (
    SELECT j.row_id FROM fasthash.journal j WHERE j.run_id = %(run_id)s
    UNION ALL
    SELECT i.row_id FROM fasthash.met m, unnest(m.row_ids) AS i (row_id)
    WHERE m.run_id = %(run_id)s)

-- name: fresh_marked
-- Fragment: whether a row that is read is fresh already.
{marker} IS NOT NULL

-- name: fresh_since
-- Fragment: the same, where older markers count as absent.
{marker} >= %(since)s

-- name: fresh_scrub
-- Fragment: the same for a scrub.
{marker} >= %(started)s

-- name: in_range
-- Fragment: the rows of a range that has a list of them.
AND a.{id} IN (
    SELECT unnest(c.row_ids){as_id}
    FROM fasthash.checkpoint c WHERE c.run_id = %(run_id)s AND c.range_no = %(range_no)s)

-- name: still_marked
-- Fragment: whose marker was taken away is no row of a scrub any more.
AND {marker} IS NOT NULL

-- name: known_size
-- Fragment: the size alone, where it is a number that a file can have.
, CASE WHEN true {and_hash} THEN {size} END, NULL, NULL, NULL, NULL, NULL

-- name: known_stamps
-- Fragment: the stamps of the file when the row's hash was made. A stamp younger than 2 s at that
-- time is not trusted: the file may have been changed again within it.
, CASE WHEN f.read_at_ns - greatest(f.mtime_ns, f.ctime_ns) >= 2000000000 {and_hash}
     THEN f.size_bytes END, f.mtime_ns, f.ctime_ns, f.device, f.inode, NULL

-- name: known_xxh3
-- Fragment: the XXH3 of the content that the row's hash is of.
, CASE WHEN f.xxh3 IS NOT NULL {and_hash} THEN f.size_bytes END, NULL, NULL, NULL, NULL, f.xxh3

-- name: and_hash
-- Fragment: nothing is spared where a digest is missing, or where the file is known to be bad: it
-- may have the very stamps of the good one.
AND {digest} IS NOT NULL
AND NOT ({is_bad})

-- name: and_blake3
-- Fragment: the same for the second digest, where it is asked for.
AND {blake3_text} IS NOT NULL

-- name: with_state
-- Fragment: what is known of a row's file, if it is known of the hash that the row has now.
LEFT JOIN LATERAL (
    SELECT f.size_bytes, {mtime_ns} AS mtime_ns, {ctime_ns} AS ctime_ns, {device} AS device,
           {inode} AS inode, f.xxh3, f.read_at_ns
    FROM fasthash.file_state f
    WHERE f.row_id = a.{id}::text COLLATE "C" AND f.catalog_no = %(catalog_no)s
      AND encode(f.sha256, 'hex') = {digest}
    LIMIT 1
) f ON true

-- name: not_committed
-- Fragment: rows outside the parts of this range that are committed already.
AND NOT EXISTS (
    SELECT FROM fasthash.segment s
    WHERE s.run_id = %(run_id)s AND s.range_no = %(range_no)s
      AND (s.after_id IS NULL OR a.{id} > s.after_id{as_id})
      AND a.{id} <= s.through_id{as_id})

-- name: plan_boundaries
-- The last id of each of the next ranges of one type, and how many rows it closes.
SELECT k.id::text AS through_id, k.n AS rows_so_far
FROM (
    SELECT p.id, row_number() OVER (ORDER BY p.id) AS n, count(*) OVER () AS total
    FROM (
        SELECT a.{id} AS id
        FROM {catalog} a
        WHERE {of_type} AND a.{path} IS NOT NULL AND a.{id} IS NOT NULL {past}
        ORDER BY a.{id}
        LIMIT %(rows)s
    ) p
) k
WHERE k.n %% %(range_rows)s = 0 OR k.n = k.total
ORDER BY k.n

-- name: unmet_rows
-- Rows that the run has not met yet, in planning order.
SELECT min(r.type_text) OVER (PARTITION BY r.type) AS artifact_type, r.row_id
FROM (SELECT a.{type} AS type, a.{type}::text COLLATE "C" AS type_text, a.{id} AS id,
             a.{id}::text AS row_id
      FROM {catalog} a {not_counted}
      WHERE a.{path} IS NOT NULL AND a.{id} IS NOT NULL {of_types} {unmet} {or_counted}
      ORDER BY a.{type}, a.{id}
      LIMIT %(rows)s) r
ORDER BY r.type, r.id

-- name: or_counted
-- Fragment: a row that lost its marker after it was counted is hashed again, and not counted.
AND (counted.row_id IS NULL OR nullif({marker}, '') IS NULL)

-- name: left_over_rows
-- Rows of a scrub that were locked or moved when their turn was, in planning order.
SELECT min(r.type_text) OVER (PARTITION BY r.type) AS artifact_type, r.row_id
FROM (SELECT a.{type} AS type, a.{type}::text COLLATE "C" AS type_text, a.{id} AS id,
             a.{id}::text AS row_id
      FROM {catalog} a
      WHERE a.{path} IS NOT NULL AND a.{id} IN (
          SELECT l.row_id{as_id} FROM fasthash.left_over l WHERE l.run_id = %(run_id)s)
      ORDER BY a.{type}, a.{id}
      LIMIT %(rows)s) r
ORDER BY r.type, r.id

-- name: forget_left_over
-- They are planned again.
DELETE FROM fasthash.left_over l
WHERE l.run_id = %(run_id)s AND l.row_id = ANY (%(row_ids)s::text[])

-- name: of_types
-- Fragment: rows of the types that the run was asked for.
AND (a.{type} = ANY (ARRAY(SELECT t.name{as_type} FROM unnest(%(types)s::text[]) AS t (name)))
     OR (%(with_no_type)s AND a.{type} IS NULL))

-- name: read_range
-- The rows of a range as tasks: with a verdict where no reading is needed.
SELECT a.{id}::text, {path_text}, {stored}, {marker_text},
       CASE WHEN {unreadable} IS NOT NULL THEN 'unreadable_row'
            WHEN {metadata_kind} <> 'object' THEN 'bad_metadata'
            WHEN {fresh} THEN 'fresh'
       END, {unreadable}
       {known}
FROM {catalog} a {with_state}
WHERE {of_type} AND a.{path} IS NOT NULL {past} AND a.{id} <= %(through_id)s{as_id}
{in_range} {not_committed}
ORDER BY a.{id}

-- name: stored_or_known
-- Fragment: the same, where the ledger may know one that the row has lost.
coalesce({compared}, {known_hash})

-- name: past_marker
-- Fragment: rows behind those that were planned before, the oldest first.
AND (a.fasthash_marker, a.{id}) > (%(after_marker)s COLLATE "C", %(after_id)s{as_id})
AND counted.row_id IS NULL

-- name: plan_scrub
-- The next ranges of a scrub, the oldest rows first: each has a list of its rows, which are of one
-- type and in the order of their keys.
WITH due AS MATERIALIZED (
    SELECT a.{id} AS id, a.{type} AS type, a.fasthash_marker AS marker
    FROM (SELECT a.{id}, a.{type}, {marker} AS fasthash_marker
          FROM {catalog} a
          WHERE a.{path} IS NOT NULL AND a.{id} IS NOT NULL {of_types}
          OFFSET 0) a {not_planned}
    WHERE true {due} {past_marker}
    ORDER BY a.fasthash_marker, a.{id}
    LIMIT %(rows)s
),
numbered AS (
    SELECT d.id, d.type, d.marker,
           (row_number() OVER (PARTITION BY d.type ORDER BY d.marker, d.id) - 1)
               / %(range_rows)s AS slice
    FROM due d
),
ranges AS MATERIALIZED (
    SELECT min(n.type::text COLLATE "C") AS artifact_type,
           array_agg(n.id::text ORDER BY n.id) AS row_ids,
           row_number() OVER (ORDER BY min(n.marker), n.type, n.slice) AS place
    FROM numbered n
    GROUP BY n.type, n.slice
),
added AS (
    INSERT INTO fasthash.checkpoint
        (run_id, range_no, pass_no, artifact_type, through_id, planned_rows, row_ids)
    SELECT %(run_id)s, %(first_no)s + r.place - 1, 0, r.artifact_type,
           r.row_ids[cardinality(r.row_ids)], cardinality(r.row_ids), r.row_ids
    FROM ranges r
)
SELECT (SELECT count(*) FROM ranges)::integer AS ranges,
       (SELECT count(*) FROM due)::integer AS rows, l.marker AS last_marker, l.id::text AS last_id
FROM (VALUES (1)) AS one (x)
LEFT JOIN LATERAL (SELECT d.marker, d.id FROM due d ORDER BY d.marker DESC, d.id DESC LIMIT 1) l
       ON true

-- name: rows_without_id
-- How many rows cannot be named.
SELECT count(*) AS n FROM {catalog} a
WHERE a.{id} IS NULL AND a.{path} IS NOT NULL {of_types}

-- name: note_rows_without_id
-- They are counted as failed, in a range of their own for each type, and stand in the residual.
WITH nameless AS MATERIALIZED (
    SELECT min(a.{type}::text COLLATE "C") OVER (PARTITION BY a.{type}) AS artifact_type,
           {path_text} AS path, row_number() OVER (ORDER BY a.tableoid, a.ctid) AS n
    FROM {catalog} a
    WHERE a.{id} IS NULL AND a.{path} IS NOT NULL {of_types}
),
counted AS (
    INSERT INTO fasthash.checkpoint
        (run_id, range_no, pass_no, artifact_type, through_id, planned_rows, state, failed)
    SELECT %(run_id)s, %(range_no)s - 1 + row_number() OVER (ORDER BY l.artifact_type), 0,
           l.artifact_type, '', count(*), 'done', count(*)
    FROM nameless l
    GROUP BY l.artifact_type
    RETURNING range_no
),
residual_rows AS (
    INSERT INTO fasthash.residual (run_id, row_id, artifact_type, path, reason, detail)
    SELECT %(run_id)s, format('(no id) %%s', l.n), l.artifact_type, l.path, 'unreadable_row',
           %(detail)s
    FROM nameless l
)
SELECT count(*) AS n FROM counted

-- name: row_ids
-- The ids of a range, and nothing else of its rows.
SELECT a.{id}::text AS row_id
FROM {catalog} a
WHERE {of_type} AND a.{path} IS NOT NULL {past} AND a.{id} <= %(through_id)s{as_id}
ORDER BY a.{id}

-- name: unreadable_rows
-- Rows that the database cannot give, the first of them, and how many there are.
SELECT a.{id}::text AS row_id, {unreadable} AS why, count(*) OVER () AS n
FROM {catalog} a
WHERE a.{path} IS NOT NULL AND {unreadable} IS NOT NULL
ORDER BY a.{id}
LIMIT %(most)s

-- name: future_rows
-- How many markers are of the future, and the last of them: some clock was wrong, or still is.
SELECT count(*) AS n, max({marker}) AS latest
FROM {catalog} a
WHERE {marker} > %(now)s

-- name: count_rows
-- How many rows of each type a run will meet, for progress bars.
SELECT min(a.{type}::text COLLATE "C") AS artifact_type, count(*) AS n
FROM {catalog} a WHERE a.{path} IS NOT NULL {of_types} {unmet}
GROUP BY a.{type} ORDER BY a.{type} NULLS LAST

-- name: freshness
-- The oldest marker but for rows known to be bad, and how many rows there are of each kind: one pass.
SELECT min(r.marker) FILTER (WHERE NOT r.is_bad) AS oldest_marker,
       count(r.marker) AS rows_marked, count(*) - count(r.marker) AS rows_unmarked,
       count(*) FILTER (WHERE r.marker IS NOT NULL AND r.is_bad) AS rows_bad
FROM (SELECT nullif({marker}, '') AS marker, b.run_id IS NOT NULL AS is_bad
      FROM {catalog} a
      LEFT JOIN fasthash.bad_row b
             ON b.catalog_no = %(catalog_no)s AND b.row_id = a.{id}::text COLLATE "C"
      WHERE a.{path} IS NOT NULL
      OFFSET 0) r
