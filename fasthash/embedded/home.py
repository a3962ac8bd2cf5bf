"""The data directory of the embedded server, its locks and its socket: what all sides agree on."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from fasthash.errors import ConfigError

USERS_LOCK, KEEPER_LOCK, SERVER_LOCK = "users.lock", "keeper.lock", "server.lock"
SOCKET_NAME = ".s.PGSQL.5432"
SUPERUSER = "postgres"
ELSEWHERE = "set FASTHASH_DATA_DIR to another directory, or give --dsn"
_SOCKET_PATH_MAX_BYTES = 107  # sockaddr_un


def data_home() -> Path:
    """The directory of the embedded server unless another is named.

    Raises:
        ConfigError: nothing names one, and this user has no home (in a container, say).
    """
    if named := os.environ.get("FASTHASH_DATA_DIR"):
        return Path(named)
    if shared := os.environ.get("XDG_DATA_HOME"):
        return Path(shared, "fasthash")
    try:
        return Path("~/.local/share").expanduser() / "fasthash"
    except RuntimeError as error:
        raise ConfigError(
            f"user {os.geteuid()} has no home directory, where the embedded server's data would "
            f"be: {ELSEWHERE}"
        ) from error


def prepare(home: Path) -> Path:
    """Makes the directory, closed to others, and refuses one that is not ours to close.

    Returns:
        Its path without symbolic links, the same for all users.

    Raises:
        ConfigError: it cannot be made, or is not ours.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home = home.resolve()
        facts = home.stat()
    except OSError as error:
        raise ConfigError(f"cannot make {home}: {error.strerror}; {ELSEWHERE}") from error
    if facts.st_uid != os.geteuid():
        raise ConfigError(f"{home} belongs to another user (uid {facts.st_uid}): {ELSEWHERE}")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        if any(home.iterdir()) and not (home / USERS_LOCK).exists():
            raise ConfigError(f"{home} is not empty, and open to others: chmod it, {ELSEWHERE}")
        home.chmod(0o700)
    socket_dir(home)
    return home


def socket_dir(home: Path) -> Path:
    """Where the socket is: at home, unless the path is too long or libpq would split it.

    Raises:
        ConfigError: something is in the way of the other place.
    """
    length_bytes = len(os.fsencode(home / SOCKET_NAME))
    if length_bytes <= _SOCKET_PATH_MAX_BYTES and "," not in str(home):
        return home
    facts = home.stat()
    # Not below $TMPDIR or $XDG_RUNTIME_DIR, which differ between sessions of one user.
    folder = Path(f"/tmp/fasthash-{facts.st_uid}-{facts.st_dev:x}-{facts.st_ino:x}")  # noqa: S108
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if found.st_uid != facts.st_uid or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise ConfigError(f"{folder} is in the way, remove it; or {ELSEWHERE}")
    return folder


# How much of the log is looked at: a start that fails fills a few lines.
_LOG_TAIL_BYTES = 4096
# As the server says it (with a time and a process before it), and initdb. What it says to those who
# come while it starts or stops is no reason for anything.
_REASON = re.compile(r"(?:FATAL|PANIC|initdb: error): ++(?!the database system is )(.+)")

_HINT = re.compile(r"HINT: +(.+?)\.?$")


def see_log(home: Path, what: str) -> str:
    """An error message with the line of the server's log that matters, and where the others are."""
    log = home / "server.log"
    reason = _reason(log)
    return f"the embedded PostgreSQL {what}{f' ({reason})' if reason else ''}: see {log}"


def _reason(log: Path) -> str | None:
    """What the server gave up for: the first that it says of its last failure."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    found = [n for n, line in enumerate(lines) if _REASON.search(line)]
    # A PANIC follows from what was said the line before, or the one before that.
    first = next((n for n in found[-2:] if found[-1] - n <= 2), None) if found else None
    match = None if first is None else _REASON.search(lines[first])
    if first is None or match is None:
        return None
    hint = _HINT.search(lines[first + 1]) if first + 1 < len(lines) else None
    return f"{match[1].strip()}; {hint[1].strip()}" if hint else match[1].strip()


def open_lock(path: Path) -> int:
    """The descriptor of a lock file, which is made where it is missing."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(path: Path, kind: int = fcntl.LOCK_EX) -> int | None:
    """The descriptor of the locked file, or None where somebody else has it."""
    with ExitStack() as undo:
        descriptor = open_lock(path)
        undo.callback(os.close, descriptor)
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            undo.pop_all()
            return descriptor
    return None


def polls(deadline_s: float) -> Iterator[None]:
    """Comes round soon at first, for a quick start, then less often, for a short log.

    Args:
        deadline_s: on the monotonic clock.
    """
    pause_s = 0.005
    while True:
        yield
        if time.monotonic() > deadline_s:
            return
        time.sleep(pause_s)
        pause_s = min(1.2 * pause_s, 0.25)
