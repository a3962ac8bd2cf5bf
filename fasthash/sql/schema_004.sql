-- name: schema_004
-- A ledger that is used for years: what is only a confirmation is not kept row by row, every value
-- that a row ever had is found without reading the journal, and no look-up rests on statistics.

-- Ids of rows are compared byte by byte, whatever the database's own order is.
ALTER TABLE fasthash.journal ALTER COLUMN row_id TYPE text COLLATE "C";
ALTER TABLE fasthash.residual ALTER COLUMN row_id TYPE text COLLATE "C";
ALTER TABLE fasthash.drift ALTER COLUMN row_id TYPE text COLLATE "C";

-- The path tells a row from another one that was given its id later: its hash is 8 bytes.
ALTER TABLE fasthash.journal ADD COLUMN path_hash bigint, ADD COLUMN xxh3 bytea;

-- First hashes are written in the order of keys and of time, which BRIN finds and which costs a
-- first backfill nothing: an indexed column would cost it 2 us a row. Whatever is written later may
-- lie anywhere: it is indexed.
DROP INDEX fasthash.journal_by_run;
CREATE INDEX journal_by_place ON fasthash.journal USING brin (run_id, at, row_id)
    WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX journal_of_changes ON fasthash.journal (row_id, at) WHERE old_keys IS NOT NULL;

-- The last hash that fasthash wrote for a row, and what the file looked like then. Only `fold_journal`
-- writes it, when a run begins, from what was journaled since.
ALTER TABLE fasthash.file_state RENAME TO file_state_003;
ALTER INDEX fasthash.file_state_pkey RENAME TO file_state_003_pkey;
CREATE TABLE fasthash.file_state (
    catalog_no integer NOT NULL,
    at         timestamptz,      -- of the journal's entry
    read_at_ns bigint,           -- when the file was read, as are the stamps
    size_bytes bigint,
    path_hash  bigint,
    row_id     text COLLATE "C" NOT NULL,
    sha256     bytea,            -- NULL: a revert took it away
    stamps     bytea,            -- mtime and ctime in ns, device, inode: 8 bytes each
    xxh3       bytea,
    PRIMARY KEY (row_id, catalog_no)
);
INSERT INTO fasthash.file_state (catalog_no, read_at_ns, size_bytes, row_id, stamps, xxh3)
SELECT f.catalog_no, f.read_at_ns, f.size_bytes, f.row_id,
       int8send(f.mtime_ns) || int8send(f.ctime_ns) || int8send(f.device) || int8send(f.inode),
       f.xxh3
FROM fasthash.file_state_003 f
WHERE f.read_at_ns IS NOT NULL;

ALTER TABLE fasthash.run
    DROP COLUMN folded_through,
    -- What it has journaled since then is not in `file_state` yet; NULL: all is.
    ADD COLUMN unfolded_since timestamptz DEFAULT 'epoch',
    ADD COLUMN is_compact boolean NOT NULL DEFAULT false,  -- its ranges are one row a type
    ADD COLUMN pruned_at timestamptz;                      -- confirmations and residual are gone

-- Rows whose file was found to be bad and not good again since: every scrub reads them.
CREATE TABLE fasthash.bad_row (
    catalog_no integer     NOT NULL,
    row_id     text COLLATE "C" NOT NULL,
    run_id     bigint      NOT NULL,     -- that found it first
    found_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (catalog_no, row_id)
);
INSERT INTO fasthash.catalog (name) SELECT DISTINCT r.catalog FROM fasthash.run r
ON CONFLICT DO NOTHING;
INSERT INTO fasthash.bad_row (catalog_no, row_id, run_id)
SELECT c.catalog_no, x.row_id, min(x.run_id)
FROM (
    SELECT d.run_id, d.row_id FROM fasthash.drift d WHERE d.resolution IN ('open', 'rejected')
    UNION ALL
    SELECT b.run_id, b.row_id
    FROM fasthash.residual b
    WHERE b.run_id IN (SELECT max(s.run_id) FROM fasthash.run s
                       WHERE s.kind = 'scrub' AND s.state = 'complete' GROUP BY s.catalog)
) x
JOIN fasthash.run r ON r.run_id = x.run_id
JOIN fasthash.catalog c ON c.name = r.catalog
GROUP BY c.catalog_no, x.row_id;

-- Rows that an unfinished run has counted and that nothing else tells of, by the batch.
CREATE TABLE fasthash.met (
    run_id  bigint NOT NULL,
    row_ids text[] NOT NULL
);
CREATE INDEX met_by_run ON fasthash.met (run_id);
INSERT INTO fasthash.met (run_id, row_ids)
SELECT f.run_id, array_agg(f.row_id)
FROM fasthash.file_state_003 f
JOIN fasthash.run r ON r.run_id = f.run_id
WHERE r.state <> 'complete' AND NOT r.superseded
GROUP BY f.run_id;
DROP TABLE fasthash.file_state_003;

-- Rows of an unfinished scrub that were locked, or moved while they were read: they come again.
CREATE TABLE fasthash.left_over (
    run_id bigint NOT NULL,
    row_id text COLLATE "C" NOT NULL
);
CREATE INDEX left_over_by_run ON fasthash.left_over (run_id);

-- Of the rows of a range (of one that has a list) those that the run has counted before: what becomes
-- of them is noted, and counted no more.
ALTER TABLE fasthash.checkpoint ADD COLUMN met_ids text[];
ALTER TABLE fasthash.residual ADD COLUMN is_counted boolean NOT NULL DEFAULT true;

ALTER TABLE fasthash.drift
    ADD COLUMN holder_id integer,
    -- The row had no hash any more: the old one is the last that fasthash wrote.
    ADD COLUMN was_lost boolean NOT NULL DEFAULT false,
    ADD COLUMN is_logged boolean NOT NULL DEFAULT true;
CREATE INDEX drift_unlogged ON fasthash.drift (run_id) WHERE NOT is_logged;

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
        EXECUTE 'GRANT SELECT, INSERT, UPDATE ON fasthash.file_state TO ' || role_name;
        EXECUTE 'GRANT SELECT, INSERT, DELETE ON fasthash.bad_row TO ' || role_name;
        EXECUTE 'GRANT SELECT, INSERT, DELETE ON fasthash.met TO ' || role_name;
        EXECUTE 'GRANT SELECT, INSERT, DELETE ON fasthash.left_over TO ' || role_name;
        EXECUTE 'GRANT DELETE ON fasthash.checkpoint TO ' || role_name;
    END LOOP;
END $$;

INSERT INTO fasthash.schema_version (version) VALUES (4);
