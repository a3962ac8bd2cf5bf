-- name: database_facts
-- The schema that a table is in or would be in, and what this role may do there.
SELECT n.nspname::text AS schema, current_database()::text AS database,
       has_schema_privilege(n.oid, 'USAGE') AS may_use,
       has_schema_privilege(n.oid, 'CREATE') AS may_create_table,
       has_database_privilege(current_database(), 'CREATE') AS may_create_schema,
       has_database_privilege(current_database(), 'TEMPORARY') AS may_create_temporary
FROM (SELECT coalesce(%(schema)s::text, current_schema()::text) AS name) wanted
LEFT JOIN pg_namespace n ON n.nspname = wanted.name

-- name: columns_to_give
-- Columns that a new row has to be given a value for: without default, and NOT NULL or the key.
SELECT a.attname::text AS name
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = %(table_oid)s::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped
  AND (a.attnotnull OR t.typnotnull OR a.attname = %(id)s)
  AND NOT a.atthasdef AND a.attidentity = '' AND t.typdefault IS NULL
ORDER BY a.attnum

-- name: sequences_out_of_reach
-- Sequences that defaults draw from for the columns that are not given, and that this role may
-- not use. Those of identity columns need no privilege.
SELECT n.nspname::text AS schema, s.relname::text AS name
FROM pg_attribute a
JOIN pg_attrdef v ON v.adrelid = a.attrelid AND v.adnum = a.attnum
JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = v.oid
                AND d.refclassid = 'pg_class'::regclass
JOIN pg_class s ON s.oid = d.refobjid
JOIN pg_namespace n ON n.oid = s.relnamespace
WHERE a.attrelid = %(table_oid)s::bigint::oid AND NOT a.attisdropped
  AND a.attname <> ALL (%(given)s::text[])
  AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE, UPDATE') END

-- name: wait_without_end
-- Until the end of the transaction, locks are waited for as long as it takes.
SELECT set_config('lock_timeout', '0', true)

-- name: take_turns
-- One `register` at a time makes tables and adds rows, so that no path is added twice. No other
-- holder of this lock has the number 0.
SELECT pg_advisory_xact_lock(1178686568, 0)

-- name: create_table
-- A catalog for somebody who has none.
CREATE TABLE {catalog} (
    {id}       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    {type}     text,
    {path}     text,
    {metadata} jsonb NOT NULL DEFAULT '{{}}'
    {content_hash}
)

-- name: content_hash
-- Fragment: the column that fasthash never touches, where its name is not taken.
, content_hash text

-- name: create_index_for_runs
-- A run goes through the catalog in this order.
CREATE INDEX ON {catalog} ({type}, {id})

-- name: create_index_for_paths
-- A path may have 4095 bytes: more than a btree takes, and a hash index holds only its hash.
CREATE INDEX ON {catalog} USING hash ({path})

-- name: create_stage
-- Where files go first. The columns have the types of the catalog's own, so COPY converts to them.
CREATE TEMPORARY TABLE fasthash_found AS
SELECT a.{type} AS artifact_type, a.{path} AS file_path FROM {catalog} a
WITH NO DATA

-- name: empty_stage
-- For the next lot.
TRUNCATE pg_temp.fasthash_found

-- name: fill_stage
-- Some of the files that were found.
COPY pg_temp.fasthash_found (artifact_type, file_path) FROM STDIN

-- name: analyze_stage
-- How many they are decides how they are compared with the catalog.
ANALYZE pg_temp.fasthash_found

-- name: add_staged
-- The files that the catalog lacks, in the order of their bytes: neighbours on the disk get
-- neighbouring ids.
INSERT INTO {catalog} ({id_column} {type}, {path}, {metadata})
SELECT {new_id} f.artifact_type, f.file_path, '{{}}'
FROM (
    SELECT DISTINCT ON (s.file_path COLLATE "C") s.artifact_type, s.file_path
    FROM pg_temp.fasthash_found s
    WHERE NOT EXISTS (SELECT FROM {catalog} a WHERE a.{path} = s.file_path)
    ORDER BY s.file_path COLLATE "C"
) f

-- name: id_column
-- Fragment: an id without default is given.
{id},

-- name: new_id
-- Fragment: and this is it.
gen_random_uuid(),

-- name: add_root
-- A directory that was registered.
INSERT INTO fasthash.root (path, host) VALUES (%(path)s, %(host)s)
ON CONFLICT DO NOTHING

-- name: analyze_catalog
-- A new table has no statistics, and the first run should not have to wait for them.
ANALYZE {catalog}

-- name: set_metadata
-- The metadata of the row of one path, for the demo.
UPDATE {catalog} a SET {metadata} = %(metadata)s WHERE a.{path} = %(path)s

-- name: sample_hashes
-- Paths and recorded hashes of one row and of others from all over the catalog, the same ones
-- every time.
SELECT a.{path}::text AS path, a.{metadata} ->> 'file_sha256' AS sha256
FROM {catalog} a
WHERE a.{metadata} ->> 'file_sha256_computed_at' IS NOT NULL
ORDER BY a.{path} = %(first)s DESC, md5(a.{path}::text)
LIMIT %(rows)s


-- name: read_only
-- Nothing is written by this transaction, whatever a statement calls.
SET TRANSACTION READ ONLY

-- name: lacking
-- The places in a list of those paths that the catalog lacks.
SELECT (f.n - 1)::integer AS n
FROM unnest(%(paths)s::text[]) WITH ORDINALITY AS f (path, n)
WHERE NOT EXISTS (SELECT FROM {catalog} a WHERE a.{path} = f.path::{path_type})
ORDER BY f.n
