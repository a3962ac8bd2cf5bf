-- name: old_json_jsonb
-- Fragment: of a jsonb column there is nothing to keep beside `old_keys`.
NULL::json

-- name: old_json_json
-- Fragment: the keys of a json column in the very text of their values, in their order, and each as
-- often as it is there; NULL where there is none.
CASE WHEN json_typeof({document}) = 'object' THEN
    (SELECT json_object_agg(e.key, e.value ORDER BY e.n)
     FROM json_each({document}) WITH ORDINALITY AS e (key, value, n)
     WHERE e.key = ANY ({keys})) END

-- name: old_keys_jsonb
-- Fragment: the keys that were there, with a value of null, too; NULL where there was none.
(SELECT jsonb_object_agg(k.key, k.value)
 FROM (VALUES ('file_sha256', p.old_hash_json), ('file_size_bytes', p.old_size_json),
              ('file_sha256_computed_at', p.old_marker_json), ('file_blake3', p.old_blake3_json))
      AS k (key, value)
 WHERE k.value IS NOT NULL)

-- name: old_keys_json
-- Fragment: the same of a json column, for whoever looks at the journal. What jsonb may not hold (a
-- number of 10^6 digits, half a surrogate pair) is there as its text.
(SELECT jsonb_object_agg(k.key, CASE
            WHEN k.value::text ~ '^(-?[0-9]{{1,200}}([.][0-9]{{1,200}})?|true|false|null|"[^"\\]*")$'
            THEN k.value::text::jsonb ELSE to_jsonb(k.value::text) END)
 FROM json_each(p.old_json) AS k (key, value))
