"""What spares hashing, what it cannot see, and a second digest made in the same read."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from blake3 import blake3
from conftest import Database, sha256
from test_scrub import drifts, fill, rot
from xxhash import xxh3_128_hexdigest

from fasthash.files import LONG_READ_BYTES, RACY_NS, WHOLE_FILE_BYTES

SIZES = (0, 1, 8_000, WHOLE_FILE_BYTES, WHOLE_FILE_BYTES + 1, LONG_READ_BYTES + 1)


def settle() -> None:
    """Waits until stamps of now are old enough to be trusted."""
    time.sleep(RACY_NS / 1e9 + 0.1)


def marks(database: Database) -> list[str]:
    rows = database.sql(
        "SELECT metadata ->> 'file_sha256_computed_at' AS m FROM artifacts ORDER BY id"
    )
    return [r["m"] for r in rows]


@pytest.mark.parametrize("precheck", ["stat", "xxh3"])
def test_a_hit_is_confirmed_and_moves_no_marker(database: Database, precheck: str) -> None:
    paths = fill(database, 100)
    settle()
    database.fasthash("init")
    database.run("--precheck", precheck)
    before = marks(database)
    paths[5].write_bytes(b"changed")
    summary = database.scrub("--precheck", precheck, status=1)
    assert summary["outcomes"]["confirmed"] == summary["rows_prechecked"] == 99
    assert summary["outcomes"]["drifted"] == 1
    after = marks(database)
    assert [n for n in range(100) if before[n] != after[n]] == [5]
    assert summary["rows_updated"] == 1


def test_stat_sees_no_rot_and_xxh3_does(database: Database) -> None:
    """As the documentation says."""
    paths = fill(database, 10)
    settle()
    database.fasthash("init")
    database.run("--precheck", "xxh3")
    rot(database, 3, paths[3])
    # A test cannot flip a bit without moving ctime: so the hash is made to be younger than that.
    database.sql(
        "UPDATE fasthash.journal SET read_at_ns = %s WHERE row_id = '3'",
        paths[3].stat().st_ctime_ns + 3_000_000_000,
    )
    settle()
    settle()
    assert database.scrub("--precheck", "stat")["rows_prechecked"] == 10
    assert database.scrub("--precheck", "xxh3", status=1)["outcomes"]["drifted"] == 1
    assert [d["kind"] for d in drifts(database)] == ["corrupt"]


@pytest.mark.parametrize("change", ["touch", "chmod", "replace", "size"])
def test_stat_notices_every_stamp(database: Database, change: str) -> None:
    paths = fill(database, 5)
    settle()
    database.fasthash("init")
    database.run("--precheck", "stat")
    path = paths[2]
    if change == "touch":
        os.utime(path, (5, 5))
    elif change == "chmod":
        path.chmod(0o600)
    elif change == "replace":  # the same content and times, another inode
        shutil.copy2(path, f"{path}.new")
        os.replace(f"{path}.new", path)
    else:
        path.write_bytes(path.read_bytes() + b"x")
    summary = database.scrub("--precheck", "stat", status=1 if change == "size" else 0)
    assert summary["rows_prechecked"] == 4
    assert summary["outcomes"]["confirmed"] == (4 if change == "size" else 5)


def test_the_number_of_the_device_is_no_fact_of_a_file(database: Database) -> None:
    """It is another one after a new mount, and on every other host."""
    fill(database, 5)
    settle()
    database.fasthash("init")
    database.run("--precheck", "stat")
    device, inode = r"decode('00000000000000ff', 'hex')", r"decode('00000000000000fe', 'hex')"
    database.sql(
        f"UPDATE fasthash.journal SET stamps = substr(stamps, 1, 16) || {device} || "
        "substr(stamps, 25)"
    )
    assert database.scrub("--precheck", "stat")["rows_prechecked"] == 5
    database.sql(
        f"UPDATE fasthash.file_state SET stamps = substr(stamps, 1, 24) || {inode} "
        "WHERE row_id = '3'"
    )
    assert database.scrub("--precheck", "stat")["rows_prechecked"] == 4


def test_a_racy_stamp_is_never_trusted(database: Database, tmp_path: Path) -> None:
    """The files were changed a moment before they were hashed.

    A time that lies ahead is younger than any moment, and so however long a start takes.
    """
    paths = fill(database, 5)
    database.fasthash("init")
    ahead_s = time.time() + 3600
    for path in paths:
        os.utime(path, (ahead_s, ahead_s))
    database.run("--precheck", "stat")
    first = database.scrub("--precheck", "stat")
    assert (first["rows_prechecked"], first["outcomes"]["confirmed"]) == (0, 5)
    for path in paths:
        os.utime(path, (0, 0))
    settle()
    database.scrub()  # hashed anew, when the stamps are old
    assert database.scrub("--precheck", "stat")["rows_prechecked"] == 5


def test_what_a_backfill_saw_serves_a_later_precheck(database: Database) -> None:
    """Its journal has the stamps, of the hash that it made: not of any other that is there now."""
    paths = fill(database, 10)
    settle()
    database.fasthash("init")
    database.run()
    assert database.sql("SELECT 1 FROM fasthash.file_state") == []
    database.sql(
        "UPDATE artifacts SET metadata = metadata || "
        '\'{"file_sha256_computed_at": "2020-01-01T00:00:00Z"}\' WHERE id = 4'
    )
    foreign = hashlib.sha256(b"what the application believes").hexdigest()
    database.sql(
        "UPDATE artifacts SET metadata = metadata || jsonb_build_object('file_sha256', %s::text) "
        "WHERE id = 5",
        foreign,
    )
    summary = database.scrub("--precheck", "stat", status=1)
    assert (summary["rows_prechecked"], summary["outcomes"]["confirmed"]) == (9, 9)
    (drift,) = drifts(database)
    assert (drift["row_id"], drift["old_hash"]) == ("5", foreign)
    assert drift["new_hash"] == sha256(paths[5])


@pytest.mark.parametrize("reader", ["readinto", "mmap"])
def test_digests_of_one_read_are_those_of_other_tools(database: Database, reader: str) -> None:
    database.make_table()
    paths = []
    for n, size in enumerate(SIZES):
        path = database.root / f"f{n}"
        path.write_bytes(os.urandom(size))
        os.utime(path, (1, 1))
        paths.append(path)
        database.add(n, path.name)
    os.link(paths[2], database.root / "linked")
    database.add(99, "linked")
    database.fasthash("init")
    arguments = ("--algorithm", "sha256,blake3", "--precheck", "xxh3", "--reader", reader)
    database.run(*arguments)
    states = {
        row["row_id"]: bytes(row["xxh3"]).hex()
        for row in database.sql("SELECT row_id, xxh3 FROM fasthash.journal")
    }
    for n, path in enumerate(paths):
        found = database.metadata(n)
        assert found["file_sha256"] == sha256(path)
        assert found["file_blake3"] == blake3(path.read_bytes()).hexdigest()
        assert states[str(n)] == xxh3_128_hexdigest(path.read_bytes())
    assert database.metadata(99)["file_blake3"] == database.metadata(2)["file_blake3"]
    _agree_with(shutil.which("b3sum"), database, paths)
    assert database.scrub(*arguments)["rows_prechecked"] == len(SIZES) + 1


def _agree_with(tool: str | None, database: Database, paths: list[Path]) -> None:
    if tool is None:
        return
    for n, path in enumerate(paths):
        out = subprocess.run([tool, path], capture_output=True, text=True, check=True).stdout
        assert out.split()[0] == database.metadata(n)["file_blake3"]


def test_a_missing_second_digest_is_made(database: Database) -> None:
    fill(database, 5)
    settle()
    database.fasthash("init")
    database.run("--precheck", "stat")
    both = ("--algorithm", "sha256,blake3", "--precheck", "stat")
    assert database.scrub(*both)["rows_prechecked"] == 0
    assert all("file_blake3" in database.metadata(n) for n in range(5))
    assert database.scrub(*both)["rows_prechecked"] == 5


def test_a_second_digest_that_is_left_is_said(database: Database) -> None:
    fill(database, 5)
    database.fasthash("init")
    assert "file_blake3" not in database.fasthash("run", "--root", str(database.root)).stderr
    database.scrub("--algorithm", "sha256,blake3")
    done = database.fasthash("scrub", "--root", str(database.root))
    assert "earlier runs wrote file_blake3, this one does not" in done.stderr


def test_an_unfinished_run_of_another_digest_is_refused(database: Database) -> None:
    fill(database, 50)
    database.fasthash("init")
    database.run("--budget", "10kB")
    done = database.fasthash(
        "run", "--root", str(database.root), "--algorithm", "sha256,blake3", status=2
    )
    assert "go on with it by `fasthash run --root " in done.stderr
