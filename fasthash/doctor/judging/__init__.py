"""What facts mean: findings, each with what mends it. Decides and touches nothing."""

from __future__ import annotations

from fasthash.doctor.judging import catalog, database, machine, roots, work
from fasthash.facts import Facts, Finding, Level

_ORDER = list(Level)
# What of the database ends the command with a status of its own: nothing could be looked at.
UNREACHABLE = "database.reach"


def judge(facts: Facts) -> list[Finding]:
    """All findings, group by group, in each the worst first."""
    groups = (
        machine.judge(facts.machine, facts.workers),
        roots.judge(facts.roots, facts.files, facts.wishes),
        (*database.judge(facts.database), *catalog.judge(facts.database, facts.wishes)),
        work.judge(facts),
    )
    found: list[Finding] = []
    for group in groups:
        found += sorted(group, key=lambda f: -_ORDER.index(f.level))
    return found


def worst(findings: list[Finding]) -> Level:
    """The level of the worst finding."""
    return max((f.level for f in findings), key=_ORDER.index, default=Level.OK)


def exit_status(findings: list[Finding]) -> int:
    """0: nothing worse than notes; 1: warnings; 3: no database; 4: a run would not begin."""
    if any(f.check == UNREACHABLE and f.level is Level.PROBLEM for f in findings):
        return 3
    return {Level.WARNING: 1, Level.PROBLEM: 4}.get(worst(findings), 0)
