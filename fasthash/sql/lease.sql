-- name: open_run_of
-- The unfinished run of a kind and a catalog, if there is one.
SELECT run_id, kind, state, options, host, started_at
FROM fasthash.run
WHERE catalog = %(catalog)s AND kind = %(kind)s AND state <> 'complete' AND NOT superseded

-- name: whole_run_before
-- Whether a complete run has met every row of these types before.
SELECT EXISTS (
    SELECT FROM fasthash.run r
    WHERE r.catalog = %(catalog)s AND r.kind = 'backfill' AND r.state = 'complete'
      AND r.options ->> 'limit' IS NULL
      AND (r.options ->> 'types' IS NULL OR r.options -> 'types' = %(types)s::jsonb)
) AS found

-- name: create_run
-- A new run; two hosts that start at once get one run (run_one_open).
INSERT INTO fasthash.run (catalog, kind, options, host, pass_no, cutoff)
VALUES (%(catalog)s, %(kind)s, %(options)s, %(host)s, %(pass_no)s,
        clock_timestamp() - make_interval(secs => %(older_than_s)s))
ON CONFLICT DO NOTHING
RETURNING run_id

-- name: reopen_run
-- An interrupted run goes on. A limit of its own is the new invocation's from now on; a run that was
-- for all rows is for them still, and pauses where the new invocation's limit is reached.
UPDATE fasthash.run
SET state = 'running', finished_at = NULL, error = NULL, ended_for = NULL,
    options = options || jsonb_build_object(
        CASE WHEN options ->> 'limit' IS NULL THEN 'pause_at' ELSE 'limit' END,
        rows_planned + %(limit)s::bigint)
WHERE run_id = %(run_id)s AND state <> 'complete'

-- name: supersede_run
-- --restart: the unfinished run stays as it is, and nothing resumes it.
UPDATE fasthash.run
SET state = 'interrupted', superseded = true, finished_at = coalesce(finished_at, clock_timestamp())
WHERE run_id = %(run_id)s

-- name: add_holder
-- A coordinator joins a run.
INSERT INTO fasthash.holder (run_id, host, pid)
VALUES (%(run_id)s, %(host)s, %(pid)s)
RETURNING holder_id

-- name: claim_alive
-- As long as this session lives the holder counts as alive. Shared: after a lost connection the
-- server may still keep the old session for a while.
SELECT pg_advisory_lock_shared(1178686568, %(holder_id)s)

-- name: at_work
-- Who works on a run: holders whose session is alive, and those who gave a sign of life a moment
-- ago and may have lost no more than a connection; not those who have left. A sign out of the
-- future is none: the server's clock was set back since.
SELECT h.holder_id, h.seen_at, s.alive, h.host, h.pid, h.started_at
FROM fasthash.holder h
CROSS JOIN LATERAL (SELECT h.holder_id IN (
    SELECT l.objid::bigint
    FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.classid = 1178686568 AND l.objsubid = 2 AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) AS alive) s
WHERE h.run_id = %(run_id)s AND NOT h.report ? 'left'
  AND (s.alive OR h.seen_at BETWEEN clock_timestamp() - make_interval(secs => %(grace_s)s)
                                AND clock_timestamp() + make_interval(secs => %(grace_s)s))
ORDER BY h.holder_id

-- name: one_by_one
-- Who joins a run and who leaves it, one after the other, so that the last one knows that it is the
-- last.
SELECT pg_advisory_xact_lock(1178686569, (%(run_id)s::bigint %% 2147483647)::integer)

-- name: be_seen
-- A sign of life, what is wanted of those at work, and whether the run is still theirs.
UPDATE fasthash.holder h SET seen_at = clock_timestamp()
FROM fasthash.run r
WHERE h.holder_id = %(holder_id)s AND r.run_id = h.run_id
RETURNING r.orders, r.state, r.superseded

-- name: note_left
-- A coordinator stops: its session may live a moment longer, and it does not work on the run.
UPDATE fasthash.holder h SET report = h.report || jsonb_build_object('left', true)
WHERE h.holder_id = %(holder_id)s

-- name: keep_running
-- A run that others have ended, unfinished, while this coordinator works on it, goes on.
UPDATE fasthash.run r
SET state = 'running', finished_at = NULL, error = NULL, ended_for = NULL
WHERE r.run_id = %(run_id)s AND r.state IN ('interrupted', 'failed') AND NOT r.superseded
  AND EXISTS (SELECT FROM fasthash.holder h
              WHERE h.holder_id = %(holder_id)s AND NOT h.report ? 'left')
RETURNING r.run_id

-- name: begin_planning
-- One planner at a time: a lock that goes with the transaction. What a plan has to read may take
-- long; nobody who has orders for the run waits for it meanwhile.
SELECT pg_try_advisory_xact_lock(1178686570, (%(run_id)s::bigint %% 2147483647)::integer) AS is_ours

-- name: no_loops
-- For the rest of a transaction: no statistics lead to a nested loop over whole tables.
SELECT set_config('enable_nestloop', 'off', true)

-- name: read_plan
-- The planning state.
SELECT r.state, r.pass_no, r.plan_types, r.plan_type_no, r.plan_after_id, r.plan_done,
       r.next_range_no, r.rows_planned, r.plan_after_marker, r.options ->> 'limit' IS NULL AS may_pause,
       coalesce(r.options ->> 'limit', r.options ->> 'pause_at')::bigint AS row_limit
FROM fasthash.run r
WHERE r.run_id = %(run_id)s

-- name: lock_plan
-- The same, locked.
SELECT r.state, r.pass_no, r.plan_types, r.plan_type_no, r.plan_after_id, r.plan_done,
       r.next_range_no, r.rows_planned, r.plan_after_marker, r.options ->> 'limit' IS NULL AS may_pause,
       coalesce(r.options ->> 'limit', r.options ->> 'pause_at')::bigint AS row_limit
FROM fasthash.run r
WHERE r.run_id = %(run_id)s
FOR UPDATE

-- name: save_plan
-- The planning state after more ranges were cut.
UPDATE fasthash.run
SET pass_no = %(pass_no)s, plan_types = %(plan_types)s, plan_type_no = %(plan_type_no)s,
    plan_after_id = %(plan_after_id)s, plan_done = %(plan_done)s,
    plan_after_marker = %(plan_after_marker)s,
    next_range_no = %(next_range_no)s, rows_planned = %(rows_planned)s
WHERE run_id = %(run_id)s

-- name: add_ranges
-- New ranges, pending.
INSERT INTO fasthash.checkpoint
    (run_id, range_no, pass_no, artifact_type, after_id, through_id, planned_rows)
SELECT %(run_id)s, n.range_no, %(pass_no)s, n.artifact_type, n.after_id, n.through_id, n.planned_rows
FROM unnest(%(range_no)s::integer[], %(artifact_type)s::text[], %(after_id)s::text[],
            %(through_id)s::text[], %(planned_rows)s::integer[])
     AS n (range_no, artifact_type, after_id, through_id, planned_rows)

-- name: add_list
-- A new range with a list of its rows, pending.
INSERT INTO fasthash.checkpoint
    (run_id, range_no, pass_no, artifact_type, after_id, through_id, planned_rows, row_ids, met_ids)
VALUES (%(run_id)s, %(range_no)s, %(pass_no)s, %(artifact_type)s, %(after_id)s, %(through_id)s,
        %(planned_rows)s, %(row_ids)s, %(met_ids)s)

-- name: grant_ranges
-- Leases: pending ranges, and those whose holder is dead or silent. The time a lease ends by the
-- server's clock decides nothing: that clock may be set. The term rises, which fences the old holder
-- off; an attempt is counted only where a holder was lost. It rises to a number that this holder has
-- never had: a crash of the server may have undone a lease, and results of that one are still on
-- their way.
WITH picked AS (
    SELECT c.run_id, c.range_no, c.term > 0 AS leased_before
    FROM fasthash.checkpoint c
    WHERE c.run_id = %(run_id)s AND c.state <> 'done'
      AND (c.attempts + (c.state = 'leased')::integer >= %(attempts_before_alone)s) = %(alone)s
      AND (c.state = 'pending'
           OR (c.holder_id <> %(holder_id)s AND c.holder_id <> ALL (%(alive)s::integer[])))
    ORDER BY c.range_no
    LIMIT %(ranges)s
    FOR UPDATE SKIP LOCKED
)
UPDATE fasthash.checkpoint c
SET state = 'leased', holder_id = %(holder_id)s, term = greatest(c.term + 1, %(least_term)s),
    attempts = c.attempts + (c.state = 'leased')::integer,
    expires_at = clock_timestamp() + make_interval(secs => %(ttl_s)s)
FROM picked p
WHERE c.run_id = p.run_id AND c.range_no = p.range_no
RETURNING c.range_no, c.artifact_type, c.after_id, c.through_id, c.pass_no, c.term,
          p.leased_before, c.attempts, c.row_ids IS NOT NULL AS is_listed

-- name: renew_leases
-- Every range this holder still holds, for another time to live.
UPDATE fasthash.checkpoint c
SET expires_at = clock_timestamp() + make_interval(secs => %(ttl_s)s)
WHERE c.run_id = %(run_id)s AND c.holder_id = %(holder_id)s AND c.state = 'leased'
RETURNING c.range_no, c.artifact_type, c.after_id, c.through_id, c.pass_no, c.term,
          true AS leased_before, c.attempts, c.row_ids IS NOT NULL AS is_listed

-- name: give_back_ranges
-- Ranges that their holder has no rows of go back; their terms rise when they are leased again.
UPDATE fasthash.checkpoint c
SET state = 'pending', holder_id = NULL, expires_at = NULL
WHERE c.run_id = %(run_id)s AND c.holder_id = %(holder_id)s AND c.state = 'leased'
  AND c.range_no = ANY (%(range_no)s::integer[])

-- name: narrow_range
-- A leased range keeps its first rows, and has not been lost alone. Done twice (the answer was
-- lost) it finds other attempts than it knows, and changes nothing.
UPDATE fasthash.checkpoint c
SET through_id = %(through_id)s, planned_rows = %(rows)s,
    attempts = %(attempts_before_alone)s
WHERE c.run_id = %(run_id)s AND c.range_no = %(range_no)s AND c.term = %(term)s
  AND c.state = 'leased' AND c.holder_id = %(holder_id)s AND c.attempts = %(attempts)s
RETURNING c.range_no

-- name: add_rest
-- The rows that a narrowed range gave up, as a range of their own, pending.
WITH numbered AS (
    UPDATE fasthash.run r SET next_range_no = r.next_range_no + 1
    WHERE r.run_id = %(run_id)s
    RETURNING r.next_range_no - 1 AS range_no
)
INSERT INTO fasthash.checkpoint
    (run_id, range_no, pass_no, artifact_type, after_id, through_id, planned_rows, attempts,
     row_ids, met_ids)
SELECT %(run_id)s, n.range_no, %(pass_no)s, %(artifact_type)s, %(after_id)s, %(through_id)s,
       %(rows)s, %(attempts_before_alone)s, c.row_ids, c.met_ids
FROM numbered n
LEFT JOIN fasthash.checkpoint c ON c.run_id = %(run_id)s AND c.range_no = %(range_no)s
RETURNING range_no

-- name: move_segments
-- The committed parts among those rows. None lies across the cut, for the row there is not
-- committed.
UPDATE fasthash.segment s
SET range_no = %(rest_no)s
WHERE s.run_id = %(run_id)s AND s.range_no = %(range_no)s
  AND s.after_id{as_id} >= %(after_id)s{as_id}

-- name: release_leases
-- A graceful stop: what is held goes back, and no attempt is counted.
UPDATE fasthash.checkpoint c
SET state = 'pending', holder_id = NULL, expires_at = NULL
WHERE c.run_id = %(run_id)s AND c.holder_id = %(holder_id)s AND c.state = 'leased'

-- name: finish_ranges
-- Ranges whose rows are all committed; their parts are no longer needed. Their lists are, until the
-- end of the run: no row is planned twice.
WITH finished AS (
    UPDATE fasthash.checkpoint c
    SET state = 'done', holder_id = NULL, expires_at = NULL
    FROM unnest(%(range_no)s::integer[], %(term)s::integer[]) AS f (range_no, term)
    WHERE c.run_id = %(run_id)s AND c.range_no = f.range_no AND c.term = f.term
      AND c.state = 'leased' AND c.holder_id = %(holder_id)s
    RETURNING c.range_no
)
DELETE FROM fasthash.segment s
USING finished f
WHERE s.run_id = %(run_id)s AND s.range_no = f.range_no

-- name: open_ranges
-- How many ranges of a run are not done.
SELECT count(*) AS n FROM fasthash.checkpoint c WHERE c.run_id = %(run_id)s AND c.state <> 'done'

-- name: complete_run
-- All is met: only one of several coordinators gets the row back.
UPDATE fasthash.run r
SET state = 'complete', finished_at = clock_timestamp()
WHERE r.run_id = %(run_id)s AND r.state = 'running' AND r.plan_done
  AND NOT EXISTS (
      SELECT FROM fasthash.checkpoint c WHERE c.run_id = r.run_id AND c.state <> 'done')
RETURNING r.run_id

-- name: leave_run
-- The last coordinator stops before the end: the run is interrupted.
UPDATE fasthash.run r
SET state = CASE WHEN %(error)s::text IS NULL THEN 'interrupted' ELSE 'failed' END,
    finished_at = clock_timestamp(), error = %(error)s, ended_for = %(ended_for)s
WHERE r.run_id = %(run_id)s AND r.state = 'running'

-- name: expect_rows
-- How many rows the run will meet, when it is known.
UPDATE fasthash.run SET rows_expected = %(rows)s, expected_by_type = %(by_type)s
WHERE run_id = %(run_id)s

-- name: report_holder
-- What a coordinator is doing, and how far it has come; that it has left, it cannot take back.
WITH seen AS (
    UPDATE fasthash.holder h
    SET seen_at = clock_timestamp(),
        report = %(report)s::jsonb
                 || jsonb_strip_nulls(jsonb_build_object('left', h.report -> 'left'))
    WHERE h.holder_id = %(holder_id)s
)
INSERT INTO fasthash.sample (run_id, holder_id, rows, bytes)
VALUES (%(run_id)s, %(holder_id)s, %(rows)s, %(bytes)s)

-- name: note_freshness
-- How fresh the catalog was at the end of a scrub's session.
UPDATE fasthash.run SET freshness = %(freshness)s WHERE run_id = %(run_id)s

-- name: run_state
-- The state a run is in now.
SELECT r.state FROM fasthash.run r WHERE r.run_id = %(run_id)s

-- name: catalog_no
-- The number of a catalog.
SELECT c.catalog_no FROM fasthash.catalog c WHERE c.name = %(catalog)s

-- name: forget_lists
-- What an unfinished run had to keep in mind of single rows.
WITH counted AS (DELETE FROM fasthash.met m WHERE m.run_id = %(run_id)s),
left_over AS (DELETE FROM fasthash.left_over l WHERE l.run_id = %(run_id)s)
UPDATE fasthash.checkpoint c
SET row_ids = NULL, met_ids = NULL
WHERE c.run_id = %(run_id)s AND (c.row_ids IS NOT NULL OR c.met_ids IS NOT NULL)

-- name: has_history
-- Whether any other run of a catalog may have written to it.
SELECT EXISTS (
    SELECT FROM fasthash.run r
    WHERE r.catalog = %(catalog)s AND r.run_id <> %(run_id)s AND r.kind <> 'revert') AS found

-- name: other_digest_before
-- Whether any run of a catalog wrote a second digest.
SELECT EXISTS (
    SELECT FROM fasthash.run r
    WHERE r.catalog = %(catalog)s AND r.options ->> 'algorithm' = 'sha256,blake3') AS found

-- name: unfolded_runs
-- Runs of a catalog that have journaled more than `file_state` knows, and up to when all of it can be
-- seen now: of a complete run nothing is under way; of others a commit may come to light late, for
-- the statements between an entry's time and its commit take 30 s each at the most. (As text, for
-- these times are compared with the very ones that are read here.)
SELECT r.run_id, r.unfolded_since::text AS since,
       CASE WHEN r.state <> 'complete' THEN clock_timestamp() - interval '10 minutes' END::text
           AS until
FROM fasthash.run r
WHERE r.catalog = %(catalog)s AND r.run_id <> %(run_id)s AND r.unfolded_since IS NOT NULL
ORDER BY r.run_id

-- name: no_waiting
-- For the rest of a transaction: what somebody else has locked is left to them.
SELECT set_config('lock_timeout', '1s', true)

-- name: summarize_journal
-- Only an owner may; blocks that the index knows already cost nothing.
SELECT brin_summarize_new_values(to_regclass('fasthash.journal_by_place'))
WHERE (SELECT pg_has_role(t.relowner, 'USAGE')
       FROM pg_class t WHERE t.oid = 'fasthash.journal'::regclass)

-- name: fold_journal
-- What a run has journaled: from where it was written fast to where it is looked up. Of several
-- entries of a row the last one counts.
INSERT INTO fasthash.file_state AS f
    (catalog_no, at, read_at_ns, size_bytes, path_hash, row_id, sha256, stamps, xxh3)
SELECT DISTINCT ON (j.row_id)
       %(catalog_no)s, j.at, j.read_at_ns, j.size_bytes, j.path_hash, j.row_id,
       nullif(j.new_sha256, ''), j.stamps, j.xxh3
FROM fasthash.journal j
WHERE j.run_id = %(of)s AND j.at >= %(since)s::timestamptz
ORDER BY j.row_id, j.at DESC
ON CONFLICT (row_id, catalog_no) DO UPDATE
SET at = excluded.at, read_at_ns = excluded.read_at_ns, size_bytes = excluded.size_bytes,
    path_hash = excluded.path_hash, sha256 = excluded.sha256, stamps = excluded.stamps,
    xxh3 = coalesce(excluded.xxh3, CASE WHEN f.sha256 = excluded.sha256
                                             OR f.read_at_ns = excluded.read_at_ns THEN f.xxh3 END)
WHERE f.at IS NULL OR f.at <= excluded.at

-- name: note_folded
-- So far the journal of a run is folded, unless somebody has added to it meanwhile.
UPDATE fasthash.run r
SET unfolded_since = %(until)s::timestamptz
WHERE r.run_id = %(of)s AND r.unfolded_since = %(since)s::timestamptz

-- name: compact_runs
-- Of complete runs the ranges become one row a type, but for the last of each kind: a catalog that is
-- scrubbed every night would add a row for 5,000 of its rows each time.
WITH old AS (
    SELECT r.run_id
    FROM fasthash.run r
    WHERE r.catalog = %(catalog)s AND r.state = 'complete' AND NOT r.is_compact
      AND r.run_id < (SELECT max(l.run_id) FROM fasthash.run l
                      WHERE l.catalog = %(catalog)s AND l.kind = r.kind AND l.state = 'complete')
    FOR UPDATE SKIP LOCKED
),
noted AS (
    UPDATE fasthash.run r SET is_compact = true FROM old o WHERE r.run_id = o.run_id
),
ranges AS (
    DELETE FROM fasthash.checkpoint c USING old o WHERE c.run_id = o.run_id
    RETURNING c.run_id, c.range_no, c.pass_no, c.artifact_type, c.planned_rows, c.hashed,
              c.confirmed, c.drifted, c.fresh, c.no_file, c.failed, c.gone, c.updated,
              c.bytes_hashed, c.prechecked
)
INSERT INTO fasthash.checkpoint
    (run_id, range_no, pass_no, artifact_type, through_id, planned_rows, state, hashed, confirmed,
     drifted, fresh, no_file, failed, gone, updated, bytes_hashed, prechecked)
SELECT g.run_id, -row_number() OVER (PARTITION BY g.run_id ORDER BY min(g.range_no)),
       max(g.pass_no), g.artifact_type, '', least(sum(g.planned_rows), 2147483647), 'done',
       sum(g.hashed), sum(g.confirmed), sum(g.drifted), sum(g.fresh), sum(g.no_file),
       sum(g.failed), sum(g.gone), sum(g.updated), sum(g.bytes_hashed), sum(g.prechecked)
FROM ranges g
GROUP BY g.run_id, g.artifact_type

-- name: untold
-- Runs of a catalog with drifts that no log line has told of, and whose writer had found them.
SELECT DISTINCT d.run_id, d.holder_id
FROM fasthash.drift d
JOIN fasthash.run r ON r.run_id = d.run_id
WHERE NOT d.is_logged AND d.holder_id IS NOT NULL AND r.catalog = %(catalog)s
ORDER BY d.run_id, d.holder_id

-- name: give_orders
-- What those at work on a run shall do from now on.
UPDATE fasthash.run r
SET orders = r.orders || %(orders)s || jsonb_build_object('at', clock_timestamp())
WHERE r.run_id = %(run_id)s
RETURNING r.run_id
