"""`fasthash completion`: real shells ask for completions; no database is opened for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import FASTHASH, PATIENCE_S

BIN = str(Path(FASTHASH).parent)

# The function as readline calls it, and what it would have readline do.
BASH = r"""
source <(fasthash completion bash)
complete -p fasthash | grep -q -- "-F _fasthash_completion" || exit 1
compopt() { echo "<$2>"; }
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _fasthash_completion fasthash
printf '%s\n' "${COMPREPLY[@]}"
"""
ZSH = r"""
compdef() { [[ "$*" == "_fasthash_completion fasthash" ]] || exit 1; }
_describe() { print -l -- ${completions_with_descriptions%%:*}; }
_path_files() { [[ $1 == -/ ]] && print "<dirnames>" || print "<default>"; }
compadd() { print -l -- $completions; }
source <(fasthash completion zsh)
words=("$@"); CURRENT=$#; _fasthash_completion
"""
FISH = r"""
fasthash completion fish | source
complete -C "$argv" | string split --max 1 --fields 1 \t
"""


def ask(shell: str, home: Path, *words: str) -> list[str]:
    """What a shell offers for the last of some words."""
    if shutil.which(shell) is None:
        pytest.skip(f"wants {shell} (make test-tools)")
    script = home / "script"
    script.write_text({"bash": BASH, "zsh": ZSH, "fish": FISH}[shell])
    options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    typed = [" ".join(words)] if shell == "fish" else list(words)
    done = subprocess.run(
        [shell, *options, str(script), *typed],
        # An embedded server, were it asked for, would be here.
        env={
            "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home), "TERM": "dumb",
            "FASTHASH_DATA_DIR": str(home / "data"), "FASTHASH_CONFIG": str(home / "endless.toml"),
        },
        cwd=home,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert not (home / "data").exists()
    return [line for line in done.stdout.splitlines() if line]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a configuration file that would hold up whoever reads it."""
    os.mkfifo(tmp_path / "endless.toml")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    return tmp_path


shells = pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])


@shells
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("fasthash", "dr"), {"drift"}),
        (("fasthash", "drift", "a"), {"accept"}),
        (("fasthash", "drift", "list", "--ki"), {"--kind"}),
        (("fasthash", "drift", "list", "--kind", ""), {"corrupt", "modified", "unknown"}),
        (("fasthash", "run", "--prech"), {"--precheck"}),
        (("fasthash", "run", "--algorithm", "sha"), {"sha256", "sha256,blake3"}),
        (("fasthash", "completion", ""), {"bash", "zsh", "fish"}),
        (("fasthash", "config", ""), {"show", "check"}),
        (("fasthash", "config", "show", "--older"), {"--older-than"}),
        (("fasthash", "nonsense", "--k"), set()),
        (("fasthash", "run", "--rate", "5"), set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_names_and_values(
    shell: str, home: Path, words: tuple[str, ...], offered: set[str]
) -> None:
    assert set(ask(shell, home, *words)) == offered


@shells
def test_all_commands(shell: str, home: Path) -> None:
    found = ask(shell, home, "fasthash", "")
    assert {"init", "run", "scrub", "completion"} <= set(found)
    if shell == "bash":
        assert found[:3] == ["init", "grants", "register"]  # in the order of the help


@shells
def test_files_and_directories(shell: str, home: Path) -> None:
    files = ask(shell, home, "fasthash", "run", "--config", "")
    folders = ask(shell, home, "fasthash", "run", "--root", "")
    if shell == "fish":  # which looks by itself
        assert {"file", "folder/"} <= set(files)
        assert folders == ["folder/"]
    else:
        assert (files, folders) == (["<default>"], ["<dirnames>"])
    assert ask(shell, home, "fasthash", "register", "") == folders


def test_bash_makes_three_words_of_an_option_and_its_value(home: Path) -> None:
    words = ("fasthash", "run", "--type", "=", "a", "--precheck", "=")
    assert set(ask("bash", home, *words)) == {"off", "stat", "xxh3"}
    assert ask("bash", home, *words, "st") == ["stat"]


def test_the_script_is_text_and_only_that() -> None:
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run(
            [FASTHASH, "completion", shell], capture_output=True, text=True, check=True
        )
        assert "_FASTHASH_COMPLETE" in done.stdout
        assert done.stderr == ""
    done = subprocess.run(
        [FASTHASH, "completion", "tcsh"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr
