"""What the facts of the database server and the ledger mean."""

from __future__ import annotations

from collections.abc import Iterator

from fasthash.facts import CONNECTIONS, DatabaseFacts, Finding, LedgerFacts, Level, ServerFacts
from fasthash.summary import human_seconds

OLDEST = 140000
CLOCK_S = 2.0
OLD_TRANSACTION_S = 600.0
# fasthash sets these for its own sessions.
OWN_TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
FOREIGN_TIMEOUTS = {
    "idle_session_timeout": "ends a session of a run that has nothing to do for a moment",
    "transaction_timeout": "ends the planning of a large run",
}
# So much of the write-ahead log between checkpoints is too little for a long run.
SMALL_WAL_MB, LONG_RUN_ROWS = 2048, 500_000
RELOAD = "SELECT pg_reload_conf();"


def judge(facts: DatabaseFacts) -> list[Finding]:
    """The findings."""
    if facts.absent is not None:
        text = f"no database to look at: {facts.absent}"
        return [Finding("database.reach", Level.NOTE, text, "fasthash register DIR")]
    if facts.unreachable is not None:
        return [Finding("database.reach", Level.PROBLEM, facts.unreachable)]
    found = [*_unseen(facts)]
    server = facts.server
    if server is not None:
        found += [*_server(facts.where, server), *_clock(server), *_connections(server)]
        found += [*_pooler(server), *_settings(server), *_surroundings(server), *_horizon(server)]
        rows = facts.rows
        found += _wal(server, rows.with_path - rows.marked if rows is not None else 0)
    if facts.ledger is not None:
        found += _ledger(facts.ledger)
    return found


def _unseen(facts: DatabaseFacts) -> Iterator[Finding]:
    for reason in dict.fromkeys(why for _, why in facts.unseen):
        things = ", ".join(what for what, why in facts.unseen if why == reason)
        text = f"could not look at {things}: {reason}"
        yield Finding("database.visibility", Level.NOTE, text)


def _server(where: str, facts: ServerFacts) -> Iterator[Finding]:
    text = f"PostgreSQL {facts.version_text}: {where}, as role {facts.role}"
    if facts.version < OLDEST:
        text += "; fasthash needs 14 or newer"
        yield Finding("database.server", Level.PROBLEM, text)
    else:
        yield Finding("database.server", Level.OK, text)
    if facts.is_standby:
        text = "the server is a standby and takes no writes: give the primary's address"
        remedy = 'dsn = "host=PRIMARY target_session_attrs=read-write"'
        yield Finding("database.primary", Level.PROBLEM, text, remedy)
    elif facts.is_read_only:
        text = "sessions of this role are read-only (default_transaction_read_only)"
        remedy = _for_role(facts, "default_transaction_read_only", "off")
        yield Finding("database.primary", Level.PROBLEM, text, remedy)


def _for_role(facts: ServerFacts, setting: str, value: str) -> str:
    """Of all places a setting may come from, this one is heard first."""
    role, database = facts.quoted_role, facts.quoted_database
    return f"ALTER ROLE {role} IN DATABASE {database} SET {setting} = {value};"


def _for_server(facts: ServerFacts, setting: str, value: str) -> tuple[str, ...]:
    if setting in facts.fixed:
        return (f"-- restart the server without {setting} on its command line",)
    return f"ALTER SYSTEM SET {setting} = {value};", RELOAD


def _clock(facts: ServerFacts) -> Iterator[Finding]:
    ahead, unsure = facts.clock_ahead_s, facts.round_trip_s / 2
    if abs(ahead) - unsure <= CLOCK_S:
        text = f"its clock and this host's agree (answers take {facts.round_trip_s * 1000:.1f} ms)"
        yield Finding("database.clock", Level.OK, text)
        return
    side = "ahead of" if ahead > 0 else "behind"
    text = f"its clock is {human_seconds(abs(ahead))} {side} this host's: markers are of this"
    text += " host's, the beginning and the cutoff of a scrub of the server's"
    remedy = "timedatectl set-ntp true  # on the host that is wrong"
    yield Finding("database.clock", Level.WARNING, text, remedy)


def _pooler(facts: ServerFacts) -> Iterator[Finding]:
    check = "database.pooler"
    if facts.pooling == "none":
        return
    text = f"it is reached through a pooler, in {facts.pooling} mode"
    if facts.pooling == "session":
        text += ": a run works if the pooler resets sessions that come back (server_reset_query)"
        yield Finding(check, Level.NOTE, text)
        return
    text += ": runs need sessions of their own, and do not begin; all else works"
    remedy = 'dsn = "host=SERVER .."  # the server itself, or a pool in session mode'
    yield Finding(check, Level.PROBLEM, text, remedy)


def _connections(facts: ServerFacts) -> Iterator[Finding]:
    check = "database.connections"
    free = facts.connections_most - facts.connections_used
    # Ours is one of those in use.
    text = f"{facts.connections_used} of {facts.connections_most} connections in use"
    if free + 1 >= CONNECTIONS:
        yield Finding(check, Level.OK, text)
        return
    text += f"; a run takes up to {CONNECTIONS}"
    enough = facts.connections_used + 2 * CONNECTIONS
    if facts.connections_of_role:
        remedy = f"ALTER ROLE {facts.quoted_role} CONNECTION LIMIT {enough};"
    elif "max_connections" in facts.fixed:
        remedy = "-- restart the server with more max_connections on its command line"
    else:
        most = int(facts.settings.get("max_connections", "100")) + 2 * CONNECTIONS
        remedy = f"ALTER SYSTEM SET max_connections = {most};  -- and restart the server"
    yield Finding(check, Level.PROBLEM, text, remedy)


def _settings(facts: ServerFacts) -> Iterator[Finding]:
    settings = facts.settings
    for name, harm in FOREIGN_TIMEOUTS.items():
        if settings.get(name, "0") != "0":
            text = f"{name} is {settings[name]} ms, which {harm}"
            remedy = _for_role(facts, name, "0")
            yield Finding("database.timeouts", Level.WARNING, text, remedy)
    own = [f"{n} {settings[n]} ms" for n in OWN_TIMEOUTS if settings.get(n, "0") != "0"]
    if own:
        text = f"set for this role: {', '.join(own)}; fasthash sets its own instead"
        yield Finding("database.timeouts", Level.NOTE, text)
    if settings.get("autovacuum") == "off" or settings.get("track_counts") == "off":
        text = "autovacuum is off: each run leaves a dead row for every row that it writes"
        name = "autovacuum" if settings.get("autovacuum") == "off" else "track_counts"
        yield Finding("database.autovacuum", Level.WARNING, text, _for_server(facts, name, "on"))
    for name, harm in (
        ("fsync", "a crash of the machine can destroy the database"),
        ("full_page_writes", "a crash of the machine can leave torn pages"),
    ):
        if settings.get(name) == "off":
            text = f"{name} is off: {harm}"
            yield Finding(
                "database.durability", Level.WARNING, text, _for_server(facts, name, "on")
            )
    commit = settings.get("synchronous_commit", "on")
    if commit == "remote_apply":
        text = "synchronous_commit is remote_apply; fasthash's commits do not wait, except the last"
        yield Finding("database.commit", Level.NOTE, text)


def _surroundings(facts: ServerFacts) -> Iterator[Finding]:
    names = facts.settings.get("synchronous_standby_names", "")
    if names and facts.sync_standbys == 0:
        text = f"no synchronous standby is there ({names}): the end of a run would wait for one"
        remedy = (
            "-- start the standby; or, only if it is gone for good and for the whole server:",
            *_for_server(facts, "synchronous_standby_names", "''"),
        )
        yield Finding("database.standby", Level.WARNING, text, remedy)
    elif names:
        text = f"synchronous standbys ({names}): only the end of a run waits for them"
        yield Finding("database.standby", Level.NOTE, text)
    if facts.archiver_fails is not None:
        text = f"the WAL archiver fails at {facts.archiver_fails}: the server's log says why; WAL"
        text += f" piles up ({facts.wal_backlog} segments wait)"
        remedy = ("ALTER SYSTEM SET archive_command = '..';  -- one that works", RELOAD)
        yield Finding("database.archiver", Level.WARNING, text, remedy)


def _horizon(facts: ServerFacts) -> Iterator[Finding]:
    check = "database.horizon"
    found = False
    for one in facts.held_back:
        if one.age_s is None or one.age_s >= OLD_TRANSACTION_S:
            found = True
            since = "" if one.age_s is None else f", for {human_seconds(one.age_s)}"
            text = f"{one.what}{since}: keeps {one.keeps}"
            yield Finding(check, Level.WARNING, text, one.remedy)
    if facts.sessions_hidden:
        text = f"of {facts.sessions_hidden} sessions of others this role cannot see since when"
        text += " their transactions are open"
        remedy = f"GRANT pg_read_all_stats TO {facts.quoted_role};"
        yield Finding("database.visibility", Level.NOTE, text, remedy)
    elif not found:
        yield Finding(check, Level.OK, "no old transaction holds back VACUUM")


def _wal(facts: ServerFacts, rows_to_do: int) -> Iterator[Finding]:
    most = int(facts.settings.get("max_wal_size") or "0")
    if 0 < most < SMALL_WAL_MB and rows_to_do >= LONG_RUN_ROWS:
        text = f"max_wal_size is {most} MB: while {rows_to_do:,} rows are written there will be"
        text += " checkpoints all the time, and each writes whole pages to the log again"
        yield Finding("database.wal", Level.NOTE, text, _for_server(facts, "max_wal_size", "'4GB'"))


def _ledger(facts: LedgerFacts) -> Iterator[Finding]:
    init = "fasthash init --yes" if facts.publications else "fasthash init"
    yield from _subscribers(facts)
    if facts.version == 0:
        text = "there is no ledger yet (schema fasthash)"
        yield Finding("ledger.version", Level.PROBLEM, text, init)
        return
    if facts.version < facts.needed:
        text = f"the ledger has version {facts.version}, this fasthash needs {facts.needed}"
        yield Finding("ledger.version", Level.PROBLEM, text, init)
    elif facts.version > facts.needed:
        text = f"the ledger has version {facts.version}, this fasthash knows {facts.needed}: use"
        yield Finding("ledger.version", Level.PROBLEM, f"{text} the fasthash that upgraded it")
    elif not facts.missing_grants:
        yield Finding("ledger.version", Level.OK, f"the ledger has version {facts.version}")
    if facts.missing_grants:
        text = f"this role lacks {len(facts.missing_grants)} privileges on the ledger"
        yield Finding("ledger.privileges", Level.PROBLEM, text, facts.missing_grants)


def _subscribers(facts: LedgerFacts) -> Iterator[Finding]:
    if not facts.publications:
        return
    names = ", ".join(facts.publications)
    text = f"publication {names} sends every table: a subscriber that does not have the ledger's as"
    text += " they are here stops at the first change of one"
    level = Level.WARNING if facts.version < facts.needed else Level.NOTE
    remedy = (
        "-- on each subscriber, before `fasthash init` here: the tables",
        "fasthash init --print-sql | psql",
        "-- on each subscriber, after it: their rows",
        "ALTER SUBSCRIPTION its_name REFRESH PUBLICATION;",
    )
    yield Finding("ledger.publication", level, text, remedy)
