-- name: settings
-- A session's own settings. Asynchronous commit is safe here: the ledger commits with the data, and
-- commits keep their order. The planner's JIT costs more than it gives on statements of this size.
SELECT pg_backend_pid() AS pid,
       set_config('synchronous_commit', 'off', false), set_config('jit', 'off', false),
       set_config('timezone', 'UTC', false), set_config('client_encoding', 'UTF8', false),
       set_config('lock_timeout', %(lock_timeout)s, false),
       set_config('statement_timeout', %(statement_timeout)s, false),
       set_config('idle_in_transaction_session_timeout', %(idle_timeout)s, false),
       set_config('default_transaction_isolation', 'read committed', false)

-- name: at_work
-- Whether a session has something to do. One that has not, or that cannot get rid of its answer,
-- has lost its client.
SELECT a.state = 'active' AND a.wait_event IS DISTINCT FROM 'ClientWrite' AS at_work
FROM pg_stat_activity a
WHERE a.pid = %(pid)s
