"""What is generated of the documentation: up to date, complete, and the same on every machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fasthash.cli import keys

PROJECT = Path(__file__).parents[2]
TOOLS = PROJECT / "tools"
sys.path.insert(0, str(TOOLS))
from make_docs import pages  # noqa: E402
from surface import commands  # noqa: E402


@pytest.mark.parametrize("path", sorted(pages()), ids=lambda path: path.name)
def test_it_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pages()[path], "call `make docs`"


def test_it_is_the_same_wherever_it_is_made() -> None:
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from make_docs import pages; "
        "json.dump({str(p): t for p, t in pages().items()}, sys.stdout)"
    )
    strange = {
        "COLUMNS": "40", "HOME": "/nowhere", "XDG_CONFIG_HOME": "/etc", "LC_ALL": "C",
        "TERM": "dumb", "FORCE_COLOR": "1", "FASTHASH_WORKERS": "7", "FASTHASH_TABLE": "strange",
        "PGHOST": "strange", "TZ": "Asia/Kathmandu", "PATH": os.environ["PATH"],
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, str(TOOLS)],
        env=strange,
        cwd="/",
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == {str(path): text for path, text in pages().items()}


def test_every_command_and_option_is_on_the_page_and_in_the_manual() -> None:
    page = (PROJECT / "docs" / "commands.md").read_text()
    manual = (PROJECT / "docs" / "fasthash.1").read_text().replace("\\-", "-")
    found = commands()
    assert len(found) > 20
    for command in found:
        words = command.name.split()[1:]
        everything = "--help-all" if words in (["run"], ["scrub"]) else "--help"
        help_text = subprocess.run(
            [sys.executable, "-m", "fasthash", *words, everything],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        section = page.split(f"\n## {command.name}\n")[1].split("\n## ")[0]
        assert f".SS {command.usage}\n" in manual
        flags = {w.strip(",") for line in help_text.splitlines() for w in line.split()[:1]}
        for flag in (f for f in flags if f.startswith("--") and f != "--help"):
            assert f"`{flag}" in section, (command.name, flag)
            assert flag in manual


def test_every_key_is_described() -> None:
    page = (PROJECT / "docs" / "configuration.md").read_text()
    manual = (PROJECT / "docs" / "fasthash.1").read_text()
    for key, setting in keys.known().items():
        section = page.split(f"\n## {key}\n")[1].split("\n## ")[0]
        for part in (setting.envvar, setting.opts[0], f"\n{key} = ", "| default |", "| type |"):
            assert part in section, (key, part)
        assert f"\\fB{key}\\fR (\\fB{setting.envvar}\\fR" in manual


def test_the_example_has_every_key_and_each_example_is_right(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    lines = (PROJECT / "examples" / "fasthash.toml").read_text().splitlines()
    assert all(line.startswith("#") for line in lines if line)
    file = tmp_path / "fasthash.toml"
    file.write_text("\n".join(line.removeprefix("#") for line in lines if line[:2] != "# "))
    assert list(keys.load(str(file))) == list(keys.known())


@pytest.mark.parametrize("command", [["groff", "-man", "-Tutf8", "-ww"], ["mandoc", "-Tlint"]])
def test_the_manual_page_is_right(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"wants {command[0]} (make test-tools)")
    page = PROJECT / "docs" / "fasthash.1"
    done = subprocess.run([*command, str(page)], capture_output=True, text=True, check=False)
    said = done.stderr if command[0] == "groff" else done.stdout
    # It has no date, and its paragraphs are lines.
    unwanted = [x for x in said.splitlines() if "missing date" not in x and "longer than" not in x]
    assert unwanted == []


def test_every_target_is_in_the_help_of_make() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    said = {line.split()[1]: line for line in done.stdout.splitlines()}
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(said) == sorted(phony.split())
    assert max(map(len, said.values())) < 100


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_the_files_it_names_are_there(name: str) -> None:
    """Links, and what looks like a path of the project."""
    text = (PROJECT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    paths = re.findall(r"`((?:cli|store|sql|doctor|page|docs|tests|tools)/[\w/.]*)`", text)
    places = [PROJECT, PROJECT / "fasthash"]
    gone = [p for p in (*links, *paths) if not any((place / p).exists() for place in places)]
    assert not gone
