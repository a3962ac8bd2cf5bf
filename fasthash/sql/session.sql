-- name: settings
-- What a transaction sets for itself; as utility statements, before which its isolation is not fixed
-- yet. The time limit comes first: till then the role's counts. Asynchronous commit is safe here: the
-- ledger commits with the data, and commits keep their order. The planner's JIT costs more than it
-- gives on statements of this size. Whatever else changes what we send or read is what it is in a new
-- database.
SET LOCAL statement_timeout = {statement_timeout};
SET LOCAL lock_timeout = {lock_timeout};
SET LOCAL idle_in_transaction_session_timeout = {idle_timeout};
{no_transaction_timeout}
SET LOCAL synchronous_commit = off;
SET LOCAL jit = off;
SET LOCAL plan_cache_mode = auto;
SET LOCAL exit_on_error = off;
SET LOCAL timezone = 'UTC';
SET LOCAL datestyle = 'ISO, MDY';
SET LOCAL intervalstyle = 'postgres';
SET LOCAL extra_float_digits = 1;
SET LOCAL bytea_output = 'hex';
SET LOCAL array_nulls = on;
SET LOCAL quote_all_identifiers = off;
SET LOCAL standard_conforming_strings = on;
SET LOCAL backslash_quote = safe_encoding;
SET LOCAL transform_null_equals = off;

-- name: no_transaction_timeout
-- Fragment: from version 17 on a transaction may have a time limit as a whole.
SET LOCAL transaction_timeout = 0;

-- name: backend_pid
-- The server's process, whatever a pooler said it was.
SELECT pg_backend_pid() AS pid

-- name: unlock
-- What a session has locked beyond its transactions.
SELECT pg_advisory_unlock_all()

-- name: at_work
-- Whether a session has something to do. One that has not, or that cannot get rid of its answer,
-- has lost its client.
SELECT a.state = 'active' AND a.wait_event IS DISTINCT FROM 'ClientWrite' AS at_work
FROM pg_stat_activity a
WHERE a.pid = %(pid)s
