-- name: schema_001
-- The ledger: fasthash's own tables, beside the catalog so that both change in one transaction.
CREATE SCHEMA IF NOT EXISTS fasthash;

CREATE TABLE fasthash.schema_version (
    version    integer     PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Directories that `fasthash register` was given: the roots of a run that names none.
CREATE TABLE fasthash.root (
    path          text        PRIMARY KEY,
    host          text        NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE fasthash.run (
    run_id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    catalog       text        NOT NULL,
    kind          text        NOT NULL CHECK (kind IN ('backfill', 'scrub')),
    state         text        NOT NULL DEFAULT 'running'
                              CHECK (state IN ('running', 'interrupted', 'complete', 'failed')),
    superseded    boolean     NOT NULL DEFAULT false,
    options       jsonb       NOT NULL,
    cutoff        timestamptz,
    host          text        NOT NULL,
    pass_no       integer     NOT NULL DEFAULT 0,
    plan_types    text[],               -- the types of pass 0, in the order they are planned
    plan_type_no  integer     NOT NULL DEFAULT 1,
    plan_after_id text,
    plan_done     boolean     NOT NULL DEFAULT false,
    next_range_no integer     NOT NULL DEFAULT 1,
    rows_planned  bigint      NOT NULL DEFAULT 0,
    rows_expected bigint,
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at   timestamptz,
    error         text
);
CREATE UNIQUE INDEX run_one_open ON fasthash.run (catalog)
    WHERE state <> 'complete' AND NOT superseded;

-- A coordinator process that takes part in a run. While it lives its session holds the
-- advisory lock (1178686568, holder_id), which the server drops with the connection.
CREATE TABLE fasthash.holder (
    holder_id  integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id     bigint      NOT NULL,
    host       text        NOT NULL,
    pid        integer     NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    report     jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX holder_by_run ON fasthash.holder (run_id);

-- One row a range: which slice of the catalog, who holds it until when, and its counts.
CREATE TABLE fasthash.checkpoint (
    run_id        bigint  NOT NULL,
    range_no      integer NOT NULL,
    pass_no       integer NOT NULL,
    artifact_type text,
    after_id      text,
    through_id    text    NOT NULL,
    planned_rows  integer NOT NULL,
    state         text    NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'leased', 'done')),
    holder_id     integer,
    term          integer NOT NULL DEFAULT 0,
    expires_at    timestamptz,
    attempts      integer NOT NULL DEFAULT 0,
    hashed        bigint  NOT NULL DEFAULT 0,
    confirmed     bigint  NOT NULL DEFAULT 0,
    drifted       bigint  NOT NULL DEFAULT 0,
    fresh         bigint  NOT NULL DEFAULT 0,
    no_file       bigint  NOT NULL DEFAULT 0,
    failed        bigint  NOT NULL DEFAULT 0,
    gone          bigint  NOT NULL DEFAULT 0,
    updated       bigint  NOT NULL DEFAULT 0,
    bytes_hashed  bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, range_no)
);
CREATE INDEX checkpoint_open ON fasthash.checkpoint (run_id, range_no) WHERE state <> 'done';

-- The parts of unfinished ranges that are committed; gone when the range is done. The key names
-- a part for ever, so a part sent twice (after a crash, or a COMMIT whose answer was lost) is
-- known and changes nothing.
CREATE TABLE fasthash.segment (
    run_id     bigint  NOT NULL,
    range_no   integer NOT NULL,
    holder_id  integer NOT NULL,
    segment_no bigint  NOT NULL,
    after_id   text,
    through_id text    NOT NULL,
    PRIMARY KEY (run_id, range_no, holder_id, segment_no)
);

-- One row for every write to the catalog. No foreign key and no unique index: both would cost
-- more a row than the journal row itself. Rows lie in the order of time, which BRIN finds.
CREATE TABLE fasthash.journal (
    run_id     bigint      NOT NULL,
    size_bytes bigint      NOT NULL,
    at         timestamptz NOT NULL,
    row_id     text        NOT NULL,
    new_sha256 bytea       NOT NULL,
    old_sha256 bytea,      -- when the old hash was 64 hexadecimal digits
    old_keys   jsonb       -- the three keys as they were, where there was any
);
CREATE INDEX journal_by_run ON fasthash.journal USING brin (run_id);

CREATE TABLE fasthash.drift (
    drift_id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id         bigint      NOT NULL,
    row_id         text        NOT NULL,
    artifact_type  text,
    path           text        NOT NULL,
    kind           text        NOT NULL CHECK (kind IN ('modified', 'corrupt', 'unknown')),
    old_hash       text        NOT NULL,
    new_sha256     bytea       NOT NULL,
    old_size_bytes bigint,
    new_size_bytes bigint      NOT NULL,
    file_mtime     timestamptz NOT NULL,
    old_marker     text,
    resolution     text        NOT NULL
                   CHECK (resolution IN ('overwritten', 'open', 'superseded', 'accepted',
                                         'rejected')),
    resolved_by    text,
    resolved_at    timestamptz,
    comment        text,
    found_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX drift_by_run ON fasthash.drift (run_id, row_id);
CREATE INDEX drift_open ON fasthash.drift (row_id) WHERE resolution = 'open';

CREATE TABLE fasthash.residual (
    run_id        bigint NOT NULL,
    row_id        text   NOT NULL,
    artifact_type text,
    path          text   NOT NULL,
    reason        text   NOT NULL,
    detail        text,
    PRIMARY KEY (run_id, row_id)
);

-- What each coordinator had done at a time: for rates, ETA and plots.
CREATE TABLE fasthash.sample (
    run_id    bigint      NOT NULL,
    holder_id integer     NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    rows      bigint      NOT NULL,
    bytes     bigint      NOT NULL
);
CREATE INDEX sample_by_run ON fasthash.sample (run_id, at);

INSERT INTO fasthash.schema_version (version) VALUES (1);
