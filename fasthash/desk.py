"""Database calls of an event loop: in a thread of their own, so that the loop never waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from fasthash.aside import Aside
from fasthash.errors import DatabaseRefused
from fasthash.store.answers import DatabaseError, one_line
from fasthash.store.session import Connection, Session

P = ParamSpec("P")
T = TypeVar("T")


class Desk:
    """Ledger calls in a thread of their own, one at a time: the event loop never waits for them."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._thread = Aside(f"ledger {session.purpose}")

    async def call(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Runs a ledger function, again while the database is away.

        Raises:
            DatabaseLost: it stayed away.
            DatabaseRefused: it answered, and will not do it.
        """
        try:
            return await self._thread.call(
                lambda: self.session.call(lambda c: work(c, *args, **kwargs))
            )
        except DatabaseError as error:
            raise DatabaseRefused(f"the database refused: {one_line(error)}") from error

    def close(self) -> None:
        """Ends what is under way and closes the connection, without waiting for either."""
        self.session.abandon()
        self._thread.end(self.session.close)
