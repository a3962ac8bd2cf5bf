"""Dropping the details of old runs, in steps of a short transaction each.

What is dropped is what nothing rests on any more: journal entries that only confirm and that
`file_state` has taken over, residual rows, samples, and what coordinators reported. The first and
every changed value of a row stay, as do drifts, decisions and counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from fasthash import faults
from fasthash.errors import ConfigError, PreflightFailed
from fasthash.retention import PastRun
from fasthash.store import leases, schema, states
from fasthash.store.catalog import Catalog
from fasthash.store.queries import query
from fasthash.store.session import Connection, Session, Timeouts
from fasthash.store.transactions import transaction
from fasthash.widths import human_time

# A step waits for nobody for long, and one that is cut off keeps no lock.
TIMEOUTS = Timeouts(lock_s=2, idle_s=10)
# Of the journal: 16 MB, some 100,000 entries, 0.3 s where all of them go.
STEP_BLOCKS = 2_048
STEP_ROWS = 20_000

# By run, how much of what is dropped.
Dropped = dict[int, Counter[str]]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step has done.

    Args:
        dropped: by run; in a dry run what would be.
        blocks: of the journal that are behind us.
        of_blocks: that it has.
    """

    dropped: Dropped
    blocks: int
    of_blocks: int


def require_privileges(connection: Connection) -> None:
    """Checks that this role may prune, which the role of the nightly runs need not.

    Raises:
        PreflightFailed: it may not; names the grants.
    """
    missing = schema.missing_privileges(connection, schema.PRUNE_PRIVILEGES)
    if missing:
        raise PreflightFailed(f"missing privilege; grant it with: {' '.join(missing)}")


def read_runs(connection: Connection, catalog: Catalog) -> tuple[list[PastRun], datetime]:
    """All runs of a catalog, and what the database's clock shows."""
    rows = connection.execute(query("prune", "past_runs"), {"catalog": catalog.key}).fetchall()
    live = {
        row["run_id"]
        for row in rows
        if row["state"] != "complete" and leases.live_holders(connection, row["run_id"])
    }
    now = connection.execute(query("prune", "now")).fetchone()
    if now is None:
        raise LookupError("SELECT left no row")
    return [PastRun(**row, is_live=row["run_id"] in live) for row in rows], now["now"]


def require_whole(connection: Connection, run_id: int) -> None:
    """Checks that no entry of a run's journal was dropped.

    Raises:
        ConfigError: some were: it cannot be undone exactly any more.
    """
    _require_whole(connection, run_id, "pruned_at")


def hold_whole(connection: Connection, run_id: int, by: int) -> None:
    """The same at the beginning of a revert: no entry is dropped until it ends.

    Args:
        by: the run that undoes it, which is ended where it cannot.
    """
    try:
        _require_whole(connection, run_id, "pruned_by_now")
    except ConfigError:
        connection.execute(query("revert", "end_revert"), {"run_id": by})
        raise


def _require_whole(connection: Connection, run_id: int, name: str) -> None:
    row = connection.execute(query("prune", name), {"run_id": run_id}).fetchone()
    if row is not None and row["pruned_at"] is not None:
        raise ConfigError(
            f"run {run_id} cannot be undone any more: what it only confirmed was dropped from the "
            f"journal by `fasthash prune` at {human_time(row['pruned_at'])}"
        )


def prune(
    session: Session, catalog: Catalog, run_ids: Sequence[int], given_up: Collection[int]
) -> Iterator[Step]:
    """Drops the details of runs; killed at any time, it goes on when it is called again.

    First what the journals tell is taken over into `file_state`; then they are read once, from end
    to end; then the rest goes run by run.

    Args:
        session: as a role for which `require_privileges` holds.
        catalog: whose runs they are.
        run_ids: of runs that have ended.
        given_up: those of them that did not come to their end.

    Yields:
        After each step what it dropped.
    """
    catalog_no = session.call(lambda c: states.find_catalog_no(c, catalog))
    session.call(lambda c: states.fold_journals(c, catalog, catalog_no, 0))
    values = {"run_ids": list(run_ids), "catalog_no": catalog_no}

    def drop(connection: Connection, places: dict[str, Any]) -> Dropped:
        return _drop_confirmations(connection, {**values, **places})

    blocks = 0
    for step in _through_journal(session, catalog, drop):
        blocks = step.of_blocks
        yield step
    with_details = session.call(
        lambda c: c.execute(query("prune", "with_details"), {"run_ids": list(run_ids)}).fetchall()
    )
    for row in with_details:
        run_id = row["run_id"]
        for counts in _drop_details(session, run_id, is_given_up=run_id in given_up):
            faults.reach("prune_step")
            yield Step({run_id: counts}, blocks, blocks)


def look(session: Session, catalog: Catalog, run_ids: Sequence[int]) -> Iterator[Step]:
    """Counts what `prune` would drop, at the most, and writes nothing."""

    def count(connection: Connection, places: dict[str, Any]) -> Dropped:
        statement = query("prune", "count_confirmations", confirms=query("prune", "confirms"))
        with transaction(connection):
            connection.execute(query("prune", "by_place"))
            rows = connection.execute(statement, {"run_ids": list(run_ids), **places}).fetchall()
        return {row["run_id"]: Counter(journal_entries=row["n"]) for row in rows}

    blocks = 0
    for step in _through_journal(session, catalog, count):
        blocks = step.of_blocks
        yield step
    rows = session.call(
        lambda c: c.execute(query("prune", "count_details"), {"run_ids": list(run_ids)}).fetchall()
    )
    yield Step({row.pop("run_id"): Counter(row) for row in rows}, blocks, blocks)


class _Work(Protocol):
    """What is done to some blocks of the journal."""

    def __call__(self, connection: Connection, /, places: dict[str, Any]) -> Dropped: ...


def _through_journal(session: Session, catalog: Catalog, work: _Work) -> Iterator[Step]:
    """Has something done to all blocks that the journal has now, some at a time."""
    key = {"catalog": catalog.key}
    facts = session.call(lambda c: c.execute(query("prune", "journal_facts"), key).fetchone())
    if facts is None or facts["first_marker"] is None:
        return
    of_blocks = int(facts.pop("blocks"))
    for first in range(0, of_blocks, STEP_BLOCKS):
        end = min(first + STEP_BLOCKS, of_blocks)
        places = {**facts, "from_place": f"({first},0)", "to_place": f"({end},0)"}
        dropped = session.call(partial(work, places=places))
        yield Step(dropped, end, of_blocks)


def _drop_confirmations(connection: Connection, values: dict[str, Any]) -> Dropped:
    """One step; runs that somebody has begun to undo are left as they are.

    A revert enters its run in the ledger, and then looks, under the same lock, whether the run it
    is to undo was pruned: one of the two sees the other.
    """
    key = {"run_ids": values["run_ids"]}
    statement = query("prune", "drop_confirmations", confirms=query("prune", "confirms"))
    with transaction(connection):
        connection.execute(query("prune", "hold_runs"), key)
        undone = connection.execute(query("prune", "being_reverted"), key).fetchall()
        left = set(values["run_ids"]) - {row["run_id"] for row in undone}
        connection.execute(query("prune", "by_place"))
        rows = connection.execute(statement, {**values, "run_ids": sorted(left)}).fetchall()
        faults.reach("prune_commit")
    faults.reach("prune_step")
    return {row["run_id"]: Counter(journal_entries=row["n"]) for row in rows}


def _drop_details(session: Session, run_id: int, *, is_given_up: bool) -> Iterator[Counter[str]]:
    """What a run has beside its journal; its ranges last."""
    for name, what in (("residual_rows", "drop_residual"), ("samples", "drop_samples")):
        after: str | None = None
        while True:
            n, after = session.call(partial(_drop_next, what=what, run_id=run_id, after=after))
            if n:
                yield Counter({name: n})
            if n < STEP_ROWS:
                break
    yield session.call(lambda c: _close(c, run_id, is_given_up=is_given_up))


def _drop_next(
    connection: Connection, what: str, run_id: int, after: str | None
) -> tuple[int, str | None]:
    values = {"run_id": run_id, "after": after, "rows": STEP_ROWS}
    row = connection.execute(query("prune", what), values).fetchone()
    return (row["n"], row["last"]) if row else (0, None)


def _close(connection: Connection, run_id: int, *, is_given_up: bool) -> Counter[str]:
    key = {"run_id": run_id}
    with transaction(connection):
        reports = connection.execute(query("prune", "drop_reports"), key).rowcount
        if is_given_up:
            connection.execute(query("prune", "forget_rows"), key)
        row = connection.execute(query("prune", "compact_run"), key).fetchone()
    return Counter(holder_reports=reports, ranges=row["n"] if row else 0)
