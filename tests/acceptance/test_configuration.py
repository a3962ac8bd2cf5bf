"""`fasthash config`: what is in effect, where it comes from, and what is wrong with it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import FASTHASH, PATIENCE_S, Database

from fasthash.cli import keys

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a configuration file, where commands are called."""
    tmp_path.chmod(0o755)
    (tmp_path / "fasthash.toml").write_text(
        '# ours\ndsn = "host=db1 dbname=atlas password=s3cret"\nworkers = 3\nrate = "50MB/s"\n'
        'roots = ["/a",\n  "/b"]\nwait = false\n'
    )
    return tmp_path


@pytest.fixture
def run(here: Path) -> Run:
    """Calls the real command there, with nothing of ours in its environment."""

    def call(
        *arguments: str, status: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "FASTHASH_"))}
        done = subprocess.run(
            [FASTHASH, *arguments],
            cwd=here,
            env={**kept, "HOME": str(here), "NO_COLOR": "1", **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "s3cret" not in done.stdout + done.stderr
        return done

    return call


def shown(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """`config show --json` by key."""
    return {setting["key"]: setting for setting in json.loads(done.stdout)["settings"]}


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr."""
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


SHOW = ("config", "show", "--json")


def test_a_flag_goes_before_the_environment_before_the_file_before_the_default(
    run: Run, here: Path
) -> None:
    file = str(here / "fasthash.toml")
    every = (*SHOW, "--all")
    (here / "empty.toml").write_text("")
    expected = [
        (run(*every, "--workers", "5", FASTHASH_WORKERS="4"), 5, "flag", "--workers", None),
        (run(*every, FASTHASH_WORKERS="4"), 4, "environment", "FASTHASH_WORKERS", None),
        (run(*every, FASTHASH_WORKERS=""), 3, "file", file, 3),
        (run(*every), 3, "file", file, 3),
        (run(*every, FASTHASH_CONFIG="empty.toml"), None, "default", None, None),
    ]
    for done, *facts in expected:
        setting = shown(done)["workers"]
        assert [setting[k] for k in ("value", "source", "place", "line")] == facts
    assert json.loads(expected[0][0].stdout)["file"] == file


def test_values_are_shown_as_they_were_written(run: Run) -> None:
    found = shown(run(*SHOW, "--chunk-size", "1MiB", "--no-wait", FASTHASH_WINDOWS="1:00-2:00"))
    assert {key: setting["value"] for key, setting in found.items()} == {
        "dsn": "password=*** dbname=atlas host=db1",
        "roots": ["/a", "/b"],
        "workers": 3,
        "chunk_size": "1MiB",
        "rate": "50MB/s",
        "windows": ["1:00-2:00"],
        "wait": False,
    }
    assert found["wait"]["place"] == "--no-wait"
    assert found["roots"]["line"] == 5


def test_only_what_is_set_is_shown_unless_all_is_wanted(run: Run) -> None:
    few = run("config", "show", "--rate", "5MB/s").stdout
    assert [line.split()[0] for line in few.splitlines()[1:6]] == [
        "dsn", "roots", "workers", "rate", "wait",
    ]  # fmt: skip
    assert few.splitlines()[4].split() == ["rate", "flag", "--rate", "5MB/s"]
    assert f"{len(keys.known()) - 5} more have their defaults: --all shows them" in few
    every = run("config", "show", "--all").stdout
    assert [line.split()[0] for line in every.splitlines()[1:6]] == [
        "dsn", "roots", "workers", "rate", "wait",
    ]  # fmt: skip
    assert len(every.splitlines()) > 38
    assert "(those that" not in every
    assert "as many as cores" not in every  # it is set
    assert "more have" not in every


@pytest.mark.parametrize(
    "dsn",
    ["postgresql://u:s3cret@db1/atlas", "host=db1 user=u password='s3cret'", "password=s3cret"],
)
def test_passwords_are_masked_wherever_they_stand(run: Run, here: Path, dsn: str) -> None:
    (here / "fasthash.toml").write_text(f'dsn = "{dsn}"\n')
    for done in (
        run("config", "show"),
        run(*SHOW),
        run(*SHOW, "--dsn", dsn),
        run(*SHOW, FASTHASH_DSN=dsn),
        run(*SHOW, PGPASSWORD="s3cret", PGHOST="db2"),
    ):
        assert "***" in done.stdout


def test_a_malformed_connection_string_is_not_repeated(run: Run, here: Path) -> None:
    for command in ("show", "check"):
        said = complaint(run("config", command, FASTHASH_DSN="password=s3cret host", status=2))
        assert "malformed" in said


def test_without_a_connection_string_libpq_says_where(run: Run, here: Path) -> None:
    (here / "fasthash.toml").unlink()
    assert shown(run(*SHOW, "--all"))["dsn"]["value"] == "embedded:fasthash"
    # Neither names a database, so it is the embedded one, which takes nothing from libpq.
    done = run(*SHOW, PGPASSWORD="s3cret", PGUSER="u")
    assert (shown(done), json.loads(done.stdout)["libpq"]) == ({}, {})
    done = run(*SHOW, PGHOST="db2", PGPASSWORD="s3cret")
    assert shown(done)["dsn"] == {
        "key": "dsn", "value": None, "source": "environment", "place": "PGHOST", "line": None,
    }  # fmt: skip
    assert json.loads(done.stdout)["libpq"] == {"PGHOST": "db2", "PGPASSWORD": "***"}
    assert "PGHOST=db2" in run("config", "show", PGHOST="db2").stdout


def test_control_characters_do_not_reach_the_terminal(run: Run) -> None:
    for arguments in (("config", "show"), SHOW):
        assert "\x1b" not in run(*arguments, FASTHASH_RESOLVER="a\x1b[2J").stdout


def test_a_bad_variable_is_named(run: Run) -> None:
    for arguments in (("config", "show"), ("config", "check"), ("run",)):
        said = complaint(run(*arguments, FASTHASH_RATE="fast", status=2))
        assert said.startswith("fasthash: Invalid value for FASTHASH_RATE: 'fast' is no rate")


def test_a_file_with_a_mistake_is_refused_by_every_command(run: Run, here: Path) -> None:
    (here / "fasthash.toml").write_text('\nroots = "/x"\n')
    line = 'fasthash: fasthash.toml, line 2: roots wants a list: roots = ["/x"]\n'
    for arguments in (("run",), ("status",), ("drift", "list"), ("config", "show")):
        said = complaint(run(*arguments, status=2))
        assert said.replace(f"{here}/", "") == line
    assert run("config", "check", "fasthash.toml", status=2).stderr == line
    assert complaint(run("config", "check", status=2)).replace(f"{here}/", "") == line


def test_check_finds_what_is_wrong_between_keys(run: Run, here: Path) -> None:
    other = here / "other.toml"
    other.write_text('windows = ["22:00-06:00", "05:00-07:00"]\n')
    said = complaint(run("config", "check", "other.toml", status=2))
    assert said.startswith("fasthash: other.toml: windows 22:00-06:00 and 05:00-07:00 overlap")
    said = complaint(run("config", "check", FASTHASH_WINDOWS="1:00-3:00 2:00-4:00", status=2))
    assert "overlap" in said


def test_check_says_when_all_is_well(run: Run, here: Path) -> None:
    assert run("config", "check", "fasthash.toml").stdout == (
        "fasthash.toml: 5 settings, no mistake\n"
    )
    done = run("config", "check", "--json", FASTHASH_NICE="5")
    assert json.loads(done.stdout) == {"file": str(here / "fasthash.toml"), "settings": 6}
    # Only the file that is named is looked at.
    run("config", "check", "fasthash.toml", FASTHASH_NICE="very")


def test_check_finds_variables_that_set_nothing(run: Run) -> None:
    said = complaint(run("config", "check", FASTHASH_ROOT="/x", status=2))
    assert said == "fasthash: FASTHASH_ROOT sets nothing; did you mean FASTHASH_ROOTS?\n"
    run("config", "check", FASTHASH_DATA_DIR="/x", FASTHASH_NATIVE="off")


def test_check_of_what_is_no_file(run: Run) -> None:
    said = complaint(run("config", "check", "none.toml", status=2))
    assert said == "fasthash: cannot read none.toml: No such file or directory\n"


def test_several_roots_in_a_variable(database: Database, tmp_path: Path) -> None:
    """As in PATH: names with spaces are names."""
    database.make_table()
    for n, name in enumerate(("one", "the other one")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"f{n}").write_text(name)
        database.add(n, f"f{n}")
    database.environment["FASTHASH_ROOTS"] = f"{tmp_path}/one:{tmp_path}/the other one"
    done = database.fasthash("run", "--json")
    assert json.loads(done.stdout)["outcomes"]["hashed"] == 2


def test_a_run_has_the_settings_that_are_shown(database: Database, tmp_path: Path) -> None:
    database.make_table()
    for name in "ab":
        (database.root / name).write_text(name)
        database.add(ord(name), name)
    file = tmp_path / "fasthash.toml"
    file.write_text(f'roots = ["{database.root}"]\nalgorithm = "sha256,blake3"\ntable = "none"\n')
    database.environment |= {"FASTHASH_CONFIG": str(file), "FASTHASH_TABLE": "artifacts"}
    assert json.loads(database.fasthash("run", "--json").stdout)["rows_updated"] == 2
    assert set(database.metadata(ord("a"))) >= {"file_sha256", "file_blake3"}
    # The key has another meaning than this option.
    assert len(database.fasthash("manifest").stdout.splitlines()) == 2
