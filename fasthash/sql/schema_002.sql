-- name: schema_002
-- Scrubs beside runs, what a file looked like when it was hashed, and orders to a run under way.
CREATE TABLE fasthash.catalog (
    catalog_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text    NOT NULL UNIQUE
);

-- What is known of a file by the stamps it had, or by its XXH3. Rows of it count only while their
-- `read_at_ns` is the row's marker; a backfill leaves the stamps in its journal, from where they
-- come here when somebody needs them.
CREATE TABLE fasthash.file_state (
    catalog_no integer     NOT NULL,
    run_id     bigint      NOT NULL,     -- the run that looked at it last
    checked_at timestamptz NOT NULL,     -- when that was, by whatever means
    read_at_ns bigint,                   -- of the last SHA-256, as are the stamps
    size_bytes bigint,
    mtime_ns   bigint,
    ctime_ns   bigint,
    device     bigint,
    inode      bigint,
    row_id     text COLLATE "C" NOT NULL,
    xxh3       bytea,
    PRIMARY KEY (row_id, catalog_no)
) WITH (fillfactor = 85);                -- a hit changes no indexed column: a HOT update

ALTER TABLE fasthash.journal
    ADD COLUMN read_at_ns bigint,
    ADD COLUMN stamps bytea;             -- mtime and ctime in ns, device, inode: 8 bytes each

ALTER TABLE fasthash.checkpoint
    ADD COLUMN prechecked bigint NOT NULL DEFAULT 0,
    ADD COLUMN row_ids text[];           -- of a scrub: its rows, until the range is done

ALTER TABLE fasthash.run
    DROP CONSTRAINT run_kind_check,
    ADD CONSTRAINT run_kind_check CHECK (kind IN ('backfill', 'scrub', 'revert')),
    ADD COLUMN plan_after_marker text,
    ADD COLUMN folded_through timestamptz, -- its journal is in file_state up to this time
    ADD COLUMN orders jsonb NOT NULL DEFAULT '{}', -- what `fasthash rate` wants
    ADD COLUMN ended_for text,           -- why it was left before the end, if it was by plan
    ADD COLUMN freshness jsonb;          -- of the catalog, when a scrub was worked on last

-- A backfill and a scrub may go on at the same time: no row is due in both.
DROP INDEX fasthash.run_one_open;
CREATE UNIQUE INDEX run_one_open ON fasthash.run (catalog, kind)
    WHERE state <> 'complete' AND NOT superseded;

ALTER TABLE fasthash.drift
    ADD COLUMN old_mtime timestamptz,    -- when the old hash was made, where that is known
    ADD COLUMN old_ctime timestamptz,
    ADD COLUMN file_ctime timestamptz;

INSERT INTO fasthash.schema_version (version) VALUES (2);
