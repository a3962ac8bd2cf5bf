"""A resolver that makes files change between two looks of the worker at them: no race to win.

Named on the command line by tests; loading it in a worker sets the hook. What becomes of a file
is in its name.
"""

from __future__ import annotations

import os

from fasthash import files

_done: set[str] = set()


def resolve(text: str) -> str:
    """The text itself."""
    return text


def _change(descriptor: int) -> None:
    path = os.readlink(f"/proc/self/fd/{descriptor}")
    name = os.path.basename(path)
    if name.startswith("always-grows"):
        _append(path)
    elif path not in _done:
        _done.add(path)
        if name.startswith("grows"):
            _append(path)
        elif name.startswith("shrinks"):
            os.truncate(path, os.path.getsize(path) // 2)
        elif name.startswith("replaced"):
            os.rename(f"{path}.new", path)
        elif name.startswith("vanishes"):
            os.unlink(path)


def _append(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"more")


def _shrink_while_mapped() -> None:
    """A file that is truncated while it is mapped, which ends the process by SIGBUS."""
    advance = files.Reader._advance

    def cut(self: files.Reader, read_bytes: int, watch: files.Watch) -> None:
        advance(self, read_bytes, watch)
        path = os.environ.get("CUT")
        if path and self.use_mmap and read_bytes == files.MMAP_WINDOW_BYTES:
            os.truncate(path, files.MMAP_WINDOW_BYTES)

    files.Reader._advance = cut  # type: ignore[method-assign]


files.between_looks = _change
_shrink_while_mapped()
