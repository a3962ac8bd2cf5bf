"""Colour as the real command has it: on a terminal, each stream for itself, never in data."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from conftest import PATIENCE_S, Database

ESCAPE = "\x1b["
YELLOW_WARNING = f"{ESCAPE}33mWARNING{ESCAPE}0m"
RED_DRIFT = f"{ESCAPE}1;31mdrift 1{ESCAPE}0m"


@dataclass
class Screen:
    """A terminal."""

    text: str = ""

    def show(self, command: list[str], environment: dict[str, str], stream: str) -> str:
        """Runs a command with one stream on the terminal; returns what the other got."""
        lead, follow = pty.openpty()
        other = {"stdout": "stderr", "stderr": "stdout"}[stream]
        process = subprocess.Popen(
            command,
            env=environment,
            text=True,
            **{stream: follow, other: subprocess.PIPE},  # type: ignore[call-overload]
        )
        os.close(follow)
        shown = b""
        try:
            while block := os.read(lead, 65536):
                shown += block
        except OSError:
            pass  # that is how a terminal says that nobody writes to it any more
        os.close(lead)
        self.text = shown.decode().replace("\r\n", "\n")
        piped: str = process.communicate(timeout=PATIENCE_S)[other == "stderr"]
        return piped


def prepare(database: Database) -> None:
    """A catalog in which a run found a drift."""
    database.make_table()
    (database.root / "a").write_text("a")
    database.add(1, "a", {"file_sha256": "0" * 64})
    database.run(status=1)


@pytest.fixture
def drifted(copy_of: Callable[[Callable[[Database], None]], Database]) -> Database:
    return copy_of(prepare)


def environment(database: Database, **more: str) -> dict[str, str]:
    plain = {k: v for k, v in database.env().items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    return {**plain, "TERM": "xterm", **more}


def test_a_terminal_gets_it_and_a_pipe_does_not(drifted: Database) -> None:
    screen = Screen()
    screen.show(drifted.command("status"), environment(drifted), "stdout")
    assert RED_DRIFT in screen.text
    for more in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        screen.show(drifted.command("status"), environment(drifted, **more), "stdout")
        assert ESCAPE not in screen.text
    piped = subprocess.run(
        drifted.command("status"),
        env=environment(drifted),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ESCAPE not in piped.stdout


def test_each_stream_is_judged_for_itself(drifted: Database) -> None:
    screen = Screen()
    command = drifted.command("run", "--root", str(drifted.root), "--since", "2999-01-01")
    for stream, here, there in (
        ("stderr", YELLOW_WARNING, "1 mismatch"),
        ("stdout", f"{ESCAPE}1;31m1 mismatch", " WARNING DRIFT "),
    ):
        drifted.sql("UPDATE artifacts SET metadata = %s", '{"file_sha256": "00"}')
        piped = screen.show(command, environment(drifted), stream)
        assert here in screen.text
        assert there in piped
        assert ESCAPE not in piped


def test_it_can_be_forced_into_a_pipe(drifted: Database) -> None:
    done = subprocess.run(
        drifted.command("summary"),
        env=environment(drifted, FORCE_COLOR="1"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{ESCAPE}1mrun 1 (backfill){ESCAPE}0m" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--json"],
        ["summary", "--json"],
        ["drift", "list", "--json"],
        ["residual", "--csv"],
        ["residual", "--json"],
        ["manifest"],
        ["manifest", "--format", "csv"],
        ["config", "show", "--json"],
        ["config", "check", "--json"],
        ["completion", "bash"],
    ],
    ids=" ".join,
)
def test_data_never_has_any(drifted: Database, arguments: list[str]) -> None:
    screen = Screen()
    command = drifted.command(*arguments)
    screen.show(command, environment(drifted, FORCE_COLOR="1"), "stdout")
    assert ESCAPE not in screen.text
    assert screen.text


def test_json_log_lines_and_errors(drifted: Database) -> None:
    drifted.sql("UPDATE artifacts SET metadata = %s", '{"file_sha256": "00"}')
    screen = Screen()
    arguments = ("run", "--root", str(drifted.root), "--log-format", "json", "--json")
    screen.show(drifted.command(*arguments), environment(drifted), "stderr")
    assert '"WARNING"' in screen.text
    assert f"{ESCAPE}33m" not in screen.text
    screen.show(drifted.command("nonsense"), environment(drifted), "stderr")
    assert screen.text.startswith(f"{ESCAPE}1;31mfasthash:{ESCAPE}0m no such command")


def test_lists_have_a_bold_heading(drifted: Database) -> None:
    drifted.add(2, "none")
    drifted.run(status=1)
    screen = Screen()
    screen.show(drifted.command("residual"), environment(drifted, COLUMNS="60"), "stdout")
    first, *rest = screen.text.splitlines()
    assert first.startswith(f"{ESCAPE}1mrow id")
    assert first.endswith(f"{ESCAPE}0m")
    assert not any(ESCAPE in line for line in rest)
    screen.show(drifted.command("drift", "list"), environment(drifted), "stdout")
    assert f"{ESCAPE}33munknown{ESCAPE}0m, overwritten" in screen.text
