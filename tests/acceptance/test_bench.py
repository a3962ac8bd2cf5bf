"""`fasthash bench`: it measures, advises, and writes what it advises; it changes nothing else."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest
from conftest import Database

LIMITS = {"sha", "disk", "files", "database"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small files, a large one, and what is no regular file."""
    found = tmp_path / "files"
    (found / "below").mkdir(parents=True)
    for n in range(300):
        (found / "below" / f"f{n}\n").write_bytes(os.urandom(n * 10))
    (found / "large").write_bytes(os.urandom(3_000_000))
    os.mkfifo(found / "fifo")
    (found / "link").symlink_to("/dev/zero")
    return found


def test_it_measures_and_advises(database: Database, folder: Path) -> None:
    before = database.sql("SELECT relname FROM pg_class ORDER BY 1")
    found = json.loads(
        database.fasthash(
            "bench", str(folder), "--for", "3s", "--dsn", database.dsn, "--json"
        ).stdout
    )
    assert found["files"] == 301
    assert found["digest_one_core_bytes_per_s"] > 1e7
    workers = [trial["workers"] for trial in found["sweep"]]
    assert workers == sorted(workers)
    assert all(trial["files_per_s"] > 0 for trial in found["sweep"])
    assert {trial["reader"] for trial in found["readers"]} == {"readinto", "mmap"}
    assert found["database_rows_per_s"] > 100
    assert found["limit"] in LIMITS
    assert found["settings"]["workers"] in workers
    assert found["written_to"] is None
    assert database.sql("SELECT relname FROM pg_class ORDER BY 1") == before
    assert not os.path.exists("fasthash.toml")


def test_it_writes_what_it_advises(database: Database, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "fasthash.toml"
    file.write_text('# ours\ntable = "t"  # the table\nworkers = 77\n')
    arguments = ("bench", str(folder), "--for", "1s", "--write", "--config", str(file))
    out = database.fasthash(*arguments).stdout
    assert f"written to {file}" in out
    text = file.read_text()
    assert text.startswith('# ours\ntable = "t"  # the table\nworkers = ')
    content = tomllib.loads(text)
    assert content["table"] == "t"
    assert content["workers"] != 77
    assert content["reader"] in ("readinto", "mmap")
    database.fasthash("config", "check", str(file))


def test_without_a_directory_it_makes_files_and_takes_them_away(
    database: Database, tmp_path: Path
) -> None:
    database.environment["TMPDIR"] = str(tmp_path)
    before = set(tmp_path.iterdir())
    out = database.fasthash("bench", "--for", "1s").stdout
    assert "workers, warm" in out
    assert "settings (--write puts them there)" in out
    assert set(tmp_path.iterdir()) == before


def test_what_cannot_be_measured(database: Database, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no regular file" in database.fasthash("bench", str(empty), status=2).stderr
    missing = database.fasthash("bench", str(tmp_path / "none"), status=2)
    assert missing.stderr.startswith("fasthash: directory ")
