-- name: schema_006
-- The truth about files.

-- Which stamps were others than when the old hash was made: size, mtime, ctime, device, inode.
-- NULL: nothing is known of what they were, or the drift was found before they were noted.
ALTER TABLE fasthash.drift ADD COLUMN moved text[];

INSERT INTO fasthash.schema_version (version) VALUES (6);
