"""A database that stays away: what is said about it, and for how long it is waited for."""

from __future__ import annotations

import logging
import time

from fasthash import logs
from fasthash.errors import DatabaseLost

log = logging.getLogger("fasthash")


class Absence:
    """The time for which one session has no database.

    Args:
        purpose: the session's.
        where: the server and database, without secrets.
        timeout_s: how long it may last.
    """

    def __init__(self, purpose: str, where: str, timeout_s: float) -> None:
        self.purpose = purpose
        self.where = where
        self.timeout_s = timeout_s
        self._since_s: float | None = None  # monotonic

    def goes_on(self, reason: str, since_s: float, error: Exception, *, answers: bool) -> None:
        """The database did not serve, once more.

        Args:
            reason: one line.
            since_s: when it began, if this is the first time; monotonic.
            error: the cause.
            answers: it is there, and this is what it said.

        Raises:
            DatabaseLost: it has lasted too long.
        """
        if self._since_s is None:
            self._since_s = since_s
            log.warning(
                "%s: %s; waiting up to %.0f s for the database",
                self.purpose,
                reason,
                self.timeout_s,
                extra=logs.event(
                    "database_away", session=self.purpose, reason=reason, timeout_s=self.timeout_s
                ),
            )
        elif time.monotonic() - self._since_s > self.timeout_s:
            how = "could not serve" if answers else "stayed away"
            raise DatabaseLost(
                f"{self.where} {how} for {self.timeout_s:.0f} s ({reason}); "
                "everything committed so far is kept: the same command goes on from there"
            ) from error

    def is_over(self) -> None:
        """The database serves."""
        if self._since_s is None:
            return
        seconds = round(time.monotonic() - self._since_s, 1)
        self._since_s = None
        log.info(
            "%s: the database is back",
            self.purpose,
            extra=logs.event("database_back", session=self.purpose, seconds=seconds),
        )
