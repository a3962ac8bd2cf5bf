"""What all tests share: a real PostgreSQL, a database a test, and the real command."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import here
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg.rows import dict_row

from fasthash import embedded

if TYPE_CHECKING:
    from pgserver import PgServer

# What an interpreter may be told in the environment, a test's process is not: unbuffered streams
# hide what is lost of buffered ones, and modules that are not kept compiled are compiled each time.
for _name in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
    os.environ.pop(_name, None)
sys.dont_write_bytecode = False

# How long it takes to make up an example says something of the machine alone.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# Bounds a wait for what never comes; nothing depends on how long anything takes.
PATIENCE_S = 600.0
FASTHASH = str(Path(sys.executable).with_name("fasthash"))
_numbers = itertools.count(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share what is made once a file stay together; any other goes to who is free."""
    for item in items:
        defined = getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009
        shares = any(last.scope in ("module", "class") for *_, last in defined)
        if shares or "unit" in item.path.parts:
            item.add_marker(pytest.mark.xdist_group(item.path.name))


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of a run says what was skipped, and what those tests want."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput") or config.option.collectonly:
        return
    reporter.write_line(skipped_line(reporter.stats.get("skipped", [])))


def skipped_line(reports: list[pytest.TestReport | pytest.CollectReport]) -> str:
    """What was skipped, grouped: `skipped: 13 tests want zsh (make test-tools), 2 want root`."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in reports
        if isinstance(report.longrepr, tuple)
    )
    parts = []
    for reason, n in reasons.most_common():
        verb, _, what = reason.partition(" ")
        said = f"want{'s' if n == 1 else ''} {what}" if verb == "wants" else f"({reason})"
        parts.append(f"{n} {said}")
    if parts:
        first, _, rest = parts[0].partition(" ")
        parts[0] = f"{first} test{'' if first == '1' else 's'} {rest}"
    return f"skipped: {', '.join(parts) or 'nothing'}"


@pytest.fixture(scope="session")
def server_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A connection string of the test server's maintenance database.

    FASTHASH_TEST_DSN names another server (of an older version, say).
    """
    given = os.environ.get("FASTHASH_TEST_DSN")
    if given:
        yield given
        return
    with embedded.ensure(tmp_path_factory.mktemp("pg"), "postgres") as server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            set_fsync(connection, "off")
        yield server.dsn


def set_fsync(admin: psycopg.Connection[Any], to: str) -> None:
    """Whether the server forces files to the disk: `on` or `off`.

    Dropping a database, which is a checkpoint, takes 0.25 s of processor time with it and 0.6 s in
    all; without it 0.05 and 0.04. No test's machine loses its power.
    """
    for name in ("fsync", "full_page_writes"):
        admin.execute(f"ALTER SYSTEM SET {name} = {to}")
    admin.execute("SELECT pg_reload_conf()")
    until = time.monotonic() + PATIENCE_S
    while admin.execute("SHOW full_page_writes").fetchone() != (to,):
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def durable(admin: psycopg.Connection) -> Iterator[None]:
    """The server is as one should be, for whoever looks at it."""
    set_fsync(admin, "on")
    yield
    set_fsync(admin, "off")


# Of statements by DSN and thread: what waits for something asks a hundred times, and a session for
# each question took half of the suite's time.
_sessions: dict[tuple[str, int], psycopg.Connection[dict[str, Any]]] = {}


def close_sessions() -> None:
    """Leaves all databases alone, so that they can be copied."""
    while _sessions:
        _sessions.popitem()[1].close()


@pytest.fixture(autouse=True)
def _no_session_outlives_its_test() -> Iterator[None]:
    yield
    close_sessions()


def _answers(session: psycopg.Connection[dict[str, Any]]) -> bool:
    """Whether the server, or a proxy, has not hung up."""
    try:
        session.execute("")
    except psycopg.Error:
        session.close()
        return False
    return True


class Run(subprocess.Popen[str]):
    """A run or scrub that was started; it may be held at a file (see `Database.hold`)."""

    held_until: str | None = None

    def let_go(self) -> None:
        """Lets it come to its end."""
        if self.held_until is not None:
            Path(self.held_until).touch()


@dataclass
class Database:
    """A database of its own, and fasthash run against it."""

    dsn: str
    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    # What starts a command (setpriv, say), and whether a new interpreter has to: see here.py.
    prefix: tuple[str, ...] = ()
    by_process: bool = False

    def connect(self) -> psycopg.Connection[dict[str, Any]]:
        """A session in autocommit mode whose rows are dicts."""
        return psycopg.connect(self.dsn, autocommit=True, row_factory=dict_row)

    def sql(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """Runs one statement in the thread's session and returns its rows."""
        named = parameters[0] if parameters and isinstance(parameters[0], dict) else None
        key = (self.dsn, threading.get_ident())
        session = _sessions.get(key)
        if session is None or not _answers(session):
            session = _sessions[key] = self.connect()
            session.prepare_threshold = None  # what is prepared breaks when a table changes
        cursor = session.execute(statement, named or parameters or None)
        return cursor.fetchall() if cursor.description else []

    def command(self, *arguments: str) -> list[str]:
        """The command line of a fasthash command."""
        return [*self.prefix, FASTHASH, *arguments]

    def env(self) -> dict[str, str]:
        """The environment of a fasthash command; in colour is only what asks for it.

        One worker, unless a test is about several: each start of one takes more time than the few
        files of most tests.
        """
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "FASTHASH_"))}
        ours = {"NO_COLOR": "1", "FASTHASH_DSN": self.dsn, "FASTHASH_WORKERS": "1"}
        return {**kept, **ours, **self.environment}

    def fasthash(
        self, *arguments: str, status: int | None = 0, **kwargs: Any
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command and checks its exit status (unless `status` is None).

        Those of `here.COMMANDS` are called in this process, if there are no `kwargs` for a new one
        but `cwd`.
        """
        by_process = kwargs.keys() - {"cwd"} or self.prefix or self.by_process
        if not by_process and here.is_possible(arguments, self.environment):
            with contextlib.chdir(kwargs.get("cwd", ".")):
                done = here.call(arguments, self.env())
        else:
            done = subprocess.run(
                self.command(*arguments),
                env=self.env(),
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
                **kwargs,
            )
        assert status is None or done.returncode == status, (
            f"exit {done.returncode}, expected {status}\n{done.stdout}\n{done.stderr}"
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def run(
        self, *arguments: str, status: int | None = 0, command: str = "run", **kwargs: Any
    ) -> dict[str, Any]:
        """`fasthash run --json` over the root; returns the summary."""
        done = self.fasthash(
            command, "--json", "--root", str(self.root), *arguments, status=status, **kwargs
        )
        summary: dict[str, Any] = json.loads(done.stdout)
        check_sums(summary)
        return summary

    def scrub(self, *arguments: str, status: int | None = 0, **kwargs: Any) -> dict[str, Any]:
        """`fasthash scrub --json` over the root; returns the summary."""
        return self.run(*arguments, status=status, command="scrub", **kwargs)

    def start(self, *arguments: str, stderr_file: Path | None = None, command: str = "run") -> Run:
        """Starts `fasthash run --json` over the root and returns at once.

        Its output goes to pipes, or with `stderr_file` to that file and nowhere.
        """
        log = (
            subprocess.PIPE
            if stderr_file is None
            else os.open(stderr_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        )
        try:
            process = Run(
                self.command(command, "--json", "--root", str(self.root), *arguments),
                env=self.env(),
                stdout=subprocess.PIPE if stderr_file is None else subprocess.DEVNULL,
                stderr=log,
                text=True,
            )
        finally:
            if stderr_file is not None:
                os.close(log)
        process.held_until = self.environment.get("HELD_UNTIL")
        return process

    def hold(self, name: str) -> None:
        """Has runs with the resolver `site_resolvers:slow` stay at files until they are let go.

        It should be the last of the catalog: then such a run is not over before a test has done
        to it what it wants to, and whatever comes before is done meanwhile.
        """
        until = self.root.parent / f"{self.root.name}-go-on"
        self.environment |= {"HELD_FILE": name, "HELD_UNTIL": str(until)}

    def make_table(self, id_type: str = "bigint", metadata_type: str = "jsonb") -> None:
        """The default catalog table, empty."""
        self.sql(
            f"CREATE TABLE artifacts (id {id_type} PRIMARY KEY, artifact_type text, "
            f"file_path text, metadata {metadata_type}, content_hash text)"
        )

    def add(
        self,
        row_id: Any,
        path: str | None,
        metadata: Any = None,
        artifact_type: str | None = "figure",
    ) -> None:
        """Adds a catalog row; `metadata` is stored as JSON, None as NULL."""
        text = None if metadata is None else json.dumps(metadata)
        self.sql(
            "INSERT INTO artifacts VALUES (%s, %s, %s, %s, 'untouched')",
            row_id,
            artifact_type,
            path,
            text,
        )

    def metadata(self, row_id: Any) -> Any:
        """The metadata of a row."""
        return self.sql("SELECT metadata FROM artifacts WHERE id = %s", row_id)[0]["metadata"]


def check_sums(summary: dict[str, Any]) -> None:
    """The summary's own promise: counts add up, in total and by type."""
    parts = [summary, *summary["by_type"].values()]
    for part in parts:
        assert part["rows_scanned"] == sum(part["outcomes"].values()), part
    for key in ("rows_scanned", "rows_updated", "drift_events", "bytes_hashed", "rows_gone"):
        assert summary[key] == sum(t[key] for t in summary["by_type"].values()), key
    for name, count in summary["outcomes"].items():
        assert count == sum(t["outcomes"][name] for t in summary["by_type"].values()), name
    missing_and_failed = summary["outcomes"]["no_file"] + summary["outcomes"]["failed"]
    assert missing_and_failed == sum(summary["residual"].values()), summary


def sha256(path: Path) -> str:
    """The digest of a file, for tests that do not need an independent tool."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sha256sum(paths: list[Path]) -> dict[Path, str]:
    """Digests by the system's own tool: NUL-separated, so any name will do."""
    found: dict[Path, str] = {}
    for start in range(0, len(paths), 500):
        chunk = paths[start : start + 500]
        out = subprocess.run(
            ["sha256sum", "--zero", "--", *chunk], capture_output=True, check=True
        ).stdout
        for path, line in zip(chunk, out.split(b"\0"), strict=False):
            found[path] = line[:64].decode()
    return found


@pytest.fixture(scope="session")
def ledger_template(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a database that `fasthash init` was run on: copying it takes a tenth as long."""
    name = f"template_{os.getpid()}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    dsn = psycopg.conninfo.make_conninfo(server_dsn, dbname=name)
    Database(dsn, tmp_path_factory.mktemp("template")).fasthash("init")
    yield name
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name}")


@pytest.fixture(scope="session")
def admin(server_dsn: str) -> Iterator[psycopg.Connection]:
    """A session of the test server's maintenance database."""
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        yield connection


def drop_database(admin: psycopg.Connection[Any], name: str) -> None:
    """Drops a database, whoever is in it.

    The server gives those five seconds to go, which may be too little on a busy machine.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > until:
                raise
        else:
            return


class Databases:
    """Makes databases with the ledger and an empty root, which go with the test."""

    def __init__(self, admin: psycopg.Connection, server_dsn: str, template: str) -> None:
        self.admin = admin
        self.server_dsn = server_dsn
        self.template = template
        self.names: list[str] = []

    def make(self, root: Path | None, folder: Path, template: str = "") -> Database:
        """A database, a copy of another one, with its own root in a folder if it is given none."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        self.admin.execute(f"CREATE DATABASE {name} TEMPLATE {template or self.template}")
        self.names.append(name)
        if root is None:
            root = folder / name
            root.mkdir()
        return Database(psycopg.conninfo.make_conninfo(self.server_dsn, dbname=name), root)

    def drop(self) -> None:
        """Those that were made."""
        for name in self.names:
            drop_database(self.admin, name)


@pytest.fixture
def make_database(
    admin: psycopg.Connection, server_dsn: str, ledger_template: str, tmp_path: Path
) -> Iterator[Callable[[], Database]]:
    """Makes databases, each with the ledger and an empty root; they go with the test."""
    made = Databases(admin, server_dsn, ledger_template)
    yield lambda: made.make(None, tmp_path)
    made.drop()


@pytest.fixture(scope="session")
def _prepared(
    admin: psycopg.Connection, server_dsn: str, ledger_template: str
) -> Iterator[tuple[Databases, dict[Callable[[Database], None], Database]]]:
    made = Databases(admin, server_dsn, ledger_template)
    yield made, {}
    made.drop()


@pytest.fixture
def copy_of(
    _prepared: tuple[Databases, dict[Callable[[Database], None], Database]],
    admin: psycopg.Connection,
    server_dsn: str,
    ledger_template: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Callable[[Database], None]], Database]]:
    """Makes copies of a database that a function has prepared, once, over the very same files.

    For tests that change none of them.
    """
    databases, known = _prepared
    made = Databases(admin, server_dsn, ledger_template)

    def copy(prepare: Callable[[Database], None]) -> Database:
        if prepare not in known:
            known[prepare] = databases.make(None, tmp_path_factory.mktemp("prepared"))
            prepare(known[prepare])
            close_sessions()
        source = known[prepare]
        name = str(psycopg.conninfo.conninfo_to_dict(source.dsn)["dbname"])
        return made.make(source.root, tmp_path, template=name)

    yield copy
    made.drop()


@pytest.fixture
def database(make_database: Callable[[], Database]) -> Database:
    """One database with the ledger and an empty root."""
    return make_database()


@pytest.fixture(scope="session")
def older_databases(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], Databases]]:
    """Makers of databases with the ledger on Debian's server: older, with ICU and citext."""
    from pgserver import PgServer, older_binaries

    binaries = older_binaries()
    if binaries is None:
        pytest.skip("wants Debian's PostgreSQL (postgresql-15)")
    server = PgServer(tmp_path_factory.mktemp("older") / "pg", binaries)
    server.start()
    dsn = psycopg.conninfo.make_conninfo(server.dsn, dbname="template")
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE template")
        Database(dsn, tmp_path_factory.mktemp("template")).fasthash("init")
        yield lambda: Databases(admin, server.dsn, "template")
    server.stop("immediate")


@pytest.fixture
def older_database(older_databases: Callable[[], Databases], tmp_path: Path) -> Iterator[Database]:
    """One database with the ledger and an empty root on it."""
    made = older_databases()
    yield made.make(None, tmp_path)
    made.drop()


@pytest.fixture(params=["database", "older_database"])
def each_database(request: pytest.FixtureRequest) -> Database:
    """One on the newest server, and one on the older."""
    found: Database = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgServer]:
    """A server that the tests of one file may stop, crash and restart."""
    from pgserver import PgServer, embedded_binaries

    server = PgServer(tmp_path_factory.mktemp("own") / "pg", embedded_binaries())
    server.start()
    yield server
    server.stop("immediate")


@pytest.fixture
def own_database(own_server: PgServer, tmp_path: Path) -> Iterator[Database]:
    """A database on it, with the ledger and an empty root."""
    name = f"own_{next(_numbers)}"
    with psycopg.connect(own_server.dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    root = tmp_path / name
    root.mkdir()
    database = Database(psycopg.conninfo.make_conninfo(own_server.dsn, dbname=name), root)
    database.fasthash("init")
    yield database
    own_server.wait()
    with psycopg.connect(own_server.dsn, autocommit=True) as admin:
        drop_database(admin, name)


@pytest.fixture(scope="module", params=["embedded", "older"])
def each_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PgServer]:
    """The embedded server, and an older one where the machine has it."""
    from pgserver import PgServer, embedded_binaries, older_binaries

    binaries = embedded_binaries() if request.param == "embedded" else older_binaries()
    if binaries is None:
        pytest.skip("wants an older PostgreSQL (make test-tools)")
    server = PgServer(tmp_path_factory.mktemp("each") / "pg", binaries)
    server.start()
    yield server
    server.stop("immediate")
