"""Opening a run: a new one, an interrupted one that goes on, or one that others work on."""

from __future__ import annotations

from dataclasses import dataclass

from fasthash.errors import ConfigError, OtherRunUnfinished
from fasthash.store import leases
from fasthash.store.catalog import Catalog
from fasthash.store.leases import OpenRun, RunIdentity
from fasthash.store.session import Connection


@dataclass(frozen=True, slots=True)
class Opened:
    """The run to work on, and how it was come by: `new`, `resumed` or `joined`."""

    run_id: int
    how: str


def open_run(
    connection: Connection,
    catalog: Catalog,
    identity: RunIdentity,
    limit: int | None,
    *,
    restart: bool,
    host: str,
) -> Opened:
    """Finds or makes the run.

    Raises:
        OtherRunUnfinished: an unfinished run of another kind, filter or digest is in the way.
        ConfigError: `restart`, while others work on the unfinished run.
    """
    while True:
        found = leases.find_open_run(connection, catalog)
        if found is None:
            run_id = leases.create_run(connection, catalog, identity, limit, host)
            if run_id is not None:
                return Opened(run_id, "new")
            continue  # another process was quicker: join it
        live = leases.live_holders(connection, found.run_id)
        if restart:
            if live:
                raise ConfigError(
                    f"run {found.run_id} is being worked on: stop it before --restart"
                )
            leases.supersede_run(connection, found.run_id)
            continue
        _check_same(found, identity)
        if live:
            return Opened(found.run_id, "joined")
        leases.reopen_run(connection, found.run_id, limit)
        return Opened(found.run_id, "resumed")


def _check_same(found: OpenRun, wanted: RunIdentity) -> None:
    theirs = found.identity
    if (theirs.kind, sorted(theirs.types), theirs.algorithm) == (
        wanted.kind,
        sorted(wanted.types),
        wanted.algorithm,
    ):
        return
    types = ", ".join(theirs.types) or "all types"
    command = " ".join(
        [
            "fasthash",
            "run" if theirs.kind == "backfill" else theirs.kind,
            *(f"--type {t!r}" for t in theirs.types),
        ]
    )
    raise OtherRunUnfinished(
        f"run {found.run_id} ({theirs.kind}, {types}, {theirs.algorithm}) is unfinished: "
        f"go on with it by `{command}`, or give it up for this one with --restart"
    )
