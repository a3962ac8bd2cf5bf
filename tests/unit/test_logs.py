"""Log lines: one line each, harmless on a terminal, whole JSON for machines."""

from __future__ import annotations

import io
import json
import logging
import sys
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fasthash import logs

LOGGER = logging.getLogger("fasthash")
# Bidi_Control of the Unicode Character Database, and what ends a line without being a control.
EMBEDDINGS = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
MARKS = [0x061C, 0x200E, 0x200F]
SEPARATORS = [0x2028, 0x2029]
any_text = st.text(st.characters())  # surrogates too


@pytest.fixture
def restored() -> Iterator[None]:
    """The package's logger as it was."""
    before = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    yield
    LOGGER.handlers[:], LOGGER.level, LOGGER.propagate = before


def record(message: str, *args: object, **extra: Any) -> logging.LogRecord:
    return LOGGER.makeRecord("fasthash", logging.WARNING, "f", 1, message, args, None, extra=extra)


def test_every_control_and_surrogate_and_every_override_is_escaped() -> None:
    unsafe = [c for c in range(0x110000) if unicodedata.category(chr(c)) in ("Cc", "Cs")]
    for code in (*unsafe, *EMBEDDINGS, *SEPARATORS):
        shown = logs.printable(f"a{chr(code)}b")
        assert shown.isascii(), hex(code)
        assert shown.isprintable(), hex(code)
        assert f"{code:x}" in shown, hex(code)


@pytest.mark.parametrize("code", MARKS)
def test_the_marks_of_direction_are_escaped(code: int) -> None:
    assert logs.printable(f"a{chr(code)}b").isascii()


@given(any_text)
def test_what_is_printed_is_one_line_of_utf_8(text: str) -> None:
    shown = logs.printable(text)
    shown.encode("utf-8")
    assert len(f"{shown}\n".splitlines()) == 1


@given(
    st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp"]))
)
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert logs.printable(text) == text


@given(any_text)
def test_a_text_line_holds_time_level_and_message(text: str) -> None:
    line = logs.TextFormatter().format(record("row %s", text))
    assert len(line.splitlines()) == 1
    stamp, rest = line.split(" ", 1)
    assert datetime.fromisoformat(stamp).utcoffset() is not None
    assert rest.startswith(f"WARNING row {logs.printable(text)}"[:29])


@given(any_text)
def test_a_json_line_is_one_object_that_says_the_same(text: str) -> None:
    extra = logs.event("drift", row_id=text, path="p")
    line = logs.JsonFormatter().format(record("row %s", text, **extra))
    assert len(line.splitlines()) == 1
    line.encode("utf-8")
    found = json.loads(line)
    assert (found["event"], found["level"], found["row_id"], found["path"]) == (
        "drift",
        "WARNING",
        text,
        "p",
    )
    assert found["message"] == f"row {text}"


@given(any_text)
@example("a\x7fb\x9b")
def test_a_json_line_holds_no_control_character(text: str) -> None:
    line = logs.JsonFormatter().format(record("row %s", text))
    assert line.isascii()
    assert line.isprintable()


def test_json_without_an_event_is_a_message_with_a_time_in_utc() -> None:
    found = json.loads(logs.JsonFormatter().format(record("hello")))
    assert found["event"] == "message"
    assert found["time"].endswith("Z")
    assert set(found) == {"time", "level", "event", "message"}


def test_fields_that_json_does_not_know_are_shown_as_text() -> None:
    line = logs.JsonFormatter().format(record("x", **logs.event("e", at=b"\xff")))
    assert json.loads(line)["at"] == "b'\\xff'"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_log_goes_to_stderr_in_the_format_wanted(
    restored: None, capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    logs.set_up(log_format)
    LOGGER.warning("file %s", "a\nb")
    LOGGER.debug("not shown")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("{") == (log_format == "json")


def test_setting_up_twice_does_not_say_everything_twice(
    restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up("text")
    logs.set_up("text")
    LOGGER.warning("once")
    assert capsys.readouterr().err.count("once") == 1


def test_a_reader_that_is_gone_ends_nothing(
    restored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    logs.set_up("text")
    monkeypatch.setattr(sys, "stderr", Gone())
    LOGGER.warning("nobody reads this")
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    LOGGER.warning("nor this")
