"""Helper processes of commands that are called in the test's own process: forked, not started anew.

Nine tenths of what a helper takes to start are the interpreter and its imports, which are here
already: 0.01 s in place of 0.07 (a worker) and 0.18 (the writer), 3,800 times in a run of the
tests. All the rest is as ever: a process of its own, with the pipes, environment and arguments that
it was given, and no descriptor more.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib
import logging
import os
import re
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn
from unittest import mock

_started_anew = subprocess.Popen._execute_child  # type: ignore[attr-defined]


@contextlib.contextmanager
def helpers() -> Iterator[None]:
    """Inside of it, what `fasthash.child.command` names is forked from this process."""
    with mock.patch.object(subprocess.Popen, "_execute_child", _execute_child):
        yield


def _execute_child(
    process: subprocess.Popen[bytes],
    args: Any,
    executable: Any,
    preexec_fn: Any,
    close_fds: bool,
    pass_fds: tuple[int, ...],
    cwd: Any,
    env: dict[str, str] | None,
    *others: Any,
) -> None:
    """In place of the method of that name, of Python 3.11 to 3.14."""
    module = _helper(args)
    if module is None or executable is not None or cwd is not None or env is None:
        _started_anew(process, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *others)
        return
    p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite = others[3:9]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it is forked beside threads
        process.pid = os.fork()
    if process.pid == 0:
        _be(module, args[4:], env, (p2cread, c2pwrite, errwrite), pass_fds)
    process._child_created = True  # type: ignore[attr-defined]
    for ours, theirs in ((p2cwrite, p2cread), (c2pread, c2pwrite), (errread, errwrite)):
        if ours != -1 and theirs != -1:
            os.close(theirs)


def _helper(args: Any) -> str | None:
    """The module of a helper process; None for any other command line."""
    if not isinstance(args, list) or args[:3] != [sys.executable, "-P", "-c"]:
        return None
    code = re.fullmatch(r"from (\S+) import main; main\(\)", args[3])
    return code[1] if code else None


def _be(
    module: str,
    arguments: list[str],
    environment: dict[str, str],
    streams: tuple[int, int, int],
    kept: Sequence[int],
) -> NoReturn:
    """Becomes the helper. Nothing of the test's own comes after it: no fixture, no exit handler."""
    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as the interpreter does
        signal.set_wakeup_fd(-1)
        moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, 3) if 0 <= fd < 3 else fd for fd in streams]
        for number, fd in enumerate(moved):
            if fd != -1:
                os.dup2(fd, number)
        _close_all_but({0, 1, 2, *kept})
        os.environ.clear()
        os.environ.update(environment)
        logging.getLogger("fasthash").handlers.clear()
        sys.argv = ["-c", *arguments]
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(  # noqa: SIM115
            2, "w", encoding="utf-8", errors="backslashreplace", closefd=False
        )
        asyncio.events._set_running_loop(None)
        importlib.import_module(module).main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(status)


def _close_all_but(kept: set[int]) -> None:
    """Every other descriptor, that of pytest's own pipes and of the database's sessions, too."""
    below = 0
    for fd in sorted(kept):
        if below < fd:  # an empty range from 0 would be every descriptor
            os.closerange(below, fd)
        below = fd + 1
    os.closerange(below, 65_536)
