"""A catalog that was hashed long ago, and ledgers for it: an empty one and one with years of runs.

All is made by the database itself, from a table with the truth about the corpus's files; copies are
made of whole databases, so that each measurement begins with the same.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import measure
import psycopg
from corpus import make_files
from psycopg.types.json import Jsonb

from fasthash import verdicts

CATALOG = "public.artifacts"
RESIDUAL_SHARE = 100  # one row in so many has no verdict in a run
DRIFT_SHARE = 1_000
SAMPLES = 5_000  # of a run: a night of seven hours
OLD_S = 100 * 86_400

# Of the row's number: markers are a minute apart, in the order of keys within a run.
MARKER = """
to_char((now() - make_interval(secs => %(age_s)s)) AT TIME ZONE 'UTC'
        + make_interval(secs => {n} * 0.001), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
"""
READ_AT_NS = """
((extract(epoch FROM date_trunc('second', now())) - %(age_s)s) * 1000000000
 + {n} * 1000000::bigint)::bigint
"""


def connect(dsn: str) -> psycopg.Connection:
    """A session in autocommit mode."""
    return psycopg.connect(dsn, autocommit=True)


@contextmanager
def copy_of(server_dsn: str, template: str, name: str = "measured") -> Iterator[str]:
    """A copy of a database; it is dropped afterwards."""
    with connect(server_dsn) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        admin.execute("CHECKPOINT")
    try:
        yield psycopg.conninfo.make_conninfo(server_dsn, dbname=name)
    finally:
        with connect(server_dsn) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def make_truth(connection: psycopg.Connection, folder: Path, files: int) -> None:
    """What there is to know of each file of the corpus."""
    connection.execute(
        "CREATE TABLE truth (m integer PRIMARY KEY, path text, sha256 bytea, size_bytes bigint, "
        "stamps bytea)"
    )
    with connection.cursor().copy("COPY truth FROM STDIN") as copy:
        for m, name in enumerate(make_files(folder, files)):
            path = folder / name
            digest = sha256(path.read_bytes()).digest()
            facts = os.stat(path)
            copy.write_row((m, name, digest, facts.st_size, verdicts.stamps_of(facts)))
    connection.execute("ANALYZE truth")


def make_catalog(connection: psycopg.Connection, rows: int, files: int) -> None:
    """Rows that were hashed long ago, the later ones later."""
    connection.execute(
        "CREATE TABLE artifacts (id bigint PRIMARY KEY, artifact_type text, file_path text, "
        "metadata jsonb)"
    )
    marker = MARKER.format(n="n")
    connection.execute(
        "INSERT INTO artifacts SELECT n, 't' || n %% 5, t.path, jsonb_build_object("
        "'n', n, 'title', repeat('x', 340), 'file_sha256', encode(t.sha256, 'hex'), "
        f"'file_size_bytes', t.size_bytes, 'file_sha256_computed_at', {marker}) "
        "FROM generate_series(0, %(last)s) n JOIN truth t ON t.m = n %% %(files)s ORDER BY n",
        {"age_s": OLD_S, "last": rows - 1, "files": files},
    )
    connection.execute("CREATE INDEX ON artifacts (artifact_type, id)")
    connection.execute("VACUUM ANALYZE artifacts")


def add_new_rows(connection: psycopg.Connection, first: int, rows: int, files: int) -> None:
    """Rows that nobody has hashed yet, from a number on."""
    connection.execute(
        "INSERT INTO artifacts SELECT n, 't' || n %% 5, t.path, jsonb_build_object('n', n, "
        "'title', repeat('x', 340)) FROM generate_series(%s::bigint, %s::bigint) n JOIN truth t "
        "ON t.m = abs(n) %% %s",
        (first, first + rows - 1, files),
    )
    connection.execute("ANALYZE artifacts")


def init(dsn: str) -> None:
    """The ledger, empty."""
    subprocess.run([measure.FASTHASH, "init", "--dsn", dsn], check=True, stdout=subprocess.DEVNULL)


def add_run(connection: psycopg.Connection, kind: str, age_s: float) -> int:
    """A complete run of long ago, all of which is known; what else it left comes after."""
    options = {
        "types": None, "algorithm": "sha256", "limit": None, "roots": [], "resolver": None,
        "since": None, "sample": None, "missing": False,
    }  # fmt: skip
    row = connection.execute(
        "INSERT INTO fasthash.run (catalog, kind, state, options, host, plan_done, started_at, "
        "finished_at, unfolded_since, is_compact) VALUES (%s, %s, 'complete', %s, 'h', true, "
        "now() - make_interval(secs => %s), now() - make_interval(secs => %s), NULL, true) "
        "RETURNING run_id",
        (CATALOG, kind, Jsonb(options), age_s, age_s - 3_600),
    ).fetchone()
    return int(row[0]) if row else 0


def add_first_hashes(connection: psycopg.Connection, rows: int, files: int) -> None:
    """A backfill of all rows, as `run` leaves it."""
    run_id = add_run(connection, "backfill", OLD_S)
    key = {"run_id": run_id, "age_s": OLD_S, "last": rows - 1, "files": files}
    read_at_ns = READ_AT_NS.format(n="n")
    connection.execute(
        "INSERT INTO fasthash.journal (run_id, size_bytes, at, read_at_ns, path_hash, row_id, "
        "new_sha256, stamps) SELECT %(run_id)s, t.size_bytes, now() - make_interval(secs => "
        f'%(age_s)s - n * 0.001), {read_at_ns}, hashtextextended(t.path COLLATE "C", 0), n::text, '
        "t.sha256, t.stamps FROM generate_series(0, %(last)s) n "
        "JOIN truth t ON t.m = n %% %(files)s ORDER BY n",
        key,
    )
    _add_counts(connection, run_id, rows, "hashed")


def add_confirmations(
    connection: psycopg.Connection, entries: int, rows: int, files: int, age_s: float
) -> None:
    """A scrub of so many rows, with an entry for each, as earlier versions left it."""
    run_id = add_run(connection, "scrub", age_s)
    key = {"run_id": run_id, "age_s": age_s, "last": entries - 1, "rows": rows, "files": files}
    connection.execute(
        "INSERT INTO fasthash.journal (run_id, size_bytes, at, read_at_ns, path_hash, row_id, "
        "new_sha256, old_sha256, stamps, old_keys) SELECT %(run_id)s, t.size_bytes, "
        "now() - make_interval(secs => %(age_s)s - n * 0.001), "
        f'{READ_AT_NS.format(n="n")}, hashtextextended(t.path COLLATE "C", 0), '
        "(n %% %(rows)s)::text, t.sha256, t.sha256, t.stamps, jsonb_build_object("
        "'file_sha256', encode(t.sha256, 'hex'), 'file_size_bytes', t.size_bytes, "
        f"'file_sha256_computed_at', {MARKER.format(n='n')}) "
        "FROM generate_series(0, %(last)s) n JOIN truth t ON t.m = n %% %(rows)s %% %(files)s "
        "ORDER BY n",
        key,
    )
    _add_counts(connection, run_id, entries, "confirmed")
    connection.execute(
        "INSERT INTO fasthash.residual SELECT %s, n::text, 't' || n %% 5, 'gone/' || n, "
        "'no_file', NULL FROM generate_series(0, %s, %s) n",
        (run_id, rows - 1, RESIDUAL_SHARE),
    )
    connection.execute(
        "INSERT INTO fasthash.drift (run_id, row_id, artifact_type, path, kind, old_hash, "
        "new_sha256, new_size_bytes, file_mtime, resolution) SELECT %s, n::text, 't' || n %% 5, "
        "'changed/' || n, 'modified', repeat('ab', 32), decode(repeat('cd', 32), 'hex'), 1, now(), "
        "'overwritten' FROM generate_series(0, %s, %s) n",
        (run_id, rows - 1, DRIFT_SHARE),
    )


def _add_counts(connection: psycopg.Connection, run_id: int, rows: int, outcome: str) -> None:
    connection.execute(
        "INSERT INTO fasthash.checkpoint (run_id, range_no, pass_no, artifact_type, through_id, "
        f"planned_rows, state, {outcome}, updated) "
        "SELECT %s, -n - 1, 0, 't' || n, '', %s, 'done', %s, %s FROM generate_series(0, 4) n",
        (run_id, rows // 5, rows // 5, rows // 5),
    )
    connection.execute(
        "INSERT INTO fasthash.sample (run_id, holder_id, rows, bytes) "
        "SELECT %s, %s, n * 100, n * 800000::bigint FROM generate_series(1, %s) n",
        (run_id, run_id, SAMPLES),
    )
    connection.execute(
        "INSERT INTO fasthash.holder (run_id, host, pid) VALUES (%s, 'h', 1)", (run_id,)
    )


def fold(connection: psycopg.Connection) -> None:
    """What the journals tell, as the beginning of a run would have it taken over."""
    connection.execute(
        "INSERT INTO fasthash.file_state (catalog_no, at, read_at_ns, size_bytes, path_hash, "
        "row_id, sha256, stamps) SELECT DISTINCT ON (j.row_id) c.catalog_no, j.at, j.read_at_ns, "
        "j.size_bytes, j.path_hash, j.row_id, j.new_sha256, j.stamps "
        "FROM fasthash.journal j, fasthash.catalog c WHERE c.name = %s "
        "ORDER BY j.row_id, j.at DESC",
        (CATALOG,),
    )


def forget_statistics(connection: psycopg.Connection) -> None:
    """As if nobody had ever analyzed the ledger."""
    connection.execute(
        "DELETE FROM pg_statistic s USING pg_class c WHERE c.oid = s.starelid "
        "AND c.relnamespace = 'fasthash'::regnamespace"
    )
    connection.execute(
        "UPDATE pg_class SET reltuples = -1, relpages = 0, relallvisible = 0 "
        "WHERE relnamespace = 'fasthash'::regnamespace AND relkind IN ('r', 'i')"
    )


def make_templates(server_dsn: str, folder: Path, rows: int, history: int, files: int) -> None:
    """Four databases of the same catalog.

    - `empty`: a ledger that knows no more than that there was a backfill once;
    - `stale`: one with a history, analyzed when it had the first run only;
    - `missing`: the same, never analyzed;
    - `fresh`: the same, vacuumed and analyzed.
    """
    with connect(server_dsn) as admin:
        for name in ("empty", "stale", "missing", "fresh"):
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute("CREATE DATABASE empty")
    dsn = psycopg.conninfo.make_conninfo(server_dsn, dbname="empty")
    with connect(dsn) as connection:
        make_truth(connection, folder, files)
        make_catalog(connection, rows, files)
        init(dsn)
        connection.execute("INSERT INTO fasthash.catalog (name) VALUES (%s)", (CATALOG,))
    _copy(server_dsn, "empty", "stale")
    with connect(dsn) as connection:
        run_id = add_run(connection, "backfill", OLD_S)
        _add_counts(connection, run_id, rows, "hashed")
        connection.execute("VACUUM ANALYZE")
    with connect(psycopg.conninfo.make_conninfo(server_dsn, dbname="stale")) as connection:
        add_first_hashes(connection, rows, files)
        connection.execute("ANALYZE")
        left, age_s = history - rows, OLD_S - 86_400
        while left > 0:
            add_confirmations(connection, min(left, rows), rows, files, age_s)
            left, age_s = left - rows, age_s - 86_400
        fold(connection)
    for name in ("missing", "fresh"):
        _copy(server_dsn, "stale", name)
    with connect(psycopg.conninfo.make_conninfo(server_dsn, dbname="missing")) as connection:
        forget_statistics(connection)
    with connect(psycopg.conninfo.make_conninfo(server_dsn, dbname="fresh")) as connection:
        connection.execute("VACUUM ANALYZE")


def _copy(server_dsn: str, template: str, name: str) -> None:
    with connect(server_dsn) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
