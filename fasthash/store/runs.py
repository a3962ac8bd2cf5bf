"""Runs in the ledger: found, made, left and completed; each function may be repeated."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from fasthash.evidence import Evidence
from fasthash.store import leases
from fasthash.store.catalog import Catalog
from fasthash.store.queries import query
from fasthash.store.session import Connection
from fasthash.store.transactions import durable_transaction, transaction


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What has to be the same for an interrupted run to go on."""

    kind: str
    types: tuple[str, ...]
    algorithm: str = "sha256"
    since: str | None = None
    sample: str | None = None  # seed and share
    missing: bool = False
    roots: tuple[str, ...] = ()  # as on `host`
    resolver: str | None = None
    host: str = ""

    def as_options(self, limit: int | None) -> dict[str, Any]:
        """As it stands in the ledger."""
        return {
            "types": sorted(self.types) or None,
            "algorithm": self.algorithm,
            "limit": limit,
            "roots": sorted(self.roots),
            "resolver": self.resolver,
            "since": self.since,
            "sample": self.sample,
            "missing": self.missing,
        }


@dataclass(frozen=True, slots=True)
class Proof:
    """What roots have to hold to be those of a run: some files, and a name beneath each root."""

    evidence: tuple[Evidence, ...] = ()
    sentinel: str | None = None

    def as_options(self) -> dict[str, Any]:
        """As it stands in the ledger."""
        files = [[e.row_id, e.size_bytes, e.mtime_ns] for e in self.evidence]
        return {"evidence": files, "root_sentinel": self.sentinel}


def _proof(options: dict[str, Any]) -> Proof:
    files = options.get("evidence") or ()  # earlier versions kept none
    return Proof(tuple(Evidence(*one) for one in files), options.get("root_sentinel"))


@dataclass(frozen=True, slots=True)
class OpenRun:
    """An unfinished run as the ledger has it."""

    run_id: int
    state: str
    identity: RunIdentity
    proof: Proof = Proof()


def identity_of(kind: str, options: dict[str, Any], host: str) -> RunIdentity:
    """The identity of a run, of its kind, options and host as they stand in the ledger."""
    return RunIdentity(  # earlier versions wrote fewer options
        kind,
        tuple(options.get("types") or ()),
        options.get("algorithm") or "sha256",
        options.get("since"),
        options.get("sample"),
        bool(options.get("missing")),
        tuple(options.get("roots") or ()),
        options.get("resolver"),
        host,
    )


def command_of(run: RunIdentity) -> str:
    """The command line that goes on with an unfinished run."""
    words = ["fasthash", "run" if run.kind == "backfill" else run.kind]
    words += [word for name in run.types for word in ("--type", shlex.quote(name))]
    if run.algorithm != "sha256":
        words += ["--algorithm", run.algorithm]
    if run.since is not None:
        words += ["--since", run.since]
    if run.sample is not None:
        share, _, seed = run.sample.partition(" of seed ")
        words += ["--sample", share, "--seed", shlex.quote(seed)]
    if run.missing:
        words.append("--missing")
    words += [word for root in run.roots for word in ("--root", shlex.quote(root))]
    if run.resolver is not None:
        words += ["--resolver", run.resolver]
    return " ".join(words)


def find_open_run(connection: Connection, catalog: Catalog, kind: str) -> OpenRun | None:
    """The unfinished run of a kind of this catalog, if there is one."""
    key = {"catalog": catalog.key, "kind": kind}
    row = connection.execute(query("lease", "open_run_of"), key).fetchone()
    if row is None:
        return None
    identity = identity_of(row["kind"], row["options"], row["host"])
    return OpenRun(row["run_id"], row["state"], identity, _proof(row["options"]))


def create_run(
    connection: Connection,
    catalog: Catalog,
    identity: RunIdentity,
    limit: int | None,
    older_than_s: float = 0.0,
    proof: Proof = Proof(),
) -> int | None:
    """A new run; None where another process was quicker.

    The first backfill meets every row and counts what is there; one after a complete one, or one
    with a row limit, goes straight to the rows that lack the marker (pass 1). A scrub goes through
    the rows by age.

    Args:
        older_than_s: what a scrub's cutoff lies back.
        proof: what the roots of others that join it have to hold.
    """
    options = identity.as_options(limit) | proof.as_options()
    key = {"catalog": catalog.key, "types": Jsonb(options["types"])}
    before = connection.execute(query("lease", "whole_run_before"), key).fetchone()
    only_unmet = identity.kind == "backfill" and (
        limit is not None or bool(before and before["found"])
    )
    row = connection.execute(
        query("lease", "create_run"),
        {
            "catalog": catalog.key,
            "kind": identity.kind,
            "options": Jsonb(options),
            "host": identity.host,
            "pass_no": 1 if only_unmet else 0,
            "older_than_s": older_than_s,
        },
    ).fetchone()
    return int(row["run_id"]) if row else None


def reopen_run(connection: Connection, run_id: int, limit: int | None) -> None:
    """An unfinished run goes on; with a limit, for that number of further rows."""
    connection.execute(query("lease", "reopen_run"), {"run_id": run_id, "limit": limit})


def supersede_run(connection: Connection, run_id: int) -> None:
    """An unfinished run is given up for a new one."""
    connection.execute(query("lease", "supersede_run"), {"run_id": run_id})


def give_orders(
    connection: Connection, run_id: int, rates: tuple[float | None, float | None]
) -> None:
    """Tells those who work on a run which rates to keep: bytes and files a second.

    Args:
        rates: 0 for no limit, None for what it is.
    """
    connection.execute(
        query("lease", "give_orders"), {"run_id": run_id, "orders": Jsonb({"rates": rates})}
    )


def one_by_one(connection: Connection, run_id: int) -> None:
    """Within a transaction: nobody else joins or leaves this run until it ends."""
    connection.execute(query("lease", "one_by_one"), {"run_id": run_id})


def keep_running(connection: Connection, run_id: int, holder_id: int) -> bool:
    """Somebody has ended this run, unfinished, as if nobody worked on it: it goes on.

    Returns:
        Whether there was need for it; never for a run that was given up, or after `leave`.
    """
    with transaction(connection):
        one_by_one(connection, run_id)
        key = {"run_id": run_id, "holder_id": holder_id}
        return connection.execute(query("lease", "keep_running"), key).fetchone() is not None


def is_complete(connection: Connection, run_id: int) -> bool:
    """Completes the run if all of it is planned and done; whether it is complete now.

    This commit waits for the disk, and with it everything that was committed before: what is
    reported as complete survives a crash of the server.
    """
    with durable_transaction(connection):
        done = connection.execute(query("lease", "complete_run"), {"run_id": run_id}).fetchone()
        if done is not None:
            connection.execute(query("lease", "forget_lists"), {"run_id": run_id})
    return _state(connection, run_id) == "complete"


def _state(connection: Connection, run_id: int) -> str | None:
    row = connection.execute(query("lease", "run_state"), {"run_id": run_id}).fetchone()
    return None if row is None else str(row["state"])


def leave(
    connection: Connection,
    run_id: int,
    holder_id: int,
    error: str | None,
    ended_for: str | None = None,
) -> str | None:
    """This coordinator stops: at the end of the run, for an error, a signal, or by plan.

    A run that is not at its end is interrupted by the last one who leaves it.

    Returns:
        The state that the run is in then, which may be `complete` although the coordinator was
        stopped before it heard so; None for a run that is no more.
    """
    with transaction(connection):
        one_by_one(connection, run_id)
        leases.release(connection, run_id, holder_id)
        connection.execute(query("lease", "note_left"), {"holder_id": holder_id})
        if not leases.live_holders(connection, run_id):
            connection.execute(
                query("lease", "leave_run"),
                {"run_id": run_id, "error": error, "ended_for": ended_for},
            )
        return _state(connection, run_id)


def report(
    connection: Connection, run_id: int, holder_id: int, facts: dict[str, Any], rows: int, size: int
) -> None:
    """Stores what this coordinator is doing and how far it has come."""
    connection.execute(
        query("lease", "report_holder"),
        {
            "run_id": run_id,
            "holder_id": holder_id,
            "report": Jsonb(facts),
            "rows": rows,
            "bytes": size,
        },
    )


def note_freshness(connection: Connection, run_id: int, freshness: dict[str, Any]) -> None:
    """Stores how fresh the catalog is now."""
    key = {"run_id": run_id, "freshness": Jsonb(freshness)}
    connection.execute(query("lease", "note_freshness"), key)


def expect_rows(
    connection: Connection, run_id: int, rows: int, by_type: dict[str | None, int] | None
) -> None:
    """Stores how many rows the run will meet, and of each type where that is known."""
    pairs = None if by_type is None else Jsonb(list(by_type.items()))
    values = {"run_id": run_id, "rows": rows, "by_type": pairs}
    connection.execute(query("lease", "expect_rows"), values)
