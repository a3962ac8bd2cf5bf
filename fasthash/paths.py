"""From the text in the catalog to the paths a file may have; whether a path lies in a root."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from urllib.parse import quote, unquote_to_bytes

from fasthash.fixity import Root, Verdict

FILE_URI = "file:///"
# What the kernel takes, its own terminating NUL included (PATH_MAX).
LONGEST_PATH_BYTES = 4095


class PathRefusedError(Exception):
    """The text names no file that may be opened: `verdict` and `detail` say why."""

    def __init__(self, verdict: Verdict, detail: str) -> None:
        super().__init__(detail)
        self.verdict = verdict
        self.detail = detail


def decode(text: str) -> bytes:
    """The file name that a catalog text stands for.

    A text that begins with `file:///` is a file URI (RFC 8089), whose percent escapes name any
    byte: that is how a text column can name a file whose name is not UTF-8. Any other text is
    the name itself, in UTF-8.
    """
    if text.startswith(FILE_URI):
        return unquote_to_bytes(text[len("file://") :].encode("utf-8", "surrogateescape"))
    return text.encode("utf-8", "surrogateescape")


def encode(path: bytes) -> str:
    """The catalog text for a file name: the name itself, or a file URI where it is not UTF-8.

    Args:
        path: an absolute path.
    """
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        return "file://" + quote(path)
    return "file://" + quote(path) if text.startswith(FILE_URI) else text


def is_beneath(path: bytes, folder: bytes) -> bool:
    """Whether an absolute, normalised path lies in a folder (or is it)."""
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def candidates(text: str, roots: Sequence[Root]) -> list[bytes]:
    """The absolute paths to try, in order: one for an absolute path, one a root for a relative.

    This looks at names alone; where symbolic links lead is checked on the opened file.

    Raises:
        PathRefusedError: the text is empty, too long, holds a NUL, or leads out of the roots.
    """
    if not text:
        raise PathRefusedError(Verdict.NO_FILE, "the path is empty")
    raw = decode(text)
    if b"\0" in raw:
        raise PathRefusedError(Verdict.NO_FILE, "the path holds a NUL byte")
    if raw.startswith(b"/"):
        found = [raw] if any([_leads_into(raw, root) for root in roots]) else []  # noqa: C419
    elif b".." not in raw:
        found = [root.path + b"/" + raw for root in roots]
    else:
        joined = [(root.path + b"/" + raw, root) for root in roots]
        found = [path for path, root in joined if _leads_into(path, root)]
    if not found:
        raise PathRefusedError(Verdict.OUTSIDE_ROOT, "the path lies beneath none of the roots")
    if len(found[0]) > LONGEST_PATH_BYTES:
        found = [path for path in found if len(path) <= LONGEST_PATH_BYTES]
        if not found:
            raise PathRefusedError(Verdict.NO_FILE, f"the path has {len(raw)} bytes, too many")
    return found


def plain_name(text: str, roots: Sequence[Root]) -> tuple[int, bytes] | None:
    """Which root a file lies beneath and its name from there, where the text says so plainly.

    Returns:
        The root's number and the name; None where it takes `candidates` to tell. More than one
        root may have a file of that name: this is the first to try.
    """
    if ".." in text or "\0" in text or not text:
        return None
    if text[0] != "/":
        return None if text.startswith(FILE_URI) else (0, text.encode("utf-8", "surrogateescape"))
    raw = text.encode("utf-8", "surrogateescape")
    for number, root in enumerate(roots):
        if raw.startswith(root.path) and raw[len(root.path) : len(root.path) + 1] == b"/":
            return number, raw[len(root.path) :].lstrip(b"/")
    return None


def _leads_into(path: bytes, root: Root) -> bool:
    if b".." not in path and path.startswith(root.path + b"/"):
        return True  # nearly every path: normalising costs more than the rest of this module
    whole = b"/" + posixpath.normpath(path).lstrip(b"/")
    return is_beneath(whole, root.path) or is_beneath(whole, root.real_path)


def is_inside(real_path: bytes, roots: Sequence[Root]) -> bool:
    """Whether a path without symbolic links lies in one of the roots."""
    if real_path.startswith(roots[0].real_path + b"/"):
        return True  # nearly always, and this is asked of every file
    return any(is_beneath(real_path, root.real_path) for root in roots)
