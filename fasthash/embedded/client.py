"""A claim on the embedded server, for as long as a command needs it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from fasthash.embedded import home as homes
from fasthash.embedded import postgres, protocol
from fasthash.errors import DatabaseUnreachable, NotInitialized, PreflightFailed

_USER_WAIT_S = 60.0
_LOG_MAX_BYTES = 4 * 1024 * 1024
_BEGIN = "so begin with `fasthash register DIR`, or give --dsn"


class Server:
    """A claim on the running server: it is not stopped before this is released."""

    def __init__(self, home: Path, database: str, claim: int) -> None:
        self.home = home
        self.database = database
        self._claim: int | None = claim

    @property
    def dsn(self) -> str:
        """What libpq needs for a connection to the database."""
        values = (str(homes.socket_dir(self.home)), self.database)
        host, name = (v.replace("\\", "\\\\").replace("'", "\\'") for v in values)
        return f"host='{host}' port=5432 dbname='{name}' user={homes.SUPERUSER}"

    def release(self) -> None:
        """Gives the claim back; the last one stops the server."""
        claim, self._claim = self._claim, None
        if claim is not None:
            # Closing alone would leave the claim to children that were forked without exec.
            fcntl.flock(claim, fcntl.LOCK_UN)
            os.close(claim)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()


def ensure(home: Path, database: str = "fasthash") -> Server:
    """A claim on the server of `home`, which runs and has the database: both made where missing.

    Also the way to get the server back after it and its keeper were killed, claims or not.

    Raises:
        ConfigError: the server cannot be used as things are set up.
        PreflightFailed: it was made by another version of PostgreSQL, or does not start.
    """
    deadline_s = time.monotonic() + _USER_WAIT_S
    with ExitStack() as undo:
        try:
            home = homes.prepare(home)
            server = Server(home, database, _claim(home, deadline_s))
            undo.callback(server.release)
            _await_database(home, database, deadline_s)
        except OSError as error:
            reason = error.strerror or str(error)
            raise PreflightFailed(f"cannot use {error.filename or home}: {reason}") from error
        undo.pop_all()
    return server


def find(home: Path, database: str = "fasthash") -> Server:
    """A claim on the server of `home`, which runs and has the database; none of them is made.

    Raises:
        NotInitialized: there is no such server, or it has no such database.
        FasthashError: as `ensure` does.
    """
    with suppress(PermissionError):  # of which `ensure` says more
        if not (home / "pgdata").exists():
            raise NotInitialized(f"there is nothing yet: no database is configured, {_BEGIN}")
    with ExitStack() as undo:
        server = ensure(home, homes.SUPERUSER)
        undo.callback(server.release)
        if not protocol.has_database(server.home, database):
            what = f"the embedded PostgreSQL has no database {database}"
            raise NotInitialized(f"there is nothing yet: {what}, {_BEGIN}")
        undo.pop_all()
    server.database = database
    return server


def drop_database(server: Server, name: str) -> None:
    """Drops a database and ends the connections to it; `ensure` makes it anew.

    Raises:
        DatabaseUnreachable: the server refused or did not answer.
    """
    statement = f"DROP DATABASE IF EXISTS {protocol.quoted(name)} WITH (FORCE)"
    try:
        protocol.talk(server.home, homes.SUPERUSER, statement)
    except (protocol.Refused, OSError) as error:
        raise DatabaseUnreachable(f"cannot drop the database {name}: {error}") from error


def _claim(home: Path, deadline_s: float) -> int:
    """The claim of one user; waits while a keeper that saw the last one go stops the server."""
    for _ in homes.polls(deadline_s):
        claim = homes.try_lock(home / homes.USERS_LOCK, fcntl.LOCK_SH)
        if claim is not None:
            return claim
    raise DatabaseUnreachable(homes.see_log(home, "is still stopping"))


def _await_database(home: Path, database: str, deadline_s: float) -> None:
    """Returns when the database can be used; starts a keeper whenever there is none."""
    problem: str | None = None
    for _ in homes.polls(deadline_s):
        keeper_lock = homes.try_lock(home / homes.KEEPER_LOCK)
        if keeper_lock is not None:
            try:
                _start_keeper(home, keeper_lock, deadline_s)
            finally:
                os.close(keeper_lock)
        problem = protocol.problem(home, database)
        if problem is None:
            return
    raise DatabaseUnreachable(homes.see_log(home, f"does not answer ({problem})"))


def _start_keeper(home: Path, keeper_lock: int, deadline_s: float) -> None:
    """Starts the keeper, which inherits the lock, and waits for its report."""
    postgres.unprivileged()
    keeper = ["-S", "-P", "-m", "fasthash.embedded.keeper", str(home), postgres.binaries()]
    postgres.check_version(home)
    kept = ("PATH", "TZ", "LD_LIBRARY_PATH", "PYTHONHOME")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"LC_ALL": "C", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with open(home / "server.log", "ab", opener=lambda p, f: os.open(p, f, 0o600)) as log:
        if log.tell() > _LOG_MAX_BYTES:
            log.truncate(0)
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                [sys.executable, *keeper],
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=(keeper_lock,),
                start_new_session=True,
                timeout=max(0.0, deadline_s - time.monotonic()),
                check=False,
            )
            report = done.stdout.decode(errors="replace")
            # No report, but no failure either: the keeper was killed, and the next may live.
            if report not in ("ready", "") or done.returncode > 0:
                raise DatabaseUnreachable(report or homes.see_log(home, "cannot be kept"))
