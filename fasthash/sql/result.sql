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
WITH residual_row AS (
    INSERT INTO fasthash.residual (run_id, row_id, artifact_type, path, reason, detail)
    SELECT %(run_id)s, %(row_id)s, c.artifact_type, %(path)s, 'write_refused', %(detail)s
    FROM fasthash.checkpoint c
    WHERE c.run_id = %(run_id)s AND c.range_no = %(range_no)s
    ON CONFLICT DO NOTHING
)
INSERT INTO fasthash.bad_row (catalog_no, row_id, run_id)
SELECT %(catalog_no)s, %(row_id)s, %(run_id)s WHERE %(is_scrub)s::boolean
ON CONFLICT DO NOTHING

-- name: leave_over
-- A row of a scrub that comes again.
INSERT INTO fasthash.left_over (run_id, row_id) VALUES (%(run_id)s, %(row_id)s)

-- name: counted_before
-- Rows of a range that the run had counted before the range was planned.
SELECT c.met_ids
FROM fasthash.checkpoint c
WHERE c.run_id = %(run_id)s AND c.range_no = %(range_no)s

-- name: add_met
-- Rows that are counted, and that nothing else tells of.
INSERT INTO fasthash.met (run_id, row_ids) VALUES (%(run_id)s, %(row_ids)s)

-- name: apply
-- The results of a batch. Each row is locked and judged by what it holds now, not by what it
-- held when it was leased. A row that another session has locked is not waited for: whoever waits
-- while he holds other rows makes deadlocks, and the server may choose the other one as the victim.
-- Columns whose every value is the usual one come as empty arrays; all come in binary, which costs
-- the client a third. A hash that comes with a detail is of a row that was found not to be writable.
-- A row is written only if it is the one whose path was read: an id may be on several (tables that
-- inherit, a broken index), which is seen by there being more to judge than was read.
WITH input AS MATERIALIZED (
    SELECT i.range_no, i.row_id, i.path, i.marker, coalesce(i.verdict, 'hashed') AS verdict,
           i.sha256, i.size_bytes, i.mtime_ns, i.read_at_ns, i.compared, i.detail, i.stamps {others}
    FROM unnest(%(range_no)b::integer[], %(row_id)b::text[]::{id_type}[], %(path)b::text[],
                %(marker)b::text[], %(verdict)b::text[], %(sha256)b::bytea[],
                %(size_bytes)b::bigint[], %(mtime_ns)b::bigint[], %(read_at_ns)b::bigint[],
                %(compared)b::text[], %(detail)b::text[], %(stamps)b::bytea[]
                {other_arrays})
         AS i (range_no, row_id, path, marker, verdict, sha256, size_bytes, mtime_ns, read_at_ns,
               compared, detail, stamps {other_names})
),
locked AS MATERIALIZED (
    SELECT a.{id} AS row_id, a.{type}::text AS artifact_type,
           a.{path}::text COLLATE "C" AS path_now,
           {typeof}(a.{metadata}) AS typeof, {old_blake3} AS old_blake3_json,
           a.{metadata} ->> 'file_sha256' AS old_hash, {known_hash} AS known_hash,
           a.{metadata} -> 'file_sha256' AS old_hash_json,
           a.{metadata} -> 'file_size_bytes' AS old_size_json,
           a.{metadata} -> 'file_sha256_computed_at' AS old_marker_json,
           a.{metadata} ->> 'file_sha256_computed_at' AS old_marker,
           {old_json} AS old_json
    FROM {catalog} a
    WHERE a.{id} IN (SELECT i.row_id FROM input i WHERE {looked_at})
    ORDER BY a.{id}
    FOR NO KEY UPDATE OF a SKIP LOCKED
),
{met}
judged AS MATERIALIZED (
    -- First what every row is looked at for, several times: taking a row apart costs by the column.
    SELECT CASE
               WHEN NOT ({looked_at}) THEN i.verdict
               WHEN l.row_id IS NULL THEN
                   CASE WHEN NOT EXISTS (SELECT FROM {catalog} a WHERE a.{id} = i.row_id)
                        THEN 'gone'
                        WHEN %(locked_rows_fail)s::boolean THEN 'write_refused'
                        ELSE 'locked' END
               WHEN l.path_now IS DISTINCT FROM i.path THEN 'moved'
               WHEN l.old_marker IS DISTINCT FROM i.marker THEN
                   CASE WHEN {marker_now} IS NULL THEN 'moved' ELSE 'fresh' END
               WHEN l.typeof <> 'object' THEN 'bad_metadata'
               WHEN i.verdict = 'prechecked' THEN
                   CASE WHEN {compared_now} = encode(i.sha256, 'hex') THEN 'prechecked'
                        ELSE 'moved' END
               WHEN i.verdict <> 'hashed' THEN i.verdict
               WHEN coalesce({compared_now}, l.known_hash) IS NULL
                    OR coalesce({compared_now}, l.known_hash) = encode(i.sha256, 'hex') THEN
                   CASE WHEN i.detail IS NOT NULL THEN 'write_refused'
                        WHEN {compared_now} IS NULL THEN 'hashed'
                        ELSE 'confirmed' END
               -- The second read was made for the hash that is there: else read again, and twice.
               WHEN coalesce({compared_now}, l.known_hash) = i.compared THEN 'drifted'
               ELSE 'moved'
           END AS outcome,
           i.range_no, i.size_bytes, {first_met} AS first_met,
           i.row_id, i.sha256, i.read_at_ns, i.stamps, i.path, i.mtime_ns, i.detail {others},
           l.artifact_type, l.old_hash, l.known_hash, l.old_marker,
           l.old_hash_json, l.old_size_json, l.old_marker_json, l.old_blake3_json,
           l.old_json, l.typeof IS NULL AS was_null,
           {new_marker} AS new_marker
    FROM input i
    LEFT JOIN locked l ON l.row_id = i.row_id
    {met_join}
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
           j.known_hash, j.old_hash_json, j.old_size_json, j.old_marker_json, j.old_blake3_json,
           j.old_json, j.was_null, j.path, j.new_marker, {xxh3} AS xxh3, {is_news} AS is_news
    FROM judged j
    WHERE j.outcome IN ('hashed', 'confirmed')
       OR (j.outcome = 'drifted' AND %(overwrite)s::boolean AND j.detail IS NULL)
),
{write},
journaled AS (
    INSERT INTO fasthash.journal
        (run_id, size_bytes, at, read_at_ns, path_hash, row_id, new_sha256, old_sha256, stamps,
         xxh3, old_keys, old_json, was_null)
    SELECT %(run_id)s, p.size_bytes, clock_timestamp(), p.read_at_ns,
           hashtextextended(p.path COLLATE "C", 0), p.row_id::text, p.sha256,
           decode({old_digest}, 'hex'),
           p.stamps, p.xxh3,
           CASE WHEN coalesce(p.old_hash_json, p.old_size_json, p.old_marker_json,
                              p.old_blake3_json) IS NOT NULL
                     OR p.known_hash IS NOT NULL
                THEN coalesce({old_keys}, '{{}}') END,
           p.old_json, CASE WHEN p.was_null THEN true END
    FROM patched p
    WHERE p.is_news
),
{beside}
residual_rows AS (
    INSERT INTO fasthash.residual
        (run_id, row_id, artifact_type, path, reason, detail, is_counted)
    SELECT %(run_id)s, j.row_id::text,
           coalesce(j.artifact_type, (SELECT c.artifact_type FROM fasthash.checkpoint c
                                      WHERE c.run_id = %(run_id)s AND c.range_no = j.range_no)),
           j.path, j.outcome,
           CASE WHEN j.outcome = 'write_refused' AND j.detail IS NULL
                THEN 'another session has locked the row' ELSE j.detail END,
           j.first_met
    FROM judged j
    WHERE j.outcome NOT IN ('gone', 'moved', 'locked', 'fresh', 'hashed', 'confirmed',
                            'prechecked', 'drifted')
    ON CONFLICT DO NOTHING
)
SELECT j.range_no, j.outcome, count(*) AS n, coalesce(sum(j.size_bytes), 0)::bigint AS bytes,
       NULL::jsonb AS facts
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
                          'path', j.path, 'old_hash', coalesce(j.old_hash, j.known_hash),
                          'was_lost', j.old_hash IS NULL, 'old_marker', j.old_marker,
                          'is_hash', {is_hash}, 'old_size', {old_size}, 'new_hash', encode(j.sha256, 'hex'),
                          'new_size', j.size_bytes, 'found', {found_stamps},
                          'refused', j.detail, 'stamps', {known_stamps})
FROM judged j
WHERE j.outcome = 'drifted'
UNION ALL
SELECT 0, 'judged', count(*), 0, NULL
FROM judged j
{written_rows}

-- name: written_rows
-- Fragment: rows that do not hold what they were given: a trigger skipped or changed the update.
UNION ALL
SELECT p.range_no, 'refused', 1, 0, jsonb_build_object('row_id', p.row_id::text)
FROM patched p
LEFT JOIN written w ON w.row_id = p.row_id
WHERE w.holds IS NOT TRUE

-- name: patched_rows
-- Fragment: rows that are looked at again after the statement, with what they have to hold then.
UNION ALL
SELECT p.range_no, 'patched', 1, 0,
       jsonb_build_object('row_id', p.row_id::text, 'sha256', encode(p.sha256, 'hex'),
                          'size_bytes', p.size_bytes, 'marker', p.new_marker)
FROM patched p

-- name: called
-- Fragment: a SELECT in a WITH clause runs only if something reads it.
UNION ALL
SELECT 0, 'called', count(*), 0, NULL FROM written

-- name: holds
-- Fragment: whether a row holds what it was given. (As text: a cast of json to jsonb may fail.)
{digest} = encode(p.sha256, 'hex') AND {size_text} = p.size_bytes::text
AND {marker_text} = p.{marker_column}

-- name: not_held
-- Rows that do not hold what they were given: a trigger or the site's function changed it back.
SELECT p.row_id
FROM unnest(%(row_id)s::text[], %(sha256)s::bytea[], %(size_bytes)s::bigint[], %(marker)s::text[])
     AS p (row_id, sha256, size_bytes, marker)
LEFT JOIN {catalog} a ON a.{id} = p.row_id{as_id}
WHERE ({holds}) IS NOT TRUE

-- name: has_triggers
-- Whether anything may change a row after the statement that writes it has returned it.
SELECT EXISTS (
    SELECT FROM pg_trigger t
    WHERE t.tgrelid IN (SELECT %(table_oid)s::bigint::oid
                        UNION ALL
                        SELECT p.relid::oid
                        FROM pg_partition_tree(%(table_oid)s::bigint::oid::regclass) p)
      AND NOT t.tgisinternal AND t.tgenabled <> 'D'
      AND (t.tgtype & 16) = 16 AND (t.tgtype & 2) = 0
) AS found

-- name: looked_at
-- Fragment: whether a row is to be looked at: not those that the database could not give, or of which
-- there are several with one id.
i.verdict NOT IN ('unreadable_row', 'write_refused')

-- name: is_policed
-- Whether row level security stands between this role and some rows.
SELECT row_security_active(%(table_oid)s::bigint::oid) AS found

-- name: not_to_lock
-- Of these rows those that are there and that this statement cannot lock.
WITH wanted AS MATERIALIZED (
    SELECT w.row_id, w.row_id{as_id} AS id FROM unnest(%(row_id)s::text[]) AS w (row_id)
),
locked AS MATERIALIZED (
    SELECT a.{id} AS id FROM {catalog} a
    WHERE a.{id} IN (SELECT w.id FROM wanted w)
    FOR NO KEY UPDATE OF a SKIP LOCKED
)
SELECT w.row_id
FROM wanted w
WHERE EXISTS (SELECT FROM {catalog} a WHERE a.{id} = w.id) AND w.id NOT IN (SELECT l.id FROM locked l)

-- name: try_lock
-- A row that nobody has locked, and that does not come, may be seen and not changed.
SELECT a.{id}::text AS row_id FROM {catalog} a WHERE a.{id} = %(row_id)s{as_id}
FOR NO KEY UPDATE OF a NOWAIT

-- name: repeated
-- Of these ids those that several rows have.
SELECT a.{id}::text AS row_id, count(*) AS n
FROM {catalog} a
WHERE a.{id} IN (SELECT w.row_id{as_id} FROM unnest(%(row_id)s::text[]) AS w (row_id))
GROUP BY a.{id}
HAVING count(*) > 1

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

-- name: known_hash
-- Fragment: the last hash that fasthash wrote for a row that has none any more, if it is still about
-- the same path. Looked up by key, whatever the statistics say.
CASE WHEN {hash_text} IS NULL THEN
    (SELECT encode(f.sha256, 'hex')
     FROM fasthash.file_state f
     WHERE f.row_id = a.{id}::text COLLATE "C" AND f.catalog_no = %(catalog_no)s
       AND f.path_hash = hashtextextended(a.{path}::text COLLATE "C", 0)) END

-- name: found_stamps
-- Fragment: what the file looks like now, but for its size.
jsonb_build_object('mtime_ns', {mtime_ns}, 'ctime_ns', {ctime_ns}, 'device', {device},
                   'inode', {inode})

-- name: known_stamps
-- Fragment: what the file looked like when the old hash was made.
(SELECT jsonb_build_object('size_bytes', f.size_bytes, 'mtime_ns', {mtime_ns},
                           'ctime_ns', {ctime_ns}, 'device', {device}, 'inode', {inode})
 FROM fasthash.file_state f
 WHERE f.row_id = j.row_id::text COLLATE "C" AND f.catalog_no = %(catalog_no)s
   AND f.stamps IS NOT NULL
   AND encode(f.sha256, 'hex') = coalesce({was_digest}, j.known_hash))

-- name: is_news
-- Fragment: whether a scrub found more than what is known. All but the device's number counts, for
-- that may be another one after every boot; and a stamp that was too young to be trusted is news
-- when it is old enough.
(j.outcome <> 'confirmed'
 OR (SELECT f.sha256 = j.sha256 AND f.size_bytes = j.size_bytes
            AND f.path_hash = hashtextextended(j.path COLLATE "C", 0)
            AND substr(f.stamps, 1, 16) = substr(j.stamps, 1, 16)
            AND substr(f.stamps, 25) = substr(j.stamps, 25)
            AND ({xxh3} IS NULL OR f.xxh3 = {xxh3})
            AND (f.read_at_ns - greatest({known_mtime_ns}, {known_ctime_ns}) >= 2000000000
                 OR j.read_at_ns - greatest({known_mtime_ns}, {known_ctime_ns}) < 2000000000)
     FROM fasthash.file_state f
     WHERE f.row_id = j.row_id::text COLLATE "C" AND f.catalog_no = %(catalog_no)s) IS NOT TRUE)

-- name: met
-- Fragment: rows of these ranges that the run has counted before.
met AS MATERIALIZED (
    SELECT c.range_no, m.row_id
    FROM fasthash.checkpoint c, unnest(c.met_ids) AS m (row_id)
    WHERE c.run_id = %(run_id)s AND c.range_no IN (SELECT i.range_no FROM input i)
),

-- name: met_join
-- Fragment: whether a row is one of them.
LEFT JOIN met m ON m.range_no = i.range_no AND m.row_id = i.row_id::text COLLATE "C"

-- name: beside_backfill
-- Fragment: rows that are counted, and that nothing else tells of.
noted AS (
    INSERT INTO fasthash.met (run_id, row_ids)
    SELECT %(run_id)s, array_agg(j.row_id::text)
    FROM judged j
    WHERE j.outcome IN ('fresh', 'prechecked')
    HAVING count(*) > 0
),

-- name: beside_scrub
-- Fragment: rows that come again, and rows whose file is bad.
left_over AS (
    INSERT INTO fasthash.left_over (run_id, row_id)
    SELECT %(run_id)s, j.row_id::text
    FROM judged j
    WHERE j.outcome IN ('moved', 'locked')
),
spoiled AS (
    INSERT INTO fasthash.bad_row (catalog_no, row_id, run_id)
    SELECT %(catalog_no)s, j.row_id::text, %(run_id)s
    FROM judged j
    WHERE j.outcome NOT IN ('gone', 'moved', 'locked', 'fresh', 'hashed', 'confirmed',
                            'prechecked', 'drifted')
    ON CONFLICT DO NOTHING
),

-- name: cured
-- Fragment: rows whose file is good again. They are found by key, whatever the statistics say; a drift
-- of them that waits is settled.
cured AS (
    DELETE FROM fasthash.bad_row b
    WHERE b.ctid = ANY (ARRAY(
        SELECT (SELECT k.ctid FROM fasthash.bad_row k
                WHERE k.catalog_no = %(catalog_no)s AND k.row_id = j.row_id::text COLLATE "C")
        FROM judged j
        WHERE j.outcome IN ('hashed', 'confirmed')))
    RETURNING b.row_id
),
healed AS (
    UPDATE fasthash.drift d
    SET resolution = 'superseded', resolved_at = clock_timestamp(),
        resolved_by = 'run ' || %(run_id)s,
        comment = 'the file has the stored hash again'
    FROM cured b, fasthash.run r, fasthash.catalog c
    WHERE d.row_id = b.row_id AND d.resolution = 'open'
      AND r.run_id = d.run_id AND c.catalog_no = %(catalog_no)s AND c.name = r.catalog
),

-- name: write_jsonb
-- Fragment: merges the keys in place, so that keys others wrote in the meantime survive.
written AS (
    UPDATE {catalog} a
    SET {metadata} = coalesce(a.{metadata}, '{{}}'::jsonb) || p.patch
    FROM patched p
    WHERE a.{id} = p.row_id AND a.{path}::text COLLATE "C" = p.path
    RETURNING p.row_id, {holds} AS holds
)

-- name: write_json
-- Fragment: the same for a json column. Where none of the keys is there yet they go before the last
-- brace, and the rest stays as it is to the letter; else every other key keeps its very text and place,
-- and is there as often as it was.
written AS (
    UPDATE {catalog} a
    SET {metadata} = CASE
        WHEN a.{metadata} IS NULL THEN p.patch::json
        WHEN NOT EXISTS (SELECT FROM json_object_keys(a.{metadata}) AS k (key) WHERE p.patch ? k.key)
        THEN {appended}
        ELSE (
            SELECT json_object_agg(k.key, k.value ORDER BY k.n)
            FROM (SELECT e.key, e.value, e.n
                  FROM json_each(a.{metadata}) WITH ORDINALITY AS e (key, value, n)
                  WHERE NOT p.patch ? e.key
                  UNION ALL
                  SELECT f.key, f.value, 1000000 + f.n
                  FROM json_each(p.patch::json) WITH ORDINALITY AS f (key, value, n)) k) END
    FROM patched p
    WHERE a.{id} = p.row_id AND a.{path}::text COLLATE "C" = p.path
    RETURNING p.row_id, {holds} AS holds
)

-- name: appended
-- Fragment: the keys before the last brace of a document. `fasthash revert` takes them away again.
(left(a.{metadata}::text, length(rtrim(a.{metadata}::text, E' \t\n\r')) - 1)
 || CASE WHEN btrim(a.{metadata}::text, E'{{}} \t\n\r') = '' THEN '' ELSE ', ' END
 || substr(p.patch::text, 2)
 || substr(a.{metadata}::text, length(rtrim(a.{metadata}::text, E' \t\n\r')) + 1))::json

-- name: write_by_function
-- Fragment: the site's own journaled update, called once a batch with ids and patches.
written AS (
    SELECT {update_function}(array_agg(p.row_id ORDER BY p.row_id),
                             array_agg(p.patch ORDER BY p.row_id))
    FROM patched p
    HAVING count(*) > 0
)

-- name: add_drift
-- A drift, in the transaction that overwrites or holds the hash. One that was held open before is
-- settled by it; a row whose hash stays is known to be bad from here on. The catalog's row is locked:
-- nobody else adds a drift of it now.
WITH before AS (
    UPDATE fasthash.drift d
    SET resolution = 'superseded', resolved_at = clock_timestamp(),
        resolved_by = 'run ' || %(run_id)s
    FROM fasthash.run r, fasthash.run ours
    WHERE d.row_id = %(row_id)s AND d.resolution = 'open' AND r.run_id = d.run_id
      AND ours.run_id = %(run_id)s AND r.catalog = ours.catalog
),
spoiled AS (
    INSERT INTO fasthash.bad_row (catalog_no, row_id, run_id)
    SELECT %(catalog_no)s, %(row_id)s, %(run_id)s WHERE %(resolution)s = 'open'
    ON CONFLICT DO NOTHING
),
cured AS (
    DELETE FROM fasthash.bad_row b
    WHERE b.catalog_no = %(catalog_no)s AND b.row_id = %(row_id)s AND %(resolution)s <> 'open'
)
INSERT INTO fasthash.drift
    (run_id, holder_id, row_id, artifact_type, path, kind, old_hash, was_lost, new_sha256,
     old_size_bytes, new_size_bytes, file_mtime, file_ctime, old_mtime, old_ctime, moved,
     old_marker, resolution, comment, is_logged)
VALUES (%(run_id)s, %(holder_id)s, %(row_id)s, %(artifact_type)s, %(path)s, %(kind)s,
        %(old_hash)s, %(was_lost)s, decode(%(new_hash)s, 'hex'), %(old_size)s, %(new_size)s,
        to_timestamp(%(mtime_ns)s::bigint / 1000 / 1e6),
        to_timestamp(%(ctime_ns)s::bigint / 1000 / 1e6),
        to_timestamp(%(old_mtime_ns)s::bigint / 1000 / 1e6),
        to_timestamp(%(old_ctime_ns)s::bigint / 1000 / 1e6), %(moved)s::text[], %(old_marker)s,
        %(resolution)s, %(refused)s, false)

-- name: unlogged_drifts
-- Drifts of a run that no log line has told of yet: those that one coordinator found, or all.
SELECT d.drift_id, d.row_id, d.artifact_type, d.path, d.kind, d.old_hash, d.was_lost,
       encode(d.new_sha256, 'hex') AS new_hash, d.old_size_bytes, d.new_size_bytes, d.file_mtime,
       d.file_ctime, d.old_mtime, d.old_ctime, d.moved, d.old_marker, d.resolution, d.run_id
FROM fasthash.drift d
WHERE d.run_id = ANY (%(run_ids)s::bigint[]) AND NOT d.is_logged
  AND (%(holder_id)s::integer IS NULL OR d.holder_id = %(holder_id)s)
ORDER BY d.drift_id

-- name: note_logged
-- A log line has told of these.
UPDATE fasthash.drift d SET is_logged = true WHERE d.drift_id = ANY (%(drift_ids)s::bigint[])

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
