"""One coordinator's seat in a run: who it is, and its two lines to the ledger."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fasthash import asking, disks, evidence, logs, paths, probe
from fasthash.config import Scrub, Settings
from fasthash.desk import Desk
from fasthash.errors import PreflightFailed
from fasthash.evidence import Evidence
from fasthash.fixity import Counts, Root
from fasthash.gate import Gate, HostRate
from fasthash.hashing import Algorithms
from fasthash.opening import Opened, open_run
from fasthash.parsing import marker_text
from fasthash.store import leases, probing, reports, states
from fasthash.store.applying import Target
from fasthash.store.catalog import Catalog
from fasthash.store.due import Due
from fasthash.store.runs import OpenRun, Proof, RunIdentity
from fasthash.store.session import UNHURRIED, Connection, Session
from fasthash.worker import WorkerSetup
from fasthash.writer import WriterSetup

log = logging.getLogger("fasthash")

# For telling the server that nobody waits for its answers any more.
CLOSE_S = 0.3
# Whether somebody who worked on a run is dead is known within `RECONNECT_GRACE_S`.
ASK_AGAIN_S = 0.1
# Files that do not answer for so long say nothing of the roots.
ROOTS_ANSWER_S, FILES_S = 30.0, 5.0


@dataclass(frozen=True, slots=True)
class Start:
    """A run as this coordinator found it: `how` is `new`, `resumed` or `joined`."""

    run_id: int
    how: str
    counts: Counts
    rows_expected: int | None
    only_unmet: bool
    orders: dict[str, Any]
    started_at: datetime


class Seat:
    """The run, the holder number in it, and the connections.

    The pulse has a connection of its own, so that no long statement of the ledger's keeps
    leases from being renewed; as long as it lives, the others know that we do. The counter's one
    statement may take as long as it likes.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        roots: Sequence[Root],
        found: tuple[Evidence, ...] = (),
    ) -> None:
        self.settings = settings
        self.catalog = catalog
        self.roots = tuple(roots)
        self.proof = Proof(found, settings.root_sentinel)
        self.run_id = 0
        self.holder_id = 0
        self.due = Due()
        self.gate = Gate.create(settings.courtesy.budget_bytes)
        self.host_rate: HostRate | None = None
        self.ledger = Desk(
            Session(settings.dsn, "coordinator", settings.db_timeout_s, self._connected)
        )
        self.pulse = Desk(Session(settings.dsn, "heartbeat", settings.db_timeout_s, self._claim))
        self.counter = Desk(
            Session(settings.dsn, "counter", settings.db_timeout_s, timeouts=UNHURRIED)
        )
        self.connections = 0  # of the ledger, counted: more than one means that one was lost

    async def take(self) -> Start:
        """Opens the run and sits down.

        Raises:
            ConfigError: an unfinished run is in the way.
            DatabaseLost: the database is away.
        """
        settings = self.settings
        opened = await self._open()
        self.run_id, self.holder_id = opened.run_id, opened.holder_id
        logs.bind(run_id=self.run_id)
        await self.pulse.call(leases.be_seen, self.holder_id)  # connects
        run = await self.ledger.call(reports.read_run, self.run_id)
        self.due = await self.ledger.call(find_due, self.catalog, settings, run)
        self._share_rate(run, opened.how)
        if self.due.has_history:
            await self.counter.call(
                states.fold_journals, self.catalog, self.due.catalog_no, self.run_id
            )
            await self.counter.call(states.compact_runs, self.catalog)
        counts = await self.ledger.call(reports.read_counts, self.run_id)
        total = sum(counts.values(), Counts())
        only_unmet = self.due.is_scrub or run["pass_no"] > 0
        return Start(
            opened.run_id,
            opened.how,
            total,
            run["rows_expected"],
            only_unmet,
            run["orders"],
            run["started_at"],
        )

    async def _open(self) -> Opened:
        """Opens the run, as soon as it is known whether others work on it."""
        settings = self.settings
        wanted = identity(settings, self.roots, socket.gethostname())
        proven: int | None = None
        while True:
            opened = await self.ledger.call(
                open_run,
                self.catalog,
                wanted,
                settings.limit,
                restart=settings.restart,
                older_than_s=settings.scrub.older_than_s if settings.scrub else 0.0,
                pid=os.getpid(),
                proof=self.proof,
                proven=proven,
            )
            if isinstance(opened, Opened):
                return opened
            if opened is not None:
                await self._prove(opened)
                proven = opened.run_id
            else:
                await asyncio.sleep(ASK_AGAIN_S)

    async def _prove(self, run: OpenRun) -> None:
        """Looks whether the roots are those of an unfinished run.

        Raises:
            PreflightFailed: they are not.
        """
        row_ids = [one.row_id for one in run.proof.evidence]
        rows = await self.ledger.call(probing.these, self.catalog, row_ids)
        names = tuple(paths.encode(root.path) for root in self.roots)
        question = probe.Question(names, run.proof.sentinel, rows)
        faults, looks = await asyncio.to_thread(_look, question)
        differing = evidence.difference(run.proof.evidence, looks)
        if not faults and differing is None:
            return
        why = faults[0] if faults else ""
        if differing is not None:
            why = (
                f"of {differing.of} files that {run.identity.host} found when it began "
                f"{differing.differing} are missing or others here ({differing.example})"
            )
        raise PreflightFailed(
            f"the roots are not those of run {run.run_id}: {why}; mount the same files, or give "
            "the run up for a new one with --restart"
        )

    def _share_rate(self, run: dict[str, Any], how: str) -> None:
        """Meets the others of this run on this host where its rates are kept.

        Raises:
            PreflightFailed: a rate is asked for, and there is no such place.
        """
        key = f"{self.catalog.key} {run['run_id']} {run['started_at']}"
        courtesy = self.settings.courtesy
        rates = (courtesy.rate_bytes_per_s, courtesy.files_per_s)
        try:
            self.host_rate = HostRate.share(key)
        except OSError as error:
            if any(rates):
                raise PreflightFailed(
                    f"the rate cannot be shared with others on this host: {error}; "
                    "mend /dev/shm (`fasthash doctor` says how), or run without a rate"
                ) from error
            log.warning(
                "a rate that is set later holds for this process alone, not for others of this "
                "run on this host: %s",
                error,
                extra=logs.event("rate_not_shared", reason=str(error)),
            )
            self.host_rate = HostRate.private()
        if how != "joined" or any(rates):
            self.host_rate.set_rates(*rates)

    def _connected(self, connection: Connection) -> None:
        self.connections += 1

    def _claim(self, connection: Connection) -> None:
        leases.claim_alive(connection, self.holder_id)

    def worker_setup(self) -> WorkerSetup:
        """What workers are told: nothing of the database."""
        return replace(worker_setup(self.settings, self.roots), run_id=self.run_id)

    def writer_setup(self) -> WriterSetup:
        """What the writer is told."""
        settings = self.settings
        target = Target(
            self.catalog,
            self.run_id,
            self.holder_id,
            settings.drift_policy,
            self.due.catalog_no,
            self.due.is_scrub,
            self.due.has_history,
            settings.blake3,
            settings.precheck == "xxh3",
        )
        form, level = settings.log_format, logs.level()
        return WriterSetup(settings.dsn, settings.db_timeout_s, target, form, level)

    def close(self) -> None:
        """Gives up the connections; a server that does not answer is not waited for long."""
        desks = (self.ledger, self.pulse, self.counter)
        closing = [threading.Thread(target=desk.close, daemon=True) for desk in desks]
        for thread in closing:
            thread.start()
        if self.host_rate is not None:
            self.host_rate.close()
        self.gate.close()
        until = time.monotonic() + CLOSE_S
        for thread in closing:
            thread.join(max(0.0, until - time.monotonic()))


def _look(question: probe.Question) -> tuple[list[str], list[evidence.Look]]:
    """What is wrong with roots, and what became of looking for the files of rows."""
    with asking.Helper(probe.MODULE) as helper:
        found = helper.ask(question, ROOTS_ANSWER_S, needed=len(question.roots), more_s=FILES_S)
    faults = [one for one in found if isinstance(one, str)]
    return faults, [one for one in found if isinstance(one, evidence.Look)]


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
        Algorithms(blake3=settings.blake3, xxh3=settings.precheck == "xxh3"),
        settings.courtesy.nice,
        settings.courtesy.ionice,
        import_paths=settings.import_paths,
    )


def identity(settings: Settings, roots: Sequence[Root], host: str) -> RunIdentity:
    """What has to be the same for an unfinished run to go on."""
    scrub = settings.scrub or Scrub()
    sample = f"{scrub.sample:g} of seed {scrub.seed}" if scrub.sample < 1 else None
    return RunIdentity(
        settings.kind,
        settings.types,
        settings.algorithm,
        settings.since,
        sample,
        scrub.missing,
        tuple(r.real_path.decode(errors="backslashreplace") for r in roots),
        settings.resolver,
        host,
    )


def find_due(
    connection: Connection, catalog: Catalog, settings: Settings, run: dict[str, Any]
) -> Due:
    """The rows of a run, as its own row in the ledger says; nothing is written for a dry run."""
    scrub = settings.scrub or Scrub()
    return Due(
        settings.kind,
        run["run_id"],
        states.find_catalog_no(connection, catalog, make=not settings.dry_run),
        settings.since,
        marker_text(run["started_at"]),
        # Backfills of the first version of the ledger have none.
        None if run["cutoff"] is None else marker_text(run["cutoff"]),
        (scrub.seed, scrub.sample) if scrub.sample < 1 else None,
        "size" if scrub.missing else settings.precheck,
        settings.blake3,
        states.has_history(connection, catalog, run["run_id"]),
    )
