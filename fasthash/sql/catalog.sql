-- name: types_by_scan
-- The distinct types of rows that have a path, NULL last.
SELECT DISTINCT a.{type}::text AS artifact_type
FROM {catalog} a
WHERE a.{path} IS NOT NULL
ORDER BY 1 NULLS LAST

-- name: types_by_index
-- The same by one index probe a type: for catalogs with an index that begins with the type.
WITH RECURSIVE types AS (
    (SELECT a.{type} AS t FROM {catalog} a WHERE a.{type} IS NOT NULL ORDER BY a.{type} LIMIT 1)
    UNION ALL
    SELECT (SELECT a.{type} FROM {catalog} a WHERE a.{type} > types.t ORDER BY a.{type} LIMIT 1)
    FROM types WHERE types.t IS NOT NULL
)
SELECT types.t::text AS artifact_type FROM types WHERE types.t IS NOT NULL
UNION ALL
SELECT NULL WHERE EXISTS (SELECT FROM {catalog} a WHERE a.{type} IS NULL)

-- name: of_type
-- Fragment: rows of one type. The cast makes the comparison use the column's own index.
a.{type} = %(artifact_type)s::text::{type_type}

-- name: of_no_type
-- Fragment: rows whose type is NULL, which no comparison ever selects.
a.{type} IS NULL

-- name: past
-- Fragment: rows behind an id.
AND a.{id} > %(after_id)s::text::{id_type}

-- name: unmet
-- Fragment: rows that lack the marker, and that this run has no residual and no held drift for.
AND (a.{metadata} ->> 'file_sha256_computed_at') IS NULL
AND NOT EXISTS (
    SELECT FROM fasthash.residual r WHERE r.run_id = %(run_id)s AND r.row_id = a.{id}::text)
AND NOT EXISTS (
    SELECT FROM fasthash.drift d
    WHERE d.run_id = %(run_id)s AND d.row_id = a.{id}::text AND d.resolution = 'open')

-- name: not_committed
-- Fragment: rows outside the parts of this range that are committed already.
AND NOT EXISTS (
    SELECT FROM fasthash.segment s
    WHERE s.run_id = %(run_id)s AND s.range_no = %(range_no)s
      AND (s.after_id IS NULL OR a.{id} > s.after_id::{id_type})
      AND a.{id} <= s.through_id::{id_type})

-- name: plan_boundaries
-- The last id of each of the next ranges of one type, and how many rows it closes.
SELECT k.id::text AS through_id, k.n AS rows_so_far
FROM (
    SELECT p.id, row_number() OVER (ORDER BY p.id) AS n, count(*) OVER () AS total
    FROM (
        SELECT a.{id} AS id
        FROM {catalog} a
        WHERE {of_type} AND a.{path} IS NOT NULL {past}
        ORDER BY a.{id}
        LIMIT %(rows)s
    ) p
) k
WHERE k.n %% %(range_rows)s = 0 OR k.n = k.total
ORDER BY k.n

-- name: unmet_rows
-- Rows that the run has not met yet, in planning order.
SELECT a.{type}::text AS artifact_type, a.{id}::text AS row_id
FROM {catalog} a
WHERE a.{path} IS NOT NULL {of_types} {unmet}
ORDER BY a.{type}, a.{id}
LIMIT %(rows)s

-- name: of_types
-- Fragment: rows of the types that the run was asked for.
AND (a.{type}::text = ANY (%(types)s::text[]) OR (%(with_no_type)s AND a.{type} IS NULL))

-- name: read_range
-- The rows of a range as tasks: with a verdict where no reading is needed.
SELECT a.{id}::text, a.{path}::text,
       a.{metadata} ->> 'file_sha256', a.{metadata} ->> 'file_sha256_computed_at',
       CASE WHEN {typeof}(a.{metadata}) <> 'object' THEN 'bad_metadata'
            WHEN a.{metadata} ->> 'file_sha256_computed_at' IS NOT NULL THEN 'fresh'
       END
FROM {catalog} a
WHERE {of_type} AND a.{path} IS NOT NULL {past} AND a.{id} <= %(through_id)s::text::{id_type}
{not_committed} {unmet}
ORDER BY a.{id}

-- name: count_rows
-- How many rows a run will meet, for the progress bar.
SELECT count(*) AS n FROM {catalog} a WHERE a.{path} IS NOT NULL {of_types} {unmet}
