"""What the helper processes have in common: dying with the coordinator, and taking no signals."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

from fasthash import streams, wire

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>

# Everything that could hold a credential stays out of a worker's environment.
_SECRET_PREFIXES = ("PG", "FASTHASH_DSN")


def become_child(parent_pid: int) -> None:
    """Called first in a helper process.

    The kernel kills it when the coordinator dies, and the terminal's Ctrl-C (which goes to the
    whole process group) is the coordinator's to answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    streams.keep_log()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(0)  # it died before we asked


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The message pipes, which were stdin and stdout.

    Nothing else can use them from here on: what a site's resolver prints goes to stderr.
    """
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return source, sink


def answer(look: Callable[[Any], Iterable[object]]) -> None:
    """The main program of a helper that is asked one question (see `asking`).

    Args:
        look: from the question to the answers, each of which is sent when it is there.
    """
    become_child(int(sys.argv[1]))
    source, sink = take_pipes()
    question = wire.read(source)
    if question is not None:
        for found in look(question):
            wire.write(sink, found)
    os._exit(0)


def command(module: str, *arguments: str) -> list[str]:
    """The command line of a helper process: this interpreter, and no import from the cwd.

    `-c` and not `-m`, so that the module's own types are pickled under its name.
    """
    code = f"from {module} import main; main()"
    return [sys.executable, "-P", "-c", code, str(os.getpid()), *arguments]


def environment(current: Mapping[str, str], *, with_secrets: bool) -> dict[str, str]:
    """The environment of a helper process, which finds this very package.

    Args:
        current: the coordinator's own.
        with_secrets: whether database settings may be in it.
    """
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    kept = {k: v for k, v in current.items() if with_secrets or not k.startswith(_SECRET_PREFIXES)}
    others = [p for p in current.get("PYTHONPATH", "").split(os.pathsep) if p]
    kept["PYTHONPATH"] = os.pathsep.join([here, *others])
    return kept
