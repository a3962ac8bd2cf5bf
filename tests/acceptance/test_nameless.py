"""A user without a name, a home or an environment, as containers have it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import Database

from fasthash.cli import COMMANDS

NAMELESS = ("unshare", "--user", "--map-user=54321", "--map-group=54321")
NOTHING = ("env", "-i", "PATH=/usr/bin:/bin")


def may_be_nameless() -> bool:
    """Whether this machine lets its users be somebody else."""
    try:
        return subprocess.run([*NAMELESS, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not may_be_nameless(), reason="wants user namespaces")


@pytest.fixture
def nameless(database: Database) -> Database:
    """A database with two equal files, and a command that is called by nobody with nothing."""
    for name in ("a", "b"):
        (database.root / name).write_text("content")
    database.prefix = (*NAMELESS, *NOTHING, f"FASTHASH_DSN={database.dsn}")
    return database


# As ProtectSystem=strict and NoNewPrivileges have it: nothing can be written but /dev, and no
# privileges come with a program.
HARDENED = (
    "unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
    'mount --rbind / / && mount -o remount,bind,ro / && exec setpriv --no-new-privs "$@"', "sh",
)  # fmt: skip
# Its standard input and its log are closed.
CLOSED = ("sh", "-c", 'exec "$@" <&- 2>&-', "sh")
PLACE = Path("/dev/shm")


def want_hardening() -> None:
    """Skips where nothing can be made read-only for a process."""
    done = subprocess.run([*HARDENED, "touch", __file__], capture_output=True, check=False)
    if done.returncode == 0 or b"Read-only file system" not in done.stderr:
        pytest.skip(f"wants a mount namespace of its own: {done.stderr.decode().strip()}")


@pytest.mark.parametrize("where", ["nameless", "hardened", "closed"])
def test_every_command(nameless: Database, where: str) -> None:
    called: set[str] = set()
    if where == "hardened":
        nameless.prefix = (*HARDENED, *NOTHING, f"FASTHASH_DSN={nameless.dsn}", f"TMPDIR={PLACE}")
        want_hardening()
    elif where == "closed":
        nameless.prefix = CLOSED
    page = PLACE / f"fasthash-test-{os.getpid()}.html"

    def call(*words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        called.add(words[0])
        return nameless.fasthash(*words, status=status)

    root = str(nameless.root)
    call("register", root)
    assert nameless.run()["rows_updated"] == 2
    (nameless.root / "b").write_text("changed")
    assert nameless.scrub("--on-drift", "hold", status=1)["drift_open"] == 1
    for command in (
        ["status"], ["summary"], ["residual"], ["manifest"], ["duplicates", "--root", root],
        ["journal", "1"], ["drift", "list"], ["config", "show"], ["revert", "1", "--dry-run"],
        ["prune", "--keep-last", "5"], ["report", "--json"], ["init"], ["grants", "postgres"],
        ["runs"], ["runs", "show", "1"], ["completion", "bash"], ["drift", "show", "1"],
        ["config", "check"], ["drift", "reject", "1", "--why", "no"],
        ["bench", root, "--for", "1s"],
    ):  # fmt: skip
        assert call(*command).stdout
    try:
        said = call("report", "-o", str(page))
        assert where != "nameless" or said.stderr == ""
    finally:
        page.unlink(missing_ok=True)
    call("doctor", status=None)
    listed = nameless.root.parent / "sums"
    listed.write_text(f"{'0' * 64}  {nameless.root}/a\n")
    assert "1 differs" in call("compare", str(listed), "--root", root, status=1).stdout
    said = call("rate", status=2)
    assert where == "closed" or "no run is under way" in said.stderr
    (nameless.root / "a").write_text("changed, too")
    assert nameless.scrub("--on-drift", "hold", status=1)["drift_open"] == 2
    assert "accepted" in call("drift", "accept", "--all", "--root", root).stdout
    assert called == set(COMMANDS) - {"run", "scrub", "demo"}, "the first two by run and scrub"
    if where == "nameless":
        for drift in nameless.sql("SELECT resolved_by FROM fasthash.drift"):
            assert drift["resolved_by"].startswith("uid 54321@")


@pytest.mark.parametrize(
    "command",
    [["run"], ["scrub"], ["status"], ["drift", "list"], ["demo"]],
)
def test_without_a_database_and_a_home(nameless: Database, command: list[str]) -> None:
    nameless.prefix = (*NAMELESS, *NOTHING)
    done = nameless.fasthash(*command, status=2)
    line = "user 54321 has no home directory, where the embedded server's data would be: set FAST"
    assert done.stderr.splitlines()[-1].startswith(f"fasthash: {line}")
    home = nameless.root.parent / "home"
    nameless.prefix = (*NAMELESS, *NOTHING, f"XDG_DATA_HOME={home}")
    assert "fasthash: " in nameless.fasthash(*command, status=None).stderr


def test_as_the_example_of_a_service_has_it(database: Database) -> None:
    want_hardening()
    for name in ("a", "b"):
        (database.root / name).write_text("content")
    database.prefix = HARDENED
    database.fasthash("register", str(database.root))
    assert database.run()["rows_updated"] == 2
    assert database.run("--dry-run", "--since", "2090-01-01")["rows_scanned"] == 2
    assert database.scrub("--rate", "1GB/s")["outcomes"]["confirmed"] == 2
    for command in (["status"], ["manifest"], ["residual"], ["doctor"], ["summary"]):
        assert database.fasthash(*command, status=None).returncode in (0, 1)
    for command in (["report", "--json"], ["bench"]):  # PrivateTmp=yes gives these their place
        assert "cannot make a temporary " in database.fasthash(*command, status=2).stderr
    database.environment["TMPDIR"] = "/dev/shm"
    database.fasthash("report", "--json")


def test_nobody_can_be_asked_without_an_input(nameless: Database) -> None:
    """What asks on a terminal finds none: it does what it was called for."""
    nameless.fasthash("register", str(nameless.root))
    nameless.run()
    nameless.prefix = CLOSED
    assert "2 rows" in nameless.fasthash("revert", "1").stdout
    assert nameless.sql("SELECT FROM artifacts WHERE metadata ? 'file_sha256'") == []
