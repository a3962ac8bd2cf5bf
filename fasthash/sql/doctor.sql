-- name: read_only
-- First statement of a transaction that writes nothing, whatever a function or a view does.
SET TRANSACTION READ ONLY

-- name: limit_time
-- Only so many milliseconds for the statements of this transaction.
SELECT set_config('statement_timeout', %(ms)s::text, true)

-- name: server
-- The server, and this role's names as SQL needs them.
SELECT current_setting('server_version_num')::integer AS version,
       current_setting('server_version') AS version_text,
       pg_is_in_recovery() AS is_standby,
       current_setting('default_transaction_read_only') = 'on' AS is_read_only,
       current_user::text AS role, quote_ident(current_user) AS quoted_role,
       quote_ident(current_database()) AS quoted_database

-- name: clock
-- The server's clock.
SELECT extract(epoch FROM clock_timestamp())::float8 AS now_s

-- name: settings
-- What a new session of this role begins with (fasthash sets some of them for its own sessions).
SELECT s.name, s.reset_val AS value, s.source = 'command line' AS is_fixed
FROM pg_settings s WHERE s.name = ANY (%(names)s)

-- name: connections
-- Connections in use and how many there may be for this role; sessions that it may not look into.
SELECT count(a.pid) FILTER (WHERE a.datid IS NOT NULL
                            AND coalesce(a.backend_type, 'client backend') = 'client backend')
           AS used,
       count(a.pid) FILTER (WHERE a.datid IS NOT NULL AND a.backend_type IS NULL) AS hidden,
       count(a.pid) FILTER (WHERE a.usename = current_user) AS used_by_role,
       (SELECT r.rolconnlimit FROM pg_roles r WHERE r.rolname = current_user) AS role_limit,
       current_setting('max_connections')::integer
           - CASE WHEN (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN 0
                  ELSE current_setting('superuser_reserved_connections')::integer
                       + coalesce(current_setting('reserved_connections', true)::integer, 0)
             END AS most
FROM pg_stat_activity a

-- name: transactions
-- Transactions whose snapshot or id keeps dead rows from being removed; ours does not count.
SELECT a.pid, a.usename::text AS who, a.application_name AS application, a.state,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age_s
FROM pg_stat_activity a
WHERE a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
  AND a.datname = current_database()
  AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)
ORDER BY a.xact_start

-- name: prepared
-- Prepared transactions that nobody has finished.
SELECT p.gid, quote_literal(p.gid) AS quoted, p.owner::text AS who,
       extract(epoch FROM clock_timestamp() - p.prepared)::float8 AS age_s
FROM pg_prepared_xacts p
WHERE p.database = current_database()
ORDER BY p.prepared

-- name: slots
-- Replication slots that nobody reads from: they keep WAL, and dead rows perhaps.
SELECT s.slot_name::text AS name, quote_literal(s.slot_name) AS quoted,
       (s.xmin IS NOT NULL) AS keeps_rows,
       coalesce(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                     ELSE pg_current_wal_lsn() END - s.restart_lsn, 0)::bigint AS kept_bytes,
       extract(epoch FROM clock_timestamp()
               - (to_jsonb(s) ->> 'inactive_since')::timestamptz)::float8 AS idle_s  -- from 17 on
FROM pg_replication_slots s
WHERE NOT s.active AND NOT s.temporary AND s.restart_lsn IS NOT NULL
ORDER BY s.slot_name

-- name: archiver
-- The segment that the archiver fails at, if the last thing it did was to fail.
SELECT a.last_failed_wal AS segment
FROM pg_stat_archiver a
WHERE current_setting('archive_mode') <> 'off' AND a.last_failed_time IS NOT NULL
  AND (a.last_archived_time IS NULL OR a.last_failed_time > a.last_archived_time)

-- name: standbys
-- Synchronous standbys that are connected; of how many this role sees nothing.
SELECT count(*) FILTER (WHERE r.sync_state IN ('sync', 'quorum')) AS synchronous,
       count(*) FILTER (WHERE r.state IS NULL) AS hidden
FROM pg_stat_replication r

-- name: names
-- The table and its columns as SQL needs them, and what an update of it involves.
SELECT format('%%I.%%I', n.nspname, c.relname) AS quoted, c.relkind::text AS kind,
       row_security_active(c.oid) AS row_security, c.relreplident::text AS replica_identity,
       (c.relreplident IN ('f', 'i') OR EXISTS (
           SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisprimary)
           AND c.relreplident = 'd') AS has_identity,
       ARRAY(SELECT t.pubname::text FROM pg_publication_tables t
             JOIN pg_publication p ON p.pubname = t.pubname AND p.pubupdate
             WHERE t.schemaname = n.nspname AND t.tablename = c.relname ORDER BY 1) AS publications,
       ARRAY(SELECT coalesce(a.attname::text, '(an expression)')
             FROM pg_partitioned_table p, unnest(p.partattrs) WITH ORDINALITY AS k (attnum, n)
             LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum AND k.attnum > 0
             WHERE p.partrelid = c.oid ORDER BY k.n) AS partition_key
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = %(table_oid)s::bigint::oid

-- name: quoted_columns
-- Column names as SQL needs them.
SELECT a.attname::text AS name, quote_ident(a.attname) AS quoted
FROM pg_attribute a
WHERE a.attrelid = %(table_oid)s::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped

-- name: changing_columns
-- Fragment: the numbers of the columns that change with the metadata: itself, and stored columns
-- generated from it (up to PostgreSQL 14 the column depends on it, later the expression does).
SELECT m.attnum FROM pg_attribute m
WHERE m.attrelid = %(table_oid)s::bigint::oid AND m.attname = %(metadata)s
UNION
SELECT g.attnum
FROM pg_attribute g
JOIN pg_attribute m ON m.attrelid = g.attrelid AND m.attname = %(metadata)s
JOIN pg_attrdef e ON e.adrelid = g.attrelid AND e.adnum = g.attnum
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = g.attrelid
                AND d.refobjsubid = m.attnum
                AND ((d.classid = 'pg_class'::regclass AND d.objid = g.attrelid
                      AND d.objsubid = g.attnum)
                     OR (d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid))
WHERE g.attrelid = %(table_oid)s::bigint::oid AND g.attgenerated = 's'

-- name: generated
-- Stored columns that are generated from the metadata.
SELECT a.attname::text AS name FROM pg_attribute a
WHERE a.attrelid = %(table_oid)s::bigint::oid AND a.attgenerated = 's'
  AND a.attnum IN ({changing_columns})

-- name: indexes
-- All indexes, valid or not, and whether they keep an update of the metadata from being a HOT one: by
-- their columns (included ones, too), expressions and predicates, as the server itself notes them.
-- (Not by columns generated from the metadata: what counts there is whether their values change.)
SELECT format('%%I.%%I', n.nspname, i.relname) AS quoted, am.amname::text AS method,
       pg_get_indexdef(x.indexrelid) AS definition,
       ARRAY(SELECT a.attname::text
             FROM unnest(x.indkey[0:x.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, n)
             JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
             ORDER BY k.n) AS columns,
       x.indisunique AND x.indimmediate AS is_unique,
       x.indpred IS NULL AND x.indexprs IS NULL AS is_whole,
       x.indisvalid AS is_valid,
       (m.attnum = ANY (x.indkey)
        OR EXISTS (SELECT FROM pg_depend d
                   WHERE d.classid = 'pg_class'::regclass AND d.objid = x.indexrelid
                     AND d.refclassid = 'pg_class'::regclass AND d.refobjid = x.indrelid
                     AND d.refobjsubid = m.attnum)) IS TRUE AS touches_metadata,
       quote_ident(k.conname) AS constraint, pg_get_constraintdef(k.oid) AS constraint_definition,
       pg_relation_size(x.indexrelid) AS size_bytes,
       CASE WHEN x.indrelid <> %(table_oid)s::bigint::oid
            THEN format('%%I.%%I', n.nspname, t.relname) END AS partition
FROM pg_index x
JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = i.relnamespace
JOIN pg_am am ON am.oid = i.relam
LEFT JOIN pg_attribute m ON m.attrelid = x.indrelid AND m.attname = %(metadata)s
LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid
                         AND k.contype IN ('p', 'u', 'x')
WHERE x.indrelid IN ({tables}) AND x.indislive
  AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = x.indexrelid)
ORDER BY i.relname

-- name: tables
-- Fragment: the catalog and its partitions.
SELECT %(table_oid)s::bigint::oid
UNION ALL
SELECT p.relid::oid FROM pg_partition_tree(%(table_oid)s::bigint::oid::regclass) p WHERE p.level > 0

-- name: heaps
-- The tables that hold the rows: the catalog, or its partitions. Dead rows are due for a vacuum
-- from a number on that each of them may have its own say in.
SELECT format('%%I.%%I', n.nspname, c.relname) AS quoted, c.reltuples::float8 AS estimated_rows,
       pg_relation_size(c.oid) AS size_bytes,
       coalesce(o.fillfactor::integer, 100) AS fillfactor,
       coalesce(o.autovacuum::boolean, true) AS autovacuum,
       coalesce(s.n_dead_tup, 0) AS dead_rows,
       (coalesce(o.threshold, current_setting('autovacuum_vacuum_threshold'))::float8
        + coalesce(o.scale, current_setting('autovacuum_vacuum_scale_factor'))::float8
          * greatest(c.reltuples, 0)) AS dead_rows_due
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
CROSS JOIN LATERAL (
    SELECT max(v.option_value) FILTER (WHERE v.option_name = 'fillfactor') AS fillfactor,
           max(v.option_value) FILTER (WHERE v.option_name = 'autovacuum_enabled') AS autovacuum,
           max(v.option_value) FILTER (WHERE v.option_name = 'autovacuum_vacuum_threshold')
               AS threshold,
           max(v.option_value) FILTER (WHERE v.option_name = 'autovacuum_vacuum_scale_factor')
               AS scale
    FROM pg_options_to_table(c.reloptions) v
) o
WHERE c.relkind = 'r' AND (c.oid = %(table_oid)s::bigint::oid OR c.oid IN (
    SELECT p.relid FROM pg_partition_tree(%(table_oid)s::bigint::oid::regclass) p WHERE p.isleaf))
ORDER BY 1

-- name: triggers
-- Triggers and rules that an update of the metadata sets off.
SELECT 'TRIGGER ' || quote_ident(t.tgname) AS switch,
       format('%%I.%%I', m.nspname, c.relname) AS "table", t.tgenabled = 'A' AS is_always,
       (t.tgtype & 1) = 1 AS per_row,
       format('trigger %%s (%%s UPDATE, each %%s, function %%s.%%s)', t.tgname,
              CASE WHEN (t.tgtype & 2) = 2 THEN 'BEFORE' ELSE 'AFTER' END,
              CASE WHEN (t.tgtype & 1) = 1 THEN 'row' ELSE 'statement' END,
              n.nspname, p.proname) AS says
FROM pg_trigger t
JOIN pg_proc p ON p.oid = t.tgfoid
JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace m ON m.oid = c.relnamespace
WHERE t.tgrelid IN ({tables}) AND NOT t.tgisinternal AND t.tgparentid = 0
  AND t.tgenabled IN ('O', 'A') AND (t.tgtype & 16) = 16
  AND (cardinality(t.tgattr::int2[]) = 0
       OR t.tgattr::int2[] && ARRAY(SELECT v.attnum FROM ({changing_columns}) v))
UNION ALL
SELECT 'RULE ' || quote_ident(w.rulename), format('%%I.%%I', m.nspname, c.relname),
       w.ev_enabled = 'A', true, format('rule %%s (ON UPDATE)', w.rulename)
FROM pg_rewrite w
JOIN pg_class c ON c.oid = w.ev_class
JOIN pg_namespace m ON m.oid = c.relnamespace
WHERE w.ev_class = %(table_oid)s::bigint::oid AND w.ev_type = '2' AND w.ev_enabled IN ('O', 'A')
ORDER BY 1

-- name: rows
-- How many rows have a path, the marker, a marker of the future, or metadata that is no object, how
-- many cannot be read or have no id, and how large the metadata are; of all rows or of a sample of
-- the pages.
SELECT count(*) AS with_path, count(nullif({marker}, '')) AS marked,
       count(*) FILTER (WHERE {marker} > %(now)s) AS future,
       count(*) FILTER (WHERE {metadata_kind} <> 'object') AS odd_metadata,
       count(*) FILTER (WHERE {unreadable} IS NOT NULL) AS unreadable,
       count(*) FILTER (WHERE a.{id} IS NULL) AS nameless,
       coalesce(avg(pg_column_size(a.{metadata})), 0)::float8 AS metadata_bytes
FROM {catalog} a {of_pages}
WHERE a.{path} IS NOT NULL {of_types}

-- name: of_pages
-- Fragment: some of the pages.
TABLESAMPLE SYSTEM (%(percent)s::real)

-- name: paths
-- Some paths from some of the pages.
SELECT s.path
FROM (SELECT {path_text} AS path FROM {catalog} a {of_pages}
      WHERE a.{path} IS NOT NULL {of_types}) s
ORDER BY random()
LIMIT %(rows)s

-- name: first_paths
-- Some paths, the first that are found.
SELECT {path_text} AS path FROM {catalog} a WHERE a.{path} IS NOT NULL {of_types} LIMIT %(rows)s
