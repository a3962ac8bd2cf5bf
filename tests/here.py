"""Commands called in the test's own process: a third of a second less each than starting one.

What is tested of a command is what it says, leaves in the database, and exits with; the workers and
the writer of a run are processes all the same. How a process of a command starts and ends is tested
where that matters: whatever is started (`Database.start`), killed or sent a signal is a process,
and so is every command in test_output, test_colours, test_packaging and the like.
FASTHASH_TEST_PROCESSES=1 makes each command a process again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import logging
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from unittest import mock

from fasthash import cli, logs

# Not those that are told by signals alone.
COMMANDS = {
    "compare", "completion", "config", "doctor", "drift", "duplicates", "grants", "init", "journal",
    "manifest", "rate", "register", "report", "residual", "revert", "runs", "status",
    "summary",
}  # fmt: skip
RUNS = {"run", "scrub"}
# What only a new interpreter or dynamic loader looks at; PYTHONPATH is for workers alone, but for
# what the hooks in it change in a run.
_OF_A_PROCESS = ("LD_", "MALLOC_", "PYTHON")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def is_possible(arguments: tuple[str, ...], environment: dict[str, str]) -> bool:
    """Whether the command does the same here as in a process of its own.

    Args:
        arguments: of fasthash.
        environment: what the test sets for it.
    """
    if "FASTHASH_TEST_PROCESSES" in os.environ or not arguments:
        return False
    if arguments[0] in RUNS:
        changed = any(name.startswith((*_OF_A_PROCESS, "TEST_")) for name in environment)
        return not changed and not _has_loop()  # as a browser's driver leaves one
    return arguments[0] in COMMANDS and not any(
        name.startswith(_OF_A_PROCESS) and name != "PYTHONPATH" for name in environment
    )


def call(
    arguments: tuple[str, ...], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Calls a command; its status and what it wrote.

    Args:
        arguments: of fasthash.
        environment: the whole of it.
    """
    status = 0
    # The width is asked of the terminal that the tests run in otherwise.
    with (
        _kept(),
        mock.patch.dict(os.environ, {"COLUMNS": "80", **environment}, clear=True),
        _written_to("stdout") as out,
        _written_to("stderr") as err,
    ):
        try:
            cli.main(list(arguments))
        except SystemExit as end:
            assert end.code is None or isinstance(end.code, int)
            status = end.code or 0
        texts = [_text(file) for file in (out, err)]
    return subprocess.CompletedProcess(list(arguments), status, *texts)


@contextlib.contextmanager
def _written_to(name: str) -> Iterator[io.FileIO]:
    """A file that has what this process, and those that it starts, write to a standard stream."""
    number = {"stdout": 1, "stderr": 2}[name]
    errors = {"stdout": "strict", "stderr": "backslashreplace"}[name]
    before = os.dup(number)
    try:
        with tempfile.TemporaryFile(buffering=0) as file:
            fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)  # several write
            os.dup2(file.fileno(), number)
            raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
            stream = io.TextIOWrapper(raw, "utf-8", errors, newline="")
            with stream, mock.patch.object(sys, name, stream):
                yield file
    finally:
        os.dup2(before, number)
        os.close(before)


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


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


def _text(file: io.FileIO) -> str:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    file.seek(0)
    return file.read().decode()
