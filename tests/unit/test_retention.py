"""Which runs are kept: what may still go on, the last of each kind, and what the rules say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash.retention import PastRun, Policy, Reason, Verdict, decide

NOW = datetime(2026, 11, 1, tzinfo=UTC)
KINDS = ("backfill", "scrub", "revert")


def run(
    run_id: int, kind: str = "scrub", state: str = "complete", ended_ago_s: float | None = 0.0,
    **facts: bool,
) -> PastRun:  # fmt: skip
    ended = None if ended_ago_s is None else NOW - timedelta(seconds=ended_ago_s)
    facts = {"superseded": False, **facts}
    return PastRun(run_id, kind, state, started_at=NOW, finished_at=ended, **facts)


@st.composite
def histories(draw: st.DrawFn) -> list[PastRun]:
    """Runs as a ledger has them: complete, given up, interrupted or going on."""
    found = []
    for run_id in range(1, draw(st.integers(0, 25)) + 1):
        state = draw(st.sampled_from(["complete"] * 4 + ["interrupted", "failed", "running"]))
        superseded = state == "interrupted" and draw(st.booleans())
        ended_ago_s = None if state == "running" else draw(st.floats(-1e3, 1e6))
        found.append(
            run(run_id, draw(st.sampled_from(KINDS)), state, ended_ago_s, superseded=superseded,
                is_live=draw(st.booleans()) if state != "complete" else False,
                being_reverted=draw(st.integers(0, 9)) == 0)
        )  # fmt: skip
    return draw(st.permutations(found))


policies = st.builds(
    Policy, st.none() | st.integers(1, 8), st.none() | st.floats(0, 2e6, allow_nan=False)
)


def pruned(verdicts: list[Verdict]) -> set[int]:
    return {v.run.run_id for v in verdicts if not v.is_kept}


@given(histories(), policies)
def test_what_may_go_on_is_kept_whatever_the_policy(runs: list[PastRun], policy: Policy) -> None:
    for verdict in decide(runs, policy, NOW):
        found = verdict.run
        if found.is_live or found.finished_at is None or found.being_reverted:
            assert verdict.is_kept
        if found.state != "complete" and not found.superseded:
            assert verdict.is_kept


@given(histories(), policies)
def test_the_last_complete_one_of_each_kind_is_kept(runs: list[PastRun], policy: Policy) -> None:
    gone = pruned(decide(runs, policy, NOW))
    for kind in KINDS:
        complete = [r.run_id for r in runs if r.kind == kind and r.state == "complete"]
        if complete:
            assert max(complete) not in gone


@given(histories(), policies)
def test_each_run_has_one_verdict_in_order(runs: list[PastRun], policy: Policy) -> None:
    numbers = [v.run.run_id for v in decide(runs, policy, NOW)]
    assert numbers == sorted(r.run_id for r in runs)


@given(histories(), policies)
def test_as_many_of_each_kind_as_were_asked_for(runs: list[PastRun], policy: Policy) -> None:
    verdicts = decide(runs, policy, NOW)
    for kind in KINDS:
        complete = [v for v in verdicts if v.run.kind == kind and v.run.state == "complete"]
        counted = [v for v in complete if Reason.KEEP_LAST in v.reasons]
        assert counted == complete[len(complete) - min(len(complete), policy.keep_last or 0) :]


@given(histories(), policies)
def test_within_the_time_from_its_end(runs: list[PastRun], policy: Policy) -> None:
    for verdict in decide(runs, policy, NOW):
        ended, seconds = verdict.run.finished_at, policy.keep_within_s
        is_within = (
            ended is not None and seconds is not None and NOW - ended <= timedelta(seconds=seconds)
        )
        assert (Reason.KEEP_WITHIN in verdict.reasons) == is_within


@given(histories(), policies, st.integers(1, 8), st.floats(0, 1e6, allow_nan=False))
def test_more_rules_never_prune_more(
    runs: list[PastRun], policy: Policy, more: int, longer_s: float
) -> None:
    wider = Policy((policy.keep_last or 0) + more, (policy.keep_within_s or 0.0) + longer_s)
    assert pruned(decide(runs, wider, NOW)) <= pruned(decide(runs, policy, NOW))


@given(histories(), policies)
def test_what_is_pruned_stays_pruned_and_what_is_kept_is_not_needed_for_it(
    runs: list[PastRun], policy: Policy
) -> None:
    """Done again on what is kept, nothing more goes by number."""
    verdicts = decide(runs, Policy(policy.keep_last), NOW)
    kept = [v.run for v in verdicts if v.is_kept]
    assert pruned(decide(kept, Policy(policy.keep_last), NOW)) == set()


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        (run(1), ("last_complete", "keep_last")),
        (run(1, state="interrupted"), ("unfinished",)),
        (run(1, state="running", ended_ago_s=None, is_live=True), ("under_way",)),
        (run(1, state="running", ended_ago_s=None), ("unfinished",)),
        (run(1, state="interrupted", superseded=True), ()),
        (run(1, state="interrupted", superseded=True, is_live=True), ("under_way",)),
        (run(1, state="interrupted", superseded=True, being_reverted=True), ("being_reverted",)),
    ],
)
def test_reasons(found: PastRun, reasons: tuple[str, ...]) -> None:
    assert decide([found], Policy(keep_last=2), NOW)[0].reasons == reasons


def test_given_up_runs_push_no_complete_one_out() -> None:
    runs = [run(1), *(run(n, state="interrupted", superseded=True) for n in range(2, 9)), run(9)]
    assert pruned(decide(runs, Policy(keep_last=2), NOW)) == set(range(2, 9))
