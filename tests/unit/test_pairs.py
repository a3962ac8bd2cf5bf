"""Two large files side by side: the same digests as one by one, or none."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fasthash import files
from fasthash.files import WHOLE_FILE_BYTES, Reader
from fasthash.fixity import Task
from fasthash.inspector import Inspector, WorkerSetup
from fasthash.pairs import Pairs, padding
from fasthash.roots import find_root
from fasthash.slot import Slot
from fasthash.small import load_native
from fasthash.watching import Stopped, Unwatched

NATIVE = load_native()
pytestmark = pytest.mark.skipif(NATIVE is None, reason="not on this machine")
LEAST = WHOLE_FILE_BYTES + 1
CHUNK = 64 * 1024


@pytest.fixture(autouse=True)
def old_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files that were written a moment ago are no pairs; and none stays open."""
    monkeypatch.setattr(files, "RACY_NS", 0)
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


def nothing(which: int, since_ns: int, read_bytes: int) -> None:
    """Takes no notice."""


def both(
    folder: Path,
    one: str,
    other: str,
    note: Callable[[int, int, int], None] = nothing,
    use_mmap: bool = False,
) -> list[bytes | None]:
    """The digests of two files."""
    reader = Reader((find_root(str(folder)),), CHUNK, use_mmap)
    found = Pairs(reader, NATIVE, Unwatched()).digest(
        [os.fsencode(folder / one)], [os.fsencode(folder / other)], note
    )
    return [None if state is None else state.sha256 for state in found]


def make(folder: Path, name: str, size: int) -> bytes:
    """A file of random content; its digest."""
    content = random.Random(size).randbytes(size)
    (folder / name).write_bytes(content)
    return hashlib.sha256(content).digest()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(LEAST, LEAST + 3 * CHUNK), min_size=2, max_size=2))
def test_the_digests_are_those_of_hashlib(tmp_path: Path, sizes: list[int]) -> None:
    digests = [make(tmp_path, name, size) for name, size in zip("ab", sizes, strict=True)]
    assert both(tmp_path, "a", "b") == digests


@pytest.mark.parametrize("size", [*range(LEAST, LEAST + 130), 5 * CHUNK, 5 * CHUNK + 1])
def test_every_length_of_padding(tmp_path: Path, size: int) -> None:
    assert (size + len(padding(size))) % 64 == 0
    digests = [make(tmp_path, "a", size), make(tmp_path, "b", 3_000_000)]
    assert both(tmp_path, "a", "b") == digests
    assert both(tmp_path, "b", "a") == digests[::-1]


def test_the_same_file_twice(tmp_path: Path) -> None:
    digest = make(tmp_path, "a", 1_000_000)
    assert both(tmp_path, "a", "a") == [digest, digest]


def test_what_is_not_simple_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a", 1_000_000)
    make(tmp_path, "small", WHOLE_FILE_BYTES)
    make(tmp_path, "linked", 1_000_000)
    os.link(tmp_path / "linked", tmp_path / "other name")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "out").symlink_to("/bin/sh")
    for name in ("small", "linked", "fifo", "out", "missing"):
        assert both(tmp_path, "a", name) == [None, None]
        assert both(tmp_path, name, "a") == [None, None]
    assert both(tmp_path, "a", "a", use_mmap=True) == [None, None]
    monkeypatch.setattr(files, "RACY_NS", 10**18)
    assert both(tmp_path, "a", "a") == [None, None]


@pytest.mark.parametrize("change", ["grow", "shrink", "write", "replace"])
def test_one_that_moves_does_not_spoil_the_other(tmp_path: Path, change: str) -> None:
    digest = make(tmp_path, "still", 1_000_000)
    make(tmp_path, "moving", 1_000_000)
    path = tmp_path / "moving"

    def move(which: int, since_ns: int, read_bytes: int) -> None:
        if which == 1 and read_bytes == 4 * CHUNK:
            if change == "grow":
                with path.open("ab") as file:
                    file.write(b"more")
            elif change == "shrink":
                os.truncate(path, 5 * CHUNK)
            elif change == "write":
                with path.open("r+b") as file:
                    file.write(b"other")
            else:
                path.rename(tmp_path / "old")
                path.write_bytes(b"new" * 1_000_000)

    found = both(tmp_path, "still", "moving", move)
    assert found[0] == digest
    if change == "replace":  # what was opened has kept its content; only its name went
        assert found[1] in (None, hashlib.sha256((tmp_path / "old").read_bytes()).digest())
    else:
        assert found[1] is None


def test_each_read_is_noted_and_may_be_stopped(tmp_path: Path) -> None:
    make(tmp_path, "a", 1_000_000)
    make(tmp_path, "b", 500_000)
    noted: list[tuple[int, int]] = []

    def note(which: int, since_ns: int, read_bytes: int) -> None:
        noted.append((which, read_bytes))
        if len(noted) == 22:
            raise Stopped

    with pytest.raises(Stopped):
        both(tmp_path, "a", "b", note)
    assert noted[:2] == [(0, 0), (1, 0)], "opening it may take long, too"
    assert noted[2:6] == [(0, 0), (1, 0), (0, CHUNK), (1, CHUNK)]
    assert noted[-1][0] == 0, "the shorter one has ended"


def test_a_worker_reads_large_files_in_pairs(tmp_path: Path) -> None:
    sizes = [3_000_000, 100, 2_000_000, 20_000_000, 17_000_000, 16_777_216, 1_000_000]
    digests = [make(tmp_path, f"f{n}", size) for n, size in enumerate(sizes)]
    setup = WorkerSetup((find_root(str(tmp_path)),), None, CHUNK, False, None, "text")
    slot = Slot.create()
    inspector = Inspector(setup, slot)
    pairs: list[int] = []
    plain = inspector.pairs.digest

    def count(*arguments):  # type: ignore[no-untyped-def]
        found = plain(*arguments)
        pairs.append(sum(state is not None for state in found))
        return found

    inspector.pairs.digest = count  # type: ignore[method-assign]
    tasks = [Task(str(n), f"f{n}", None, None) for n in range(len(sizes))]
    found: list[bytes | None] = []
    while len(found) < len(tasks):
        found += [r.sha256 for r in inspector.inspect(1, tasks[len(found) :], len(found))]
    assert found == digests
    assert sum(pairs) >= 4
    assert inspector.take_read_bytes() == sum(sizes)
    slot.close()
