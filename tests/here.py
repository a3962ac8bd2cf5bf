"""Commands called in the test's own process: a third of a second less each than starting one.

What is tested of a command is what it says, leaves in the database, and exits with. How a process
of it starts and ends is tested where that matters: every run and scrub is a process, and so is
every command in test_output, test_colours, test_packaging and the like. FASTHASH_TEST_PROCESSES=1
makes each command a process again.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from unittest import mock

from fasthash import cli, logs

# Not those that work in processes of their own and are told by signals.
COMMANDS = {
    "compare", "completion", "config", "doctor", "drift", "duplicates", "grants", "init", "journal",
    "manifest", "rate", "register", "report", "residual", "revert", "status", "summary",
}  # fmt: skip
# What only a new interpreter or dynamic loader looks at; PYTHONPATH is for workers alone.
_OF_A_PROCESS = ("LD_", "MALLOC_", "PYTHON")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def is_possible(arguments: tuple[str, ...], environment: dict[str, str]) -> bool:
    """Whether the command does the same here as in a process of its own.

    Args:
        arguments: of fasthash.
        environment: what the test sets for it.
    """
    if "FASTHASH_TEST_PROCESSES" in os.environ or not arguments or arguments[0] not in COMMANDS:
        return False
    return not any(name.startswith(_OF_A_PROCESS) and name != "PYTHONPATH" for name in environment)


def call(
    arguments: tuple[str, ...], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Calls a command; its status and what it wrote.

    Args:
        arguments: of fasthash.
        environment: the whole of it.
    """
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", newline="")
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", newline="")
    status = 0
    # The width is asked of the terminal that the tests run in otherwise.
    with _kept(), mock.patch.dict(os.environ, {"COLUMNS": "80", **environment}, clear=True):
        with mock.patch.object(sys, "stdout", out), mock.patch.object(sys, "stderr", err):
            try:
                cli.main(list(arguments))
            except SystemExit as end:
                assert end.code is None or isinstance(end.code, int)
                status = end.code or 0
        texts = [_text(stream) for stream in (out, err)]
    return subprocess.CompletedProcess(list(arguments), status, *texts)


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """Leaves signals, warnings and the package's log as they were."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    log = logging.getLogger("fasthash")
    before = (log.handlers[:], log.level, log.propagate)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        log.handlers[:], log.level, log.propagate = before
        logs.unbind()


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    written = stream.buffer
    assert isinstance(written, io.BytesIO)
    return written.getvalue().decode()
