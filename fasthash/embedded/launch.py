"""Becomes another program, whom the kernel ends (SIGTERM) when the process that started it dies.

A script, run between `setpriv` and the server: a change of user would undo the setting.
"""

import os
import signal
import sys
from contextlib import suppress

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """The pid of the process that started it, then the command, by its path."""
    starter, *command = sys.argv[1:]
    # A Python that was built without ctypes leaves a server that outlives its keeper, as before.
    with suppress(ImportError):
        import ctypes  # noqa: PLC0415

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, and exec would keep it so
        signal.signal(ignored, signal.SIG_DFL)
    if os.getppid() == int(starter):  # else it died before we asked
        os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
