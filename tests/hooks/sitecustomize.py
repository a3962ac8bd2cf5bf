"""What tests change in the processes of a command that has this folder in its PYTHONPATH.

`TEST_STUCK_AFTER_S` and `TEST_LINE_EVERY_S` make the coordinator say sooner what it waits for;
`TEST_WRITE_EVERY_S` has it write its metrics more often; `TEST_STEP_BLOCKS` has `prune`
take smaller steps.
`TEST_OPEN_FILES` is how many files a worker may have open.
`TEST_QUEUED_PARTS` is how many parts the writer takes before it has room for them.
`TEST_SILENCE_S` has coordinator and writer look sooner into the silence of a server.
`TEST_NO_PAUSES` has the workers try again at once, and `TEST_ORDINARY_USER` takes root's
privileges from them, so that modes of files count.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

LINUX_CAPABILITY_VERSION_3 = 0x20080522  # <linux/capability.h>


def into_worker() -> None:
    """No pauses; no more privileges than an ordinary user has."""
    if "TEST_NO_PAUSES" in os.environ:
        from fasthash import files

        files.BACKOFF_S = (0,) * len(files.BACKOFF_S)
    if "TEST_OPEN_FILES" in os.environ:
        limit = int(os.environ["TEST_OPEN_FILES"])
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if os.geteuid() != 0 or "TEST_ORDINARY_USER" not in os.environ:
        return
    head, none = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(head, none):
        raise OSError(ctypes.get_errno(), "capset")


def into_coordinator() -> None:
    """Less patience."""
    from fasthash import crew
    from fasthash.cli import progress

    for module, name in ((crew, "STUCK_AFTER_S"), (progress, "LINE_EVERY_S")):
        setattr(module, name, float(os.environ.get(f"TEST_{name}", getattr(module, name))))
    if "TEST_WRITE_EVERY_S" in os.environ:
        from fasthash import exporter

        exporter.WRITE_EVERY_S = float(os.environ["TEST_WRITE_EVERY_S"])
    if "TEST_STEP_BLOCKS" in os.environ:
        from fasthash.store import pruning

        pruning.STEP_BLOCKS = int(os.environ["TEST_STEP_BLOCKS"])
        pruning.STEP_ROWS = 10


def into_writer() -> None:
    """A short queue."""
    if "TEST_QUEUED_PARTS" in os.environ:
        from fasthash import writer

        writer.QUEUED_PARTS = int(os.environ["TEST_QUEUED_PARTS"])


def into_sessions() -> None:
    """Less patience with a server that says nothing."""
    if "TEST_SILENCE_S" in os.environ:
        from fasthash.store import session

        session.SILENCE_S = float(os.environ["TEST_SILENCE_S"])


if any("fasthash.worker" in a for a in sys.orig_argv):
    into_worker()
elif any(a.endswith("fasthash") for a in sys.orig_argv):
    into_coordinator()
    into_sessions()
elif any("fasthash.writer" in a for a in sys.orig_argv):
    into_sessions()
    into_writer()
