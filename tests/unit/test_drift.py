"""The kind of a drift: modified, corrupt or unknown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash import drift
from fasthash.drift import Stamps, is_overwritten, parse_marker
from fasthash.fixity import DriftKind

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.datetimes(
    datetime(1971, 1, 1),
    datetime(2100, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
sizes = st.integers(0, 2**60)


def nanoseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def classify(marker: str | None, old: int | None, new: int, mtime_ns: int) -> DriftKind:
    """With the marker alone to compare with; ctime is as old as mtime."""
    return drift.classify(drift.moved(marker, old, Stamps(new, mtime_ns, mtime_ns), None))


def marker(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


@given(moments, sizes, st.integers(1_000, 10**15))
def test_same_size_and_an_older_mtime_is_bit_rot(at: datetime, size: int, older: int) -> None:
    assert classify(marker(at), size, size, nanoseconds(at) - older) == DriftKind.CORRUPT


@given(moments, sizes, st.integers(1_000, 10**15))
def test_a_later_mtime_is_a_modification(at: datetime, size: int, later: int) -> None:
    assert classify(marker(at), size, size, nanoseconds(at) + later) == DriftKind.MODIFIED


@given(moments, sizes, sizes, st.integers(-(10**15), 10**15))
def test_another_size_is_a_modification(at: datetime, old: int, new: int, moved: int) -> None:
    kind = classify(marker(at), old, new, nanoseconds(at) + moved)
    if old != new:
        assert kind == DriftKind.MODIFIED


@given(st.none() | sizes, sizes, st.integers(0, 2**63 - 1))
def test_without_a_marker_nothing_is_known(old: int | None, new: int, mtime_ns: int) -> None:
    assert classify(None, old, new, mtime_ns) == DriftKind.UNKNOWN


@given(moments, sizes, st.integers(1_000, 10**15))
def test_without_a_stored_size_the_mtime_decides(at: datetime, new: int, older: int) -> None:
    assert classify(marker(at), None, new, nanoseconds(at) - older) == DriftKind.CORRUPT
    assert classify(marker(at), None, new, nanoseconds(at) + older) == DriftKind.MODIFIED


@given(st.text(max_size=40), st.none() | sizes, sizes, st.integers(-(2**63), 2**63 - 1))
def test_any_text_as_a_marker_gives_some_kind(
    text: str, old: int | None, new: int, mtime_ns: int
) -> None:
    kind = classify(text, old, new, mtime_ns)
    if parse_marker(text) is None:
        assert kind == DriftKind.UNKNOWN


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-01-31", "2026-01-31T02:00:00", "2026-13-01T00:00:00Z", "null", "0"],
)
def test_a_time_without_an_offset_or_no_time_is_no_marker(text: str) -> None:
    assert parse_marker(text) is None
    assert classify(text, 1, 1, 0) == DriftKind.UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T02:00:00Z",
        "2026-01-31T02:00:00.000000Z",
        "2026-01-31T02:00:00+00:00",
        "2026-01-31T03:00:00+01:00",
        "2026-01-30T21:30:00-04:30",
    ],
)
def test_the_usual_ways_to_write_a_time_are_the_same_time(text: str) -> None:
    assert parse_marker(text) == datetime(2026, 1, 31, 2, tzinfo=UTC)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00"])
def test_times_at_the_edges_of_the_calendar_do_not_raise(text: str) -> None:
    assert classify(text, 1, 1, 1) in (DriftKind.CORRUPT, DriftKind.MODIFIED)


@pytest.mark.parametrize(
    ("text", "nudge_ns", "kind"),
    [
        ("2025-11-29T18:13:01.603780Z", 100, DriftKind.MODIFIED),
        ("2026-11-10T17:01:16.720780Z", 0, DriftKind.CORRUPT),
    ],
)
def test_stamps_are_compared_to_the_nanosecond(text: str, nudge_ns: int, kind: DriftKind) -> None:
    at = datetime.fromisoformat(text)
    assert classify(text, 1, 1, nanoseconds(at) + nudge_ns) == kind


stamps = st.builds(Stamps, *[st.integers(0, 3)] * 5)


@given(st.none() | st.text(max_size=5) | moments.map(marker), st.none() | sizes, stamps, stamps)
def test_known_stamps_decide_whatever_the_marker_says(
    text: str | None, old_size: int | None, found: Stamps, known: Stamps
) -> None:
    moved = drift.moved(text, old_size, found, known)
    of_content = found[:2] != known[:2]
    assert drift.classify(moved) == (DriftKind.MODIFIED if of_content else DriftKind.CORRUPT)
    names = ("size", "mtime", "ctime", "device", "inode")
    assert moved == tuple(n for n, a, b in zip(names, found, known, strict=True) if a != b)


@given(moments, sizes, st.integers(1_000, 10**15))
def test_a_later_ctime_alone_is_no_modification(at: datetime, size: int, later: int) -> None:
    """It moves with every chmod, link and copy: damage beneath it would be taken for good."""
    found = Stamps(size, nanoseconds(at) - later, nanoseconds(at) + later)
    moved = drift.moved(marker(at), size, found, None)
    assert moved == ("ctime",)
    assert drift.classify(moved) == DriftKind.CORRUPT


@pytest.mark.parametrize(
    ("moved", "said"),
    [
        (None, None),
        ((), "neither size nor times"),
        (("ctime",), "ctime, but neither size nor mtime"),
        (("ctime", "device", "inode"), "ctime, device and inode, but neither size nor mtime"),
        (("size", "mtime", "ctime"), "size, mtime and ctime"),
        (("mtime",), "mtime"),
    ],
)
def test_what_moved_is_told(moved: tuple[str, ...] | None, said: str | None) -> None:
    assert drift.told(moved) == said


def test_what_is_overwritten() -> None:
    kinds = (DriftKind.MODIFIED, DriftKind.CORRUPT, DriftKind.UNKNOWN)
    assert [is_overwritten(kind, "overwrite") for kind in kinds] == [True, True, True]
    assert [is_overwritten(kind, "backfill") for kind in kinds] == [True, False, True]
    assert [is_overwritten(kind, "scrub") for kind in kinds] == [True, False, False]
    assert [is_overwritten(kind, "hold") for kind in kinds] == [False, False, False]


@pytest.mark.parametrize("seconds", [-5, 0, 3, drift.MAPPED_S - 1])
def test_a_file_that_was_young_when_hashed_may_have_been_written_unseen(seconds: int) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    ctime = at - timedelta(seconds=seconds)
    said = drift.unseen_writer(DriftKind.CORRUPT, marker(at), ctime)
    assert said is not None
    assert f"{max(0, seconds)} s before" in said
    for kind in (DriftKind.MODIFIED, DriftKind.UNKNOWN):
        assert drift.unseen_writer(kind, marker(at), ctime) is None


def test_of_an_old_file_nothing_speaks_against_rot() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    old = at - timedelta(seconds=drift.MAPPED_S)
    assert drift.unseen_writer(DriftKind.CORRUPT, marker(at), old) is None
    assert drift.unseen_writer(DriftKind.CORRUPT, None, at) is None
    assert drift.unseen_writer(DriftKind.CORRUPT, marker(at), None) is None
