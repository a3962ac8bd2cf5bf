"""One coordinator's seat in a run: who it is, and its two lines to the ledger."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from fasthash import disks
from fasthash.config import Settings
from fasthash.desk import Desk
from fasthash.fixity import Counts, Root
from fasthash.opening import open_run
from fasthash.store import leases, reports
from fasthash.store.catalog import Catalog
from fasthash.store.leases import RunIdentity
from fasthash.store.results import Target
from fasthash.store.session import Connection, Session
from fasthash.worker import WorkerSetup
from fasthash.writer import WriterSetup

# For telling the server that nobody waits for its answers any more.
CLOSE_S = 0.3


@dataclass(frozen=True, slots=True)
class Start:
    """A run as this coordinator found it: `how` is `new`, `resumed` or `joined`."""

    run_id: int
    how: str
    counts: Counts
    rows_expected: int | None
    only_unmet: bool


class Seat:
    """The run, the holder number in it, and the connections.

    The pulse has a connection of its own, so that no long statement of the ledger's keeps
    leases from being renewed; as long as it lives, the others know that we do. The counter's one
    statement may take as long as it likes.
    """

    def __init__(self, settings: Settings, catalog: Catalog, roots: Sequence[Root]) -> None:
        self.settings = settings
        self.catalog = catalog
        self.roots = tuple(roots)
        self.run_id = 0
        self.holder_id = 0
        self.ledger = Desk(
            Session(settings.dsn, "coordinator", settings.db_timeout_s, self._connected)
        )
        self.pulse = Desk(Session(settings.dsn, "heartbeat", settings.db_timeout_s, self._claim))
        self.counter = Desk(Session(settings.dsn, "counter", settings.db_timeout_s))
        self.connections = 0  # of the ledger, counted: more than one means that one was lost

    async def take(self) -> Start:
        """Opens the run and sits down.

        Raises:
            ConfigError: an unfinished run is in the way.
            DatabaseLost: the database is away.
        """
        settings = self.settings
        host = socket.gethostname()
        opened = await self.ledger.call(
            open_run,
            self.catalog,
            RunIdentity(
                "backfill",
                settings.types,
                roots=tuple(r.real_path.decode(errors="backslashreplace") for r in self.roots),
                resolver=settings.resolver,
                host=host,
            ),
            settings.limit,
            restart=settings.restart,
        )
        self.run_id = opened.run_id
        self.holder_id = await self.ledger.call(leases.add_holder, self.run_id, host, os.getpid())
        await self.pulse.call(leases.live_holders, self.run_id)  # connects
        run = await self.ledger.call(reports.read_run, self.run_id)
        counts = await self.ledger.call(reports.read_counts, self.run_id)
        total = sum(counts.values(), Counts())
        return Start(
            opened.run_id, opened.how, total, run["rows_expected"], only_unmet=run["pass_no"] > 0
        )

    def _connected(self, connection: Connection) -> None:
        self.connections += 1

    def _claim(self, connection: Connection) -> None:
        leases.claim_alive(connection, self.holder_id)

    def worker_setup(self) -> WorkerSetup:
        """What workers are told: nothing of the database."""
        return worker_setup(self.settings, self.roots)

    def writer_setup(self) -> WriterSetup:
        """What the writer is told."""
        settings = self.settings
        target = Target(
            self.catalog,
            self.run_id,
            self.holder_id,
            overwrite_drift=settings.on_drift == "overwrite",
        )
        return WriterSetup(settings.dsn, settings.db_timeout_s, target, settings.log_format)

    def close(self) -> None:
        """Gives up the connections; a server that does not answer is not waited for long."""
        desks = (self.ledger, self.pulse, self.counter)
        closing = [threading.Thread(target=desk.close, daemon=True) for desk in desks]
        for thread in closing:
            thread.start()
        until = time.monotonic() + CLOSE_S
        for thread in closing:
            thread.join(max(0.0, until - time.monotonic()))


def worker_setup(settings: Settings, roots: Sequence[Root]) -> WorkerSetup:
    """The part of the settings that workers need."""
    return WorkerSetup(
        tuple(roots),
        settings.root_sentinel,
        settings.chunk_bytes,
        settings.reader == "mmap",
        settings.resolver,
        settings.log_format,
        bool(disks.rotational_devices(roots, settings.disk)),
    )
