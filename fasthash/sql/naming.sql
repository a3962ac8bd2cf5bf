-- name: knows_oids
-- Whether there is a ledger that knows tables by oid, and that this role may read.
SELECT EXISTS (
    SELECT FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'fasthash' AND c.relname = 'catalog' AND a.attname = 'ledger_oid'
      AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')) AS found

-- name: key_of
-- What the ledger calls a table: by its oid, or else by its name, if the table that it was noted for is
-- not there any more under another one. Where it does not know the table, what it will call it: another
-- one may have had the name before. Both are of one snapshot: were the table noted in between by
-- another process, its name would look taken, and the table would get a second one.
SELECT coalesce((
    SELECT k.name
    FROM (
        SELECT c.catalog_no, c.name, c.table_schema, c.table_name, c.table_oid,
               c.ledger_oid = 'fasthash.catalog'::regclass::oid AS is_here,
               c.ledger_oid = 'fasthash.catalog'::regclass::oid
               AND EXISTS (SELECT FROM pg_class t
                           WHERE t.oid = c.table_oid AND t.relkind IN ('r', 'p')) AS lives
        FROM fasthash.catalog c) k
    WHERE (k.is_here AND k.table_oid = %(table_oid)s::bigint::oid)
       OR (k.lives IS NOT TRUE AND k.table_schema = %(schema)s AND k.table_name = %(table)s)
       OR (k.table_oid IS NULL AND k.table_name IS NULL AND k.name = %(full_name)s)
    ORDER BY (k.is_here AND k.table_oid = %(table_oid)s::bigint::oid) IS TRUE DESC,
             k.catalog_no DESC
    LIMIT 1
), (
    SELECT k.name
    FROM generate_series(1, 1 + (SELECT count(*) FROM fasthash.catalog)) AS n,
         LATERAL (SELECT %(full_name)s::text || CASE WHEN n > 1 THEN ' #' || n ELSE '' END AS name) k
    WHERE NOT EXISTS (SELECT FROM fasthash.catalog c WHERE c.name = k.name)
    ORDER BY n
    LIMIT 1
)) AS name

-- name: last_key_of
-- What the ledger called a table that is not there any more.
SELECT c.name
FROM fasthash.catalog c
WHERE c.table_name = %(table)s
  AND (%(schema)s::text IS NULL OR c.table_schema = %(schema)s)
ORDER BY c.catalog_no DESC
LIMIT 1

-- name: noted
-- What is noted of a catalog.
SELECT c.table_schema, c.table_name, c.table_oid::bigint AS table_oid,
       c.ledger_oid = 'fasthash.catalog'::regclass::oid AS is_here
FROM fasthash.catalog c
WHERE c.name = %(key)s

-- name: one_noter
-- Who notes names, one after the other.
SELECT pg_advisory_xact_lock(1178686571)

-- name: note
-- What its table is called, and its oid.
INSERT INTO fasthash.catalog AS c (name, table_schema, table_name, table_oid, ledger_oid)
VALUES (%(key)s, %(schema)s, %(table)s, %(table_oid)s::bigint::oid,
        'fasthash.catalog'::regclass::oid)
ON CONFLICT (name) DO UPDATE
SET table_schema = excluded.table_schema, table_name = excluded.table_name,
    table_oid = excluded.table_oid, ledger_oid = excluded.ledger_oid

-- name: note_others
-- Other catalogs whose table had this name: it has another one now, or is gone.
UPDATE fasthash.catalog c
SET table_schema = t.nspname, table_name = t.relname
FROM fasthash.catalog o
LEFT JOIN (SELECT k.oid, n.nspname, k.relname
           FROM pg_class k JOIN pg_namespace n ON n.oid = k.relnamespace) t
       ON t.oid = o.table_oid AND o.ledger_oid = 'fasthash.catalog'::regclass::oid
WHERE c.catalog_no = o.catalog_no AND c.name <> %(key)s
  AND c.table_schema = %(schema)s AND c.table_name = %(table)s

-- name: shown
-- Fragment: what the table of a run `r` is called now.
coalesce(
    (SELECT coalesce(quote_ident(n.nspname) || '.' || quote_ident(t.relname),
                     quote_ident(c.table_schema) || '.' || quote_ident(c.table_name))
     FROM fasthash.catalog c
     LEFT JOIN pg_class t
            ON t.oid = c.table_oid AND c.ledger_oid = 'fasthash.catalog'::regclass::oid
     LEFT JOIN pg_namespace n ON n.oid = t.relnamespace
     WHERE c.name = r.catalog),
    r.catalog)
