"""Signals of a run, before and after it can hear them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from fasthash.controls import Signals

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class Steered:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def stop(self, number: int) -> None:
        self.heard.append(number)

    def tell(self) -> None:
        self.heard.append("tell")

    def set_rates(self, bytes_per_s: float | None, files_per_s: float | None) -> None:
        self.heard.append((bytes_per_s, files_per_s))


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_each_signal_is_heard() -> None:
    run = Steered()

    async def work() -> None:
        signals = Signals(lambda: (1.0, None))
        signals.attach(run)
        for n, number in enumerate(NUMBERS):
            os.kill(os.getpid(), number)
            while len(run.heard) == n:
                await asyncio.sleep(0)
        signals.detach()

    asyncio.run(work())
    assert run.heard == [signal.SIGINT, signal.SIGTERM, "tell", (1.0, None)]


def test_what_waits_in_the_loop_when_it_ends_is_not_heard_any_more() -> None:
    """By then its memory is given back."""
    run = Steered()

    async def work() -> None:
        signals = Signals(lambda: (1.0, None))
        signals.attach(run)
        loop = asyncio.get_running_loop()
        # In this order: what the loop has taken from its pipe, and then the end.
        for number in (signal.SIGUSR1, signal.SIGHUP):
            loop._handle_signal(number)  # type: ignore[attr-defined]
        signals.detach()
        await asyncio.sleep(0.01)

    asyncio.run(work())
    assert run.heard == []
