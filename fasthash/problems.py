"""Why a file has no digest, and what an operator is told of it."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Sequence

from fasthash import shortage
from fasthash.fixity import Verdict
from fasthash.shortage import ShortageError

ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
_TRANSIENT = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR, errno.EAGAIN})


class FileProblemError(Exception):
    """No digest: `verdict` is the residual reason, `transient` says whether trying again helps."""

    def __init__(self, verdict: Verdict, detail: str, *, transient: bool = False) -> None:
        super().__init__(detail)
        self.verdict = verdict
        self.detail = detail
        self.transient = transient


def problem_of(error: OSError, *, is_open: bool = False) -> FileProblemError:
    """What an error says of a file.

    Args:
        is_open: it happened to an open file, which is not missing, whatever is said of it then.

    Raises:
        ShortageError: nothing, for it is the process or the machine that lacks something.
    """
    number = error.errno or 0
    if number in shortage.ERRORS:
        raise ShortageError(error) from error
    text = f"{errno.errorcode.get(number, number)}: {os.strerror(number)}"
    if is_open:
        transient = number in _TRANSIENT | ABSENT
        return FileProblemError(Verdict.UNREADABLE, text, transient=transient)
    if number in ABSENT or number == errno.ENAMETOOLONG:
        return FileProblemError(Verdict.NO_FILE, text)
    if number == errno.ENXIO:  # a socket, or a device without a driver
        return FileProblemError(Verdict.NOT_REGULAR, text)
    return FileProblemError(Verdict.UNREADABLE, text, transient=number in _TRANSIENT)


def kind_of(mode: int) -> str:
    """The name of a kind of file that is not a regular one, from `st_mode`."""
    for test, name in (
        (stat.S_ISDIR, "directory"),
        (stat.S_ISFIFO, "FIFO"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISCHR, "character device"),
        (stat.S_ISBLK, "block device"),
    ):
        if test(mode):
            return name
    return "special file"


def other_form(paths: Sequence[bytes]) -> str | None:
    """Whether a missing path exists in the other Unicode normal form, and which."""
    for path in paths:
        if path.isascii():
            continue
        text = path.decode("utf-8", "surrogateescape")
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, text).encode("utf-8", "surrogateescape")
            if other != path and os.path.lexists(other):
                return f"the same name exists in Unicode normal form {form}"
    return None
