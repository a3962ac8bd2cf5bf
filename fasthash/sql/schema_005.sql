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

INSERT INTO fasthash.schema_version (version) VALUES (5);
