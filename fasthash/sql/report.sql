-- name: one_moment
-- First statement of a transaction whose statements all see the ledger as of now.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: is_standby
-- A standby has the primary's tables, but not its locks.
SELECT pg_is_in_recovery() AS is_standby

-- name: latest_run
-- The run that was started last, of one catalog or of any.
SELECT max(r.run_id) AS run_id
FROM fasthash.run r
WHERE r.kind <> 'revert'
  AND (%(catalog)s::text IS NULL OR r.catalog = %(catalog)s)

-- name: run_row
-- One run, with the time that any coordinator was at work on it (greatest: a server's clock may
-- be set back).
SELECT r.run_id, r.kind, r.state, r.superseded, r.options, r.started_at, r.finished_at, r.pass_no,
       r.cutoff, r.orders, r.ended_for, r.freshness, r.plan_done, r.rows_planned, r.rows_expected,
       r.expected_by_type, r.error, r.catalog, {shown} AS shown, r.host,
       coalesce((SELECT sum(extract(epoch FROM upper(t.busy) - lower(t.busy)))
                 FROM (SELECT unnest(range_agg(tstzrange(
                           h.started_at, greatest(h.started_at, h.seen_at)))) AS busy
                       FROM fasthash.holder h WHERE h.run_id = r.run_id) t), 0)::float8 AS seconds
FROM fasthash.run r
WHERE r.run_id = %(run_id)s

-- name: runs_listed
-- The latest runs, with what each came to, on which hosts, and what has undone it.
SELECT r.run_id, r.kind, {shown} AS catalog, r.state, r.superseded, r.started_at, r.finished_at,
       r.ended_for, r.error, r.options, r.pruned_at, c.rows_scanned, c.rows_updated, c.drift_events,
       c.rows_skipped_no_file, c.rows_failed, c.bytes_hashed,
       coalesce((SELECT array_agg(DISTINCT h.host ORDER BY h.host) FROM fasthash.holder h
                 WHERE h.run_id = r.run_id), ARRAY[r.host]) AS hosts,
       (SELECT max(u.run_id) FROM fasthash.run u
        WHERE u.kind = 'revert' AND u.options ->> 'of' = r.run_id::text) AS undone_by
FROM (SELECT * FROM fasthash.run r
      WHERE (%(catalog)s::text IS NULL OR r.catalog = %(catalog)s)
        AND (%(run_id)s::bigint IS NULL OR r.run_id = %(run_id)s)
      ORDER BY r.state = 'running' DESC, r.run_id DESC LIMIT %(most)s) r
CROSS JOIN LATERAL (
    SELECT coalesce(sum(c.hashed + c.confirmed + c.drifted + c.fresh + c.no_file + c.failed), 0
                   )::bigint AS rows_scanned,
           coalesce(sum(c.updated), 0)::bigint AS rows_updated,
           coalesce(sum(c.drifted), 0)::bigint AS drift_events,
           coalesce(sum(c.no_file), 0)::bigint AS rows_skipped_no_file,
           coalesce(sum(c.failed), 0)::bigint AS rows_failed,
           coalesce(sum(c.bytes_hashed), 0)::bigint AS bytes_hashed
    FROM fasthash.checkpoint c WHERE c.run_id = r.run_id) c
ORDER BY r.run_id DESC

-- name: undone_by
-- The run that has undone another one.
SELECT max(u.run_id) AS run_id
FROM fasthash.run u WHERE u.kind = 'revert' AND u.options ->> 'of' = %(run_id)s::text

-- name: writers_since
-- Later runs over the same catalog that have written rows and were not undone, the latest first.
SELECT l.run_id, l.kind
FROM fasthash.run r
JOIN fasthash.run l ON l.catalog = r.catalog AND l.run_id > r.run_id AND l.kind <> 'revert'
WHERE r.run_id = %(run_id)s
  AND EXISTS (SELECT FROM fasthash.checkpoint c WHERE c.run_id = l.run_id AND c.updated > 0)
  AND NOT EXISTS (SELECT FROM fasthash.run u
                  WHERE u.kind = 'revert' AND u.options ->> 'of' = l.run_id::text)
ORDER BY l.run_id DESC

-- name: counts_by_type
-- The counts of a run, a row a type.
SELECT c.artifact_type,
       sum(c.hashed)::bigint AS hashed, sum(c.confirmed)::bigint AS confirmed,
       sum(c.drifted)::bigint AS drifted, sum(c.fresh)::bigint AS fresh,
       sum(c.no_file)::bigint AS no_file, sum(c.failed)::bigint AS failed,
       sum(c.gone)::bigint AS gone, sum(c.updated)::bigint AS updated,
       sum(c.bytes_hashed)::bigint AS bytes_hashed, sum(c.prechecked)::bigint AS prechecked
FROM fasthash.checkpoint c
WHERE c.run_id = %(run_id)s
GROUP BY c.artifact_type
ORDER BY c.artifact_type NULLS LAST

-- name: residual_counts
-- The residual of a run by reason.
SELECT r.reason, count(*) AS n
FROM fasthash.residual r
WHERE r.run_id = %(run_id)s AND r.is_counted
GROUP BY r.reason
ORDER BY r.reason

-- name: residual_list
-- The rows of a run that got no verdict.
SELECT r.row_id, r.artifact_type, r.path, r.reason, r.detail
FROM fasthash.residual r
WHERE r.run_id = %(run_id)s AND (%(reason)s::text IS NULL OR r.reason = %(reason)s)
ORDER BY r.artifact_type NULLS LAST, r.row_id

-- name: known_bad_list
-- Rows whose file was found to be bad and not good again since, with what the run said that found it.
SELECT b.row_id, coalesce(x.artifact_type, d.artifact_type) AS artifact_type,
       coalesce(x.path, d.path) AS path, coalesce(x.reason, d.kind) AS reason,
       coalesce(x.detail, 'drift ' || d.drift_id || ', ' || d.resolution) AS detail
FROM fasthash.bad_row b
LEFT JOIN fasthash.residual x ON x.run_id = b.run_id AND x.row_id = b.row_id
LEFT JOIN LATERAL (
    SELECT d.artifact_type, d.path, d.kind, d.drift_id, d.resolution
    FROM fasthash.drift d
    WHERE d.run_id = b.run_id AND d.row_id = b.row_id
    ORDER BY d.drift_id DESC LIMIT 1
) d ON true
WHERE b.catalog_no = %(catalog_no)s
  AND (%(reason)s::text IS NULL OR coalesce(x.reason, d.kind) = %(reason)s)
  AND EXISTS (SELECT FROM {catalog} a WHERE a.{id} = b.row_id{as_id} AND a.{path} IS NOT NULL)
ORDER BY artifact_type NULLS LAST, b.row_id

-- name: drift_list
-- Drifts, of one run or of all.
SELECT d.drift_id, d.run_id, d.row_id, d.artifact_type, d.path, d.kind, d.old_hash, d.was_lost,
       encode(d.new_sha256, 'hex') AS new_hash, d.old_size_bytes, d.new_size_bytes,
       d.file_mtime, d.old_mtime, d.file_ctime, d.old_ctime, d.moved, d.old_marker, d.resolution,
       d.resolved_by, d.resolved_at, d.comment, d.found_at
FROM fasthash.drift d
LEFT JOIN fasthash.run r ON r.run_id = d.run_id
WHERE (%(catalog)s::text IS NULL OR r.catalog = %(catalog)s)
  AND (%(run_id)s::bigint IS NULL OR d.run_id = %(run_id)s)
  AND (%(drift_id)s::bigint IS NULL OR d.drift_id = %(drift_id)s)
  AND (%(kind)s::text IS NULL OR d.kind = %(kind)s)
  AND (NOT %(open)s::boolean OR d.resolution = 'open')
ORDER BY d.drift_id

-- name: open_drifts
-- How many drifts of a catalog wait for a decision.
SELECT count(*) AS n
FROM fasthash.drift d JOIN fasthash.run r ON r.run_id = d.run_id
WHERE d.resolution = 'open' AND r.catalog = %(catalog)s

-- name: drift_kinds
-- The drifts that a run found, by kind.
SELECT d.kind, count(*) AS n FROM fasthash.drift d WHERE d.run_id = %(run_id)s GROUP BY d.kind

-- name: history
-- When a run of a kind last ended as it should (complete, or left by plan), and the last freshness
-- of the catalog. A run that goes on again has no end: so this is asked for before one is opened.
SELECT (SELECT max(r.finished_at)
        FROM fasthash.run r
        WHERE r.catalog = %(catalog)s AND r.kind = %(kind)s
          AND (r.state = 'complete' OR (r.state = 'interrupted' AND r.ended_for IS NOT NULL))
       ) AS ended_at,
       (SELECT r.freshness
        FROM fasthash.run r
        WHERE r.catalog = %(catalog)s AND r.freshness IS NOT NULL
        ORDER BY r.run_id DESC LIMIT 1) AS freshness

-- name: holders
-- The coordinators of a run and the ranges each holds. How long ago one was seen is not known where
-- that was in the future: the server's clock was set back since.
SELECT h.holder_id, h.host, h.pid, h.started_at, h.seen_at, h.report,
       CASE WHEN h.seen_at < clock_timestamp() + interval '2 seconds'
            THEN greatest(extract(epoch FROM clock_timestamp() - h.seen_at), 0)::float8
       END AS seen_ago_s,
       (SELECT count(*) FROM fasthash.checkpoint c
        WHERE c.run_id = h.run_id AND c.holder_id = h.holder_id AND c.state = 'leased') AS leases,
       (SELECT min(c.expires_at) FROM fasthash.checkpoint c
        WHERE c.run_id = h.run_id AND c.holder_id = h.holder_id AND c.state = 'leased')
           AS expires_at
FROM fasthash.holder h
WHERE h.run_id = %(run_id)s
ORDER BY h.holder_id

-- name: recent_rate
-- Rows and bytes a second over the last minute of samples, all live coordinators together; NULL
-- where there are no two samples to compare. Samples are in the order of what they count, for a
-- server's clock may be set: the step between two that it was set between is left out.
SELECT sum(h.rows / h.seconds)::float8 AS rows_per_s,
       sum(h.bytes / h.seconds)::float8 AS bytes_per_s
FROM (SELECT sum(s.rows) AS rows, sum(s.bytes) AS bytes, sum(s.seconds) AS seconds
      FROM (SELECT p.holder_id, p.rows - lag(p.rows) OVER w AS rows,
                   p.bytes - lag(p.bytes) OVER w AS bytes,
                   extract(epoch FROM p.at - lag(p.at) OVER w) AS seconds
            FROM fasthash.sample p
            WHERE p.run_id = %(run_id)s AND p.holder_id = ANY (%(alive)s::integer[])
              AND p.at BETWEEN clock_timestamp() - interval '1 minute' AND clock_timestamp()
            WINDOW w AS (PARTITION BY p.holder_id ORDER BY p.rows, p.bytes, p.at)) s
      WHERE s.seconds > 0
      GROUP BY s.holder_id) h

-- name: throughput
-- Rows and bytes a second in equal pieces of the last minutes that anybody sampled, the oldest
-- first: of each coordinator the mean of its samples' rates, all together. A piece without a
-- sample is left out.
SELECT h.since, sum(h.rows_per_s)::float8 AS rows_per_s, sum(h.bytes_per_s)::float8 AS bytes_per_s
FROM (
    SELECT date_bin(%(piece)s, s.at - interval '1 microsecond', s.until) AS since,
           avg(greatest(s.rows, 0) / s.seconds) AS rows_per_s,
           avg(greatest(s.bytes, 0) / s.seconds) AS bytes_per_s
    FROM (
        SELECT p.holder_id, p.at, l.until, p.rows - lag(p.rows) OVER w AS rows,
               p.bytes - lag(p.bytes) OVER w AS bytes,
               extract(epoch FROM p.at - lag(p.at) OVER w) AS seconds
        FROM fasthash.sample p
        CROSS JOIN (SELECT max(m.at) AS until FROM fasthash.sample m
                    WHERE m.run_id = %(run_id)s AND m.at <= clock_timestamp()) l
        WHERE p.run_id = %(run_id)s AND p.at > l.until - %(span)s::interval AND p.at <= l.until
        WINDOW w AS (PARTITION BY p.holder_id ORDER BY p.rows, p.bytes, p.at)
    ) s
    WHERE s.seconds > 0
    GROUP BY since, s.holder_id
) h
GROUP BY h.since ORDER BY h.since

-- name: running
-- Runs that are not at their end.
SELECT r.run_id FROM fasthash.run r
WHERE r.state = 'running' AND (%(catalog)s::text IS NULL OR r.catalog = %(catalog)s)
ORDER BY r.run_id

-- name: rates
-- The rates that hosts keep, as they reported last.
SELECT DISTINCT h.host, (h.report -> 'rates' ->> 0)::float8 AS bytes_per_s,
       (h.report -> 'rates' ->> 1)::float8 AS files_per_s
FROM fasthash.holder h
WHERE h.run_id = %(run_id)s AND h.holder_id = ANY (%(alive)s::integer[])
ORDER BY h.host

-- name: range_states
-- How many ranges are in which state.
SELECT c.state, count(*) AS n
FROM fasthash.checkpoint c WHERE c.run_id = %(run_id)s GROUP BY c.state
