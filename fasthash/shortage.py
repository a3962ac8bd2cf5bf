"""When nothing can be opened: a matter of the process or the machine, never of the file in hand."""

from __future__ import annotations

import errno
import logging
import os
import resource
import time
from collections.abc import Callable
from typing import TypeVar

from fasthash import logs
from fasthash.errors import OutOfResources
from fasthash.watching import Watch

log = logging.getLogger("fasthash")

T = TypeVar("T")

# What an open says where there is no room for one more: descriptors of the process, open files or
# memory of the machine, quotas of keys or caches.
ERRORS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT}
)
# How long it is waited for. Other threads give their descriptors back within the reading of a
# file; a machine that is out of files or memory needs somebody to end something.
WAIT_S = 60.0
LONGEST_PAUSE_S = 1.0
# Other threads make room much sooner, and nobody has to hear of it.
SAY_AFTER_S = 1.0


class ShortageError(Exception):
    """An open failed for want of room; `error` says of what."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def waited_out(attempt: Callable[[], T], watch: Watch) -> T:
    """What an attempt returns once there is room for it.

    Args:
        attempt: raises ShortageError where there is none; nothing of it may stay open then.
        watch: told that it goes on, and says when to stop.

    Raises:
        OutOfResources: there was none for WAIT_S, for anything else either.
        ShortageError: for all that time there was none for this file, but there is for others: a
            file system's own daemon can say such a thing, too.
        Stopped: the run stops.
    """
    pause_s, waited_s, is_said = 0.01, 0.0, False
    while True:
        try:
            return attempt()
        except ShortageError as short:
            if waited_s >= WAIT_S:
                refuse_where_real(short)
                raise
            if waited_s >= SAY_AFTER_S and not is_said:
                is_said = True
                log.warning(
                    "no file can be opened: %s; waiting",
                    describe(short.error),
                    extra=logs.event("out_of_resources", reason=describe(short.error)),
                )
        time.sleep(pause_s)
        watch.advance(0)
        waited_s += pause_s
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


def refuse_where_real(short: ShortageError) -> None:
    """Raises OutOfResources where not even the root directory can be opened."""
    try:
        os.close(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        detail = f"no file could be opened for {WAIT_S:g} s: {describe(error)}"
        raise OutOfResources(f"{detail}; everything committed is kept") from short


def describe(error: OSError) -> str:
    """What there is no room for, and which limit says so."""
    number = error.errno or 0
    text = f"{errno.errorcode.get(number, number)}: {os.strerror(number)}"
    if number == errno.EMFILE:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"{text} (this process may have {limit}: ulimit -n)"
    if number == errno.ENFILE:
        return f"{text} (of the whole machine: sysctl fs.file-max)"
    return text
