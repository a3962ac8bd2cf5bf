"""Cost a row from ten thousand rows to millions; a second run over all done; a resume.

    .venv/bin/python benchmarks/bench_scale.py [--short]

Rows share 50,000 small files, page cache warm. Memory is the most that the coordinator had
resident; the ledger is what lies in schema fasthash beside the journal. The resume is timed from
the start of the command to its first committed row, after `kill -9` at nine tenths.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import measure
import psycopg
from corpus import make_files, warm

from fasthash import embedded

FILES = 50_000
LEDGER_BYTES = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname <> 'journal'), 0),
       coalesce(sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname = 'journal'), 0)
FROM pg_class c WHERE c.relnamespace = 'fasthash'::regnamespace AND c.relkind = 'r'
"""


def make_rows(server: embedded.Server, rows: int, files: int) -> str:
    """A catalog whose rows share the corpus's files; made by the database itself."""
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS scale WITH (FORCE)")
        admin.execute("CREATE DATABASE scale")
    dsn = psycopg.conninfo.make_conninfo(server.dsn, dbname="scale")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE artifacts (id bigint PRIMARY KEY, artifact_type text, file_path text, "
            "metadata jsonb)"
        )
        connection.execute(
            "INSERT INTO artifacts SELECT n, 't' || n %% 5, format('t%%s/%%s/f%%s.dat', m %% 5, "
            "m / 5 %% 200, m), jsonb_build_object('n', n, 'title', repeat('x', 340)) "
            "FROM (SELECT n, n %% %s AS m FROM generate_series(0, %s) n) s",
            (files, rows - 1),
        )
        connection.execute("CREATE INDEX ON artifacts (artifact_type, id)")
        connection.execute("VACUUM ANALYZE artifacts")
        connection.execute("CHECKPOINT")
    subprocess.run([measure.FASTHASH, "init", "--dsn", dsn], check=True, stdout=subprocess.DEVNULL)
    return dsn


def start(dsn: str, folder: Path) -> subprocess.Popen[bytes]:
    """A run, under way."""
    command = [measure.FASTHASH, "run", "-q", "--json", "--root", str(folder)]
    return subprocess.Popen(
        command, env={**os.environ, "FASTHASH_DSN": dsn}, stdout=subprocess.DEVNULL
    )


def complete(dsn: str, folder: Path) -> tuple[float, float]:
    """Seconds of a whole run, and the most memory of its coordinator in MB."""
    began_s, most_mb = time.monotonic(), 0.0
    process = start(dsn, folder)
    while process.poll() is None:
        for line in Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                most_mb = max(most_mb, int(line.split()[1]) / 1024)
        time.sleep(0.02)
    if process.returncode != 0:
        raise SystemExit(f"the run ended with {process.returncode}")
    return time.monotonic() - began_s, most_mb


def journaled(connection: psycopg.Connection) -> int:
    """Rows committed so far, without counting them one by one."""
    row = connection.execute(
        "SELECT coalesce(sum(hashed), 0)::bigint FROM fasthash.checkpoint"
    ).fetchone()
    return int(row[0]) if row else 0


def resume(dsn: str, folder: Path, rows: int) -> float:
    """Seconds from the start of the second command to its first commit."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        process = start(dsn, folder)
        while journaled(connection) < rows * 9 // 10:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(1)  # whatever was on its way is committed or lost
        before = journaled(connection)
        began_s = time.monotonic()
        process = start(dsn, folder)
        while journaled(connection) == before:
            time.sleep(0.005)
        seconds = time.monotonic() - began_s
        process.wait()
        if journaled(connection) != rows:
            raise SystemExit(f"{journaled(connection):,} rows of {rows:,} were hashed")
    return seconds


def main() -> None:
    """One run a size."""
    options = measure.options(__doc__)
    sizes = [10_000, 100_000] if options.short else [10_000, 100_000, 1_000_000, 5_000_000]
    folder = options.folder / f"small-{FILES}"
    make_files(folder, FILES)
    rates, facts = {}, {}
    with (
        tempfile.TemporaryDirectory(
            prefix="pg", dir=options.folder, ignore_cleanup_errors=True
        ) as home,
        embedded.ensure(Path(home), "postgres") as server,
    ):
        for rows in sizes:
            dsn = make_rows(server, rows, FILES)
            warm(folder)
            seconds, most_mb = complete(dsn, folder)
            with psycopg.connect(dsn) as connection:
                ledger, journal = connection.execute(LEDGER_BYTES).fetchone() or (0, 0)
            again_s, _ = complete(dsn, folder)
            rates[f"{rows:,} rows"] = rows / seconds
            facts[f"{rows:,} rows"] = {
                "seconds": round(seconds, 2),
                "coordinator_mb": round(most_mb),
                "ledger_bytes_a_row": round(float(ledger) / rows, 1),
                "journal_bytes_a_row": round(float(journal) / rows, 1),
                "second_run_s": round(again_s, 2),
            }
            print(rows, facts[f"{rows:,} rows"], flush=True)
        rows = min(sizes[-1], 1_000_000)
        dsn = make_rows(server, rows, FILES)
        warm(folder)
        seconds = resume(dsn, folder, rows)
    measure.save(
        "scale", "Rows that share 50,000 files, warm", "rows/s", rates,
        by_size=facts, resume_at_90_percent_s={f"{rows:,} rows": round(seconds, 2)},
    )  # fmt: skip


if __name__ == "__main__":
    main()
