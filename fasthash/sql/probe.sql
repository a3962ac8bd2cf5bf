-- What `fasthash.probe` is asked to look for.

-- name: both_ends
-- The rows of the lowest and the highest ids: a walk along the index from either end.
(SELECT a.{id}::text AS row_id, {path_text} AS path FROM {catalog} a
 WHERE a.{path} IS NOT NULL AND a.{id} IS NOT NULL {of_types} ORDER BY a.{id} LIMIT %(rows)s)
UNION
(SELECT a.{id}::text AS row_id, {path_text} AS path FROM {catalog} a
 WHERE a.{path} IS NOT NULL AND a.{id} IS NOT NULL {of_types} ORDER BY a.{id} DESC LIMIT %(rows)s)

-- name: these
-- Rows by id, of those that are still there.
SELECT a.{id}::text AS row_id, {path_text} AS path FROM {catalog} a
WHERE a.{path} IS NOT NULL AND a.{id} IN (SELECT unnest(%(row_ids)s::text[]){as_id})

-- name: not_for_long
SELECT set_config('statement_timeout', %(most)s, true)
