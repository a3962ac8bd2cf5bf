"""Colour: who gets it, that it only adds codes, and that it is where one has to look."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash import colour, logs
from fasthash.cli.colour import coloured, heading
from fasthash.fixity import Counts
from fasthash.summary import RunSummary, as_text

CODES = re.compile(r"\x1b\[[\d;]*m")
RED, YELLOW = "\x1b[1;31m", "\x1b[33m"


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """One that gets colour."""
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


@pytest.mark.parametrize(
    ("environment", "on_a_terminal", "in_a_pipe"),
    [
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "0"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
        ({"TERM": "xterm", "FORCE_COLOR": "0"}, True, False),
        ({"TERM": "xterm", "FORCE_COLOR": ""}, True, False),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
    ],
)
def test_who_gets_it(environment: dict[str, str], on_a_terminal: bool, in_a_pipe: bool) -> None:
    assert colour.is_wanted(Terminal(), environment) == on_a_terminal
    assert colour.is_wanted(io.StringIO(), environment) == in_a_pipe


def summary(**counts: int) -> RunSummary:
    c = Counts(**counts)
    return RunSummary(
        7, "scrub", "complete", None, None, 1.0, {"figures": c, "図表の例": c}, {}, catalog="a"
    )


@given(
    st.builds(
        summary, hashed=st.integers(0, 9), drifted=st.integers(0, 10**7), no_file=st.integers(0, 2)
    ),
    st.sampled_from([None, 40, 60, 80, 200]),
)
def test_it_only_adds_codes(found: RunSummary, columns: int | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORCE_COLOR", "1")
        patch.delenv("NO_COLOR", raising=False)
        plain = as_text(found, columns)
        assert CODES.sub("", coloured(plain, io.StringIO())) == plain
        patch.setenv("NO_COLOR", "1")
        assert coloured(plain, Terminal()) == plain


def painted(text: str, out: Terminal) -> list[str]:
    """What is red or yellow of a text."""
    return re.findall(r"\x1b\[(?:1;31|33)m(.*?)\x1b\[0m", coloured(text, out))


def test_drift_failures_and_missing_files_stand_out_of_the_table(terminal: Terminal) -> None:
    bad = summary(hashed=3, drifted=1200, no_file=3, failed=2)
    found = painted(as_text(bad), terminal)
    cells = ["1,200", "3", "2"]
    *figures, dropped = found
    assert figures == [*cells, *cells, "2,400", "6", "4", "2,400 mismatches"]
    assert dropped.startswith("10 rows were not checked (")
    listed = dataclasses.replace(bad, residual={"no_file": 6, "write_refused": 4})
    assert painted(as_text(listed), terminal)[-1] == (
        "6 files not found; 4 rows could not be written"
    )
    assert painted(as_text(summary(hashed=3, confirmed=1)), terminal) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("run 3 (scrub) of public.artifacts: failed after 2.0 s", ["failed"]),
        ("run 3 (scrub) of public.artifacts: interrupted after 2.0 s", ["interrupted"]),
        ("run 3 (scrub) of public.artifacts: complete in 2.0 s", []),
        ("  found   drift 0, missing 0, failed 0", []),
        ("  found   drift 1,234, missing 2, failed 3", ["drift 1,234", "failed 3", "missing 2"]),
        ("  vm, pid 7: DEAD, last heard of 3 min ago, holds 1 lease", ["DEAD"]),
        ("  vm, pid 7: alive but SILENT for 25.0 s, 1 lease", ["SILENT"]),
        ("  vm, pid 7: alive, 1 lease, reported 0.3 s ago", []),
        ("    HELD: outside the window", ["HELD"]),
        ("    WAITING for the first byte of /x", ["WAITING"]),
        ("  error: the disk is gone", ["error"]),
        ("drift 1: row 1 (figures), run 3: corrupt, open", ["corrupt"]),
        ("drift 1: row 1 (figures), run 3: modified, overwritten", ["modified"]),
        ("drift 1: row 1 (a: corrupt, open), run 3: modified, overwritten", ["modified"]),
        ("  path    /data/run 3: corrupt, open", []),
        ("       7        1.0 s      1 B          /data/HELD: DEAD failed", []),
    ],
)
def test_what_stands_out(line: str, found: list[str], terminal: Terminal) -> None:
    assert sorted(painted(line, terminal)) == sorted(found)


def test_a_heading_is_bold_on_a_terminal_only(terminal: Terminal) -> None:
    assert heading("row id  path", terminal) == "\x1b[1mrow id  path\x1b[0m"
    assert heading("row id  path", io.StringIO()) == "row id  path"


def test_levels_of_log_lines_are_coloured_and_nothing_else() -> None:
    import logging

    logger = logging.getLogger("fasthash")
    for level, code in (("INFO", ""), ("WARNING", YELLOW), ("ERROR", RED)):
        number = getattr(logging, level)
        record = logger.makeRecord("fasthash", number, "f", 1, "row %s", ("\x1b[1mx",), None)
        line = logs.TextFormatter(in_colour=True).format(record)
        assert line.endswith(" row \\x1b[1mx")
        assert CODES.findall(line) == ([code, "\x1b[0m"] if code else [])
        assert CODES.sub("", line) == logs.TextFormatter().format(record)
