"""A process without descriptors: real limits, for files say nothing of it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fuse
import pytest

from fasthash import shortage
from fasthash.errors import OutOfResources
from fasthash.files import Reader
from fasthash.fixity import Verdict
from fasthash.problems import FileProblemError
from fasthash.roots import find_root
from fasthash.shortage import ShortageError, waited_out
from fasthash.watching import Unwatched

SMALL, LARGE = 300, 8  # files
LIMIT = 24  # of open files, for 64 threads that would each like 32
pytestmark = pytest.mark.timeout(120)

HASH = """
import os, resource, sys, threading
from fasthash import hash_files, shortage
paths = [entry.path for entry in os.scandir(sys.argv[1])]
for path in paths:  # a group of cold files is opened before any of it is read
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
limit = int(sys.argv[2])
import json, blake3  # all that is needed is there
"""
FEW = """
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
found = {os.path.basename(f.path): f.sha256 or f.detail for f in hash_files(paths, workers=64)}
print(json.dumps(found))
"""
NONE = """
shortage.WAIT_S = 0.0
found = hash_files(iter(paths), workers=2)
resource.setrlimit(resource.RLIMIT_NOFILE, (1, limit))
try:
    print([f.problem for f in found])
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Old files, small and large, that are on the disk."""
    path = tmp_path_factory.mktemp("files")
    for n in range(SMALL + LARGE):
        (path / f"f{n}").write_bytes(os.urandom(5_000 if n < SMALL else 300_000))
    os.sync()
    return path


@pytest.fixture(params=["on", "off"])
def native(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def say(code: str, folder: Path, limit: int, native: str) -> str:
    """What a script prints that has so few descriptors."""
    done = subprocess.run(
        [sys.executable, "-c", HASH + code, folder, str(limit)],
        env={**os.environ, "FASTHASH_NATIVE": native},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_more_threads_than_descriptors_hash_every_file(folder: Path, native: str) -> None:
    found = json.loads(say(FEW, folder, LIMIT, native))
    expected = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    assert found == expected


def test_a_caller_that_has_used_up_all_is_told_the_limit(folder: Path, native: str) -> None:
    said = say(NONE, folder, 1_000, native)
    assert said.startswith("OutOfResources ")
    assert "EMFILE" in said
    assert "ulimit -n" in said


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[fuse.FaultyFiles]:
    """A file system whose own daemon may be short of something."""
    folder = tmp_path / "storage"
    folder.mkdir()
    try:
        with fuse.mounted(folder) as found:
            yield found
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")


@pytest.mark.parametrize("number", sorted(shortage.ERRORS))
def test_what_a_file_system_says_of_one_file_ends_no_run(
    storage: fuse.FaultyFiles, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortage, "WAIT_S", 0.05)
    storage.add("f", b"f", open=lambda count, answer: number)
    storage.add("once", b"once", open=lambda count, answer: answer if count else number)
    one = Reader((find_root(str(storage.mountpoint)),), 4_096)
    with pytest.raises(FileProblemError) as caught:
        one.digest([os.fsencode(storage.mountpoint / "f")], Unwatched())
    assert caught.value.verdict == Verdict.UNREADABLE
    assert errno.errorcode[number] in caught.value.detail
    state = one.digest([os.fsencode(storage.mountpoint / "once")], Unwatched())
    assert state.sha256 == hashlib.sha256(b"once").digest()


def test_it_is_waited_for_and_may_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(shortage.time, "sleep", slept.append)
    advanced: list[int] = []

    class Watch(Unwatched):
        def advance(self, read_bytes: int) -> None:
            advanced.append(read_bytes)

    def never() -> None:
        raise ShortageError(OSError(errno.ENFILE, "of the machine"))

    with pytest.raises(ShortageError):
        waited_out(never, Watch())
    assert shortage.WAIT_S <= sum(slept) < shortage.WAIT_S + 2 * shortage.LONGEST_PAUSE_S
    assert advanced == [0] * len(slept), "whoever wants to stop is heard all the time"

    def nothing(*arguments: object) -> int:
        raise OSError(errno.ENFILE, "of the machine")

    monkeypatch.setattr(shortage.os, "open", nothing)
    with pytest.raises(OutOfResources, match=r"fs\.file-max"):
        waited_out(never, Watch())
