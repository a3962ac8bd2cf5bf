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
-- What a run wrote, row by row: the last it wrote, and what was there before the first.
SELECT j.row_id, (array_agg(encode(j.new_sha256, 'hex') ORDER BY j.at DESC))[1] AS new_sha256,
       (array_agg(j.size_bytes ORDER BY j.at DESC))[1] AS size_bytes,
       (array_agg({marker} ORDER BY j.at DESC))[1] AS marker,
       (array_agg(j.old_keys ORDER BY j.at))[1] AS old_keys
FROM fasthash.journal j
WHERE j.run_id = %(of)s
GROUP BY j.row_id

-- name: put_back
-- The keys as they were, only where they still are what the run wrote: another's hash, or a later
-- one, is left alone. Rows that others have locked are not waited for.
WITH input AS MATERIALIZED (
    SELECT i.row_id, i.new_sha256, i.size_bytes, i.marker, coalesce(i.old_keys, '{{}}') AS old_keys
    FROM unnest(%(row_id)s::text[]::{id_type}[], %(new_sha256)s::text[], %(size_bytes)s::bigint[],
                %(marker)s::text[], %(old_keys)s::jsonb[])
         AS i (row_id, new_sha256, size_bytes, marker, old_keys)
),
locked AS MATERIALIZED (
    SELECT a.{id} AS row_id, a.{metadata}::jsonb AS now
    FROM {catalog} a
    WHERE a.{id} IN (SELECT i.row_id FROM input i)
    ORDER BY a.{id}
    FOR NO KEY UPDATE OF a SKIP LOCKED
),
judged AS MATERIALIZED (
    SELECT i.row_id, i.old_keys, l.now,
           CASE WHEN l.row_id IS NULL THEN
                    CASE WHEN EXISTS (SELECT FROM {catalog} a WHERE a.{id} = i.row_id)
                         THEN 'locked' ELSE 'gone' END
                WHEN i.row_id::text = ANY (%(refused)s::text[]) THEN 'refused'
                WHEN lower(l.now ->> 'file_sha256') = i.new_sha256
                     AND l.now ->> 'file_size_bytes' = i.size_bytes::text
                     AND l.now ->> 'file_sha256_computed_at' = i.marker THEN 'reverted'
                ELSE 'changed' END AS outcome
    FROM input i
    LEFT JOIN locked l ON l.row_id = i.row_id
),
written AS (
    UPDATE {catalog} a
    SET {metadata} = {put_back}
    FROM judged j
    WHERE a.{id} = j.row_id AND j.outcome = 'reverted' AND NOT %(dry_run)s::boolean
    RETURNING j.row_id, {is_back} AS is_back
),
journaled AS (
    INSERT INTO fasthash.journal (run_id, size_bytes, at, row_id, new_sha256, old_sha256, old_keys)
    SELECT %(run_id)s, coalesce((CASE WHEN j.old_keys ->> 'file_size_bytes' ~ '^[0-9]{{1,18}}$'
                                      THEN j.old_keys ->> 'file_size_bytes' END)::bigint, 0),
           clock_timestamp(), j.row_id::text,
           CASE WHEN j.old_keys ->> 'file_sha256' ~ '^[0-9a-fA-F]{{64}}$'
                THEN decode(j.old_keys ->> 'file_sha256', 'hex') ELSE ''::bytea END,
           decode(lower(j.now ->> 'file_sha256'), 'hex'),
           jsonb_strip_nulls(jsonb_build_object(
               'file_sha256', j.now -> 'file_sha256', 'file_size_bytes', j.now -> 'file_size_bytes',
               'file_sha256_computed_at', j.now -> 'file_sha256_computed_at',
               'file_blake3', j.now -> 'file_blake3'))
    FROM judged j
    WHERE j.outcome = 'reverted' AND NOT %(dry_run)s::boolean
)
SELECT j.outcome, count(*) AS n, array_agg(j.row_id::text) AS row_ids
FROM judged j
GROUP BY j.outcome
UNION ALL
SELECT 'not_back', count(*), array_agg(j.row_id::text)
FROM judged j
LEFT JOIN written w ON w.row_id = j.row_id
WHERE j.outcome = 'reverted' AND w.is_back IS NOT TRUE AND NOT %(dry_run)s::boolean

-- name: is_back
-- Fragment: whether a row holds what was put back.
a.{metadata} ->> 'file_sha256' IS NOT DISTINCT FROM j.old_keys ->> 'file_sha256'
AND a.{metadata} ->> 'file_size_bytes' IS NOT DISTINCT FROM j.old_keys ->> 'file_size_bytes'
AND a.{metadata} ->> 'file_sha256_computed_at'
    IS NOT DISTINCT FROM j.old_keys ->> 'file_sha256_computed_at'

-- name: not_back
-- Rows that do not hold what was put back, once every trigger has had its say.
SELECT j.row_id
FROM unnest(%(row_id)s::text[], %(old_keys)s::jsonb[]) AS j (row_id, old_keys)
LEFT JOIN {catalog} a ON a.{id} = j.row_id{as_id}
WHERE j.row_id = ANY (%(back)s::text[]) AND ({is_back}) IS NOT TRUE

-- name: put_back_jsonb
-- Fragment: without the keys that were written, and with what was there before.
(a.{metadata} - %(keys)s::text[]) || j.old_keys

-- name: put_back_json
-- Fragment: the same for a json column, where every other key keeps its very text and place.
(SELECT coalesce(json_object_agg(k.key, k.value ORDER BY k.n), '{{}}'::json)
 FROM (SELECT e.key, e.value, e.n
       FROM json_each(a.{metadata}) WITH ORDINALITY AS e (key, value, n)
       WHERE e.key <> ALL (%(keys)s::text[])
       UNION ALL
       SELECT f.key, f.value, 1000000 + f.n
       FROM json_each(j.old_keys::json) WITH ORDINALITY AS f (key, value, n)) k)

-- name: end_revert
-- It has come to its end.
UPDATE fasthash.run r SET state = 'complete', finished_at = clock_timestamp()
WHERE r.run_id = %(run_id)s
