"""Points where tests let a process die or lose its connection; without the variable, nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

# FASTHASH_FAULT=point:action:path, where `path` is made by whoever acts, so that each fault
# happens once however often processes are replaced.
VARIABLE = "FASTHASH_FAULT"
_wanted = os.environ.get(VARIABLE, "")


def reach(point: str, disconnect: Callable[[], None] | None = None) -> None:
    """The process has come to a point.

    Args:
        point: `before_commit`, `after_commit`, `drifts_logged`, `prune_commit` or `prune_step`.
        disconnect: closes the connection in hand, for the action of that name.
    """
    if not _wanted:
        return
    wanted_point, action, path = _wanted.split(":", 2)
    if point != wanted_point:
        return
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    if action in ("kill", "stop"):
        os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
    elif action == "disconnect" and disconnect is not None:
        disconnect()
