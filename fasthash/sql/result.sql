-- name: fence
-- First statement of every result transaction: the ranges that are still held under the term
-- they were handed out with, locked until the commit.
SELECT c.range_no, c.term
FROM fasthash.checkpoint c
JOIN unnest(%(range_no)s::integer[], %(term)s::integer[]) AS f (range_no, term)
  ON f.range_no = c.range_no AND f.term = c.term
WHERE c.run_id = %(run_id)s AND c.state = 'leased' AND c.holder_id = %(holder_id)s
ORDER BY c.range_no
FOR UPDATE OF c

-- name: add_segments
-- Names the parts as committed; a part that was committed before comes back not.
INSERT INTO fasthash.segment (run_id, range_no, holder_id, segment_no, after_id, through_id)
SELECT %(run_id)s, p.range_no, %(holder_id)s, p.segment_no, p.after_id, p.through_id
FROM unnest(%(range_no)s::integer[], %(segment_no)s::bigint[], %(after_id)s::text[],
            %(through_id)s::text[]) AS p (range_no, segment_no, after_id, through_id)
ON CONFLICT DO NOTHING
RETURNING segment_no

-- name: committed_through
-- How far a part was committed before: its pieces are committed in order.
SELECT s.through_id
FROM fasthash.segment s
WHERE s.run_id = %(run_id)s AND s.range_no = %(range_no)s AND s.holder_id = %(holder_id)s
  AND s.segment_no >= %(first_no)s AND s.segment_no < %(end_no)s
ORDER BY s.segment_no DESC
LIMIT 1

-- name: refuse
-- A row that the database will not let us write: no verdict, and no lock is asked for again.
INSERT INTO fasthash.residual (run_id, row_id, artifact_type, path, reason, detail)
SELECT %(run_id)s, %(row_id)s, c.artifact_type, %(path)s, 'write_refused', %(detail)s
FROM fasthash.checkpoint c
WHERE c.run_id = %(run_id)s AND c.range_no = %(range_no)s
ON CONFLICT DO NOTHING

-- name: apply
-- The results of a batch. Each row is locked and judged by what it holds now, not by what it
-- held when it was leased. A row that another session has locked is not waited for: whoever waits
-- while he holds other rows makes deadlocks, and the server may choose the other one as the victim.
-- Columns whose every value is the usual one come as empty arrays; all come in binary, which costs
-- the client a third.
WITH input AS MATERIALIZED (
    SELECT i.range_no, i.row_id, i.path, i.marker, coalesce(i.verdict, 'hashed') AS verdict,
           i.sha256, i.size_bytes, i.mtime_ns, i.read_at_ns, coalesce(i.reread, false) AS reread,
           i.detail, i.stamps {others}
    FROM unnest(%(range_no)b::integer[], %(row_id)b::text[]::{id_type}[], %(path)b::text[],
                %(marker)b::text[], %(verdict)b::text[], %(sha256)b::bytea[],
                %(size_bytes)b::bigint[], %(mtime_ns)b::bigint[], %(read_at_ns)b::bigint[],
                %(reread)b::boolean[], %(detail)b::text[], %(stamps)b::bytea[]
                {other_arrays})
         AS i (range_no, row_id, path, marker, verdict, sha256, size_bytes, mtime_ns, read_at_ns,
               reread, detail, stamps {other_names})
),
locked AS MATERIALIZED (
    SELECT a.{id} AS row_id, a.{type}::text AS artifact_type, a.{path}::text AS path_now,
           {typeof}(a.{metadata}) AS typeof, {old_blake3} AS old_blake3_json,
           a.{metadata} ->> 'file_sha256' AS old_hash,
           a.{metadata} -> 'file_sha256' AS old_hash_json,
           a.{metadata} -> 'file_size_bytes' AS old_size_json,
           a.{metadata} -> 'file_sha256_computed_at' AS old_marker_json,
           a.{metadata} ->> 'file_sha256_computed_at' AS old_marker
    FROM {catalog} a
    WHERE a.{id} IN (SELECT i.row_id FROM input i)
    ORDER BY a.{id}
    FOR NO KEY UPDATE OF a SKIP LOCKED
),
judged AS MATERIALIZED (
    -- First what every row is looked at for, several times: taking a row apart costs by the column.
    SELECT CASE
               WHEN l.row_id IS NULL THEN
                   CASE WHEN NOT EXISTS (SELECT FROM {catalog} a WHERE a.{id} = i.row_id)
                        THEN 'gone'
                        WHEN %(locked_rows_fail)s::boolean THEN 'write_refused'
                        ELSE 'locked' END
               WHEN l.path_now IS DISTINCT FROM i.path THEN 'moved'
               WHEN l.old_marker IS DISTINCT FROM i.marker THEN 'fresh'
               WHEN l.typeof <> 'object' THEN 'bad_metadata'
               WHEN i.verdict = 'prechecked' THEN
                   CASE WHEN lower(l.old_hash) = encode(i.sha256, 'hex') THEN 'prechecked'
                        ELSE 'moved' END
               WHEN i.verdict <> 'hashed' THEN i.verdict
               WHEN l.old_hash IS NULL THEN 'hashed'
               WHEN lower(l.old_hash) = encode(i.sha256, 'hex') THEN 'confirmed'
               WHEN i.reread THEN 'drifted'
               ELSE 'moved'  -- the stored hash changed since the read: read again, and twice
           END AS outcome,
           i.range_no, i.size_bytes,
           NOT (%(sweep)s::boolean AND EXISTS (
               SELECT FROM fasthash.journal j
               WHERE j.run_id = %(run_id)s AND j.row_id = i.row_id::text)) AS first_met,
           i.row_id, i.sha256, i.read_at_ns, i.stamps, i.path, i.mtime_ns, i.detail {others},
           l.artifact_type, l.old_hash, l.old_marker,
           l.old_hash_json, l.old_size_json, l.old_marker_json, l.old_blake3_json,
           {new_marker} AS new_marker
    FROM input i
    LEFT JOIN locked l ON l.row_id = i.row_id
),
patched AS MATERIALIZED (
    SELECT j.row_id,
           CASE WHEN j.outcome = 'confirmed'
                THEN jsonb_build_object('file_size_bytes', j.size_bytes,
                                        'file_sha256_computed_at', j.new_marker)
                ELSE jsonb_build_object('file_sha256', encode(j.sha256, 'hex'),
                                        'file_size_bytes', j.size_bytes,
                                        'file_sha256_computed_at', j.new_marker) END
           {new_blake3} AS patch,
           j.range_no, j.first_met, j.size_bytes, j.read_at_ns, j.sha256, j.stamps, j.old_hash,
           j.old_hash_json, j.old_size_json, j.old_marker_json, j.old_blake3_json, {xxh3} AS xxh3
    FROM judged j
    WHERE j.outcome IN ('hashed', 'confirmed')
       OR (j.outcome = 'drifted' AND %(overwrite)s::boolean)
),
{write},
journaled AS (
    INSERT INTO fasthash.journal
        (run_id, size_bytes, at, read_at_ns, row_id, new_sha256, old_sha256, stamps, old_keys)
    SELECT %(run_id)s, p.size_bytes, clock_timestamp(), p.read_at_ns, p.row_id::text, p.sha256,
           CASE WHEN p.old_hash ~ '^[0-9a-fA-F]{{64}}$' THEN decode(p.old_hash, 'hex') END,
           p.stamps,
           CASE WHEN coalesce(p.old_hash_json, p.old_size_json, p.old_marker_json) IS NOT NULL
                THEN jsonb_strip_nulls(jsonb_build_object(
                    'file_sha256', p.old_hash_json, 'file_size_bytes', p.old_size_json,
                    'file_sha256_computed_at', p.old_marker_json,
                    'file_blake3', p.old_blake3_json)) END
    FROM patched p
),
{remembered}
residual_rows AS (
    INSERT INTO fasthash.residual (run_id, row_id, artifact_type, path, reason, detail)
    SELECT %(run_id)s, j.row_id::text,
           coalesce(j.artifact_type, (SELECT c.artifact_type FROM fasthash.checkpoint c
                                      WHERE c.run_id = %(run_id)s AND c.range_no = j.range_no)),
           j.path, j.outcome,
           CASE j.outcome WHEN 'write_refused' THEN 'another session has locked the row'
                          ELSE j.detail END
    FROM judged j
    WHERE j.outcome NOT IN ('gone', 'moved', 'locked', 'fresh', 'hashed', 'confirmed',
                            'prechecked', 'drifted')
    ON CONFLICT DO NOTHING
)
SELECT j.range_no, j.outcome, count(*) AS n, coalesce(sum(j.size_bytes), 0)::bigint AS bytes,
       NULL::jsonb AS drift
FROM judged j
WHERE j.first_met
GROUP BY j.range_no, j.outcome
UNION ALL
SELECT p.range_no, 'updated', count(*), 0, NULL
FROM patched p
WHERE p.first_met
GROUP BY p.range_no
UNION ALL
SELECT j.range_no, 'drift', 1, j.size_bytes,
       jsonb_build_object('row_id', j.row_id::text, 'artifact_type', j.artifact_type,
                          'path', j.path, 'old_hash', j.old_hash, 'old_marker', j.old_marker,
                          'old_size', j.old_size_json, 'new_hash', encode(j.sha256, 'hex'),
                          'new_size', j.size_bytes, 'mtime_ns', j.mtime_ns,
                          'ctime_ns', {ctime_ns},
                          'stamps', (SELECT jsonb_build_object('size_bytes', f.size_bytes,
                                         'mtime_ns', f.mtime_ns, 'ctime_ns', f.ctime_ns)
                                     FROM fasthash.file_state f
                                     WHERE f.row_id = j.row_id::text
                                       AND f.catalog_no = %(catalog_no)s
                                       AND {known_marker} = j.old_marker))
FROM judged j
WHERE j.outcome = 'drifted'
{called}

-- name: marker_text
-- Fragment: the marker that is made of a time in nanoseconds.
to_char(to_timestamp(({ns} / 1000)::float8 / 1000000) AT TIME ZONE 'UTC',
        'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')

-- name: stamp
-- Fragment: one of the four numbers in a file's stamps.
('x' || encode(substring({stamps} FROM {first} FOR 8), 'hex'))::bit(64)::bigint

-- name: others
-- Fragment: the digests beside the SHA-256, where any is asked for.
, i.blake3, i.xxh3

-- name: other_arrays
-- Fragment: their parameters.
, %(blake3)b::bytea[], %(xxh3)b::bytea[]

-- name: other_names
-- Fragment: their names.
, blake3, xxh3

-- name: old_blake3
-- Fragment: where the BLAKE3 is written, too, what it was.
a.{metadata} -> 'file_blake3'

-- name: new_blake3
-- Fragment: the BLAKE3 among the keys that are written.
|| jsonb_build_object('file_blake3', encode(j.blake3, 'hex'))

-- name: remember
-- Fragment: what the files looked like, for pre-checks and for telling rot from change; and that
-- this run has met the rows, whatever the clocks say.
remembered AS (
    INSERT INTO fasthash.file_state AS f
        (catalog_no, run_id, checked_at, read_at_ns, size_bytes, mtime_ns, ctime_ns, device,
         inode, row_id, xxh3)
    SELECT %(catalog_no)s, %(run_id)s, clock_timestamp(), p.read_at_ns, p.size_bytes, {mtime_ns},
           {ctime_ns}, {device}, {inode}, p.row_id::text, p.xxh3
    FROM patched p
    ON CONFLICT (row_id, catalog_no) DO UPDATE
    SET run_id = excluded.run_id, checked_at = excluded.checked_at,
        read_at_ns = excluded.read_at_ns, size_bytes = excluded.size_bytes,
        mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, device = excluded.device,
        inode = excluded.inode, xxh3 = excluded.xxh3
),
-- A held drift whose file has its old content again is settled.
healed AS (
    UPDATE fasthash.drift d
    SET resolution = 'superseded', resolved_at = clock_timestamp(),
        comment = 'the file has the stored hash again'
    FROM judged j, fasthash.run r, fasthash.catalog c
    WHERE j.outcome = 'confirmed' AND d.row_id = j.row_id::text AND d.resolution = 'open'
      AND r.run_id = d.run_id AND c.catalog_no = %(catalog_no)s AND c.name = r.catalog
),
checked AS (
    INSERT INTO fasthash.file_state AS f (catalog_no, run_id, checked_at, row_id)
    SELECT %(catalog_no)s, %(run_id)s, clock_timestamp(), j.row_id::text
    FROM judged j
    WHERE j.outcome = 'prechecked'
    ON CONFLICT (row_id, catalog_no) DO UPDATE
    SET run_id = excluded.run_id, checked_at = excluded.checked_at
),

-- name: write_jsonb
-- Fragment: merges the keys in place, so that keys others wrote in the meantime survive.
written AS (
    UPDATE {catalog} a
    SET {metadata} = coalesce(a.{metadata}, '{{}}'::jsonb) || p.patch
    FROM patched p
    WHERE a.{id} = p.row_id
)

-- name: write_json
-- Fragment: the same for a json column, where every other key keeps its very text and place.
written AS (
    UPDATE {catalog} a
    SET {metadata} = (
        SELECT json_object_agg(k.key, k.value ORDER BY k.n)
        FROM (SELECT e.key, e.value, e.n
              FROM json_each(coalesce(a.{metadata}, '{{}}'::json))
                       WITH ORDINALITY AS e (key, value, n)
              WHERE NOT p.patch ? e.key
              UNION ALL
              SELECT f.key, f.value, 1000000 + f.n
              FROM json_each(p.patch::json) WITH ORDINALITY AS f (key, value, n)) k)
    FROM patched p
    WHERE a.{id} = p.row_id
)

-- name: write_by_function
-- Fragment: the site's own journaled update, called once a batch with ids and patches.
written AS (
    SELECT {update_function}(array_agg(p.row_id ORDER BY p.row_id),
                             array_agg(p.patch ORDER BY p.row_id))
    FROM patched p
    HAVING count(*) > 0
)

-- name: called
-- Fragment: a SELECT in a WITH clause runs only if something reads it.
UNION ALL
SELECT 0, 'called', count(*), 0, NULL FROM written

-- name: unwritten
-- After the site's own update: rows that do not hold what they were given.
SELECT count(*) AS n
FROM unnest(%(row_id)s::text[]::{id_type}[], %(sha256)s::text[]) AS w (row_id, sha256)
JOIN {catalog} a ON a.{id} = w.row_id
WHERE lower(a.{metadata} ->> 'file_sha256') IS DISTINCT FROM w.sha256

-- name: add_drift
-- A drift, in the transaction that overwrites or holds the hash. One that was held open before is
-- settled by it. The catalog's row is locked: nobody else adds a drift of it now.
WITH before AS (
    UPDATE fasthash.drift d
    SET resolution = 'superseded', resolved_at = clock_timestamp()
    FROM fasthash.run r, fasthash.run ours
    WHERE d.row_id = %(row_id)s AND d.resolution = 'open' AND r.run_id = d.run_id
      AND ours.run_id = %(run_id)s AND r.catalog = ours.catalog
)
INSERT INTO fasthash.drift
    (run_id, row_id, artifact_type, path, kind, old_hash, new_sha256, old_size_bytes,
     new_size_bytes, file_mtime, file_ctime, old_mtime, old_ctime, old_marker, resolution)
VALUES (%(run_id)s, %(row_id)s, %(artifact_type)s, %(path)s, %(kind)s, %(old_hash)s,
        decode(%(new_hash)s, 'hex'), %(old_size)s, %(new_size)s,
        to_timestamp(%(mtime_ns)s::bigint / 1000 / 1e6),
        to_timestamp(%(ctime_ns)s::bigint / 1000 / 1e6),
        to_timestamp(%(old_mtime_ns)s::bigint / 1000 / 1e6),
        to_timestamp(%(old_ctime_ns)s::bigint / 1000 / 1e6), %(old_marker)s, %(resolution)s)

-- name: add_counts
-- The counts of the batch, a row a range: same transaction as the rows they count.
UPDATE fasthash.checkpoint c
SET hashed = c.hashed + n.hashed, confirmed = c.confirmed + n.confirmed,
    drifted = c.drifted + n.drifted, fresh = c.fresh + n.fresh, no_file = c.no_file + n.no_file,
    failed = c.failed + n.failed, gone = c.gone + n.gone, updated = c.updated + n.updated,
    bytes_hashed = c.bytes_hashed + n.bytes_hashed, prechecked = c.prechecked + n.prechecked
FROM unnest(%(range_no)s::integer[], %(hashed)s::bigint[], %(confirmed)s::bigint[],
            %(drifted)s::bigint[], %(fresh)s::bigint[], %(no_file)s::bigint[],
            %(failed)s::bigint[], %(gone)s::bigint[], %(updated)s::bigint[],
            %(bytes_hashed)s::bigint[], %(prechecked)s::bigint[])
     AS n (range_no, hashed, confirmed, drifted, fresh, no_file, failed, gone, updated,
           bytes_hashed, prechecked)
WHERE c.run_id = %(run_id)s AND c.range_no = n.range_no
