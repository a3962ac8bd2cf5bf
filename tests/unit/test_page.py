"""What the page is made of: buckets, cells that are harmless wherever they stand, and words."""

from __future__ import annotations

import base64
import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash.fixity import Counts
from fasthash.page import buckets, charts, listings, words
from fasthash.page.facts import DriftCount, Duplicates, Facts, Piece, Run
from fasthash.page.listings import Column, Listing
from fasthash.parsing import marker_text
from fasthash.summary import RunSummary

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@given(st.lists(st.one_of(st.none(), st.integers(0, 10**17)), max_size=50))
def test_every_size_is_in_one_bucket(found: list[int | None]) -> None:
    counted = [
        (None, 1, 0) if size is None else (len(str(size)) if size else 0, 1, size)
        for size in found
    ]  # fmt: skip
    sizes, without = buckets.sizes(counted)
    assert without == found.count(None)
    known = [size for size in found if size is not None]
    for bucket in sizes:
        inside = [s for s in known if bucket.from_bytes <= s < bucket.below_bytes]
        assert (bucket.rows, bucket.bytes) == (len(inside), sum(inside))
    assert sum(bucket.rows for bucket in sizes) == len(known)
    for one, other in itertools.pairwise(sizes):
        assert one.below_bytes == other.from_bytes, "none is left out"


def test_names_of_sizes() -> None:
    sizes, _ = buckets.sizes((digits, 1, 1) for digits in range(18))
    assert [bucket.label for bucket in sizes][:6] == [
        "empty", "1 – 10 B", "10 – 100 B", "100 B – 1 kB", "1 – 10 kB", "10 – 100 kB",
    ]  # fmt: skip
    assert sizes[-1].label == "10 – 100 PB"


@pytest.mark.parametrize(
    ("ago", "name"),
    [(timedelta(hours=23), "day"), (timedelta(days=2), "week"), (timedelta(days=8), "month"),
     (timedelta(days=31), "quarter"), (timedelta(days=91), "year"),
     (timedelta(days=366), "older"), (-timedelta(hours=1), "future"),
     (-timedelta(seconds=30), "day")],
)  # fmt: skip
def test_ages(ago: timedelta, name: str) -> None:
    """As the database counts: how many limits a marker is not before."""
    marker, limits = marker_text(NOW - ago), buckets.age_limits(NOW)
    assert limits == sorted(limits)
    found = buckets.ages([(sum(limit <= marker for limit in limits), 7)])
    assert {bucket.name: bucket.rows for bucket in found if bucket.rows} == {name: 7}


def test_odd_ages_are_named_only_where_there_are_any() -> None:
    assert [b.name for b in buckets.ages([])] == [
        "day", "week", "month", "quarter", "year", "older", "never",
    ]  # fmt: skip
    assert [b.rows for b in buckets.ages([(6, 2), (None, 3)])][-2:] == [2, 3]


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_shares_are_never_rounded_to_all_or_nothing(part: int, rest: int) -> None:
    words = buckets.share(part, part + rest)
    assert (words == "0 %") == (part == 0)
    assert (words == "100 %") == (part > 0 and rest == 0)


@given(st.lists(st.text(), min_size=1))
def test_json_cannot_leave_its_element(row: list[str]) -> None:
    text = listings.in_script(row)
    assert json.loads(text) == row
    assert text.isascii()
    assert not {"<", ">", "&"} & set(text)


def test_a_listing_has_a_head_and_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "MOST_ROWS", 250)
    listing = Listing("x", "x", (Column("n"),), ([str(n)] for n in range(1000)), 1000)
    assert listing.left_out == 750
    assert [row[0] for row in listing.head] == [str(n) for n in range(100)]
    assert json.loads("".join(listing.as_json())) == [[str(n)] for n in range(250)]


def test_an_empty_listing() -> None:
    listing = Listing("x", "x", (Column("n"),), iter(()), 0)
    assert json.loads("".join(listing.as_json())) == []
    assert listing.left_out == 0


def test_words_in_charts_are_not_mathematics() -> None:
    labels = [buckets.AgeBucket("day", "$a_b$ <i>", 1), buckets.AgeBucket(*buckets.NEVER, 0)]
    uri = charts._ages(labels, 1).light
    svg = base64.b64decode(uri.partition(",")[2]).decode()
    assert "$a_b$ &lt;i&gt;</text>" in svg
    assert svg.startswith("<svg")


def facts(state: str = "complete", kind: str = "backfill", **changed: Any) -> Facts:
    """Ten rows that were hashed, and what is changed of that."""
    counts = changed.pop("counts", Counts(hashed=10))
    summary = RunSummary(
        7, kind, state, NOW, NOW, 2.0, {None: counts}, {}, catalog="public.artifacts"
    )
    run = Run(changed.pop("options", {}), "host", (), None, False, 40)
    nothing = Duplicates(0, 0, ())
    made = Facts(NOW, "1", summary, run, (), (), 0, buckets.ages([(5, 10)]), nothing, (),
                 iter(()), iter(()))  # fmt: skip
    return replace(made, **changed)


@pytest.mark.parametrize(
    ("found", "level", "sentence"),
    [
        (facts(), "good", "All 10 files were verified; nothing waits."),
        (facts(counts=Counts(hashed=1)), "good", "The one file was verified; nothing waits."),
        (facts(counts=Counts()), "good", "Nothing was due, and nothing waits."),
        (facts(options={"missing": True}), "good",
         "All 10 files are there with their sizes; nothing waits."),
        (facts("running"), "open", "The run is under way: 10 of 40 files so far."),
        (facts("interrupted"), "open", "The run is not finished: 10 of 40 files so far."),
        (facts(kind="revert", options={"of": 3}), "open",
         "This run put back what run 3 had written."),
        (facts(counts=Counts(hashed=9, no_file=1)), "waits", "1 thing waits: 1 missing file."),
        (facts(counts=Counts(hashed=9, drifted=1),
               drift_counts=[DriftCount("modified", "overwritten", True, 1)]),
         "good", "All 10 files were verified; nothing waits."),
        (facts(drift_counts=[DriftCount("corrupt", "open", False, 2)]), "bad",
         "2 things wait: 2 files that look damaged."),
        (facts(drift_counts=[DriftCount("unknown", "open", False, 1)]), "waits",
         "1 thing waits: 1 changed hash to decide about."),
        (facts(ages=buckets.ages([(5, 10), (None, 1)])), "waits",
         "1 thing waits: 1 file that was never verified."),
        (facts(ages=buckets.ages([(5, 9), (None, 1)]), counts=Counts(hashed=9, drifted=1),
               drift_counts=[DriftCount("unknown", "open", True, 1, 1)]),
         "waits", "1 thing waits: 1 changed hash to decide about."),
        (facts(counts=Counts(drifted=1),
               drift_counts=[DriftCount("unknown", "superseded", True, 1, 1)]),
         "good", "The one file was verified; nothing waits."),
        (facts("running", ages=buckets.ages([(None, 30)])), "open",
         "The run is under way: 10 of 40 files so far."),
    ],
)  # fmt: skip
def test_the_verdict(found: Facts, level: str, sentence: str) -> None:
    said = words.verdict(found)
    assert (said.level, said.sentence) == (level, sentence)


def test_a_run_vouches_for_what_it_has_read_again_and_no_more() -> None:
    counts = Counts(hashed=1, confirmed=3, prechecked=1)
    said = "None was found: 2 files read again had the recorded hash."
    assert words.no_drift(facts(counts=counts)) == said
    for found in (
        facts("interrupted", counts=counts), facts(options={"missing": True}, counts=counts),
        facts(kind="revert", counts=counts), facts(counts=Counts(confirmed=3, prechecked=3)),
        facts(),
    ):  # fmt: skip
        assert words.no_drift(found) == "None was found."


def test_a_part_of_the_catalog_is_called_that() -> None:
    options = {"types": ["a", "b"], "limit": 1_000, "sample": "0.015 of seed x", "since": "2026"}
    said = words.part_of_catalog(facts(options=options))
    assert said == (
        "type a, b; a sample of 1.5 % of the rows (seed x); at most 1,000 rows; "
        "rows whose marker is older than 2026"
    )
    assert words.part_of_catalog(facts(options={"types": None, "limit": None})) == ""
    assert not any("part" in note for note in words.verdict(facts()).notes)
    assert any(said in note for note in words.verdict(facts(options=options)).notes)


def test_nobody_works_in_a_pause() -> None:
    hour = timedelta(hours=1)
    pieces = [Piece(NOW, 3600.0, 3600.0, 0.0), Piece(NOW + 8 * hour, 3600.0, 7200.0, 0.0)]
    steps, edges = charts.stairs_of(pieces, [p.rows / p.seconds for p in pieces])
    assert steps == [1.0, 0.0, 2.0]
    hours = [(edge - edges[0]) * 24 for edge in edges]
    assert hours == pytest.approx([0, 1, 8, 9], abs=1e-3)
    beside = [Piece(NOW, 3600.0, 1.0, 0.0), Piece(NOW + hour, 3600.0, 1.0, 0.0)]
    assert charts.stairs_of(beside, [1.0, 1.0])[0] == [1.0, 1.0]


def test_what_waits_is_not_verified() -> None:
    found = facts(
        counts=Counts(confirmed=5, drifted=4, failed=1),
        drift_counts=[
            DriftCount("corrupt", "open", True, 1), DriftCount("corrupt", "rejected", True, 1),
            DriftCount("modified", "overwritten", True, 2), DriftCount("corrupt", "open", False, 1),
        ],
    )  # fmt: skip
    assert words.verified_rows(found) == 7
    said = words.verdict(found)
    assert said.sentence == (
        "4 things wait: 2 files that look damaged, 1 file to restore and 1 file that could not be "
        "checked."
    )
    assert said.notes[0] == "The other 7 files were verified."
