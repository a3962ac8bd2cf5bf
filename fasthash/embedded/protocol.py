"""As much of PostgreSQL's protocol as it takes to know that the server works.

No driver to import, no process to start, and unlike a mere connect it tells a server that works
from one that only listens.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import BinaryIO

from fasthash.embedded.home import SOCKET_NAME, SUPERUSER, socket_dir
from fasthash.errors import DatabaseUnreachable

_ANSWER_WAIT_S = 30.0
_PROTOCOL_3_0 = 196608
_NO_SUCH_DATABASE = "3D000"
# Starting, stopping, full, or somebody else is making the same database: each passes by itself.
_PASSING = ("57P", "53300", "42P04", "23505", "55006")


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(fields.get("M", "no reason given"))
        self.sqlstate = fields.get("C", "")


def problem(home: Path, database: str) -> str | None:
    """What passing thing is in the way of the database, if any; makes it where it is missing.

    Raises:
        DatabaseUnreachable: the server refuses for good.
    """
    try:
        try:
            talk(home, database)
        except Refused as refused:
            if refused.sqlstate != _NO_SUCH_DATABASE:
                raise
            talk(home, SUPERUSER, f"CREATE DATABASE {quoted(database)}")
    except Refused as refused:
        if refused.sqlstate.startswith(_PASSING):
            return str(refused)
        raise DatabaseUnreachable(f"the embedded PostgreSQL refuses: {refused}") from refused
    except OSError as error:
        return error.strerror or str(error)
    return None


def has_database(home: Path, database: str) -> bool:
    """Whether there is such a database; true also where the server does not say."""
    try:
        talk(home, database)
    except Refused as refused:
        return refused.sqlstate != _NO_SUCH_DATABASE
    except OSError:
        pass  # the driver meets the same, and has the words for it
    return True


def talk(home: Path, database: str, statement: str = "") -> None:
    """Connects, and runs a statement if one is given.

    Raises:
        Refused: the server's answer.
        OSError: there is no answer.
    """
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(_ANSWER_WAIT_S)
        link.connect(os.fsencode(socket_dir(home) / SOCKET_NAME))
        words = "\0".join(["user", SUPERUSER, "database", database, "", ""]).encode()
        link.sendall(struct.pack("!ii", 8 + len(words), _PROTOCOL_3_0) + words)
        with link.makefile("rb") as source:
            _await_ready(source)
            if statement:
                text = statement.encode() + b"\0"
                link.sendall(b"Q" + struct.pack("!i", 4 + len(text)) + text)
                _await_ready(source)
        link.sendall(b"X" + struct.pack("!i", 4))


def _await_ready(source: BinaryIO) -> None:
    """Reads messages until the server is ready for the next statement."""
    while True:
        head = source.read(5)
        if len(head) < 5:
            raise ConnectionError("it closed the connection")
        kind, length_bytes = struct.unpack("!ci", head)
        body = source.read(length_bytes - 4)
        if kind == b"E":
            fields = body.decode(errors="replace").split("\0")
            raise Refused({field[0]: field[1:] for field in fields if field})
        if kind == b"Z":
            return


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def server_pid(home: Path) -> int:
    """The process that listens, whom the kernel names: pid files may be stale.

    Returns:
        0 for one in another pid namespace.

    Raises:
        OSError: nobody listens.
    """
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(os.fsencode(socket_dir(home) / SOCKET_NAME))
        credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack("iII", credentials)[0])
