"""What is exposed: counters that never fall, labels that stay few, a document that is true."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash import exposition, parsing
from fasthash.errors import ConfigError
from fasthash.exposition import COMMON, METRICS, OTHER_TYPES, TYPES_AT_MOST, Exposition, How
from fasthash.fixity import Counts, Why
from fasthash.metrics import Moment
from fasthash.summary import ENDINGS

DOCUMENT = Path(exposition.__file__).parent.parent / "docs" / "metrics.md"
counts = st.builds(
    Counts, *[st.integers(0, 1000)] * 6, prechecked=st.integers(0, 9), bytes_hashed=st.integers(0)
)
by_type = st.dictionaries(st.none() | st.sampled_from(["a", "b", "c"]), counts)


def told(kind: str = "backfill") -> Exposition:
    return Exposition("artifacts", kind)


def moment(held: Why | None = None, read_bytes: int = 5, oldest_s: float | None = None) -> Moment:
    return Moment(
        read_bytes=read_bytes, rows_expected=9, rows_queued=1, rows_unsettled=2, leases=3,
        leases_until_s=0.0, workers={"busy": 1}, oldest_read_since_s=oldest_s, rates=(1.0, 2.0),
        held=held, worker_deaths=4, writer_deaths=5, reconnects={"writer": 6},
    )  # fmt: skip


def test_the_document_lists_what_there_is() -> None:
    rows = [line.split("|") for line in DOCUMENT.read_text().splitlines() if "| `fasthash_" in line]
    listed = {
        row[1].strip(" `"): (row[2].strip(), tuple(re.findall(r"`(\w+)`", row[3]))) for row in rows
    }
    assert listed == {m.name: (m.type, m.labels) for m in METRICS}
    assert all(row[4].strip() and row[5].strip() for row in rows)


def test_names_follow_the_conventions() -> None:
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.type == "counter"), metric.name
        assert not set(metric.labels) & {*COMMON, "le", "instance", "job"}, metric.name
        assert not re.search(r"_(ms|minutes|kb|mb|percent)(_|$)", metric.name), metric.name


@given(st.lists(by_type))
def test_counters_never_fall(seen: list[dict[str | None, Counts]]) -> None:
    one = told()
    before: dict[tuple[str, tuple[str, ...]], float] = {}
    for what in seen:
        one.counted(what)
        now = {(n, k): v for n, d in one.samples().items() if "_total" in n for k, v in d.items()}
        assert all(now[key] >= value for key, value in before.items())
        before = now


@given(by_type)
def test_what_was_counted_is_told(what: dict[str | None, Counts]) -> None:
    one = told()
    one.counted(what)
    rows = one.samples()["fasthash_rows_total"]
    assert sum(rows.values()) == sum(c.scanned for c in what.values())
    for artifact_type, c in what.items():
        assert rows["(none)" if artifact_type is None else artifact_type, "failed"] == c.failed


def test_a_read_that_is_not_delivered_yet_takes_nothing_back() -> None:
    one = told()
    one.show(moment(read_bytes=100))
    one.show(moment(read_bytes=60))
    assert one.samples()["fasthash_read_bytes_total"] == {(): 100}


def test_types_beyond_the_most_are_taken_together() -> None:
    one = told()
    many = {f"t{n:03d}": Counts(hashed=1000 - n) for n in range(TYPES_AT_MOST + 20)}
    one.counted(many)
    rows = one.samples()["fasthash_rows_total"]
    names = {name for name, _ in rows}
    assert len(names) == TYPES_AT_MOST + 1
    assert OTHER_TYPES in names
    assert "t000" in names, "those with most rows have names"
    assert sum(rows.values()) == sum(c.hashed for c in many.values())


@pytest.mark.parametrize("why", [None, *Why])
def test_one_reason_at_most_is_shown(why: Why | None) -> None:
    one = told()
    one.show(moment(why))
    held = one.samples()["fasthash_held"]
    assert set(held) == {(str(w),) for w in Why}
    assert sum(held.values()) == (why is not None)
    assert why is None or held[str(why),] == 1


def test_after_the_end_nothing_is_told_that_was_true_of_a_run() -> None:
    one = told()
    one.opened(7, "new", datetime(2026, 1, 1, tzinfo=UTC))
    one.show(moment(Why.WINDOW))
    one.ended(How.SIGNAL, 143, None)
    samples = one.samples()
    assert samples["fasthash_running"] == {(): 0}
    assert samples["fasthash_exit_status"] == {(): 143}
    assert samples["fasthash_ended"]["signal",] == 1
    assert sum(samples["fasthash_ended"].values()) == 1
    assert samples["fasthash_rows_expected"] == {(): 9}
    for name in ("held", "workers", "leases", "lease_remaining_seconds", "queued_rows"):
        assert f"fasthash_{name}" not in samples
    assert "fasthash_last_success_timestamp_seconds" not in samples


@pytest.mark.parametrize("how", list(How))
def test_an_end_as_planned_is_a_success(how: How) -> None:
    one = told()
    one.ended(how, 1, None)
    good = how in ("complete", "left", *ENDINGS)
    assert ("fasthash_last_success_timestamp_seconds" in one.samples()) == good


def test_the_last_success_is_the_latest_that_anybody_knows_of() -> None:
    one = told()
    one.keep("fasthash_last_success_timestamp_seconds", 2_000_000_000.0)
    one.remembered(datetime(2026, 1, 1, tzinfo=UTC), None)
    assert one.samples()["fasthash_last_success_timestamp_seconds"] == {(): 2_000_000_000.0}


def test_freshness_is_a_scrubs() -> None:
    freshness = {"oldest_marker": "2026-01-31T00:00:00.000000Z", "rows_bad": 3}
    scrub, run = told("scrub"), told()
    for one in (scrub, run):
        one.remembered(None, freshness)
    oldest = scrub.samples()["fasthash_oldest_marker_timestamp_seconds"]
    assert oldest == {(): datetime(2026, 1, 31, tzinfo=UTC).timestamp()}
    assert scrub.samples()["fasthash_bad_rows"] == {(): 3}
    assert "fasthash_bad_rows" not in run.samples()


@given(st.lists(st.floats(0, 100)))
def test_buckets_add_up(durations: list[float]) -> None:
    one = told()
    for seconds in durations:
        one.committed(seconds)
    found = dict(one.seconds.buckets())
    assert found["+Inf"] == len(durations)
    for bound, n in found.items():
        assert n == sum(seconds <= float(bound) for seconds in durations)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("9188", ("127.0.0.1", 9188)),
        ("0", ("127.0.0.1", 0)),
        ("0.0.0.0:9188", ("0.0.0.0", 9188)),
        ("db1.example:65535", ("db1.example", 65535)),
        ("[::1]:9188", ("::1", 9188)),
    ],
)
def test_places_to_listen_at(text: str, found: tuple[str, int]) -> None:
    assert parsing.parse_listen(text) == found


@pytest.mark.parametrize(
    "text", ["", ":", ":9188", "a:", "-1", "65536", "::1:9188", "a b:1", "1.5"]
)
def test_what_is_no_place_to_listen_at(text: str) -> None:
    with pytest.raises(ConfigError, match="no place to listen at"):
        parsing.parse_listen(text)
