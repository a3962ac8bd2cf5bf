"""Whatever a database, a role or a server has been set to: the same work, and the same words."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable

import psycopg
import pytest
from conftest import Database

# A hostile value for each setting that changes what is sent, read or done.
HOSTILE = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Pacific/Chatham",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "transform_null_equals": "on",
    "client_encoding": "LATIN1",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "lock_timeout": "1",
    "statement_timeout": "500",  # less than SLOW_S, and more than a BEGIN takes on a busy machine
    "idle_in_transaction_session_timeout": "500",
    "exit_on_error": "on",
    "plan_cache_mode": "force_generic_plan",
    "jit": "on",
    "jit_above_cost": "0",
    "synchronous_commit": "on",
    "lc_messages": "C",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "xmlbinary": "hex",
    "xmloption": "document",
    "client_min_messages": "debug1",
    "escape_string_warning": "off",
    "row_security": "on",
    "gin_fuzzy_search_limit": "1",
    "search_path": "pg_catalog, public",
    "default_toast_compression": "pglz",
    "default_text_search_config": "pg_catalog.german",
    "work_mem": "64",
    "enable_seqscan": "off",
    "enable_nestloop": "off",
    "enable_hashjoin": "off",
    "enable_sort": "off",
    "enable_material": "off",
    "from_collapse_limit": "1",
    "join_collapse_limit": "1",
}
NEWER = {"transaction_timeout": "500"}
SLOW_S = 0.6  # a trigger of the site's
# Those that change no output, or that only its owner means: somebody has looked at each.
HARMLESS = {
    "application_name", "check_function_bodies", "createrole_self_grant",
    "default_table_access_method", "default_tablespace", "default_transaction_read_only",
    "dynamic_library_path",
    "event_triggers", "extension_control_path", "gin_pending_list_limit", "icu_validation_level",
    "idle_session_timeout", "lo_compat_privileges", "local_preload_libraries",
    "restrict_nonsystem_relation_kind", "session_preload_libraries", "session_replication_role",
    "temp_tablespaces", "timezone_abbreviations", "transaction_deferrable", "transaction_isolation",
    "transaction_read_only", "vacuum_multixact_failsafe_age", "allow_alter_system",
    "synchronize_seqscans", "vacuum_cost_delay", "jit_provider", "shared_preload_libraries",
    "bonjour", "vacuum_failsafe_age", "vacuum_freeze_min_age", "vacuum_freeze_table_age",
    "vacuum_multixact_freeze_min_age", "vacuum_multixact_freeze_table_age",
    "vacuum_max_eager_freeze_failure_rate", "vacuum_truncate", "allow_system_table_mods",
}  # fmt: skip
CATEGORIES = ("Client Connection Defaults", "Version and Platform Compatibility")


def known_to(database: Database) -> set[str]:
    rows = database.sql("SELECT name FROM pg_settings")
    return {row["name"] for row in rows}


def cycle(database: Database) -> list[str]:
    """What some nights print, without what is another each time."""
    (database.root / "é").write_text("e")
    database.make_table()
    for n in range(12):
        path = database.root / f"f{n}"
        path.write_text(str(n))
        os.utime(path, (1_600_000_000, 1_600_000_000))
        metadata = {"file_sha256": "0" * 64, "file_size_bytes": 1.5} if n == 3 else {"k": None}
        database.add(n, f"f{n}" if n != 5 else "é", metadata, [None, "a'\\b", "c"][n % 3])
    database.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        f"'BEGIN PERFORM pg_sleep({SLOW_S}); RETURN NEW; END'"
    )
    database.sql(
        "CREATE TRIGGER slow BEFORE UPDATE ON artifacts "
        "FOR EACH ROW WHEN (OLD.id = 7) EXECUTE FUNCTION slow()"
    )
    root = ["--root", str(database.root)]
    commands = (
        (["run", *root], 1), (["journal", "3", "--json"], 0), (["run", *root], 0),
        (["scrub", *root], 0),
        (["summary", "--json"], 0), (["status"], 0), (["drift", "list", "--json"], 0),
        (["drift", "show", "1"], 0), (["manifest"], 0),
        (["residual"], 0), (["duplicates", *root], 0), (["report", "--json"], 0),
        (["prune", "--keep-last", "1", "--dry-run"], 0), (["revert", "1"], None),
        (["run", "--dry-run", *root], 0),
    )  # fmt: skip
    said = []
    for command, status in commands:
        done = database.fasthash(*command, status=status)
        text = done.stdout.replace(str(database.root), "ROOT")
        said.append(f"{command[0]} {done.returncode}\n" + re.sub(r"\d", "0", text))
    rows = database.sql("SELECT id, metadata - 'file_sha256_computed_at' AS m FROM artifacts")
    said.append(json.dumps(sorted(map(str, rows))))
    return said


def without_times(said: str) -> list[str]:
    """Speeds and durations are others each time, and with them the widths of columns."""
    return re.sub(r"\d[\d.,:]* ?[kMGµm]?(B|rows|s|ms)?(/s)?|0+", "0", said).split()


def test_a_cycle_under_hostile_settings(make_database: Callable[[], Database]) -> None:
    plain = cycle(make_database())
    database = make_database()
    name = psycopg.conninfo.conninfo_to_dict(database.dsn)["dbname"]
    known = known_to(database)
    for setting, value in (HOSTILE | NEWER).items():
        if setting in known:
            database.sql(
                f"ALTER DATABASE {name} SET {setting} = {psycopg.sql.quote(value)}"
                if setting != "search_path"
                else f"ALTER DATABASE {name} SET search_path = pg_catalog, public"
            )
    plainly = psycopg.conninfo.make_conninfo(
        database.dsn,
        options="-c statement_timeout=0 -c lock_timeout=0 -c transaction_timeout=0 "
        "-c idle_in_transaction_session_timeout=0 -c datestyle=ISO -c exit_on_error=off "
        "-c client_encoding=UTF8 -c standard_conforming_strings=on -c search_path=public",
    )
    hostile_dsn, database.dsn = database.dsn, plainly
    database.environment["FASTHASH_DSN"] = hostile_dsn
    for one, other in zip(plain, cycle(database), strict=True):
        assert without_times(other) == without_times(one)


def test_every_setting_was_thought_of(each_database: Database) -> None:
    """A new version's settings have to be looked at, too."""
    rows = each_database.sql("SELECT name, category FROM pg_settings WHERE context <> 'internal'")
    found = {row["name"] for row in rows if row["category"].startswith(CATEGORIES)}
    new = {name for name in found if name not in HOSTILE | NEWER and name not in HARMLESS}
    assert not new, "what do these do to what is sent and read?"


@pytest.mark.parametrize("limit", [3])
def test_a_role_of_few_connections(database: Database, limit: int) -> None:
    database.make_table()
    role = f"role_{psycopg.conninfo.conninfo_to_dict(database.dsn)['dbname']}"
    database.sql(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT {limit}")
    try:
        with database.connect() as connection:
            connection.execute(database.fasthash("grants", role).stdout.encode())  # type: ignore[arg-type]
        user = Database(psycopg.conninfo.make_conninfo(database.dsn, user=role), database.root)
        done = user.fasthash("run", "--root", str(database.root), status=4)
        assert "this role may have 3 connections" in done.stderr
    finally:
        database.sql(f"DROP OWNED BY {role}")
        database.sql(f"DROP ROLE {role}")


def test_no_synchronous_standby(own_database: Database) -> None:
    """Its commits would wait for ever; it says so, and begins nothing."""
    own_database.make_table()
    alter = "ALTER SYSTEM SET synchronous_standby_names = {}"
    own_database.sql(alter.format("'faraway'"))
    own_database.sql("SELECT pg_reload_conf()")
    try:
        done = own_database.fasthash("run", "--root", str(own_database.root), status=4)
        assert "no synchronous standby is connected" in done.stderr
        assert "synchronous_standby_names = faraway" in done.stderr
    finally:
        own_database.sql("ALTER SYSTEM RESET synchronous_standby_names")
        own_database.sql("SELECT pg_reload_conf()")
