"""Looks at what a name leads to before it opens it: to open a thing can set it going.

A writer that waits at a FIFO is let go, a tape winds back, a watchdog starts. So a name is opened
without its content first (O_PATH), judged by that, and then opened for reading through the
descriptor: it is the very same thing, whatever the name has come to mean meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

# Told the path that the kernel has for a thing (empty: it is too long to be told), and its facts;
# raises where it is not wanted.
Judge = Callable[[bytes, os.stat_result], None]


_LOOK = os.O_PATH | os.O_CLOEXEC


class SeenError(OSError):
    """It could be looked at, so it is there, and yet not be opened."""


def open_seen(
    path: bytes | str, flags: int, judge: Judge, *, follows: bool = True
) -> tuple[int, os.stat_result]:
    """A descriptor of what a path leads to, if it passes, and the facts that it was judged by.

    Args:
        path: of anything at all.
        flags: for os.open.
        judge: asked before it is opened.
        follows: whether a symbolic link stands for what it leads to.

    Raises:
        SeenError: it cannot be opened.
        OSError: it cannot be looked at.
    """
    seen = os.open(path, _LOOK if follows else _LOOK | os.O_NOFOLLOW)
    try:
        itself = b"/proc/self/fd/%d" % seen
        try:
            name, facts = _name(itself), os.fstat(seen)
        except OSError as error:
            raise SeenError(error.errno, error.strerror) from error
        judge(name, facts)
        try:
            return os.open(itself, flags), facts
        except OSError as error:
            raise SeenError(error.errno, error.strerror) from error
    finally:
        os.close(seen)


def refuse_special(_real_path: bytes, facts: os.stat_result) -> None:
    """A judge that passes regular files alone.

    Raises:
        OSError: it is another kind of thing.
    """
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def _name(itself: bytes) -> bytes:
    try:
        return os.readlink(itself)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return b""
