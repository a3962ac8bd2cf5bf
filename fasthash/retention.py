"""Which runs' details are kept, and why: decided from facts, touching nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Reason(StrEnum):
    """Why the details of a run are kept."""

    UNDER_WAY = "under_way"
    UNFINISHED = "unfinished"
    BEING_REVERTED = "being_reverted"
    LAST_COMPLETE = "last_complete"
    KEEP_LAST = "keep_last"
    KEEP_WITHIN = "keep_within"


@dataclass(frozen=True, slots=True)
class PastRun:
    """What the decision rests on.

    Args:
        run_id: runs of a kind end in the order of their numbers.
        kind: `backfill`, `scrub` or `revert`.
        state: as in the ledger.
        superseded: given up for another run: nothing goes on with it.
        started_at: by the database's clock.
        finished_at: by the database's clock; None while it goes on.
        is_live: somebody works on it.
        being_reverted: a revert of it is not at its end.
    """

    run_id: int
    kind: str
    state: str
    superseded: bool
    started_at: datetime
    finished_at: datetime | None
    is_live: bool = False
    being_reverted: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What an operator wants to be kept; a run is kept if any rule keeps it.

    Args:
        keep_last: the number of complete runs of each kind; None for no such rule.
        keep_within_s: runs that ended within this many seconds; None for no such rule.
    """

    keep_last: int | None = None
    keep_within_s: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A run, and why it is kept; it is pruned where there is no reason."""

    run: PastRun
    reasons: tuple[Reason, ...]

    @property
    def is_kept(self) -> bool:
        """Whether its details stay."""
        return bool(self.reasons)


def decide(runs: Iterable[PastRun], policy: Policy, now: datetime) -> list[Verdict]:
    """Judges all runs of one catalog.

    Whatever the policy says, runs that may still go on are kept, and the last complete one of each
    kind. Runs that were given up count for no number: they never push out a complete one.

    Args:
        runs: all of one catalog, in any order.
        policy: the operator's rules.
        now: by the clock that the runs' times are of.

    Returns:
        A verdict for each, in the order of their numbers.
    """
    known = sorted(runs, key=lambda run: run.run_id)
    last = _last_complete(known, 1)
    counted = _last_complete(known, policy.keep_last or 0)
    return [Verdict(run, _reasons(run, last, counted, policy, now)) for run in known]


def _last_complete(runs: Sequence[PastRun], most: int) -> frozenset[int]:
    """The numbers of the latest complete runs of each kind."""
    left: dict[str, int] = {}
    found = set()
    for run in reversed(runs):
        taken = left.get(run.kind, 0)
        if run.state == "complete" and taken < most:
            left[run.kind] = taken + 1
            found.add(run.run_id)
    return frozenset(found)


def _reasons(
    run: PastRun, last: frozenset[int], counted: frozenset[int], policy: Policy, now: datetime
) -> tuple[Reason, ...]:
    is_open = run.finished_at is None or not (run.state == "complete" or run.superseded)
    return tuple(
        reason
        for reason, holds in (
            (Reason.UNDER_WAY, run.is_live),
            (Reason.UNFINISHED, is_open and not run.is_live),
            (Reason.BEING_REVERTED, run.being_reverted),
            (Reason.LAST_COMPLETE, run.run_id in last),
            (Reason.KEEP_LAST, run.run_id in counted),
            (Reason.KEEP_WITHIN, _is_within(run, policy.keep_within_s, now)),
        )
        if holds
    )


def _is_within(run: PastRun, seconds: float | None, now: datetime) -> bool:
    if seconds is None or run.finished_at is None:
        return False
    return now - run.finished_at <= timedelta(seconds=seconds)
