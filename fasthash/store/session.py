"""Connections: opening them, losing them, getting them back."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from psycopg import IsolationLevel, conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from fasthash.errors import DatabaseLost, DatabaseUnreachable
from fasthash.store.absence import Absence
from fasthash.store.answers import (
    CONTENTION,
    Unwell,
    described,
    is_away,
    is_gone,
    is_stuck,
    one_line,
)
from fasthash.store.connection import Connection, Row, Timeouts, open_connection
from fasthash.store.conninfo import malformed
from fasthash.store.queries import query
from fasthash.store.watch import SILENCE_S, Watch, deadline, hang_up

__all__ = ["Connection", "Row", "Session", "Timeouts", "connect", "connect_once"]

log = logging.getLogger("fasthash")

T = TypeVar("T")
CONNECT_TIMEOUT_S = 10


# A command that somebody waits for.
AT_ONCE = Timeouts(lock_s=2)
# Only we ourselves lock the ledger's rows, and let them go after a batch, slow as it may be. The
# statements of the lease protocol take milliseconds; one that takes longer than a lock is waited
# for is stuck, and ends. What may take its time says so (`patient`), or has a session of its own.
LEDGER = Timeouts(lock_s=30, statement_s=40, idle_s=10)
# For what grows with the catalog: planning, counting, taking over journals.
UNHURRIED = Timeouts(lock_s=30, idle_s=10)
# The writer never waits for a row that it is to write. If it has to wait for anything else, a
# trigger's doing perhaps, it gives way before the server looks for deadlocks (after 1 s): the
# victim is never the application.
WRITER = Timeouts(lock_s=0.5, statement_s=30, idle_s=10)

# What was sent is acknowledged within this time, or the connection is lost.
ACKNOWLEDGED_WITHIN_S = 30
CANCEL_WITHIN_S = 0.25
BACKOFF_FIRST_S = 0.1
BACKOFF_MOST_S = 2.0


def check_dsn(dsn: str) -> str:
    """Returns the connection string if libpq can parse it.

    Raises:
        ConfigError: it cannot; the message does not repeat it, for it may hold a password.
    """
    try:
        conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        raise malformed(str(error)) from error
    return dsn


def describe(dsn: str) -> str:
    """The server and database of a connection string, without its secrets."""
    facts = {**conninfo.conninfo_to_dict(dsn)}
    where = facts.get("host") or facts.get("hostaddr") or "the local socket"
    return f"database {facts.get('dbname') or '(default)'} on {where}"


def connect(
    dsn: str,
    purpose: str,
    timeouts: Timeouts = AT_ONCE,
    within_s: float = CONNECT_TIMEOUT_S,
) -> tuple[Connection, int]:
    """Opens a session with fasthash's own settings.

    Args:
        dsn: libpq connection string; what it leaves out comes from libpq's own environment.
        purpose: shown in pg_stat_activity as `fasthash <purpose>`.
        timeouts: the server's.
        within_s: how long the server may take to answer.

    Returns:
        The connection and the pid of its server process.

    Raises:
        psycopg.OperationalError: the server cannot be reached or refuses.
    """
    connection = open_connection(
        dsn,
        autocommit=True,
        row_factory=dict_row,
        connect_timeout=max(2, int(within_s)),  # libpq's own least
        client_encoding="UTF8",
        application_name=f"fasthash {purpose}",
        keepalives_idle=30,
        keepalives_interval=10,
        keepalives_count=3,
        tcp_user_timeout=ACKNOWLEDGED_WITHIN_S * 1000,
    )
    connection.isolation_level = IsolationLevel.READ_COMMITTED
    connection.prepare_settings(timeouts)
    with deadline(connection, within_s):
        row = connection.execute(query("session", "backend_pid")).fetchone()
    connection.backend_pid = int(row["pid"]) if row else 0
    connection.is_pooled = connection.backend_pid != connection.info.backend_pid
    if connection.is_pooled:
        connection.prepare_threshold = None  # what is prepared stays in a session of the pool's
    return connection, connection.backend_pid


def connect_once(dsn: str, purpose: str, within_s: float = CONNECT_TIMEOUT_S) -> Connection:
    """Opens a session for a command that does not wait for a database.

    Raises:
        DatabaseUnreachable: with libpq's reason in one line.
    """
    try:
        return connect(dsn, purpose, within_s=min(within_s, CONNECT_TIMEOUT_S))[0]
    except psycopg.OperationalError as error:
        raise DatabaseUnreachable(
            f"cannot reach {describe(dsn)}: {one_line(error)}; {_what_to_do(str(error))}"
        ) from error


def _what_to_do(why: str) -> str:
    """A server that refuses us does run."""
    where = "--dsn (or FASTHASH_DSN, PGHOST, PGSERVICE)"
    if "FATAL:" not in why:
        return f"check {where} and that the server runs"
    if "password" in why or "role" in why:
        return f"check user and password in {where}, ~/.pgpass, and the server's pg_hba.conf"
    return f"check {where}"


class Session:
    """A connection that outlives the server's restarts.

    Args:
        dsn: libpq connection string.
        purpose: see `connect`.
        timeout_s: how long the database may stay away before `DatabaseLost`.
        on_connect: called with every new connection before it is used.
        timeouts: the server's.
    """

    def __init__(
        self,
        dsn: str,
        purpose: str,
        timeout_s: float,
        on_connect: Callable[[Connection], None] | None = None,
        timeouts: Timeouts = LEDGER,
    ) -> None:
        self.dsn = dsn
        self.purpose = purpose
        self.timeout_s = timeout_s
        self.on_connect = on_connect
        self.timeouts = timeouts
        self.connection: Connection | None = None
        self.abandoned = threading.Event()
        self._absence = Absence(purpose, describe(dsn), timeout_s)
        self.connects = 0
        self._backend_pid = 0
        self._watch = Watch(dsn, min(SILENCE_S, max(1.0, timeout_s / 4)))

    @property
    def reconnects(self) -> int:
        """How often a connection had to be replaced."""
        return max(0, self.connects - 1)

    def call(self, work: Callable[[Connection], T]) -> T:
        """Runs `work`, again and again while the database is away or others are in the way.

        A statement that the server has ended for its length counts as the database being away.

        `work` has to be a transaction of its own that may be repeated. It raises `Unwell` where the
        server answers, and it knows that no row is to blame.

        Raises:
            DatabaseLost: the database stayed away past the time-out, or `abandon` was called.
        """
        pause_s = BACKOFF_FIRST_S
        while True:
            if self.abandoned.is_set():
                raise DatabaseLost("stopped")
            began_at = time.monotonic()
            try:
                result = self._watched(work)
            except psycopg.Error as error:
                contended = isinstance(error, CONTENTION)
                if not (contended or is_stuck(error) or is_away(error, self.connection)):
                    raise
                self._note_failure(error, contended, began_at)
            except Unwell as unwell:
                self._note_failure(unwell.error, False, began_at)
            else:
                self._absence.is_over()
                return result
            self._pause(pause_s)
            pause_s = min(pause_s * 2, BACKOFF_MOST_S)

    def _watched(self, work: Callable[[Connection], T]) -> T:
        if self.connection is None or self.connection.closed or self.connection.broken:
            self.connection = None
            connection, self._backend_pid = connect(
                self.dsn,
                self.purpose,
                self.timeouts,
                min(CONNECT_TIMEOUT_S, self.timeout_s),
            )
            with self._watch.over(connection, self._backend_pid):
                if self.on_connect is not None:
                    self.on_connect(connection)
            self.connection = connection
            self.connects += 1
        try:
            with self._watch.over(self.connection, self._backend_pid):
                return work(self.connection)
        except psycopg.Error as error:
            if not self._watch.hung_up:
                raise
            raise psycopg.OperationalError("the server does not answer any more") from error

    def _note_failure(self, error: psycopg.Error, contended: bool, began_at: float) -> None:
        if self.abandoned.is_set():
            raise DatabaseLost("stopped while waiting for the database") from error
        if contended:
            log.debug("%s: %s; trying again", self.purpose, one_line(error))
            return
        since_s = began_at if self._watch.hung_up else time.monotonic()
        self._absence.goes_on(
            described(error), since_s, error, answers=not is_gone(self.connection)
        )

    def _pause(self, pause_s: float) -> None:
        # Jitter, so that processes that collided do not collide again in step.
        self.abandoned.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311

    def abandon(self) -> None:
        """Ends waiting and running statements: for another thread, at a stop."""
        self.abandoned.set()
        self._watch.end()
        connection = self.connection
        if connection is None or connection.closed:
            return
        if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
            try:
                connection.cancel_safe(timeout=CANCEL_WITHIN_S)
            except psycopg.Error as error:
                log.debug("could not cancel: %s", one_line(error))
        else:
            _unlock(connection)
        hang_up(connection)

    def close(self) -> None:
        """Closes the connection, which also gives up its advisory lock."""
        self._watch.end()
        connection, self.connection = self.connection, None
        if connection is None:
            return
        _unlock(connection)
        connection.close()


def _unlock(connection: Connection) -> None:
    """Behind a pooler the server's session lives on, and with it what it has locked."""
    if not connection.is_pooled or is_gone(connection):
        return
    try:
        with deadline(connection, CANCEL_WITHIN_S):
            connection.execute(query("session", "unlock"))
    except psycopg.Error as error:
        log.debug("could not unlock: %s", one_line(error))
