"""Whether a file could have been written by somebody else, before anything in it is believed."""

from __future__ import annotations

import errno
import os
import stat

from fasthash import cautious
from fasthash.errors import ConfigError

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY


def refuse_foreign_file(path: str) -> None:
    """Refuses a file, or a directory that files are taken from, that others could have written.

    Raises:
        ConfigError: it or a directory above it can be written by everybody, or it belongs to
            neither this user nor root.
        OSError: it cannot be looked at.
    """
    seen = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _judge(path, os.fsencode(os.path.realpath(path)), os.fstat(seen))
    finally:
        os.close(seen)


def open_own_file(path: str) -> int:
    """A descriptor of a file (or a pipe) that nobody else could have written.

    Raises:
        ConfigError: somebody else could.
        OSError: it cannot be opened, or is neither.
    """

    def judge(real_path: bytes, facts: os.stat_result) -> None:
        if not (stat.S_ISREG(facts.st_mode) or stat.S_ISFIFO(facts.st_mode)):
            number = errno.EISDIR if stat.S_ISDIR(facts.st_mode) else errno.EINVAL
            raise OSError(number, os.strerror(number))
        _judge(path, real_path, facts)

    return cautious.open_seen(path, _FLAGS, judge)[0]


def _judge(path: str, real_path: bytes, facts: os.stat_result) -> None:
    """Raises ConfigError for facts of a file that make it somebody else's."""
    # Of a link both count: where it lies, and where it leads. A pipe leads nowhere.
    places = {os.fsencode(os.path.abspath(path)), real_path}
    open_folder = any(_in_open_folder(place) for place in places if place.startswith(b"/"))
    if facts.st_mode & stat.S_IWOTH or open_folder:
        raise ConfigError(f"{path} is refused: everybody can write it (chmod o-w)")
    if facts.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"{path} is refused: it belongs to another user (uid {facts.st_uid})")


def _in_open_folder(place: bytes) -> bool:
    """Whether everybody can put another thing in the place of this one, or of a folder above."""
    while place != b"/":
        place = os.path.dirname(place)
        mode = os.stat(place).st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return True
    return False
