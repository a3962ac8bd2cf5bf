"""Hangs up on servers that have stopped answering; libpq alone would wait for ever."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from fasthash.store.queries import query

# A statement may take as long as it needs, but from here on somebody asks whether the server is
# at work on it.
SILENCE_S = 10.0
# What a probe has for its answer, and how many have to find nothing at work: an answer may be on
# its way while the first one asks.
PROBE_S = 5.0
PROBES_IN_VAIN = 2
# No free connection: the server lives, and more cannot be known.
_FULL_CLASS = "53"


def hang_up(connection: psycopg.Connection[Any]) -> None:
    """Ends a connection for good, also for a thread that waits for its answer."""
    with (
        suppress(psycopg.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)


@contextmanager
def deadline(connection: psycopg.Connection[Any], seconds: float) -> Iterator[None]:
    """Hangs up if the block takes longer."""
    timer = threading.Timer(seconds, hang_up, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Watch:
    """Watches the calls of one connection after the other.

    TCP notices a peer that is gone. It does not notice a server process that is stopped, or a
    proxy that takes what is sent and passes nothing on. So when a call takes long, the server is
    asked through a second connection whether it is at work on the first.

    Args:
        dsn: libpq connection string.
        silence_s: from when on a call is looked into.
    """

    def __init__(self, dsn: str, silence_s: float = SILENCE_S) -> None:
        self.dsn = dsn
        self.silence_s = silence_s
        self.probe_s = min(PROBE_S, silence_s / 2)
        self.hung_up = False
        self._call: tuple[psycopg.Connection[Any], int, float] | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, connection: psycopg.Connection[Any], backend_pid: int) -> Iterator[None]:
        """Watches what the block does with a connection."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
            self._thread.start()
        self.hung_up = False
        self._call = (connection, backend_pid, time.monotonic())
        try:
            yield
        finally:
            self._call = None

    def end(self) -> None:
        """Watches no more."""
        self._ended.set()

    def _look(self) -> None:
        in_vain = 0
        while not self._ended.wait(self.probe_s / 2):
            call = self._call
            if call is None or time.monotonic() - call[2] < self.silence_s:
                in_vain = 0
                continue
            in_vain = 0 if self._at_work(call[1]) else in_vain + 1
            if in_vain >= PROBES_IN_VAIN and call is self._call:
                self.hung_up = True
                hang_up(call[0])

    def _at_work(self, backend_pid: int) -> bool:
        try:
            with (
                psycopg.connect(
                    self.dsn,
                    autocommit=True,
                    connect_timeout=max(2, int(self.probe_s)),
                    application_name="fasthash watch",
                ) as probe,
                deadline(probe, self.probe_s),
            ):
                row = probe.execute(query("session", "at_work"), {"pid": backend_pid}).fetchone()
        except psycopg.Error as error:
            return (error.sqlstate or "").startswith(_FULL_CLASS)
        return row is not None and bool(row[0])
