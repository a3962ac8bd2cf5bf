"""Opening a run: a new one, an interrupted one that goes on, or one that others work on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fasthash import logs
from fasthash.config import Settings
from fasthash.errors import ConfigError, OtherRunUnfinished
from fasthash.store import leases, naming, runs
from fasthash.store.catalog import Catalog
from fasthash.store.leases import AtWork
from fasthash.store.runs import OpenRun, Proof, RunIdentity
from fasthash.store.session import Connection
from fasthash.store.transactions import durable_transaction
from fasthash.widths import human_time

log = logging.getLogger("fasthash")

LIMIT_NOTES = {
    "resumed": "--limit does not cover rows that were already scheduled",
    "joined": "--limit changes nothing about a run that others work on",
}


@dataclass(frozen=True, slots=True)
class Opened:
    """The run to work on, how it was come by (`new`, `resumed` or `joined`), our number in it."""

    run_id: int
    how: str
    holder_id: int


def open_run(
    connection: Connection,
    catalog: Catalog,
    identity: RunIdentity,
    limit: int | None,
    *,
    restart: bool,
    older_than_s: float = 0.0,
    pid: int = 0,
    proof: Proof = Proof(),  # noqa: B008
    proven: int | None = None,
) -> Opened | OpenRun | None:
    """Finds or makes the run, and sits down at it.

    Both are one transaction, which waits for the disk: no crash of the server leaves us at work on
    a run that is not there, or whose number somebody else is given.

    Args:
        restart: give an unfinished run up for a new one.
        older_than_s: what the cutoff of a new scrub lies back.
        pid: this process's.
        proof: kept with a new run.
        proven: the run whose proof this process's roots have been found to hold.

    Returns:
        The unfinished run where its proof is to be looked for first. None where those who worked
        on it a moment ago may be dead or connecting again. In both cases: ask again.

    Raises:
        OtherRunUnfinished: an unfinished run of the same kind, but of another filter or digest,
            or one that looks for its files elsewhere, is in the way.
        ConfigError: `restart`, while others work on the unfinished run.
    """
    naming.note(connection, catalog)
    while True:
        found = runs.find_open_run(connection, catalog, identity.kind)
        with durable_transaction(connection):
            if found is None:
                run_id = runs.create_run(connection, catalog, identity, limit, older_than_s, proof)
                if run_id is None:
                    continue  # another process was quicker: join it
                return Opened(run_id, "new", _sit_down(connection, run_id, identity, pid))
            runs.one_by_one(connection, found.run_id)
            if runs.find_open_run(connection, catalog, identity.kind) != found:
                continue  # it was left or completed meanwhile
            at_work = leases.read_at_work(connection, found.run_id)
            if at_work and not any(holder.alive for holder in at_work):
                return None
            if restart:
                _give_up(connection, found, at_work)
                continue
            check_same(found, identity, at_work)
            if found.proof != Proof() and found.run_id != proven:
                return found
            if not at_work:
                runs.reopen_run(connection, found.run_id, limit)
            holder_id = _sit_down(connection, found.run_id, identity, pid)
            runs.keep_running(connection, found.run_id, holder_id)
            return Opened(found.run_id, "joined" if at_work else "resumed", holder_id)


def _sit_down(connection: Connection, run_id: int, identity: RunIdentity, pid: int) -> int:
    return leases.add_holder(connection, run_id, identity.host, pid)


def _give_up(connection: Connection, found: OpenRun, at_work: list[AtWork]) -> None:
    if at_work:
        raise ConfigError(
            f"run {found.run_id} is being worked on by {_places(at_work)}: stop it before --restart"
        )
    runs.supersede_run(connection, found.run_id)


def announce(run_id: int, how: str, settings: Settings, catalog: Catalog) -> None:
    """Says which run this is, and what of the settings changes nothing about it."""
    log.info(
        "run %d %s: %d worker%s on %s",
        run_id,
        {"new": "begins", "resumed": "goes on", "joined": "is joined"}[how],
        settings.workers,
        "" if settings.workers == 1 else "s",
        catalog.full_name,
        extra=logs.event(
            "run_opened",
            how=how,
            kind=settings.kind,
            catalog=catalog.full_name,
            workers=settings.workers,
        ),
    )
    if how != "new" and settings.limit is not None:
        log.warning("%s", LIMIT_NOTES[how], extra=logs.event("limit_ignored", how=how))


def _what(run: RunIdentity) -> tuple[object, ...]:
    return (run.kind, sorted(run.types), run.algorithm, run.since, run.sample, run.missing)


def check_same(found: OpenRun, wanted: RunIdentity, at_work: Sequence[AtWork] = ()) -> None:
    """Checks that an unfinished run is the one that is wanted.

    Args:
        at_work: who works on it, for the message.

    Raises:
        OtherRunUnfinished: it is not; says how to go on with it.
    """
    theirs = found.identity
    same = _what(theirs) == _what(wanted)
    # On another host the same files may lie elsewhere.
    files = theirs.host != wanted.host or sorted(theirs.roots or wanted.roots) == sorted(
        wanted.roots
    )
    if same and files:
        if theirs.resolver != wanted.resolver:
            log.warning(
                "run %d began with resolver %s and goes on with %s: paths may lead elsewhere",
                found.run_id,
                theirs.resolver or "(none)",
                wanted.resolver or "(none)",
                extra=logs.event(
                    "other_resolver",
                    run_id=found.run_id,
                    before=theirs.resolver,
                    now=wanted.resolver,
                ),
            )
        return
    what = [theirs.kind, ", ".join(theirs.types) or "all types", theirs.algorithm]
    if theirs.sample is not None:
        what.append(f"sample {theirs.sample}")
    if theirs.missing:
        what.append("only missing files")
    if not files:
        what.append(f"files in {', '.join(theirs.roots)}")
    roots = theirs.roots if theirs.host == wanted.host else wanted.roots
    command = runs.command_of(replace(theirs, roots=roots))
    raise OtherRunUnfinished(
        f"run {found.run_id} ({'; '.join(what)}) {_way_on(command, at_work)}", command
    )


def _way_on(command: str, at_work: Sequence[AtWork]) -> str:
    """What is to be done about a run that is in the way of another one."""
    if not at_work:
        return (
            f"is unfinished: go on with it by `{command}`, "
            "or give it up for this one with --restart"
        )
    return (
        f"is running on {_places(at_work)}: join it by `{command}`, wait for its end "
        "(`fasthash status --watch`), or stop it and give it up for this one with --restart"
    )


def _places(at_work: Sequence[AtWork]) -> str:
    """Where those are that work on a run; who may only be connecting again is left out."""
    return ", ".join(
        f"{holder.host} (pid {holder.pid}) since {human_time(holder.started_at)}"
        for holder in at_work
        if holder.alive
    )
