-- name: schema_003
-- How many rows of each type a run will meet: pairs of type and number, for bars by type.
ALTER TABLE fasthash.run ADD COLUMN expected_by_type jsonb;

INSERT INTO fasthash.schema_version (version) VALUES (3);
