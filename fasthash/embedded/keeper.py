"""The keeper: the process that starts the embedded server, watches it, and stops it."""

from __future__ import annotations

import fcntl
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from fasthash.embedded import home as homes
from fasthash.embedded import postgres, protocol
from fasthash.errors import DatabaseUnreachable, FasthashError

_KEEPER_WAIT_S = 600.0  # recovery after a crash may take longer than a user waits
_STOP_WAIT_S = 60.0


def main() -> None:
    """The keeper process: home, the directory of the binaries; `keeper.lock` is inherited."""

    def report(text: str) -> None:
        with suppress(OSError):  # the starter is gone
            os.write(1, text.encode())
        os.dup2(0, 1)  # it waits for the end of our stdout

    if os.fork():
        os._exit(0)  # the starter is not left with a child that it does not know
    home, programs = Path(sys.argv[1]), sys.argv[2]
    try:
        _bring_up(home, programs)
        report("ready")
        _keep(home, programs)
    except (FasthashError, OSError) as error:
        report(str(error))
        sys.exit(f"fasthash keeper: {error}")


def _bring_up(home: Path, programs: str) -> None:
    """Starts the server; returns when it works."""
    process: subprocess.Popen[bytes] | None = None
    for _ in homes.polls(time.monotonic() + _KEEPER_WAIT_S):
        if process is None:
            server_lock = homes.try_lock(home / homes.SERVER_LOCK)
            if server_lock is None:
                # A killed keeper left it: it takes nobody new, and waits for its last session.
                # Those who work in it come back to the next server, as after any restart.
                postgres.signal_server(home, signal.SIGINT)
            else:
                process = postgres.start(home, programs, server_lock)
                os.close(server_lock)
        elif protocol.problem(home, homes.SUPERUSER) is None:
            return
        elif process.poll() is not None:
            if process.returncode > 0:
                break
            process = None  # it was stopped or killed, and the next may live
    raise DatabaseUnreachable(homes.see_log(home, "does not start"))


def _keep(home: Path, programs: str) -> None:
    """Sees that the server runs while it is used; returns when it is stopped."""
    events: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()

    def watch(name: str) -> None:
        descriptor = homes.open_lock(home / name)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        events.put((name, descriptor))

    threading.Thread(target=watch, args=[homes.USERS_LOCK], daemon=True).start()
    while True:
        threading.Thread(target=watch, args=[homes.SERVER_LOCK], daemon=True).start()
        name, descriptor = events.get()
        if name == homes.USERS_LOCK:
            break
        os.close(descriptor)
        _bring_up(home, programs)
    for number in (signal.SIGINT, signal.SIGQUIT):  # fast, and without a last checkpoint
        postgres.signal_server(home, number)
        with suppress(queue.Empty):
            events.get(timeout=_STOP_WAIT_S)
            return


if __name__ == "__main__":
    main()
