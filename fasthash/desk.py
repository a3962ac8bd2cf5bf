"""Database calls of an event loop: in a thread of their own, so that the loop never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from fasthash.errors import DatabaseRefused
from fasthash.store.session import Connection, DatabaseError, Session, one_line

P = ParamSpec("P")
T = TypeVar("T")


class Desk:
    """Ledger calls in a thread of their own, one at a time: the event loop never waits for them."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    async def call(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Runs a ledger function, again while the database is away.

        Raises:
            DatabaseLost: it stayed away.
            DatabaseRefused: it answered, and will not do it.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._thread, self.session.call, lambda c: work(c, *args, **kwargs)
            )
        except DatabaseError as error:
            raise DatabaseRefused(f"the database refused: {one_line(error)}") from error

    def close(self) -> None:
        """Ends what is under way and closes the connection, without waiting for either."""
        self.session.abandon()
        self._thread.submit(self.session.close)
        self._thread.shutdown(wait=False)
