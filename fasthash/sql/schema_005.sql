-- name: schema_005
-- What a revert puts back is what was there, to the letter; a catalog is known by its oid as well as by
-- its name.
ALTER TABLE fasthash.journal
    ADD COLUMN was_null boolean,  -- true: the row's metadata was NULL
    -- Of a column of type json: the keys as they were, each value in its very text, in their order.
    -- (`old_keys` has them, too, as far as jsonb can hold them: it is what is looked at.)
    ADD COLUMN old_json json;

-- `name` is what the ledger calls a catalog, for good: `run.catalog` refers to it. What its table is
-- called now stands beside it, with the table's oid. That counts as long as the ledger's own table has
-- the oid that it had when it was noted: after a dump and a restore both are others, and the table is
-- found by its name.
ALTER TABLE fasthash.catalog
    ADD COLUMN table_schema text,
    ADD COLUMN table_name text,
    ADD COLUMN table_oid oid,
    ADD COLUMN ledger_oid oid;
INSERT INTO fasthash.catalog (name) SELECT DISTINCT r.catalog FROM fasthash.run r
ON CONFLICT DO NOTHING;

-- Names were not quoted: a table that exists tells where its schema's name ends. Of two that could be
-- meant neither is taken.
UPDATE fasthash.catalog c
SET table_schema = t.table_schema, table_name = t.table_name, table_oid = t.table_oid,
    ledger_oid = 'fasthash.catalog'::regclass::oid
FROM (SELECT n.nspname || '.' || k.relname AS name, min(n.nspname) AS table_schema,
             min(k.relname) AS table_name, min(k.oid) AS table_oid
      FROM pg_class k JOIN pg_namespace n ON n.oid = k.relnamespace
      WHERE k.relkind IN ('r', 'p')
      GROUP BY n.nspname || '.' || k.relname
      HAVING count(*) = 1) t
WHERE t.name = c.name;
UPDATE fasthash.catalog c
SET table_schema = split_part(c.name, '.', 1), table_name = split_part(c.name, '.', 2)
WHERE c.table_name IS NULL AND c.name ~ '^[^.]*[.][^.]*$';

-- In a database whose every table is published, rows without an identity could not be deleted.
ALTER TABLE fasthash.journal REPLICA IDENTITY FULL;
ALTER TABLE fasthash.sample REPLICA IDENTITY FULL;
ALTER TABLE fasthash.met REPLICA IDENTITY FULL;
ALTER TABLE fasthash.left_over REPLICA IDENTITY FULL;

-- Whoever could run fasthash before still can.
DO $$
DECLARE
    role_name text;
BEGIN
    FOR role_name IN
        SELECT DISTINCT quote_ident(r.rolname)
        FROM pg_class t, aclexplode(t.relacl) a JOIN pg_roles r ON r.oid = a.grantee
        WHERE t.oid = 'fasthash.journal'::regclass AND a.privilege_type = 'INSERT'
          AND a.grantee <> t.relowner
    LOOP
        EXECUTE 'GRANT UPDATE ON fasthash.catalog TO ' || role_name;
    END LOOP;
END $$;

INSERT INTO fasthash.schema_version (version) VALUES (5);
