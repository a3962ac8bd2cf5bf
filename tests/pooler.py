"""A real PgBouncer in front of a server of the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from conftest import PATIENCE_S

from fasthash.embedded import postgres

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
# On a socket only; what a session leaves behind is discarded, as PgBouncer does where nobody says
# otherwise.
CONFIGURATION = """
[databases]
* = host={host} port={port}

[pgbouncer]
pool_mode = {mode}
listen_port = 6543
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
max_client_conn = 200
default_pool_size = {size}
{more}
logfile = {folder}/log
"""


@contextlib.contextmanager
def pooled(dsn: str, folder: Path, mode: str, size: int = 40, more: str = "") -> Iterator[str]:
    """The connection string of a pooler for a database, while it runs.

    Args:
        dsn: of the database.
        folder: a new one for its files, which its user may write to.
        mode: `session`, `transaction` or `statement`.
        size: how many sessions of the server there are.
        more: lines of its configuration.
    """
    assert PGBOUNCER is not None
    facts = psycopg.conninfo.conninfo_to_dict(dsn)
    folder.mkdir(mode=0o755)
    (folder / "users").write_text('"postgres" ""\n')
    file = folder / "pgbouncer.ini"
    file.write_text(
        CONFIGURATION.format(
            host=facts["host"],
            port=facts.get("port", 5432),
            mode=mode,
            folder=folder,
            size=size,
            more=more,
        )
    )
    prefix = postgres.unprivileged()  # it refuses to be root
    if prefix:
        os.chown(folder, 65534, 65534)
    process = subprocess.Popen([*prefix, PGBOUNCER, "--quiet", str(file)], cwd="/")
    try:
        through = psycopg.conninfo.make_conninfo(dsn, host=str(folder), port=6543)
        _wait_for(through, process)
        yield through
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _wait_for(dsn: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with psycopg.connect(dsn):
                return
        except psycopg.OperationalError:
            assert process.poll() is None, "it has ended"
            assert time.monotonic() < deadline
            time.sleep(0.05)
