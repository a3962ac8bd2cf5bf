"""Runs and leases in the ledger: each function is one transaction that may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fasthash.fixity import LeasedRange
from fasthash.lease import ATTEMPTS_BEFORE_ALONE, RECONNECT_GRACE_S
from fasthash.store.catalog import Catalog
from fasthash.store.queries import query
from fasthash.store.session import Connection
from fasthash.store.transactions import durable_transaction, transaction


@dataclass(frozen=True, slots=True)
class AtWork:
    """A coordinator at work on a run.

    `alive`: its session is; else it was seen a moment ago and may be connecting again.
    """

    holder_id: int
    seen_at: datetime
    alive: bool
    host: str
    pid: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """A run as one who works on it sees it: what is wanted of him, and whether it is still his."""

    orders: dict[str, Any]
    state: str
    superseded: bool


def read_at_work(connection: Connection, run_id: int) -> list[AtWork]:
    """Who works on a run: what everybody asks who has to know, of one holder or of the run."""
    key = {"run_id": run_id, "grace_s": RECONNECT_GRACE_S}
    return [AtWork(**row) for row in connection.execute(query("lease", "at_work"), key)]


def live_holders(connection: Connection, run_id: int) -> list[int]:
    """The numbers of those who work on a run."""
    return [holder.holder_id for holder in read_at_work(connection, run_id)]


def be_seen(connection: Connection, holder_id: int) -> Seen | None:
    """A sign of life from a coordinator; also what finds a lost connection soon.

    Returns:
        The run as it stands; None where the ledger knows neither run nor holder any more.
    """
    row = connection.execute(query("lease", "be_seen"), {"holder_id": holder_id}).fetchone()
    return Seen(**row) if row else None


def add_holder(connection: Connection, run_id: int, host: str, pid: int) -> int:
    """Joins a run; the number names this coordinator in its leases.

    The commit waits for the disk, and with it the run's own: a crash of the server that gave the
    numbers to somebody else would let two processes pass the same fence.
    """
    with durable_transaction(connection):
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
    silent: Callable[[Mapping[int, datetime]], Collection[int]],
    alone: bool = False,
) -> list[LeasedRange]:
    """Leases ranges up to a number: pending ones, and those of dead or silent holders.

    Args:
        least_term: above every term that this holder was ever granted.
        ranges: how many at the most.
        ttl_s: their life in seconds.
        silent: which of those at work, by the time each was seen last, have been silent for a
            lease's life (see `lease.Silence`): what they hold is free.
        alone: lease those (and only those) that were lost so often that they are held alone.
    """
    at_work = {h.holder_id: h.seen_at for h in read_at_work(connection, run_id)}
    unhurt = at_work.keys() - set(silent(at_work))
    rows = connection.execute(
        query("lease", "grant_ranges"),
        {
            "run_id": run_id,
            "holder_id": holder_id,
            "alive": sorted(unhurt),
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
