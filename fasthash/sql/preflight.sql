-- name: server_facts
-- Version and role of the server.
SELECT current_setting('server_version_num')::integer AS version_num,
       current_setting('server_version') AS version_text,
       pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS read_only,
       current_user::text AS role,
       current_database()::text AS database

-- name: missing_standby
-- The names of the synchronous standbys that commits wait for, where none of them is connected; NULL
-- also where this role may not know.
SELECT CASE WHEN NOT EXISTS (SELECT FROM pg_stat_replication r
                             WHERE r.state IS NULL OR r.sync_state IN ('sync', 'quorum'))
            THEN nullif(current_setting('synchronous_standby_names'), '') END AS names

-- name: ledger_version
-- The ledger's version; no row where it is missing or out of reach.
SELECT (SELECT max(v.version) FROM fasthash.schema_version v) AS version

-- name: ledger_exists
-- Whether the ledger schema is there, and whether this role may use it.
SELECT n.oid IS NOT NULL AND c.oid IS NOT NULL AS present,
       coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS usable
FROM (VALUES (1)) AS one (x)
LEFT JOIN pg_namespace n ON n.nspname = 'fasthash'
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'schema_version'

-- name: find_table
-- The catalog table by schema (or the search path) and name.
SELECT c.oid::bigint AS table_oid, n.nspname::text AS schema, c.relname::text AS table,
       quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS full_name, c.relkind::text AS kind,
       c.reltuples::bigint AS estimated_rows,
       has_schema_privilege(n.oid, 'USAGE') AS schema_usable,
       CASE WHEN c.relkind = 'r'
            THEN (SELECT count(*) FROM pg_inherits i WHERE i.inhparent = c.oid) ELSE 0 END
           AS children
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = %(table)s AND c.relkind IN ('r', 'p', 'v', 'f', 'm')
  AND CASE WHEN %(schema)s::text IS NULL
           THEN n.nspname = ANY (current_schemas(false)) ELSE n.nspname = %(schema)s END
ORDER BY array_position(current_schemas(false), n.nspname)
LIMIT 1

-- name: table_privileges
-- The names a grant needs, and whether this role may use the schema.
SELECT current_user::text AS role, n.nspname::text AS schema, c.relname::text AS table,
       has_schema_privilege(n.oid, 'USAGE') AS schema_usable
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = %(table_oid)s::bigint::oid

-- name: table_names
-- Every table that could have been meant.
SELECT n.nspname::text AS schema, c.relname::text AS table
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'fasthash')
  AND n.nspname NOT LIKE 'pg\_%%'

-- name: columns
-- The columns of a table with their types, and what this role may do with them. The modifier -1
-- prints char(n) as bpchar: `character` would mean char(1) in a cast.
SELECT a.attname::text AS name, format_type(a.atttypid, -1) AS type,
       has_column_privilege(a.attrelid, a.attnum, 'SELECT') AS selectable,
       has_column_privilege(a.attrelid, a.attnum, 'UPDATE') AS updatable,
       has_column_privilege(a.attrelid, a.attnum, 'INSERT') AS insertable,
       ARRAY(SELECT v.name::text
             FROM pg_collation k
             JOIN pg_namespace m ON m.oid = k.collnamespace
             CROSS JOIN LATERAL (VALUES (1, m.nspname), (2, k.collname)) v (n, name)
             WHERE k.oid = a.attcollation ORDER BY v.n) AS collation,
       a.attnotnull AS not_null, a.atthasdef OR a.attidentity <> '' AS has_default
FROM pg_attribute a
WHERE a.attrelid = %(table_oid)s::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: indexes
-- The indexes of a table: their plain columns in order, whether they are unique and whole.
SELECT i.relname::text AS name, x.indisunique AND x.indimmediate AS is_unique,
       x.indpred IS NOT NULL AS is_partial, x.indexprs IS NOT NULL AS has_expressions,
       am.amname::text AS method, pg_get_indexdef(x.indexrelid) AS definition,
       ARRAY(SELECT a.attname::text
             FROM unnest(x.indkey[0:x.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, n)
             JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
             ORDER BY k.n) AS columns
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_am am ON am.oid = i.relam
WHERE x.indrelid = %(table_oid)s::bigint::oid AND x.indisvalid

-- name: ledger_privileges
-- Ledger privileges that this role lacks.
SELECT p.relation, p.privilege
FROM unnest(%(relation)s::text[], %(privilege)s::text[]) AS p (relation, privilege)
WHERE NOT has_table_privilege(format('fasthash.%%I', p.relation), p.privilege)

-- name: find_function
-- The site's update function with the arguments fasthash calls it with.
SELECT p.oid::bigint AS function_oid, has_function_privilege(p.oid, 'EXECUTE') AS callable
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.proname = %(function)s
  AND CASE WHEN %(schema)s::text IS NULL
           THEN n.nspname = ANY (current_schemas(false)) ELSE n.nspname = %(schema)s END
  AND p.pronargs - p.pronargdefaults <= 2 AND p.pronargs >= 2
  AND p.proargtypes[0] = to_regtype(%(id_type)s || '[]')
  AND format_type(p.proargtypes[1], NULL) = 'jsonb[]'

-- name: registered_roots
-- The directories that `fasthash register` was given.
SELECT r.path FROM fasthash.root r ORDER BY r.registered_at, r.path

-- name: role_exists
-- Whether there is such a role.
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %(role)s) AS found

-- name: publications
-- Publications that send whatever table is in the database.
SELECT p.pubname::text AS name FROM pg_publication p WHERE p.puballtables ORDER BY 1

-- name: publications_of_schema
-- The same, and those that send whatever table is in the ledger's schema: from version 15 on.
SELECT p.pubname::text AS name
FROM pg_publication p
WHERE p.puballtables
   OR EXISTS (SELECT FROM pg_publication_namespace s JOIN pg_namespace n ON n.oid = s.pnnspid
              WHERE s.pnpubid = p.oid AND n.nspname = 'fasthash')
ORDER BY 1
