"""A ledger of every earlier version, with runs in the middle, is upgraded and goes on to the end.

The ledgers are made by the released migration scripts, and filled as the code of that time did.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Database, check_sums, drop_database, sha256
from psycopg.types.json import Jsonb

from fasthash.store.queries import script
from fasthash.store.schema import MIGRATIONS, VERSION

VERSIONS = range(1, VERSION + 1)
ROWS, RANGE_ROWS = 40, 10
MISSING, DRIFTED = 3, 5  # rows of the first range, which is done
# Rows of the first two ranges of type t0 are worked on: one is done, the other half done.
DONE, HALF = range(10), range(10, 20)
OFTEN = [(1, "running"), (VERSION - 1, "running"), (VERSION, "interrupted")]
WRITTEN_AT = datetime(2026, 11, 1, tzinfo=UTC)
WRONG = "0" * 64


@pytest.fixture
def make_old(server_dsn: str, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Makes a database with a catalog, and the ledger of an earlier version, empty."""
    made: list[str] = []

    def make(version: int) -> Database:
        name = f"old_{version}_{abs(hash(request.node.name)) % 10**8}"
        with psycopg.connect(server_dsn, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}")
        made.append(name)
        root = tmp_path / name
        root.mkdir()
        database = Database(psycopg.conninfo.make_conninfo(server_dsn, dbname=name), root)
        with database.connect() as connection:
            for migration in MIGRATIONS[:version]:
                connection.execute(script(migration, migration).encode())
        database.make_table()
        for n in range(ROWS):
            if n != MISSING:
                (root / f"f{n}").write_bytes(f"content {n}".encode())
            metadata: dict[str, Any] = {"k": n}
            if n == DRIFTED:
                metadata["file_sha256"] = WRONG
            database.add(n, f"f{n}", metadata, f"t{n // 20}")
        return database

    yield make
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        for name in made:
            drop_database(admin, name)


def options(database: Database, version: int, **changes: Any) -> Jsonb:
    """As `RunIdentity.as_options` wrote them."""
    found = {
        "types": None,
        "algorithm": "sha256",
        "limit": None,
        "roots": [str(database.root)],
        "resolver": None,
    }
    if version > 1:
        found |= {"since": None, "sample": None, "missing": False}
    return Jsonb(found | changes)


def insert(database: Database, table: str, **values: Any) -> None:
    columns = ", ".join(values)
    places = ", ".join(["%s"] * len(values))
    database.sql(
        f"INSERT INTO fasthash.{table} ({columns}) VALUES ({places})",
        *values.values(),
    )


def mark(database: Database, n: int) -> None:
    """A row as it was written, and journalled."""
    path = database.root / f"f{n}"
    database.sql(
        "UPDATE artifacts SET metadata = metadata || %s WHERE id = %s",
        Jsonb({
            "file_sha256": sha256(path),
            "file_size_bytes": path.stat().st_size,
            "file_sha256_computed_at": "2026-11-01T00:00:00Z",
        }),
        n,
    )  # fmt: skip
    old: dict[str, Any] = {}
    if n == DRIFTED:
        old = {"old_sha256": bytes(32), "old_keys": Jsonb({"file_sha256": WRONG})}
    insert(
        database, "journal", run_id=1, size_bytes=path.stat().st_size, at=WRITTEN_AT, row_id=str(n),
        new_sha256=hashlib.sha256(path.read_bytes()).digest(), **old,
    )  # fmt: skip


def half_a_backfill(database: Database, version: int, state: str) -> None:
    """The first range is done, of the second a part is committed, the third was never leased."""
    ended = state != "running"
    newer: dict[str, Any] = {}
    if version >= 3:
        newer = {"expected_by_type": Jsonb([["t0", 20], ["t1", 20]])}
    insert(
        database, "run", catalog="public.artifacts", kind="backfill", state=state,
        options=options(database, version), host="old", pass_no=0, plan_types=["t0", "t1"],
        plan_type_no=2, plan_after_id="29", next_range_no=4, rows_planned=30, rows_expected=ROWS,
        started_at=WRITTEN_AT, finished_at=WRITTEN_AT if ended else None,
        error="it broke" if state == "failed" else None, **newer,
    )  # fmt: skip
    report: dict[str, Any] = {"workers": [{"pid": 7}], "held": None, "stuck": None}
    if version >= 2:
        report["rates"] = None
    insert(
        database, "holder", run_id=1, host="old", pid=6, started_at=WRITTEN_AT,
        seen_at=WRITTEN_AT, report=Jsonb({**report, "queued_rows": 3}),
    )  # fmt: skip
    insert(database, "holder", run_id=1, host="old", pid=8, started_at=WRITTEN_AT)
    database.sql("UPDATE fasthash.holder SET seen_at = started_at")
    insert(database, "sample", run_id=1, holder_id=1, at=WRITTEN_AT, rows=12, bytes=99)
    common = {"run_id": 1, "pass_no": 0}
    insert(
        database, "checkpoint", **common, range_no=1, artifact_type="t0", through_id="9",
        planned_rows=10, state="done", term=1, hashed=8, drifted=1, no_file=1, updated=9,
        bytes_hashed=81,
    )  # fmt: skip
    held = {"state": "pending"} if ended else {
        "state": "leased", "holder_id": 1, "expires_at": WRITTEN_AT,
    }  # fmt: skip
    insert(
        database, "checkpoint", **common, range_no=2, artifact_type="t0", after_id="9",
        through_id="19", planned_rows=10, term=1, hashed=3, updated=3, bytes_hashed=30, **held,
    )  # fmt: skip
    insert(
        database, "segment", run_id=1, range_no=2, holder_id=1, segment_no=2, after_id="9",
        through_id="12",
    )  # fmt: skip
    insert(
        database, "checkpoint", **common, range_no=3, artifact_type="t1", through_id="29",
        planned_rows=10,
    )  # fmt: skip
    for n in [*DONE, *HALF[:3]]:
        if n != MISSING:
            mark(database, n)
    insert(
        database, "drift", run_id=1, row_id=str(DRIFTED), artifact_type="t0", path=f"f{DRIFTED}",
        kind="unknown", old_hash=WRONG, new_size_bytes=9, file_mtime=WRITTEN_AT,
        new_sha256=bytes.fromhex(sha256(database.root / f"f{DRIFTED}")), resolution="overwritten",
    )  # fmt: skip
    insert(
        database, "residual", run_id=1, row_id=str(MISSING), artifact_type="t0",
        path=f"f{MISSING}", reason="no_file",
    )  # fmt: skip


READERS = (
    ("status",), ("summary",), ("report",),
    ("drift", "list"), ("drift", "show", "1"), ("residual",), ("journal", "5"), ("manifest",),
    ("duplicates",), ("doctor", "--json"),
)  # fmt: skip


def read_all(database: Database, folder: Path) -> None:
    """Every command that tells something of runs: none is at a loss."""
    database.environment |= {"COLUMNS": "80", "FASTHASH_ROOTS": str(database.root)}
    for command in READERS:
        words = list(command)
        if command == ("report",):
            words += ["--output", str(folder / "page.html")]
        done = database.fasthash(*words, status=None, cwd=folder)
        assert done.returncode in (0, 1, 2, 3), (command, done.stderr)


# The oldest ledger passes every step there is; each version, in every state, has a turn at length.
@pytest.mark.parametrize(
    ("version", "state"),
    [
        pytest.param(version, state, marks=() if (version, state) in OFTEN else pytest.mark.long)
        for version in VERSIONS
        for state in ("interrupted", "failed", "running")
    ],
)
def test_a_backfill_goes_on(
    make_old: Callable[[int], Database], tmp_path: Path, version: int, state: str
) -> None:
    database = make_old(version)
    half_a_backfill(database, version, state)
    if version < VERSION:
        refused = database.fasthash("run", "--root", str(database.root), status=4)
        assert f"the ledger has version {version}" in refused.stderr
    database.fasthash("init")
    assert database.fasthash("init").stdout != ""
    read_all(database, tmp_path)
    before = json.loads(database.fasthash("summary", "--json").stdout)
    assert before["state"] == ("interrupted" if state == "running" else state)
    assert before["rows_scanned"] == 13

    summary = database.run("--range-rows", str(RANGE_ROWS), status=1)
    check_sums(summary)
    assert (summary["run_id"], summary["state"]) == (1, "complete")
    wanted = {"hashed": ROWS - 2, "drifted": 1, "no_file": 1}
    assert {k: n for k, n in summary["outcomes"].items() if n} == wanted
    journal = [row["row_id"] for row in database.sql("SELECT row_id FROM fasthash.journal")]
    assert sorted(map(int, journal)) == sorted(set(range(ROWS)) - {MISSING}), "each once"
    for n in set(range(ROWS)) - {MISSING}:
        assert database.metadata(n)["file_sha256"] == sha256(database.root / f"f{n}")

    (database.root / f"f{MISSING}").write_bytes(b"found")
    again = database.run()
    assert again["run_id"] != 1
    assert again["outcomes"]["hashed"] == again["rows_scanned"] == 1, "only what is new"
    (database.root / "f7").write_bytes(b"rotten")
    scrubbed = database.scrub("--on-drift", "hold", status=1)
    assert scrubbed["outcomes"]["confirmed"] == ROWS - 1
    assert scrubbed["outcomes"]["drifted"] == 1
    again = database.scrub("--precheck", "stat", "--on-drift", "hold", status=1)
    assert again["rows_scanned"] == ROWS
    read_all(database, tmp_path)


@pytest.mark.parametrize(
    "version",
    [2, *(pytest.param(v, marks=pytest.mark.long) for v in VERSIONS if 2 < v < VERSION), VERSION],
)
def test_a_scrub_goes_on(make_old: Callable[[int], Database], tmp_path: Path, version: int) -> None:
    """Its first range is done, its second was lost with its holder."""
    database = make_old(version)
    (database.root / f"f{MISSING}").write_bytes(b"there")
    for n in range(ROWS):
        mark(database, n)
    insert(
        database, "run", catalog="public.artifacts", kind="backfill", state="complete",
        options=options(database, version), host="old", pass_no=2, plan_done=True,
        started_at=WRITTEN_AT, finished_at=WRITTEN_AT,
    )  # fmt: skip
    cutoff = datetime(2026, 11, 2, tzinfo=UTC)
    insert(
        database, "run", catalog="public.artifacts", kind="scrub", state="interrupted",
        options=options(database, version), host="old", cutoff=cutoff, started_at=cutoff,
        finished_at=cutoff, next_range_no=3, rows_planned=20, ended_for="budget",
        plan_after_marker="2026-11-01T00:00:00Z", plan_after_id="19",
    )  # fmt: skip
    insert(database, "holder", run_id=2, host="old", pid=6, seen_at=WRITTEN_AT)
    database.sql("INSERT INTO fasthash.catalog (name) VALUES ('public.artifacts')")
    for n in DONE if version < 4 else ():  # later, lists say what was met
        insert(
            database, "file_state", catalog_no=1, run_id=2, checked_at=cutoff, row_id=str(n),
            read_at_ns=int(WRITTEN_AT.timestamp()) * 10**9, size_bytes=1,
        )  # fmt: skip
    ids = [[str(n) for n in numbers] for numbers in (DONE, HALF)]
    common = {"run_id": 2, "pass_no": 0, "artifact_type": "t0", "planned_rows": 10, "term": 1}
    insert(
        database, "checkpoint", **common, range_no=1, through_id="9", state="done", confirmed=10,
        row_ids=ids[0] if version >= 4 else None,
    )  # fmt: skip
    insert(
        database, "checkpoint", **common, range_no=2, after_id="9", through_id="19",
        state="leased", holder_id=1, expires_at=WRITTEN_AT, row_ids=ids[1],
    )  # fmt: skip
    database.fasthash("init")
    read_all(database, tmp_path)
    summary = database.scrub("--range-rows", str(RANGE_ROWS))
    assert (summary["run_id"], summary["state"]) == (2, "complete")
    assert summary["outcomes"]["confirmed"] == ROWS
