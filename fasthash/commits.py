"""The coordinator's end of the writer: sends parts, keeps them until they are settled."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Protocol

from fasthash import logs
from fasthash.errors import DatabaseLost, DatabaseRefused, WorkersFailed
from fasthash.fixity import Counts, Part
from fasthash.metrics import Metrics
from fasthash.process import Child
from fasthash.writer import Lost, Receipt, Refused, WriterSetup

log = logging.getLogger("fasthash")

# Parts on their way or in the writer: enough to keep the database busy, no more. When it falls
# behind, the workers wait; memory does not grow.
UNSETTLED_ROWS_AT_MOST = 16_000
DEATHS_AT_MOST = 5


class Ledgerkeeper(Protocol):
    """Who has to know what became of parts."""

    def delivered(self, part: Part) -> None:
        """A part is on its way."""

    def settled(self, part: Part) -> None:
        """A part is committed."""

    def fenced(self, part: Part) -> None:
        """A part was refused, because its lease is over."""


class Commits:
    """The writer process and the parts it has not settled yet.

    A writer that dies is replaced, and gets again what had no receipt: the ledger knows the
    parts that were committed all the same.
    """

    def __init__(self, setup: WriterSetup, keeper: Ledgerkeeper, metrics: Metrics) -> None:
        self.setup = setup
        self.keeper = keeper
        self.metrics = metrics
        self.deaths = 0  # of writers
        self.reconnects = 0  # of theirs
        self.counts = Counts()
        self.read_bytes = 0
        self.unsettled: dict[int, Part] = {}
        self.unsettled_rows = 0
        self._last_part_no = 0
        self._process: Child | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._settled = asyncio.Event()
        self._sending = asyncio.Lock()

    async def deliver(self, part: Part) -> None:
        """Numbers a part and sends it, when there is room."""
        await self._room.wait()
        self._last_part_no += 1
        part = replace(part, part_no=self._last_part_no)
        self.unsettled[part.part_no] = part
        self.unsettled_rows += part.rows
        self.read_bytes += part.read_bytes
        self._empty.clear()
        if self.unsettled_rows >= UNSETTLED_ROWS_AT_MOST:
            self._room.clear()
        self.keeper.delivered(part)
        async with self._sending:
            if self._process is not None:
                await self._process.send(part)

    async def run(self) -> None:
        """Keeps a writer at work until cancelled.

        Raises:
            DatabaseLost: the writer gave up on the database.
            DatabaseRefused: it takes no row.
            WorkersFailed: writers die again and again.
        """
        deaths = 0
        try:
            while True:
                process = await self._start()
                settled_before = len(self.unsettled), self.counts
                await self._receive(process)
                status = await process.wait()
                self.deaths += 1
                deaths = deaths + 1 if settled_before == (len(self.unsettled), self.counts) else 1
                log.warning(
                    "the writer died (status %d); another takes its place",
                    status,
                    extra=logs.event("writer_died", status=status),
                )
                if deaths > DEATHS_AT_MOST:
                    raise WorkersFailed(
                        "the writer dies again and again; what is committed is kept"
                    )
        finally:
            if self._process is not None:
                self._process.kill()
                await self._process.wait()

    async def _start(self) -> Child:
        async with self._sending:
            process = await Child.start("fasthash.writer", with_secrets=True)
            self._process = process
            await process.send(self.setup)
            for part in list(self.unsettled.values()):
                await process.send(part)
        return process

    async def _receive(self, process: Child) -> None:
        while (message := await process.receive()) is not None:
            if isinstance(message, Lost):
                raise DatabaseLost(message.message)
            if isinstance(message, Refused):
                raise DatabaseRefused(message.message)
            if isinstance(message, Receipt):
                self._settle(message)

    def _settle(self, receipt: Receipt) -> None:
        self.counts += receipt.counts
        self.reconnects += receipt.reconnects
        self.metrics.committed(receipt.seconds)
        for part_no in receipt.part_nos:
            part = self.unsettled.pop(part_no, None)
            if part is not None:
                self.unsettled_rows -= part.rows
                if part_no in receipt.fenced:
                    self.keeper.fenced(part)
                else:
                    self.keeper.settled(part)
        self._settled.set()
        if self.unsettled_rows < UNSETTLED_ROWS_AT_MOST:
            self._room.set()
        if not self.unsettled:
            self._empty.set()

    async def settle_sent(self) -> None:
        """Waits until every part that was sent before this call is settled.

        Receipts come in order: none is under way then that was written before the call.
        """
        last = self._last_part_no
        while any(part_no <= last for part_no in self.unsettled):
            self._settled.clear()
            await self._settled.wait()

    async def drain(self) -> None:
        """Waits until every part is settled."""
        await self._empty.wait()
