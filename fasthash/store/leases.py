"""Runs and leases in the ledger: each function is one transaction that may be repeated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from psycopg.types.json import Jsonb

from fasthash.fixity import LeasedRange
from fasthash.lease import ATTEMPTS_BEFORE_ALONE, RECONNECT_GRACE_S
from fasthash.store.catalog import Catalog
from fasthash.store.queries import query
from fasthash.store.session import Connection, transaction


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
class OpenRun:
    """An unfinished run as the ledger has it."""

    run_id: int
    state: str
    identity: RunIdentity


def find_open_run(connection: Connection, catalog: Catalog, kind: str) -> OpenRun | None:
    """The unfinished run of a kind of this catalog, if there is one."""
    key = {"catalog": catalog.key, "kind": kind}
    row = connection.execute(query("lease", "open_run_of"), key).fetchone()
    if row is None:
        return None
    options = row["options"]
    identity = RunIdentity(
        row["kind"],
        tuple(options["types"] or ()),
        options["algorithm"],
        options.get("since"),
        options.get("sample"),
        bool(options.get("missing")),
        tuple(options.get("roots") or ()),
        options.get("resolver"),
        row["host"],
    )
    return OpenRun(row["run_id"], row["state"], identity)


def create_run(
    connection: Connection,
    catalog: Catalog,
    identity: RunIdentity,
    limit: int | None,
    older_than_s: float = 0.0,
) -> int | None:
    """A new run; None where another process was quicker.

    The first backfill meets every row and counts what is there; one after a complete one, or one
    with a row limit, goes straight to the rows that lack the marker (pass 1). A scrub goes through
    the rows by age.

    Args:
        older_than_s: what a scrub's cutoff lies back.
    """
    options = identity.as_options(limit)
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
    """An unfinished run goes on; with a limit, for so many more rows."""
    connection.execute(query("lease", "reopen_run"), {"run_id": run_id, "limit": limit})


def supersede_run(connection: Connection, run_id: int) -> None:
    """An unfinished run is given up for a new one."""
    connection.execute(query("lease", "supersede_run"), {"run_id": run_id})


def live_holders(connection: Connection, run_id: int) -> list[int]:
    """The coordinators of a run whose database session is alive."""
    rows = connection.execute(query("lease", "live_holders"), {"run_id": run_id})
    return [r["holder_id"] for r in rows]


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


def be_seen(connection: Connection, holder_id: int) -> dict[str, Any]:
    """A sign of life from a coordinator; also what finds a lost connection soon.

    Returns:
        What is wanted of those who work on the run, as `give_orders` left it.
    """
    row = connection.execute(query("lease", "be_seen"), {"holder_id": holder_id}).fetchone()
    return row["orders"] if row else {}


def add_holder(connection: Connection, run_id: int, host: str, pid: int) -> int:
    """Joins a run; the number names this coordinator in its leases.

    This commit waits for the disk, and with it the run's own: a crash of the server that gave the
    numbers to somebody else would let two processes pass the same fence.
    """
    with transaction(connection):
        connection.execute("SET LOCAL synchronous_commit = on")
        row = connection.execute(
            query("lease", "add_holder"), {"run_id": run_id, "host": host, "pid": pid}
        ).fetchone()
    if row is None:
        raise LookupError("INSERT .. RETURNING gave no row")
    return int(row["holder_id"])


def claim_alive(connection: Connection, holder_id: int) -> None:
    """Shows the others that this holder lives, for as long as this session does."""
    connection.execute(query("lease", "claim_alive"), {"holder_id": holder_id})


def grant(
    connection: Connection,
    run_id: int,
    holder_id: int,
    least_term: int,
    ranges: int,
    ttl_s: float,
    *,
    alone: bool = False,
) -> list[LeasedRange]:
    """Leases up to so many ranges: pending ones, and those of dead or late holders.

    Args:
        least_term: above every term that this holder was ever granted.
        ranges: how many at the most.
        ttl_s: their life in seconds.
        alone: lease those (and only those) that were lost so often that they are held alone.
    """
    unhurt = connection.execute(
        query("lease", "unhurt_holders"),
        {
            "run_id": run_id,
            "alive": live_holders(connection, run_id),
            "grace_s": RECONNECT_GRACE_S,
        },
    )
    rows = connection.execute(
        query("lease", "grant_ranges"),
        {
            "run_id": run_id,
            "holder_id": holder_id,
            "alive": [row["holder_id"] for row in unhurt],
            "least_term": least_term,
            "ranges": ranges,
            "ttl_s": ttl_s,
            "alone": alone,
            "attempts_before_alone": ATTEMPTS_BEFORE_ALONE,
        },
    )
    return sorted((LeasedRange(**row) for row in rows), key=lambda r: r.range_no)


def renew(connection: Connection, run_id: int, holder_id: int, ttl_s: float) -> list[LeasedRange]:
    """Renews all that this holder holds.

    Returns:
        What it holds; a range that is not among them was taken by somebody else.
    """
    rows = connection.execute(
        query("lease", "renew_leases"),
        {"run_id": run_id, "holder_id": holder_id, "ttl_s": ttl_s},
    )
    return [LeasedRange(**row) for row in rows]


def narrow(
    connection: Connection,
    catalog: Catalog,
    run_id: int,
    holder_id: int,
    leased: LeasedRange,
    last_id: str,
    rows: tuple[int, int],
) -> LeasedRange | None:
    """Cuts a leased range in two; the second half is anybody's.

    Args:
        leased: the range.
        last_id: the last row that it keeps, one that is not committed.
        rows: how many are not committed, up to that row and behind it.

    Returns:
        The first half, or None if the range is no longer held, or was narrowed already.
    """
    kept, left = rows
    key = {
        "run_id": run_id,
        "holder_id": holder_id,
        "range_no": leased.range_no,
        "attempts_before_alone": ATTEMPTS_BEFORE_ALONE,
    }
    with transaction(connection):
        found = connection.execute(
            query("lease", "narrow_range"),
            {
                **key,
                "term": leased.term,
                "attempts": leased.attempts,
                "through_id": last_id,
                "rows": kept,
            },
        ).fetchone()
        if found is None:
            return None
        rest = {
            "pass_no": leased.pass_no,
            "artifact_type": leased.artifact_type,
            "after_id": last_id,
            "through_id": leased.through_id,
            "rows": left,
        }
        added = connection.execute(query("lease", "add_rest"), {**key, **rest}).fetchone()
        connection.execute(
            catalog.query("lease", "move_segments"),
            {**key, "after_id": last_id, "rest_no": added["range_no"] if added else None},
        )
    return replace(leased, through_id=last_id, attempts=ATTEMPTS_BEFORE_ALONE)


def give_back(
    connection: Connection, run_id: int, holder_id: int, range_nos: Iterable[int]
) -> None:
    """Gives leases back of which this holder has no rows."""
    connection.execute(
        query("lease", "give_back_ranges"),
        {"run_id": run_id, "holder_id": holder_id, "range_no": list(range_nos)},
    )


def finish(
    connection: Connection, run_id: int, holder_id: int, ranges: Iterable[LeasedRange]
) -> None:
    """Ranges whose rows are all committed are done."""
    done = list(ranges)
    connection.execute(
        query("lease", "finish_ranges"),
        {
            "run_id": run_id,
            "holder_id": holder_id,
            "range_no": [r.range_no for r in done],
            "term": [r.term for r in done],
        },
    )


def release(connection: Connection, run_id: int, holder_id: int) -> None:
    """Gives all leases back."""
    connection.execute(query("lease", "release_leases"), {"run_id": run_id, "holder_id": holder_id})


def is_planned_and_done(connection: Connection, run_id: int) -> bool:
    """Completes the run if all of it is done; whether it is complete now.

    This commit waits for the disk, and with it everything that was committed before: what is
    reported as complete survives a crash of the server.
    """
    with transaction(connection):
        connection.execute("SET LOCAL synchronous_commit = on")
        connection.execute(query("lease", "complete_run"), {"run_id": run_id})
    row = connection.execute(query("lease", "run_state"), {"run_id": run_id}).fetchone()
    return row is None or row["state"] != "running"


def leave(
    connection: Connection,
    run_id: int,
    holder_id: int,
    error: str | None,
    ended_for: str | None = None,
) -> None:
    """This coordinator stops before the end of the run: for an error, a signal, or by plan."""
    with transaction(connection):
        release(connection, run_id, holder_id)
        connection.execute(
            query("lease", "leave_run"),
            {
                "run_id": run_id,
                "holder_id": holder_id,
                "error": error,
                "ended_for": ended_for,
                "alive": live_holders(connection, run_id),
            },
        )


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


def expect_rows(connection: Connection, run_id: int, rows: int) -> None:
    """Stores how many rows the run will meet."""
    connection.execute(query("lease", "expect_rows"), {"run_id": run_id, "rows": rows})
