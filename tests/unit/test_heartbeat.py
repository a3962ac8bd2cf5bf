"""What the heartbeat tells the metrics, whatever moment it is cancelled in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from fasthash.fixity import Counts
from fasthash.heartbeat import Heartbeat
from fasthash.store import reports


class Ledger:
    """Answers what the run has come to; the first to ask for its drifts gets no answer."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def call(self, what: Callable[..., Any], *_arguments: object) -> Any:
        """As a session's."""
        if what is reports.read_counts:
            return {"figure": Counts(drifted=3)}
        if what is reports.count_drifts:
            if not self.asked.is_set():
                self.asked.set()
                await asyncio.Event().wait()
            return {"modified": 3}
        return 3 if what is reports.open_drifts else None


def test_drifts_are_told_although_the_first_to_ask_was_cancelled() -> None:
    async def both() -> mock.Mock:
        ledger, metrics = Ledger(), mock.Mock(wanted=True)
        seat: Any = mock.Mock(
            pulse=ledger, settings=SimpleNamespace(lease_ttl_s=60.0), host_rate=None
        )
        start: Any = SimpleNamespace(orders={}, counts=Counts(), rows_expected=3, how="new")
        commits: Any = SimpleNamespace(counts=Counts())
        rest: Any = (mock.Mock(), commits, mock.Mock(), mock.Mock())
        heart = Heartbeat(seat, start, *rest, metrics)
        with (
            mock.patch.object(Heartbeat, "_facts", dict),
            mock.patch.object(Heartbeat, "read_bytes", 0),
        ):
            beating = asyncio.create_task(heart.report())
            await ledger.asked.wait()
            beating.cancel()
            with pytest.raises(asyncio.CancelledError):
                await beating
            await heart.report()
        return metrics

    metrics = asyncio.run(both())
    metrics.drifted.assert_called_once_with({"modified": 3}, 3)
