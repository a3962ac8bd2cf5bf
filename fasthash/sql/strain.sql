-- name: replication
-- Where the server is (a standby replays) and where its slowest standby is, in bytes of WAL, and the lag that the
-- primary has measured, in seconds. What this role may not see is NULL.
SELECT count(*) AS standbys, count(r.state) AS visible,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
        - '0/0'::pg_lsn)::bigint AS written,
       min(r.replay_lsn - '0/0'::pg_lsn)::bigint AS replayed,
       coalesce(max(extract(epoch FROM r.replay_lag)), 0)::float8 AS lag_s
FROM pg_stat_replication r

-- name: wal_backlog
-- How many WAL segments were finished and not yet archived; nothing where none ever was. A name is
-- 8 digits each of timeline, of 4 GiB, and of segment within these.
SELECT coalesce(greatest(0, (
           CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
           - '0/0'::pg_lsn) / s.bytes - 1 - (
           ('x' || substr(a.last_archived_wal, 9, 8))::bit(32)::bigint * (4294967296 / s.bytes)
           + ('x' || substr(a.last_archived_wal, 17, 8))::bit(32)::bigint)), 0)::bigint AS segments
FROM pg_stat_archiver a,
     (SELECT pg_size_bytes(current_setting('wal_segment_size')) AS bytes) s
WHERE a.last_archived_wal ~ '^[0-9A-F]{{24}}$' AND current_setting('archive_mode') <> 'off'
