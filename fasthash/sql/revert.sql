-- name: begin_revert
-- A run that undoes another; unfinished, it is found again and goes on.
INSERT INTO fasthash.run (catalog, kind, options, host, plan_done, cutoff)
VALUES (%(catalog)s, 'revert', jsonb_build_object('of', %(of)s::bigint), %(host)s, true, NULL)
ON CONFLICT DO NOTHING
RETURNING run_id

-- name: open_revert
-- The unfinished one of a catalog.
SELECT r.run_id, (r.options ->> 'of')::bigint AS of
FROM fasthash.run r
WHERE r.catalog = %(catalog)s AND r.kind = 'revert' AND r.state <> 'complete' AND NOT r.superseded

-- name: written_by
-- What a run wrote, row by row: the last it wrote, and what was there before the first. (As text: no
-- number of it passes through a float.)
SELECT j.row_id, (array_agg(encode(j.new_sha256, 'hex') ORDER BY j.at DESC))[1] AS new_sha256,
       (array_agg(j.size_bytes ORDER BY j.at DESC))[1] AS size_bytes,
       (array_agg({marker} ORDER BY j.at DESC))[1] AS marker,
       (array_agg({old} ORDER BY j.at))[1] AS old,
       (array_agg(j.was_null IS TRUE ORDER BY j.at))[1] AS was_null
FROM fasthash.journal j
WHERE j.run_id = %(of)s
GROUP BY j.row_id

-- name: old_of_jsonb
-- Fragment: the keys as they were.
j.old_keys::text

-- name: old_of_json
-- Fragment: the same of a json column; earlier versions kept no texts.
coalesce(j.old_json::text, j.old_keys::text)

-- name: put_back
-- The keys as they were, only where they still are what the run wrote: another's hash, or a later
-- one, is left alone. Rows that others have locked are not waited for.
WITH input AS MATERIALIZED (
    SELECT i.row_id, i.new_sha256, i.size_bytes, i.marker, i.was_null,
           coalesce(i.old, '{{}}')::{metadata_type} AS old
    FROM unnest(%(row_id)s::text[]::{id_type}[], %(new_sha256)s::text[], %(size_bytes)s::bigint[],
                %(marker)s::text[], %(old)s::text[], %(was_null)s::boolean[])
         AS i (row_id, new_sha256, size_bytes, marker, old, was_null)
),
locked AS MATERIALIZED (
    SELECT a.{id} AS row_id, a.{metadata} AS now
    FROM {catalog} a
    WHERE a.{id} IN (SELECT i.row_id FROM input i)
    ORDER BY a.{id}
    FOR NO KEY UPDATE OF a SKIP LOCKED
),
judged AS MATERIALIZED (
    SELECT i.row_id, i.new_sha256, i.size_bytes, i.marker, i.was_null, i.old, l.now,
           %(keys)s::text[] || ARRAY(SELECT k.key FROM {object_keys}(i.old) AS k (key)) AS keys,
           CASE WHEN l.row_id IS NULL THEN
                    CASE WHEN EXISTS (SELECT FROM {catalog} a WHERE a.{id} = i.row_id)
                         THEN 'locked' ELSE 'gone' END
                WHEN i.row_id::text = ANY (%(refused)s::text[]) THEN 'refused'
                WHEN {digest_now} = i.new_sha256
                     AND l.now ->> 'file_size_bytes' = i.size_bytes::text
                     AND l.now ->> 'file_sha256_computed_at' = i.marker THEN 'reverted'
                ELSE 'changed' END AS outcome
    FROM input i
    LEFT JOIN locked l ON l.row_id = i.row_id
),
patched AS MATERIALIZED (
    SELECT j.row_id, j.old, {before} AS before, {patch} AS patch,
           j.now ->> 'file_sha256' AS hash_now, j.now -> 'file_sha256' AS old_hash_json,
           j.now -> 'file_size_bytes' AS old_size_json,
           j.now -> 'file_sha256_computed_at' AS old_marker_json,
           j.now -> 'file_blake3' AS old_blake3_json, {old_json} AS old_json
    FROM judged j
    WHERE j.outcome = 'reverted'
),
{write},
journaled AS (
    INSERT INTO fasthash.journal
        (run_id, size_bytes, at, row_id, new_sha256, old_sha256, old_keys, old_json)
    SELECT %(run_id)s, coalesce((CASE WHEN p.old ->> 'file_size_bytes' ~ '^[0-9]{{1,18}}$'
                                      THEN p.old ->> 'file_size_bytes' END)::bigint, 0),
           clock_timestamp(), p.row_id::text,
           CASE WHEN p.old ->> 'file_sha256' ~ '^[0-9a-fA-F]{{64}}$'
                THEN decode(p.old ->> 'file_sha256', 'hex') ELSE ''::bytea END,
           decode({digest_then}, 'hex'), {old_keys}, p.old_json
    FROM patched p
    WHERE NOT %(dry_run)s::boolean
)
SELECT j.outcome, count(*) AS n, array_agg(j.row_id::text) AS row_ids, NULL::text[] AS befores
FROM judged j
GROUP BY j.outcome
UNION ALL
SELECT 'patched', count(*), array_agg(p.row_id::text), array_agg(p.before::text)
FROM patched p
WHERE %(looks)s::boolean
UNION ALL
{written_rows}

-- name: write_back
-- Fragment: by an UPDATE of our own.
written AS (
    UPDATE {catalog} a
    SET {metadata} = p.before
    FROM patched p
    WHERE a.{id} = p.row_id AND NOT %(dry_run)s::boolean
    RETURNING p.row_id, {is_back} AS is_back
)

-- name: written_back
-- Fragment: rows that do not hold what was put back.
SELECT 'not_back', count(*), array_agg(p.row_id::text), NULL
FROM patched p
LEFT JOIN written w ON w.row_id = p.row_id
WHERE w.is_back IS NOT TRUE AND NOT %(dry_run)s::boolean

-- name: write_back_by_function
-- Fragment: by the site's own function.
written AS (
    SELECT {update_function}(array_agg(p.row_id ORDER BY p.row_id),
                             array_agg(p.patch ORDER BY p.row_id))
    FROM patched p
    HAVING count(*) > 0 AND NOT %(dry_run)s::boolean
)

-- name: called_back
-- Fragment: a SELECT in a WITH clause runs only if something reads it.
SELECT 'called', count(*), NULL, NULL FROM written

-- name: patch
-- Fragment: what the site's function is given: of every key the value that was there, null where there
-- was none.
(SELECT jsonb_object_agg(k.key, coalesce((j.old -> k.key)::jsonb, 'null'))
 FROM unnest(j.keys) AS k (key))

-- name: is_back
-- Fragment: whether a row holds what was put back. (Values of json as text: it cannot be compared.)
(a.{metadata} IS NULL) = (p.before IS NULL)
AND (a.{metadata} -> 'file_sha256')::text IS NOT DISTINCT FROM (p.before -> 'file_sha256')::text
AND (a.{metadata} -> 'file_size_bytes')::text
    IS NOT DISTINCT FROM (p.before -> 'file_size_bytes')::text
AND (a.{metadata} -> 'file_sha256_computed_at')::text
    IS NOT DISTINCT FROM (p.before -> 'file_sha256_computed_at')::text
AND (a.{metadata} -> 'file_blake3')::text IS NOT DISTINCT FROM (p.before -> 'file_blake3')::text

-- name: not_back
-- Rows that do not hold what was put back, once every trigger has had its say.
SELECT p.row_id
FROM (SELECT b.row_id, b.before::{metadata_type} AS before
      FROM unnest(%(row_id)s::text[], %(before)s::text[]) AS b (row_id, before)) p
LEFT JOIN {catalog} a ON a.{id} = p.row_id{as_id}
WHERE a.{id} IS NULL OR ({is_back}) IS NOT TRUE

-- name: before_jsonb
-- Fragment: without the keys that were written, and with what was there before: NULL, if it was that
-- and nobody has added anything.
CASE WHEN j.was_null AND j.now - j.keys = '{{}}' THEN NULL ELSE (j.now - j.keys) || j.old END

-- name: before_json
-- Fragment: the same of a json column. A document that has the keys where we appended them is what it
-- was before, to the letter; else every other key keeps its very text and place.
CASE WHEN j.was_null AND NOT EXISTS (SELECT FROM json_object_keys(j.now) AS k (key)
                                     WHERE k.key <> ALL (j.keys))
     THEN NULL
     ELSE coalesce(
         CASE WHEN NOT EXISTS (SELECT FROM json_object_keys(j.old)) THEN {cut_off} END,
         (SELECT coalesce(json_object_agg(k.key, k.value ORDER BY k.n), '{{}}'::json)
          FROM (SELECT e.key, e.value, e.n
                FROM json_each(j.now) WITH ORDINALITY AS e (key, value, n)
                WHERE e.key <> ALL (j.keys)
                UNION ALL
                SELECT f.key, f.value, 1000000 + f.n
                FROM json_each(j.old) WITH ORDINALITY AS f (key, value, n)) k)) END

-- name: cut_off
-- Fragment: a document without what `appended` has put before its last brace; NULL where that is not
-- what is there.
(SELECT CASE
     WHEN right(d.body, length(d.ours) + 2) = ', ' || d.ours
     THEN (left(d.body, -2 - length(d.ours)) || '}}' || d.tail)::json
     WHEN right(d.body, length(d.ours)) = d.ours
          AND btrim(left(d.body, -length(d.ours)), E'{{ \t\n\r') = ''
     THEN (left(d.body, -length(d.ours)) || '}}' || d.tail)::json END
 FROM (SELECT left(t.whole, length(rtrim(t.whole, E' \t\n\r')) - 1) AS body,
              substr(t.whole, length(rtrim(t.whole, E' \t\n\r')) + 1) AS tail,
              btrim((jsonb_build_object('file_sha256', j.new_sha256,
                                        'file_size_bytes', j.size_bytes,
                                        'file_sha256_computed_at', j.marker)
                     || CASE WHEN 'file_blake3' = ANY (j.keys)
                             THEN jsonb_build_object('file_blake3', j.now ->> 'file_blake3')
                             ELSE '{{}}' END)::text, '{{}}') AS ours
       FROM (SELECT j.now::text AS whole) t) d)

-- name: end_revert
-- It has come to its end.
UPDATE fasthash.run r SET state = 'complete', finished_at = clock_timestamp()
WHERE r.run_id = %(run_id)s
