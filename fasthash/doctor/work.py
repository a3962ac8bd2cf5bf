"""What a run would meet now: an unfinished one before it, and what holds it."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from fasthash import clock, disks, manners, windows
from fasthash.config import Courtesy
from fasthash.doctor import places
from fasthash.errors import OtherRunUnfinished
from fasthash.facts import HoldFacts, OpenRunFacts, RootFacts, ServerFacts
from fasthash.fixity import Root
from fasthash.opening import check_same
from fasthash.store import leases, runs
from fasthash.store.catalog import Catalog
from fasthash.store.session import Connection


@dataclass(frozen=True, slots=True)
class Plan:
    """What of an operator's options an unfinished run is compared with."""

    types: tuple[str, ...]
    algorithm: str
    resolver: str | None


def open_runs(
    connection: Connection, catalog: Catalog, plan: Plan, roots: Sequence[RootFacts]
) -> tuple[OpenRunFacts, ...]:
    """The unfinished runs of a catalog, and whether one with these options would go on with them.

    A scrub's own options are not known here: it is compared with itself.
    """
    found = []
    for kind in ("backfill", "scrub"):
        run = runs.find_open_run(connection, catalog, kind)
        if run is None:
            continue
        facts = OpenRunFacts(run.run_id, kind, bool(leases.live_holders(connection, run.run_id)))
        wanted = replace(
            run.identity,
            types=plan.types,
            algorithm=plan.algorithm,
            resolver=run.identity.resolver,
            roots=tuple(root.real_path or root.path for root in roots),
            host=socket.gethostname(),
        )
        try:
            check_same(run, wanted)
        except OtherRunUnfinished as error:
            facts = replace(facts, refusal=str(error), goes_on_by=error.command)
        found.append(facts)
    return tuple(found)


def find_hold(courtesy: Courtesy, server: ServerFacts | None) -> HoldFacts | None:
    """What would hold a run at this moment."""
    zone = windows.find_zone(courtesy.timezone)
    now = datetime.fromtimestamp(clock.now_s(), UTC)
    opening = windows.opening(courtesy.windows, zone, now)
    hold = manners.told_to_wait(None, opening, zone)
    if hold is not None:
        return HoldFacts("window", hold.reason)
    if courtesy.pause_file is not None:
        is_there = places.is_there(courtesy.pause_file)
        if is_there is None:
            reason = f"the file system of the pause file {courtesy.pause_file} does not answer"
            return HoldFacts("silence", reason)
        if is_there:
            return HoldFacts("pause_file", f"paused by {courtesy.pause_file}")
    backlog = server.wal_backlog if server is not None else 0
    if courtesy.most_wal_backlog and backlog > courtesy.most_wal_backlog:
        return HoldFacts("backlog", f"{backlog} WAL segments wait for the archiver")
    most = courtesy.most_io_pressure
    pressure = manners.too_much_pressure(most) if most else None
    return HoldFacts("pressure", pressure) if pressure is not None else None


def choose_workers(wished: int | None, disk: str, roots: Sequence[RootFacts], cores: int) -> int:
    """How many workers a run would have."""
    there = [
        Root(root.path.encode("utf-8", "surrogateescape"), b"", root.device, root.inode)
        for root in roots
        if root.error is None and not root.silent
    ]
    if wished is not None:
        return wished
    return disks.best_workers(there, cores, disk) if there else cores
