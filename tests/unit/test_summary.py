"""The figures of a run: they add up by type, and say what they mean."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash.fixity import RESIDUAL_REASONS, Counts, Outcome
from fasthash.logs import printable
from fasthash.summary import RunSummary, as_text, human_bytes, human_seconds
from fasthash.widths import display_width

counts = st.builds(Counts, *[st.integers(0, 10**12)] * len(dataclasses.fields(Counts)))
# "(none)" as a type's own name has a test of its own.
types = st.none() | st.text(max_size=6).filter(lambda t: t != "(none)")
KEYS = (
    "run_id", "kind", "state", "started_at", "finished_at", "seconds", "rows_scanned",
    "rows_updated", "drift_events", "rows_skipped_no_file", "outcomes", "rows_gone",
    "bytes_hashed", "by_type", "residual",
)  # fmt: skip


def summary(by_type: dict[str | None, Counts], **changes: object) -> RunSummary:
    whole = RunSummary(1, "backfill", "complete", None, None, 2.0, by_type, {})
    return dataclasses.replace(whole, **changes)


@given(st.dictionaries(types, counts, max_size=6))
def test_the_types_add_up_to_the_total(by_type: dict[str | None, Counts]) -> None:
    found = json.loads(json.dumps(summary(by_type).as_json()))
    each = found["by_type"].values()
    assert len(found["by_type"]) == len(by_type)
    for key in ("rows_scanned", "rows_updated", "drift_events", "rows_skipped_no_file"):
        assert found[key] == sum(t[key] for t in each), key
    for key in ("rows_gone", "bytes_hashed"):
        assert found[key] == sum(t[key] for t in each), key
    for outcome in Outcome:
        assert found["outcomes"][outcome] == sum(t["outcomes"][outcome] for t in each)
    for part in (found, *each):
        assert part["rows_scanned"] == sum(part["outcomes"].values())
        assert part["drift_events"] == part["outcomes"]["drifted"]
        assert part["rows_skipped_no_file"] == part["outcomes"]["no_file"]


def test_a_type_named_as_the_rows_without_one_hides_none() -> None:
    by_type = {None: Counts(hashed=1), "(none)": Counts(hashed=2)}
    found = summary(by_type).as_json()
    assert sum(t["rows_scanned"] for t in found["by_type"].values()) == found["rows_scanned"]


def test_the_keys_are_stable() -> None:
    found = summary({"a": Counts(hashed=1)}).as_json()
    assert [key for key in found if key in KEYS] == list(KEYS)
    assert set(found["outcomes"]) == {
        "hashed", "confirmed", "drifted", "fresh", "no_file", "failed",
    }  # fmt: skip
    assert set(found["by_type"]["a"]) == {
        "rows_scanned", "rows_updated", "drift_events", "rows_skipped_no_file", "outcomes",
        "rows_gone", "bytes_hashed", "rows_prechecked",
    }  # fmt: skip


def test_times_are_iso_8601_in_utc() -> None:
    at = datetime(2026, 1, 31, 2, 0, 0, 5000, tzinfo=UTC)
    found = summary({}, started_at=at).as_json()
    assert found["started_at"] == "2026-01-31T02:00:00.005000Z"
    assert found["finished_at"] is None


def test_rows_without_a_type_are_under_none() -> None:
    assert list(summary({None: Counts(hashed=1)}).as_json()["by_type"]) == ["(none)"]


@given(st.dictionaries(types, counts, max_size=4))
def test_the_exit_status_is_1_only_for_drift_and_failures(
    by_type: dict[str | None, Counts],
) -> None:
    bad = any(c.drifted or c.failed for c in by_type.values())
    assert summary(by_type).exit_status == int(bad)


def test_deleted_rows_are_nothing_to_look_at_and_missing_files_are() -> None:
    assert summary({"a": Counts(hashed=1, confirmed=1, fresh=1, gone=3)}).exit_status == 0
    one = summary({"a": Counts(hashed=1, confirmed=1, fresh=1, no_file=5, gone=3)})
    assert one.exit_status == 1
    assert dataclasses.replace(one, missing_ok=True).exit_status == 0


def test_what_a_scrub_did_not_meet_may_be_bad() -> None:
    known = dataclasses.replace(summary({"a": Counts(confirmed=1)}), freshness={"rows_bad": 1})
    assert known.exit_status == 1
    assert dataclasses.replace(known, freshness={"rows_bad": 0}).exit_status == 0


@given(st.dictionaries(types, counts, max_size=5), st.booleans())
def test_a_person_sees_every_type_and_the_total(
    by_type: dict[str | None, Counts], dry_run: bool
) -> None:
    text = as_text(summary(by_type, dry_run=dry_run))
    total = summary(by_type).total
    assert f"{total.scanned:,}" in text
    rows = "row" if total.updated == 1 else "rows"
    assert f"{total.updated:,} {rows} {'would be written' if dry_run else 'written'}" in text
    for one in by_type.values():
        assert f"{one.scanned:,}" in text


# As `tables.harmless` leaves them: anything but control characters.
shown_types = st.none() | st.text(max_size=50).map(printable)


@given(
    st.dictionaries(shown_types, counts | st.builds(Counts, hashed=st.integers(0, 99)), max_size=5),
    st.dictionaries(st.sampled_from(["unreadable", "no_file", "write_refused"]), st.integers(1)),
    st.integers(40, 200),
)
def test_it_fits_any_screen_and_every_number_stays_exact(
    by_type: dict[str | None, Counts], residual: dict[str, int], columns: int
) -> None:
    whole = summary(by_type, state="interrupted", residual=residual)
    text = as_text(whole, columns)
    lines = text.split("\n")
    assert max(map(display_width, lines)) <= columns, text
    words = set(re.findall(r"(?<!\S)[0-9,]*[0-9](?!\S)", text))
    for one in (*by_type.values(), whole.total):
        for n in (one.scanned, one.hashed, one.confirmed, one.fresh, one.no_file, one.failed):
            assert not n or f"{n:,}" in words, (n, text)


def test_what_fits_is_not_touched() -> None:
    by_type = {"a" * 9: Counts(hashed=10**5, failed=1), None: Counts(no_file=1)}
    assert as_text(summary(by_type), 80) == as_text(summary(by_type))


def test_columns_of_zeros_go_before_names_are_shortened() -> None:
    by_type = {"figure/" + "x" * 23: Counts(hashed=12_345), "図" * 15: Counts(hashed=1, no_file=2)}
    assert as_text(summary(by_type), 80).split("\n")[2:9] == [
        "  type                              rows  hashed  no file  bytes",
        "  ------------------------------  ------  ------  -------  -----",
        "  figure/xxxxxxxxxxxxxxxxxxxxxxx  12,345  12,345        0    0 B",
        "  図図図図図図図図図図図図図図図       3       1        2    0 B",
        "  ------------------------------  ------  ------  -------  -----",
        "  total                           12,348  12,346        2    0 B",
        "  none confirmed, drifted, fresh, failed",
    ]


def test_long_names_are_shortened_in_the_middle() -> None:
    by_type = {"figure/" + "x" * 40 + "/end": Counts(1, 1, 1, 1, 1, 1)}
    lines = as_text(summary(by_type), 80).split("\n")
    assert lines[4] == (
        "  fig...xxx/end     6       1          1        1      1        1       1    0 B"
    )
    assert max(map(len, lines)) == 80


def test_numbers_that_leave_no_room_are_put_under_the_names() -> None:
    many = Counts(10**9, 10**8, 10**7, 10**6, 10**5, bytes_hashed=10**12)
    assert as_text(summary({"figure/" + "x" * 90: many}), 60).split("\n")[3:9] == [
        "  figure/xxxx...xxxxxxxxxxxxxxxxxxxxxxxx: 1,111,100,000 rows",
        "    1,000,000,000 hashed, 100,000,000 confirmed, 10,000,000",
        "      drifted, 1,000,000 fresh, 100,000 no file, 1.0 TB",
        "  total: 1,111,100,000 rows",
        "    1,000,000,000 hashed, 100,000,000 confirmed, 10,000,000",
        "      drifted, 1,000,000 fresh, 100,000 no file, 1.0 TB",
    ]


@pytest.mark.parametrize("state", ["interrupted", "failed"])
def test_how_to_go_on_is_said_when_there_is_something_to_go_on_with(state: str) -> None:
    assert "goes on from here" in as_text(summary({}, state=state))
    assert "goes on from here" not in as_text(summary({}, state=state, dry_run=True))
    assert "goes on from here" not in as_text(summary({}))


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (10**15, "1000.0 TB")],
)
def test_bytes_for_people(count: float, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (3.21, "3.2 s"),
        (245, "4 min 05 s"),
        (7380, "2 h 03 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_seconds_for_people(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


def test_a_run_without_rows_shows_no_table() -> None:
    text = as_text(summary({}))
    assert "  no rows were due" in text
    assert "type" not in text
    assert "type" in as_text(summary({"a": Counts(fresh=1)}))


def test_every_reason_has_its_words() -> None:
    for reason in RESIDUAL_REASONS:
        one = dataclasses.replace(summary({"a": Counts(failed=1)}), residual={str(reason): 1})
        two = dataclasses.replace(summary({"a": Counts(failed=2)}), residual={str(reason): 2})
        assert "\n  1 " in as_text(one)
        assert "\n  2 " in as_text(two)
        assert str(reason) not in as_text(one)


def test_a_reason_of_another_version_is_shown_as_it_is() -> None:
    one = dataclasses.replace(summary({"a": Counts(failed=1)}), residual={"of_tomorrow": 1})
    assert as_text(one).endswith("\n  1 of_tomorrow")
