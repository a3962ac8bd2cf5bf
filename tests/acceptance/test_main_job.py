"""The main job over real files, as a user sees it: the whole catalog is compared afterwards."""

from __future__ import annotations

import json
import os
import random
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Database, sha256sum

MARKER = "2026-01-02T03:04:05.000006Z"
ROWS = 2_000


def real_files(count: int) -> list[Path]:
    """Real files of this machine, in an order that is the same every time."""

    def walk() -> Iterator[Path]:
        for name in ("stdlib", "purelib", "include"):
            for folder, folders, names in os.walk(sysconfig.get_path(name)):
                folders.sort()
                for file in sorted(names):
                    path = Path(folder, file)
                    if path.is_file() and not path.is_symlink():
                        yield path

    found = list(dict.fromkeys(walk()))
    assert len(found) >= count, f"only {len(found)} files here"
    return found[:count]


class Corpus:
    """A catalog with everything in it that the specification names, and what must come of it."""

    def __init__(self, make_id: Callable[[int], Any]) -> None:
        self.files = real_files(ROWS - 40)
        self.digests = sha256sum(self.files)
        self.make_id = make_id
        self.rows: dict[str, tuple[str | None, str, Any]] = {}
        self.expected: dict[str, str] = {}
        self.truth: dict[str, Path] = {}
        self._make()

    def _make(self) -> None:
        chosen = random.Random(7)
        kinds = ["drifted"] * 15 + ["confirmed"] * 20 + ["fresh"] * 25 + ["no_file"] * 40
        kinds += ["hashed"] * (ROWS - len(kinds))
        chosen.shuffle(kinds)
        files = iter(self.files)
        for n, kind in enumerate(kinds):
            row_id = str(self.make_id(n))
            artifact_type = [None, "figure", "notebook", "dataset", "model"][n % 5]
            metadata: Any = {"title": f'row "{n}"', "n": n, "deep": {"a": [1, 2.50, None]}}
            path = f"/nowhere/{n}" if kind == "no_file" else str(next(files))
            if kind == "drifted":
                metadata["file_sha256"] = "0" * 64
            elif kind == "confirmed":
                metadata["file_sha256"] = self.digests[Path(path)].upper()
            elif kind == "fresh":
                metadata |= {"file_sha256": "f" * 64, "file_sha256_computed_at": MARKER}
            elif kind == "hashed" and n % 3 == 0:
                metadata = None
            self.rows[row_id] = (artifact_type, path, metadata)
            self.expected[row_id] = kind
            self.truth[row_id] = Path(path)

    def load(self, database: Database) -> None:
        with (
            database.connect() as connection,
            connection.cursor().copy("COPY artifacts FROM STDIN") as copy,
        ):
            for row_id, (artifact_type, path, metadata) in self.rows.items():
                text = None if metadata is None else json.dumps(metadata)
                copy.write_row((row_id, artifact_type, path, text, f"dedup {row_id}"))

    def check(self, database: Database, started: datetime) -> None:
        """Compares whole rows: the three keys are right, and nothing else has changed."""
        for row in database.sql("SELECT * FROM artifacts"):
            row_id = str(row["id"])
            artifact_type, path, before = self.rows[row_id]
            kind = self.expected[row_id]
            assert row["artifact_type"] == artifact_type
            assert row["file_path"] == path
            assert row["content_hash"] == f"dedup {row_id}"
            if kind in ("fresh", "no_file"):
                assert row["metadata"] == before, row_id
                continue
            after = dict(row["metadata"])
            digest = self.digests[self.truth[row_id]]
            wanted = digest.upper() if kind == "confirmed" else digest
            assert after.pop("file_sha256") == wanted, row_id
            assert after.pop("file_size_bytes") == self.truth[row_id].stat().st_size
            marker = datetime.fromisoformat(after.pop("file_sha256_computed_at"))
            assert started <= marker <= datetime.now(UTC)
            others = {k: v for k, v in (before or {}).items() if k != "file_sha256"}
            assert after == others, row_id


IDS: dict[str, Callable[[int], Any]] = {
    "text": lambda n: f"fig-{n * 7919 % 100_003}",
    "uuid": lambda n: f"{n * 2_654_435_761 % 2**32:08x}-0000-4000-8000-{n:012x}",
    "bigint": lambda n: n * 1_000_003 - 2**40,
}


@pytest.fixture
def least_privilege(database: Database) -> Iterator[Database]:
    """The database under a role that has the printed grants and no others."""
    role = f"operator_{database.root.name}"
    database.sql(f'CREATE ROLE "{role}" LOGIN')
    yield Database(psycopg.conninfo.make_conninfo(database.dsn, user=role), database.root)
    database.sql(f'DROP OWNED BY "{role}"')
    database.sql(f'DROP ROLE "{role}"')


@pytest.mark.parametrize(
    ("id_type", "metadata_type"),
    [
        ("uuid", "json"),
        *(pytest.param(t, "jsonb", marks=pytest.mark.long) for t in ("text", "bigint")),
    ],
)
def test_every_row_is_right(
    database: Database, least_privilege: Database, id_type: str, metadata_type: str
) -> None:
    database.make_table(id_type, metadata_type)
    corpus = Corpus(IDS[id_type])
    corpus.load(database)
    role = psycopg.conninfo.conninfo_to_dict(least_privilege.dsn)["user"]
    for grant in database.fasthash("grants", str(role)).stdout.splitlines():
        database.sql(grant)
    started = datetime.now(UTC)

    done = least_privilege.fasthash("run", "--json", "--root", "/", "--range-rows", "700", status=1)

    summary = json.loads(done.stdout)
    corpus.check(database, started)
    wanted = Counter(corpus.expected.values())
    assert summary["state"] == "complete"
    assert summary["outcomes"] == {**wanted, "failed": 0}
    assert summary["rows_scanned"] == ROWS
    assert summary["rows_updated"] == ROWS - 25 - 40
    assert summary["drift_events"] == 15
    assert summary["rows_skipped_no_file"] == 40
    assert summary["rows_gone"] == 0
    assert summary["residual"] == {"no_file": 40}
    for name, counts in summary["by_type"].items():
        artifact_type = None if name == "(none)" else name
        mine = Counter(
            kind
            for row_id, kind in corpus.expected.items()
            if corpus.rows[row_id][0] == artifact_type
        )
        assert counts["outcomes"] == {k: mine[k] for k in counts["outcomes"]}, name
    check_drift(database, corpus, done.stderr)
    check_second_run(database, least_privilege)


def check_drift(database: Database, corpus: Corpus, stderr: str) -> None:
    """Each drift is in the log and in the table, with everything the specification asks for."""
    drifts = json.loads(database.fasthash("drift", "list", "--json").stdout)
    ids = {row_id for row_id, kind in corpus.expected.items() if kind == "drifted"}
    assert {d["row_id"] for d in drifts} == ids
    lines = [line for line in stderr.splitlines() if "DRIFT" in line]
    assert len(lines) == len(ids)
    for drift in drifts:
        path = corpus.truth[drift["row_id"]]
        assert drift["old_hash"] == "0" * 64
        assert drift["new_hash"] == corpus.digests[path]
        assert drift["kind"] == "unknown"
        line = next(line for line in lines if f"row {drift['row_id']}:" in line)
        mtime = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        for fact in ("WARNING", drift["old_hash"], drift["new_hash"], mtime, "unknown"):
            assert fact in line, (fact, line)


def check_second_run(database: Database, user: Database) -> None:
    """A second run writes nothing: not one catalog row has a new version."""
    versions = database.sql("SELECT id, xmin::text FROM artifacts ORDER BY id")
    done = user.fasthash("run", "--json", "--root", "/", status=1)
    summary = json.loads(done.stdout)
    assert summary["rows_updated"] == 0
    assert summary["run_id"] == 2
    assert summary["outcomes"]["no_file"] == 40
    assert database.sql("SELECT id, xmin::text FROM artifacts ORDER BY id") == versions
