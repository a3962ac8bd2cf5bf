"""What a report tells: figures of the run and of its catalog, and what they come to in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fasthash.summary import ENDINGS, RunSummary

Row = dict[str, Any]

# How long ago rows were verified, the oldest first: what a marker is compared with, and in words.
AGES: tuple[tuple[timedelta, str], ...] = (
    (timedelta(days=365), "over a year"),
    (timedelta(days=180), "half a year to a year"),
    (timedelta(days=90), "3 to 6 months"),
    (timedelta(days=30), "1 to 3 months"),
    (timedelta(days=7), "a week to a month"),
    (timedelta(days=1), "1 to 7 days"),
)
YOUNGEST, NEVER = "the last 24 hours", "never"


@dataclass(frozen=True, slots=True)
class CatalogFacts:
    """The whole catalog, by what is recorded of it."""

    rows: int
    rows_marked: int
    bytes_recorded: int
    sizes: list[Row]  # `from_bytes`, `to_bytes` (exclusive), `rows`, `bytes`, the smallest first
    ages: list[Row]  # `verified` in words, `rows`, the youngest first
    duplicate_groups: int
    duplicate_bytes: int
    duplicates: list[Row]  # the largest groups


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a report tells, as of one moment."""

    made_at: datetime
    summary: RunSummary
    run: Row  # host, options, error and the like
    history: list[Row]  # `since`, `rows_per_s`, `bytes_per_s`
    piece_s: float  # of the history
    drifts: list[Row]
    drifts_total: int
    residual: list[Row]
    catalog: CatalogFacts | None  # None where it cannot be read
    catalog_problem: str | None = None

    def as_json(self) -> Row:
        """The same for a machine."""
        catalog = self.catalog
        return {
            "made_at": self.made_at,
            "verdict": verdict(self),
            "summary": self.summary.as_json(),
            "run": self.run,
            "history": self.history,
            "drifts_total": self.drifts_total,
            "drifts": self.drifts,
            "residual": self.residual,
            "catalog": catalog
            and {name: getattr(catalog, name) for name in CatalogFacts.__dataclass_fields__},
            "catalog_problem": self.catalog_problem,
        }


def age_cutoffs(now: datetime) -> list[datetime]:
    """The times that part the ages, the oldest first."""
    return [now - age for age, _ in AGES]


def sizes_of(classes: Sequence[Row]) -> list[Row]:
    """A histogram of sizes by powers of ten, empty bars between the others included.

    Args:
        classes: `size_digits`, `rows` and `bytes`, in any number a size.
    """
    found: dict[int, Row] = {}
    for row in classes:
        if row["size_digits"] is not None:
            digits = row["size_digits"]
            bar = found.setdefault(digits, {"rows": 0, "bytes": 0})
            bar["rows"] += row["rows"]
            bar["bytes"] += row["bytes"]
    if not found:
        return []
    nothing = {"rows": 0, "bytes": 0}
    return [
        {"from_bytes": 10 ** (n - 1) if n > 1 else 0, "to_bytes": 10**n, **found.get(n, nothing)}
        for n in range(min(found), max(found) + 1)
    ]


def ages_of(classes: Sequence[Row]) -> list[Row]:
    """How many rows were verified how long ago, the youngest first.

    Args:
        classes: `age_class` (0 the oldest, None for never) and `rows`, in any number an age.
    """
    names = [*(name for _, name in AGES), YOUNGEST]
    rows = dict.fromkeys([*reversed(names), NEVER], 0)
    for row in classes:
        name = NEVER if row["age_class"] is None else names[row["age_class"]]
        rows[name] += row["rows"]
    return [{"verified": name, "rows": count} for name, count in rows.items()]


def verdict(facts: Facts) -> Row:
    """What the run came to, in plain words.

    Returns:
        `level` (good, unfinished or attention), `sentence`, and `look_at`: what somebody has to
        see to, a text each.
    """
    summary, total = facts.summary, facts.summary.total
    good = total.hashed + total.confirmed + total.fresh
    look_at = [text for count, text in _to_look_at(facts) if count]
    if summary.state != "complete":
        level = "unfinished"
        state = "is still going on" if summary.state == "running" else f"was {summary.state}"
        why = ENDINGS.get(summary.ended_for or "")
        sentence = f"The {summary.kind} {state}{f' ({why})' if why else ''}. So far "
        sentence += f"{_files(good)} {_how(summary.kind, good)}."
    elif not total.scanned:
        level, sentence = "good", "There was nothing to do."
    else:
        level = "attention" if look_at else "good"
        files = (
            f"All {_files(good)}"
            if good == total.scanned
            else f"{good:,} of {_files(total.scanned)}"
        )
        sentence = f"{files} {_how(summary.kind, good)}."
    return {"level": level, "sentence": sentence, "look_at": look_at}


def _how(kind: str, count: int) -> str:
    if kind == "scrub":
        return (
            "was read again and is as recorded"
            if count == 1
            else "were read again and are as recorded"
        )
    return "has its hash recorded" if count == 1 else "have their hash recorded"


def _to_look_at(facts: Facts) -> list[tuple[int, str]]:
    """How many there are of what somebody has to see to, and said in words."""
    summary, total = facts.summary, facts.summary.total
    still_open = [d for d in facts.drifts if d["resolution"] == "open"]
    corrupt = sum(d["kind"] == "corrupt" for d in still_open)
    others = summary.open_drifts - corrupt
    found = [d["resolution"] for d in facts.drifts if d["run_id"] == summary.run_id]
    renewed, upheld = sum(r in ("overwritten", "accepted") for r in found), found.count("rejected")
    are, wait = "is" if corrupt == 1 else "are", "waits" if others == 1 else "wait"
    return [
        (corrupt, f"{_files(corrupt)} {are} corrupt, to be restored from a copy"),
        (others, f"{_files(others)} with another content {wait} for a decision"),
        (upheld, f"{_files(upheld)} had another content, and the recorded hash was upheld"),
        (renewed, f"{_files(renewed)} had changed, and the new hash was recorded"),
        (total.no_file, f"{_files(total.no_file)} {'is' if total.no_file == 1 else 'are'} missing"),
        (total.failed, f"{_files(total.failed)} could not be verified"),
    ]


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"
