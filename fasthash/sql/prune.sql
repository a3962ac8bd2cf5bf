-- name: past_runs
-- All runs of a catalog, with what decides whether their details are kept.
SELECT r.run_id, r.kind, r.state, r.superseded, r.started_at, r.finished_at,
       EXISTS (SELECT FROM fasthash.run v
               WHERE v.catalog = r.catalog AND v.kind = 'revert' AND v.state <> 'complete'
                 AND NOT v.superseded AND (v.options ->> 'of')::bigint = r.run_id)
           AS being_reverted
FROM fasthash.run r
WHERE r.catalog = %(catalog)s
ORDER BY r.run_id

-- name: now
-- The database's clock.
SELECT clock_timestamp() AS now

-- name: journal_facts
-- How many blocks the journal has; before which time no marker was fasthash's own (a day is for the
-- clocks of hosts); and which of the runs wrote a second digest.
SELECT pg_relation_size('fasthash.journal') / current_setting('block_size')::bigint AS blocks,
       to_char((min(r.started_at) - interval '1 day') AT TIME ZONE 'UTC',
               'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS first_marker,
       coalesce(array_agg(r.run_id) FILTER (WHERE r.options ->> 'algorithm' = 'sha256,blake3'),
                '{{}}') AS two_digests,
       coalesce(array_agg(r.run_id) FILTER (WHERE r.kind = 'revert'), '{{}}') AS reverts
FROM fasthash.run r
WHERE r.catalog = %(catalog)s

-- name: by_place
-- For the rest of a transaction: whatever the statistics say, of the journal only the blocks that
-- are asked for are read, and what is known of a row is looked up by key.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)

-- name: hold_runs
-- Runs that are about to be pruned, locked until the commit: nobody begins to undo them meanwhile.
SELECT r.run_id
FROM fasthash.run r
WHERE r.run_id = ANY (%(run_ids)s::bigint[])
ORDER BY r.run_id
FOR NO KEY UPDATE

-- name: being_reverted
-- Asked when they are locked: runs that somebody has begun to undo.
SELECT (v.options ->> 'of')::bigint AS run_id
FROM fasthash.run v
WHERE v.kind = 'revert' AND v.state <> 'complete' AND NOT v.superseded
  AND (v.options ->> 'of')::bigint = ANY (%(run_ids)s::bigint[])

-- name: confirms
-- Fragment: an entry that changed nothing but the marker of a row, and that is not the first to tell
-- of the row: its marker was written since the catalog has a ledger.
j.run_id = ANY (%(run_ids)s::bigint[]) AND j.run_id <> ALL (%(reverts)s::bigint[])
AND j.new_sha256 = j.old_sha256
AND j.old_keys ->> 'file_size_bytes' = j.size_bytes::text
AND j.old_keys ->> 'file_sha256_computed_at' ~ '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T'
AND (j.old_keys ->> 'file_sha256_computed_at') COLLATE "C" >= %(first_marker)s
AND (j.run_id <> ALL (%(two_digests)s::bigint[]) OR j.old_keys ? 'file_blake3')

-- name: drop_confirmations
-- Of some blocks of the journal: entries that only confirm, where `file_state` knows of the row as
-- much or more. Their runs are marked in the same moment: they cannot be undone any more.
WITH dropped AS (
    DELETE FROM fasthash.journal j
    WHERE j.ctid >= %(from_place)s::tid AND j.ctid < %(to_place)s::tid AND {confirms}
      AND (SELECT f.at >= j.at
           FROM fasthash.file_state f
           WHERE f.row_id = j.row_id AND f.catalog_no = %(catalog_no)s)
    RETURNING j.run_id
),
counted AS (
    SELECT d.run_id, count(*) AS n FROM dropped d GROUP BY d.run_id
),
marked AS (
    UPDATE fasthash.run r
    SET pruned_at = clock_timestamp()
    FROM counted c
    WHERE r.run_id = c.run_id AND r.pruned_at IS NULL
)
SELECT c.run_id, c.n FROM counted c

-- name: count_confirmations
-- The same, but that nothing is dropped, and that what is not taken over yet counts, too.
SELECT j.run_id, count(*) AS n
FROM fasthash.journal j
WHERE j.ctid >= %(from_place)s::tid AND j.ctid < %(to_place)s::tid AND {confirms}
GROUP BY j.run_id

-- name: with_details
-- Of some runs those that have anything left beside their journal.
SELECT r.run_id
FROM fasthash.run r
WHERE r.run_id = ANY (%(run_ids)s::bigint[])
  AND (NOT r.is_compact
       OR EXISTS (SELECT FROM fasthash.residual b WHERE b.run_id = r.run_id)
       OR EXISTS (SELECT FROM fasthash.sample s WHERE s.run_id = r.run_id)
       OR EXISTS (SELECT FROM fasthash.holder h WHERE h.run_id = r.run_id AND h.report - 'left' <> '{{}}'))
ORDER BY r.run_id

-- name: drop_residual
-- The next rows of a run that got no verdict, in the order of their key.
WITH dropped AS (
    DELETE FROM fasthash.residual b
    WHERE b.ctid = ANY (ARRAY(
        SELECT k.ctid
        FROM fasthash.residual k
        WHERE k.run_id = %(run_id)s AND (%(after)s::text IS NULL OR k.row_id > %(after)s)
        ORDER BY k.row_id
        LIMIT %(rows)s))
    RETURNING b.row_id
)
SELECT count(*) AS n, max(d.row_id) AS last FROM dropped d

-- name: drop_samples
-- The next samples of a run, in the order of time. (Of one time there may be several: it begins
-- where it ended.)
WITH dropped AS (
    DELETE FROM fasthash.sample s
    WHERE s.ctid = ANY (ARRAY(
        SELECT k.ctid
        FROM fasthash.sample k
        WHERE k.run_id = %(run_id)s AND (%(after)s::text IS NULL OR k.at >= %(after)s::timestamptz)
        ORDER BY k.at
        LIMIT %(rows)s))
    RETURNING s.at
)
SELECT count(*) AS n, max(d.at)::text AS last FROM dropped d

-- name: drop_reports
-- What the coordinators of a run reported last, but that they have left it.
UPDATE fasthash.holder h
SET report = jsonb_strip_nulls(jsonb_build_object('left', h.report -> 'left'))
WHERE h.run_id = %(run_id)s AND h.report - 'left' <> '{{}}'

-- name: forget_rows
-- What a run that was given up had to keep in mind of single rows.
WITH counted AS (DELETE FROM fasthash.met m WHERE m.run_id = %(run_id)s),
left_over AS (DELETE FROM fasthash.left_over l WHERE l.run_id = %(run_id)s)
DELETE FROM fasthash.segment s WHERE s.run_id = %(run_id)s

-- name: compact_run
-- The ranges of a run become one row a type.
WITH old AS (
    UPDATE fasthash.run r SET is_compact = true
    WHERE r.run_id = %(run_id)s AND NOT r.is_compact
    RETURNING r.run_id
),
ranges AS (
    DELETE FROM fasthash.checkpoint c USING old o WHERE c.run_id = o.run_id
    RETURNING c.run_id, c.range_no, c.pass_no, c.artifact_type, c.planned_rows, c.hashed,
              c.confirmed, c.drifted, c.fresh, c.no_file, c.failed, c.gone, c.updated,
              c.bytes_hashed, c.prechecked
),
made AS (
    INSERT INTO fasthash.checkpoint
        (run_id, range_no, pass_no, artifact_type, through_id, planned_rows, state, hashed,
         confirmed, drifted, fresh, no_file, failed, gone, updated, bytes_hashed, prechecked)
    SELECT g.run_id, -row_number() OVER (ORDER BY min(g.range_no)), max(g.pass_no),
           g.artifact_type, '', least(sum(g.planned_rows), 2147483647), 'done', sum(g.hashed),
           sum(g.confirmed), sum(g.drifted), sum(g.fresh), sum(g.no_file), sum(g.failed),
           sum(g.gone), sum(g.updated), sum(g.bytes_hashed), sum(g.prechecked)
    FROM ranges g
    GROUP BY g.run_id, g.artifact_type
    RETURNING range_no
)
SELECT (SELECT count(*) FROM ranges) - (SELECT count(*) FROM made) AS n

-- name: count_details
-- What would go of some runs beside their journal.
SELECT r.run_id,
       (SELECT count(*) FROM fasthash.residual b WHERE b.run_id = r.run_id) AS residual_rows,
       (SELECT count(*) FROM fasthash.sample s WHERE s.run_id = r.run_id) AS samples,
       (SELECT count(*) FROM fasthash.holder h
        WHERE h.run_id = r.run_id AND h.report - 'left' <> '{{}}') AS holder_reports,
       CASE WHEN r.is_compact THEN 0
            ELSE (SELECT count(*) - count(DISTINCT coalesce('t' || c.artifact_type, ''))
                  FROM fasthash.checkpoint c WHERE c.run_id = r.run_id) END AS ranges
FROM fasthash.run r
WHERE r.run_id = ANY (%(run_ids)s::bigint[])
ORDER BY r.run_id

-- name: pruned_at
-- When entries of a run's journal were dropped, if any were.
SELECT r.pruned_at FROM fasthash.run r WHERE r.run_id = %(run_id)s

-- name: pruned_by_now
-- The same; whoever is dropping some now is waited for.
SELECT r.pruned_at FROM fasthash.run r WHERE r.run_id = %(run_id)s FOR SHARE
