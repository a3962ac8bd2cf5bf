"""A thread beside the event loop, for calls that block; nobody waits for it at the end."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Aside:
    """Does one thing after another in a thread that ends with the process, whatever it waits for.

    A pool of `concurrent.futures` would be waited for at exit: for a statement without an answer,
    or a dead network mount.
    """

    def __init__(self, name: str) -> None:
        self._todo: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def call(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises; a caller that is cancelled does not stop it."""
        future: Future[T] = Future()

        def do() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)

        self._todo.put(do)
        return await asyncio.wrap_future(future)

    def end(self, last: Callable[[], None] | None = None) -> None:
        """The thread ends when it has done what it was given, and `last`."""
        if last is not None:
            self._todo.put(last)
        self._todo.put(None)

    def _work(self) -> None:
        while (do := self._todo.get()) is not None:
            do()
