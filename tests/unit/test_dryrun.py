"""A dry run's judgement is the writer's, but for what others change meanwhile."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash import parts
from fasthash.config import Settings
from fasthash.controls import Remote
from fasthash.dryrun import DryRun, counted, judge
from fasthash.fixity import LeasedRange, Outcome, Part, Result, Task, Verdict

digests = st.binary(min_size=32, max_size=32)
DIGEST = bytes(range(32))


def result(verdict: str, sha256: bytes | None = None, size: int = 0) -> Result:
    return Result("1", "p", None, verdict, sha256, size)


@given(digests, digests)
def test_a_hash_is_new_the_same_or_another(stored: bytes, found: bytes) -> None:
    hashed = result("hashed", found, 5)
    assert judge(Task("1", "p", None, None), hashed) == Outcome.HASHED
    same = Outcome.CONFIRMED if stored == found else Outcome.DRIFTED
    for text in (stored.hex(), stored.hex().upper()):
        assert judge(Task("1", "p", text, None), hashed) == same
    assert judge(Task("1", "p", found.hex().upper(), None), hashed) == Outcome.CONFIRMED


@pytest.mark.parametrize("stored", ["", " ", "sha256:00", "0" * 63, "no hash"])
def test_what_is_stored_and_no_hash_is_a_drift_all_the_same(stored: str) -> None:
    assert judge(Task("1", "p", stored, None), result("hashed", DIGEST)) == Outcome.DRIFTED


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("stored", [None, DIGEST.hex(), "ff"])
def test_without_a_digest_there_is_neither_a_match_nor_a_drift(
    verdict: Verdict, stored: str | None
) -> None:
    outcome = judge(Task("1", "p", stored, None), result(str(verdict)))
    expected = {
        Verdict.FRESH: Outcome.FRESH,
        Verdict.NO_FILE: Outcome.NO_FILE,
        Verdict.PRECHECKED: Outcome.CONFIRMED,
    }
    assert outcome == expected.get(verdict, Outcome.FAILED)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_each_row_counts_once(outcome: Outcome) -> None:
    hashed = outcome in (Outcome.HASHED, Outcome.CONFIRMED, Outcome.DRIFTED)
    found = result("hashed", DIGEST, 7) if hashed else result("no_file")
    counts = counted(outcome, found, overwrite=True)
    assert counts.scanned == 1
    assert getattr(counts, str(outcome)) == 1
    assert (counts.updated, counts.bytes_hashed) == ((1, 7) if hashed else (0, 0))


def judged(on_drift: str) -> DryRun:
    """A dry run that was shown one part: a new hash, a match, a drift, a missing file."""
    catalog: Any = SimpleNamespace(estimated_rows=0)
    progress: Any = None
    dry_run = DryRun(Settings("host=nowhere", on_drift=on_drift), catalog, (), progress, Remote())
    try:
        dry_run._types[1] = None
        stored = [None, DIGEST.hex(), "ff", "ff"]
        tasks = [Task(str(n), "p", text, None) for n, text in enumerate(stored)]
        found = [Result(t.row_id, "p", None, "hashed", DIGEST, 7, compared="ff") for t in tasks[:3]]
        found.append(Result("3", "p", None, "no_file"))
        leased = LeasedRange(1, None, None, "3", 0, 0)
        dry_run.supply.add(leased, tasks)
        part = Part(1, 1, 0, None, "3", 4, parts.pack(found), 21)
        asyncio.run(dry_run._judge(part, tasks))
    finally:
        dry_run.desk.close()
    return dry_run


def test_a_part_is_counted_under_its_type() -> None:
    dry_run = judged("overwrite")
    counts = dry_run.by_type[None]
    assert (counts.hashed, counts.confirmed, counts.drifted, counts.no_file) == (1, 1, 1, 1)
    assert counts.updated == 3
    assert counts.bytes_hashed == 21
    assert dry_run.residual == {"no_file": 1}
    assert dry_run.read_bytes == 21


def test_a_drift_that_is_held_would_not_be_written() -> None:
    assert judged("hold").by_type[None].updated == 2
