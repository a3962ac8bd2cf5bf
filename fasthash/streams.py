"""Standard streams that are closed, full, or read by nobody: a lost log line ends nothing.

The interpreter flushes stdout and stderr at its very end, and ends with status 120 where one of
them does not take what is left. Here a log line that cannot be written is dropped, and a result
that cannot is remembered, so that whoever ends the process says so.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_STDIN, _STDOUT, _STDERR = 0, 1, 2


class _Descriptor(io.FileIO):
    """A standard stream's descriptor, left open at the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)

    def write(self, data: Buffer, /) -> int:
        """Waits for a reader also where somebody has made the descriptor non-blocking."""
        while (written := super().write(data)) is None:
            select.select([], [self], [])
        return written


class _Result(_Descriptor):
    """Remembers what went wrong, whoever was told of it then."""

    error: OSError | None = None

    def write(self, data: Buffer, /) -> int:
        """As that of any file."""
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


class _Log(_Descriptor):
    """Takes anything, and drops what has nowhere to go; the ledger has it all the same."""

    def write(self, data: Buffer, /) -> int:
        """Never fails."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def keep_log() -> None:
    """Lets nothing that is written to stderr fail, and no file or socket become a standard stream.

    Where descriptor 0, 1 or 2 is closed, the next one to be opened would take its number. Nothing
    can be written to what a closed stdout becomes, for a result that nobody gets is an error
    (`>&-`); stdin and stderr become /dev/null.
    """
    for number, flags in ((_STDIN, os.O_RDONLY), (_STDOUT, os.O_RDONLY), (_STDERR, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            _open_nothing(number, flags)
    if (
        sys.stdin is None
    ):  # as the interpreter leaves it; whoever asks whether it is a terminal asks it
        sys.stdin = open(_STDIN, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is sys.__stderr__:  # not a test's
        sys.stderr = _text(_Log(_STDERR), sys.stderr, "backslashreplace", is_by_line=True)


def watch_result() -> None:
    """Has standard output remember what it could not take; see `lost_result`."""
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(_Result(_STDOUT), sys.stdout, "strict", is_by_line=os.isatty(_STDOUT))


def lost_result() -> OSError | None:
    """Why something that was written to standard output did not get there, if so.

    It is flushed first. A reader who has gone (BrokenPipeError) is a reason like others.
    """
    try:
        sys.stdout.flush()
    except OSError:
        discard(sys.stdout)
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, _Result) else None


def discard(stream: TextIO) -> None:
    """What is buffered, and whatever else is written to the stream, goes nowhere."""
    _open_nothing(stream.fileno(), os.O_WRONLY)


def _open_nothing(number: int, flags: int) -> None:
    """Makes a descriptor one of /dev/null, which helper processes inherit."""
    opened = os.open(os.devnull, flags)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    os.set_inheritable(number, True)


def _text(raw: io.FileIO, old: TextIO | None, errors: str, *, is_by_line: bool) -> TextIO:
    """A text stream as the interpreter makes them, with what it found out about this one."""
    encoding = None if old is None else old.encoding
    errors = errors if old is None or old.errors is None else old.errors
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=is_by_line)
