"""A password in the connection string gets nowhere; configuration is taken from nobody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Database
from oracle import SLOW, Oracle

PASSWORD = "s3cret-w0rd"
TABLES = ("run", "holder", "checkpoint", "journal", "drift", "residual", "sample", "schema_version")


def test_the_password_is_nowhere(database: Database) -> None:
    """Not in process lists, workers, logs, JSON, status or ledger."""
    oracle = Oracle(database)
    database.dsn = f"{database.dsn} password={PASSWORD}"
    process = database.start(*SLOW, "--log-format", "json")
    oracle.wait_for_rows(50)
    for pid, kind in oracle.processes().items():
        assert PASSWORD.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes(), kind
        if kind == "worker":
            assert PASSWORD.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
            assert PASSWORD.encode() not in memory_of(pid)
    status = database.fasthash("status", "--json")
    process.let_go()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, err
    said = [out, err, status.stdout, status.stderr]
    said += [str(database.sql(f"SELECT * FROM fasthash.{table}")) for table in TABLES]
    for text in said:
        assert PASSWORD not in text


def memory_of(pid: int) -> bytes:
    """What a process has in its heap and stack."""
    found = b""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            place, rights, _, _, inode, *_ = line.split()
            begin, end = (int(part, 16) for part in place.split("-"))
            if rights.startswith("rw") and inode == "0":
                memory.seek(begin)
                found += memory.read(end - begin)
    return found


@pytest.mark.parametrize(
    "dsn",
    [
        f"host=/nonexistent dbname=d password={PASSWORD}",
        f"host=/nonexistent dbname=d password='{PASSWORD}",  # malformed
        f"postgresql://me:{PASSWORD}@127.0.0.1:1/d",
        f"postgresql://me:{PASSWORD}@127.0.0.1:notaport/d",
    ],
)
@pytest.mark.parametrize("command", ["run", "status", "init"])
def test_no_error_repeats_the_password(database: Database, dsn: str, command: str) -> None:
    arguments = [command, "--dsn", dsn]
    if command == "run":
        arguments += ["--root", str(database.root), "--db-timeout", "1s"]
    done = database.fasthash(*arguments, status=None)
    assert done.returncode in (2, 3, 4), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.parametrize("loose", ["file", "directory"])
def test_a_configuration_that_anybody_may_write_is_refused(
    database: Database, tmp_path: Path, loose: str
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    file = folder / "fasthash.toml"
    file.write_text('table = "artifacts"\n')
    file.chmod(0o644)
    os.chmod(file if loose == "file" else folder, 0o666 if loose == "file" else 0o777)
    done = database.fasthash("status", "--config", str(file), status=2)
    assert str(file) in done.stderr
    assert "writ" in done.stderr
