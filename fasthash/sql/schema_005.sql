-- name: schema_005
-- Catalogs as they are in the wild.

-- Rows that the database cannot give: JSON with an escape that is no text (a NUL, half of a surrogate
-- pair), a value whose pages are damaged, bytes that are no UTF-8 where the database does not know
-- what they are. These functions look into a row and go on; they are called where a statement without
-- them has failed.
CREATE FUNCTION fasthash.unreadable(value anyelement) RETURNS text
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog AS $$
DECLARE
    whole text;
    more text;
BEGIN
    whole := value::text;
    IF current_setting('server_encoding') = 'SQL_ASCII' THEN
        PERFORM convert_from(convert_to(whole, 'SQL_ASCII'), 'UTF8');
    END IF;
    IF pg_typeof(value) IN ('json'::regtype, 'jsonb'::regtype) THEN
        PERFORM value ->> '';
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS more = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(': ', coalesce(nullif(SQLERRM, ''), SQLSTATE), nullif(more, ''));
END $$;

CREATE FUNCTION fasthash.text_of(metadata anyelement, key text) RETURNS text
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog AS $$
BEGIN
    IF fasthash.unreadable(metadata) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    RETURN metadata ->> key;
END $$;

CREATE FUNCTION fasthash.type_of(metadata anyelement) RETURNS text
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog AS $$
BEGIN
    IF fasthash.unreadable(metadata) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    IF pg_typeof(metadata) = 'jsonb'::regtype THEN
        RETURN jsonb_typeof(metadata);
    END IF;
    RETURN json_typeof(metadata);
END $$;

CREATE FUNCTION fasthash.shown(value text) RETURNS text
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog AS $$
BEGIN
    IF fasthash.unreadable(value) IS NULL THEN
        RETURN value;
    END IF;
    RETURN encode(convert_to(value, getdatabaseencoding()), 'escape');
EXCEPTION WHEN OTHERS THEN
    RETURN '';
END $$;

GRANT EXECUTE ON FUNCTION fasthash.unreadable(anyelement), fasthash.text_of(anyelement, text),
    fasthash.type_of(anyelement), fasthash.shown(text) TO PUBLIC;

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
