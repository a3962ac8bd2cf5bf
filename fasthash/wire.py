"""Messages between our own processes: a length, then a pickle, on a pipe with one writer."""

from __future__ import annotations

import pickle
import struct
from typing import Any, BinaryIO

LENGTH = struct.Struct("<I")


def pack(message: object) -> bytes:
    """A message as it goes over the pipe."""
    body = dump(message)
    return LENGTH.pack(len(body)) + body


def dump(message: object) -> bytes:
    """The body of a message."""
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def unpack(body: bytes) -> Any:
    """The message of a body; only ever from a process that we started."""
    return pickle.loads(body)  # noqa: S301


def read(file: BinaryIO) -> Any | None:
    """The next message, waiting for it; None when the other side is gone."""
    head = file.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    length: int = LENGTH.unpack(head)[0]
    body = file.read(length)
    return unpack(body) if len(body) == length else None


def write(file: BinaryIO, message: object) -> None:
    """Sends a message, waiting until the pipe has taken it."""
    file.write(pack(message))
    file.flush()
