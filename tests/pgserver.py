"""A PostgreSQL server of the test's own, to be restarted and killed; any version's binaries."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from fasthash.embedded import postgres

# Where Debian keeps its servers; fasthash is tested against an older one where it is there.
DEBIAN_BINARIES = Path("/usr/lib/postgresql")


def embedded_binaries() -> Path:
    """The binaries of the embedded server."""
    return Path(postgres.binaries())


def older_binaries() -> Path | None:
    """The binaries of an older server, where the machine has one."""
    found = sorted(DEBIAN_BINARIES.glob("1[4-7]/bin/postgres"))
    return found[0].parent if found else None


@functools.cache
def _initialised(binaries: Path) -> Path:
    """What initdb makes, once a process: copying it takes a tenth as long."""
    folder = Path(tempfile.mkdtemp(prefix="initdb-"))
    atexit.register(shutil.rmtree, folder)
    prefix = postgres.unprivileged()
    if prefix:
        os.chown(folder, 65534, 65534)
    options = ("-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
    subprocess.run(
        [*prefix, str(binaries / "initdb"), "-D", str(folder / "data"), *options],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    return folder / "data"


class PgServer:
    """One server in one directory, on a socket only."""

    def __init__(self, home: Path, binaries: Path) -> None:
        self.home = home
        self.data = home / "data"
        self.binaries = binaries
        self.prefix = postgres.unprivileged()
        home.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", _initialised(binaries), self.data], check=True)
        if self.prefix:
            os.chown(home, 65534, 65534)

    @property
    def dsn(self) -> str:
        """The maintenance database."""
        return f"host={self.home} user=postgres dbname=postgres"

    def _run(self, tool: str, *arguments: str) -> None:
        subprocess.run(
            [*self.prefix, str(self.binaries / tool), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )

    def start(self) -> None:
        """Starts it and waits until it answers."""
        options = (
            f"-k {self.home} -c listen_addresses='' -c fsync=off -c max_connections=60 "
            "-c shared_buffers=64MB"
        )
        self._run(
            "pg_ctl",
            "-D",
            str(self.data),
            "-w",
            "-l",
            str(self.home / "log"),
            "-o",
            options,
            "start",
        )

    def stop(self, mode: str = "fast") -> None:
        """Stops it: `fast` or `immediate` (a crash)."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def restart(self, mode: str = "fast") -> None:
        """Stops and starts it."""
        self.stop(mode)
        self.start()

    def kill_a_backend(self, application: str) -> bool:
        """kill -9 of a server process: the whole server goes through crash recovery."""
        try:
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                row = connection.execute(
                    "SELECT pid FROM pg_stat_activity WHERE application_name = %s LIMIT 1",
                    (application,),
                ).fetchone()
        except psycopg.Error:
            return False
        if row is None:
            return False
        os.kill(row[0], signal.SIGKILL)
        return True

    def backends(self, application: str) -> int:
        """How many sessions of that name there are."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", (application,)
            ).fetchone()
        return int(row[0]) if row else 0

    def tablespace(self, place: Path, name: str) -> str:
        """A tablespace in a directory of its own in some file system."""
        folder = place / "space"
        folder.mkdir(mode=0o700)
        if self.prefix:
            os.chown(folder, 65534, 65534)
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
        return name

    def wait(self) -> None:
        """Waits until it takes connections."""
        for _ in range(300):
            try:
                with psycopg.connect(self.dsn, autocommit=True):
                    return
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise AssertionError("the server does not come back")
