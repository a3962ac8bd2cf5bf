"""Properties of the pure parts: units, ranges, counts, drift, settings, log lines."""

from __future__ import annotations

import posixpath
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash import config, drift, logs, parsing, paths
from fasthash.dryrun import judge
from fasthash.errors import ConfigError
from fasthash.fixity import Counts, DriftKind, Outcome, Result, Root, Task, Verdict
from fasthash.store.planning import cut_unmet
from fasthash.summary import RunSummary, as_text
from fasthash.units import GROWTH_AT_MOST, LEAST_ROWS, MOST_ROWS, UnitSize, share

ROOTS = (Root(b"/data/a", b"/real/a", 1, 1), Root(b"/data/b", b"/data/b", 1, 2))

PIECES = st.lists(
    st.sampled_from(["..", ".", "", "a", "b", "data", "real", "x", "...", "é", "a b"]), max_size=9
)


@given(PIECES, st.booleans())
def test_no_path_leads_out_of_the_roots(pieces: list[str], absolute: bool) -> None:
    text = ("/" if absolute else "") + "/".join(pieces)
    try:
        found = paths.candidates(text, ROOTS)
    except paths.PathRefusedError:
        return
    assert found
    for path in found:
        whole = b"/" + posixpath.normpath(path).lstrip(b"/")
        insides = [r.path for r in ROOTS] + [r.real_path for r in ROOTS]
        assert any(whole == inside or whole.startswith(inside + b"/") for inside in insides)


def test_relative_paths_are_tried_root_by_root() -> None:
    assert paths.candidates("x/y", ROOTS) == [b"/data/a/x/y", b"/data/b/x/y"]
    assert paths.candidates("/real/a/x", ROOTS) == [b"/real/a/x"]
    assert paths.candidates("../b/x", ROOTS) == [b"/data/b/../b/x"]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("", Verdict.NO_FILE),
        ("a\0b", Verdict.NO_FILE),
        ("x" * 5000, Verdict.NO_FILE),
        ("/etc/passwd", Verdict.OUTSIDE_ROOT),
        ("../../etc/passwd", Verdict.OUTSIDE_ROOT),
        ("/data/ab/x", Verdict.OUTSIDE_ROOT),
        ("file:///etc/passwd", Verdict.OUTSIDE_ROOT),
        ("file:///data/a/%2e%2e/%2e%2e/etc/x", Verdict.OUTSIDE_ROOT),
    ],
)
def test_refused_paths(text: str, verdict: Verdict) -> None:
    with pytest.raises(paths.PathRefusedError) as caught:
        paths.candidates(text, ROOTS)
    assert caught.value.verdict == verdict


@given(st.binary(min_size=1).filter(lambda b: b"\0" not in b))
def test_any_name_can_be_written_as_text(name: bytes) -> None:
    path = b"/" + name
    text = paths.encode(path)
    text.encode("utf-8")
    assert paths.decode(text) == path


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 1e5)), max_size=60))
def test_unit_size_stays_in_bounds(history: list[tuple[int, float]]) -> None:
    size = UnitSize()
    for rows, seconds in history:
        after = size.after(rows, seconds)
        assert 1 <= after.rows <= MOST_ROWS
        assert after.rows <= max(size.rows * GROWTH_AT_MOST, size.rows + 1)
        if rows and seconds / rows > 1:
            assert after.rows == LEAST_ROWS, "files that take more than a second: two at a time"
        size = after


@given(st.integers(1, 1000), st.integers(0, 10_000), st.integers(1, 64))
def test_shares_are_fair(rows: int, queued: int, shares: int) -> None:
    share_rows = share(rows, queued, shares)
    assert 1 <= share_rows <= rows
    assert share_rows <= queued // shares + 2


UNMET = st.lists(st.tuples(st.sampled_from([None, "a", "b"]), st.integers(0, 99)), unique=True).map(
    lambda rows: sorted(((t, f"{n:03}") for t, n in rows), key=lambda r: (r[0] or "~", r[1]))
)


@given(UNMET, st.integers(1, 7))
def test_sweep_ranges_cover_every_row_once(
    unmet: list[tuple[str | None, str]], range_rows: int
) -> None:
    ranges = cut_unmet(unmet, range_rows)
    assert sum(len(rows) for *_, rows in ranges) == len(unmet)
    for artifact_type, row_id in unmet:
        inside = [
            r for r in ranges
            if r[0] == artifact_type and (r[1] is None or r[1] < row_id) and row_id <= r[2][-1]
        ]  # fmt: skip
        assert len(inside) == 1
        assert row_id in inside[0][2]
    assert all(len(rows) <= range_rows for *_, rows in ranges)


COUNTS = st.builds(Counts, *[st.integers(0, 10**9)] * 9)


@given(st.dictionaries(st.one_of(st.none(), st.text(max_size=5)), COUNTS, max_size=5))
def test_summary_adds_up(by_type: dict[str | None, Counts]) -> None:
    summary = RunSummary(1, "backfill", "complete", None, None, 2.0, by_type, {})
    total = summary.as_json()
    parts = list(summary.by_type.values())
    for key, value in total["outcomes"].items():
        assert value == sum(getattr(c, key) for c in parts)
    assert total["rows_scanned"] == sum(total["outcomes"].values())
    assert total["bytes_hashed"] == sum(c.bytes_hashed for c in parts)
    assert f"{summary.total.scanned:,}" in as_text(summary)
    wants_a_look = bool(total["outcomes"]["drifted"] or total["outcomes"]["failed"])
    assert summary.exit_status == int(wants_a_look)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),
    st.integers(-(10**6), 10**6),
    st.one_of(st.none(), st.integers(0, 10)),
    st.integers(0, 10),
)
def test_drift_kind(marked: datetime, later_s: int, old_size: int | None, new_size: int) -> None:
    marker = marked.replace(tzinfo=UTC)
    mtime_ns = (int(marker.timestamp()) + later_s) * 10**9
    found = drift.Stamps(new_size, mtime_ns, mtime_ns)
    kind = drift.classify(drift.moved(marker.isoformat(), old_size, found, None))
    moved = (old_size is not None and old_size != new_size) or mtime_ns / 1e9 > marker.timestamp()
    assert kind == (DriftKind.MODIFIED if moved else DriftKind.CORRUPT)
    for no_marker in (None, "", "yesterday", "2026-01-01T00:00:00"):
        assert drift.moved(no_marker, old_size, found, None) is None
    assert drift.classify(None) == DriftKind.UNKNOWN


def test_dry_run_judges_as_the_statement_does() -> None:
    digest = bytes(32)
    hashed = Result("1", "p", None, "hashed", digest)
    assert judge(Task("1", "p", None, None), hashed) == Outcome.HASHED
    assert judge(Task("1", "p", digest.hex().upper(), None), hashed) == Outcome.CONFIRMED
    assert judge(Task("1", "p", "ff", None), hashed) == Outcome.DRIFTED
    for verdict, outcome in (
        (Verdict.FRESH, Outcome.FRESH),
        (Verdict.NO_FILE, Outcome.NO_FILE),
        (Verdict.UNSTABLE, Outcome.FAILED),
    ):
        result = Result("1", "p", None, str(verdict))
        assert judge(Task("1", "p", None, None), result) == outcome


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("1k", 1000), ("256KiB", 262144), ("1.5 MB", 1_500_000), ("2GiB", 2**31)],
)
def test_sizes(text: str, size: int) -> None:
    assert parsing.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1XB", "MB", "1 2", "0x10", "1iB", "1e3"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(ConfigError):
        parsing.parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5min", 300), ("1.5h", 5400), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parsing.parse_duration(text) == seconds


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(NAMES, NAMES)
def test_any_table_can_be_named(schema: str, table: str) -> None:
    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    assert parsing.parse_table(f"{quoted(schema)}.{quoted(table)}") == (schema, table)
    assert parsing.parse_table(quoted(table)) == (None, table)


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a.b.c", 'a"b', '"a', '""'])
def test_bad_tables(text: str) -> None:
    with pytest.raises(ConfigError):
        parsing.parse_table(text)


@given(st.text(st.characters()))
def test_log_lines_cannot_drive_a_terminal(text: str) -> None:
    shown = logs.printable(text)
    assert all(c == " " or c.isprintable() or ord(c) >= 0xA0 for c in shown)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in shown)
    shown.encode("utf-8")


def test_foreign_configuration_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    file = folder / "fasthash.toml"
    file.write_text("")
    config.load_file(str(file), ["table"])
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="everybody can write"):
        config.load_file(str(file), ["table"])
