"""One consistent state of a file or none: differential against sha256sum, and races on cue."""

from __future__ import annotations

import hashlib
import mmap
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fasthash import files
from fasthash.files import WHOLE_FILE_BYTES, Reader
from fasthash.fixity import RootGone, Task, Unit, Verdict
from fasthash.parts import results
from fasthash.problems import FileProblemError
from fasthash.roots import RootMissingError, find_root, missing_root
from fasthash.slot import Slot
from fasthash.small import SmallFiles
from fasthash.watching import Unwatched
from fasthash.worker import Inspector, WorkerSetup, process


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Lets a test change a file between the first look and the read; no time is wasted."""
    monkeypatch.setattr(files, "BACKOFF_S", (0, 0, 0))
    yield monkeypatch


def inspector(root: Path, **changes: object) -> Inspector:
    """An inspector over one root."""
    setup = {
        "roots": (find_root(str(root)),),
        "root_sentinel": None,
        "chunk_bytes": 65_536,
        "use_mmap": False,
        "resolver": None,
        "log_format": "text",
    }
    return Inspector(WorkerSetup(**{**setup, **changes}), Slot.create())  # type: ignore[arg-type]


def inspect(root: Path, *names: str, stored: str | None = None, **changes: object) -> list[object]:
    """The results for some names."""
    tasks = [Task(str(n), name, stored, None) for n, name in enumerate(names)]
    return list(inspector(root, **changes).inspect(1, tasks, 0))


def one(root: Path, name: str, stored: str | None = None, **changes: object):  # type: ignore[no-untyped-def]
    """The result for one name."""
    return inspect(root, name, stored=stored, **changes)[0]


def digest_of(path: Path) -> str:
    """By the system's own tool."""
    out = subprocess.run(["sha256sum", "--zero", "--", path], capture_output=True, check=True)
    return out.stdout[:64].decode()


SIZES = [0, 1, 55, 56, 63, 64, 65, 65_535, 65_536, 65_537, WHOLE_FILE_BYTES - 1, WHOLE_FILE_BYTES]
SIZES += [WHOLE_FILE_BYTES + 1, 3_000_000, 20 * 1024 * 1024 + 7]


@pytest.mark.parametrize("use_mmap", [False, True])
def test_digests_are_those_of_sha256sum(tmp_path: Path, use_mmap: bool) -> None:
    names = []
    for size in SIZES:
        (tmp_path / f"f{size}").write_bytes(os.urandom(size))
        names.append(f"f{size}")
    unit = Unit(1, 1, 1, None, tuple(Task(n, n, None, None) for n in names))
    found = [
        r for part in process(unit, inspector(tmp_path, use_mmap=use_mmap)) for r in results(part)
    ]
    assert [r.row_id for r in found] == names
    for result in found:
        path = tmp_path / result.path
        assert result.verdict == "hashed"
        assert result.sha256.hex() == digest_of(path)
        assert result.size_bytes == path.stat().st_size
        assert result.mtime_ns == path.stat().st_mtime_ns


def test_parts_are_contiguous_and_end_before_long_reads(tmp_path: Path) -> None:
    names = [f"f{n}" for n in range(80)]
    for name in names:
        (tmp_path / name).write_text(name)
    os.truncate(tmp_path / "f20", 17 * 1024 * 1024)
    unit = Unit(1, 1, 1, "before", tuple(Task(n, n, None, None) for n in names))
    parts = list(process(unit, inspector(tmp_path)))
    assert [r.row_id for part in parts for r in results(part)] == names
    after = "before"
    for part in parts:
        assert part.after_id == after
        after = part.through_id
    assert parts[0].through_id == "f19"
    size = sum((tmp_path / n).stat().st_size for n in names)
    # The few small files read in one group with the long one, but behind it, are read again.
    assert size <= sum(p.read_bytes for p in parts) <= size + 100


def test_names(tmp_path: Path) -> None:
    for name in ("new\nline", 'quo"te', "-rf", "per%cent", "back\\slash", " "):
        (tmp_path / name).write_text(name)
        assert one(tmp_path, name).sha256.hex() == digest_of(tmp_path / name)
    with open(os.fsencode(tmp_path) + b"/\xff\xfe", "wb") as file:
        file.write(b"bytes")
    assert one(tmp_path, f"file://{tmp_path}/%FF%fe").size_bytes == 5


def test_special_files_never_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name in ("fifo", "folder", "socket"):
            assert one(tmp_path, name).verdict == Verdict.NOT_REGULAR, name


def test_links(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("secret")
    (root / "f").write_text("f")
    (root / "in").symlink_to("f")
    (root / "out").symlink_to("../secret")
    (root / "far").symlink_to("/etc/hostname")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    (root / "up").symlink_to(tmp_path)
    assert one(root, "in").size_bytes == 1
    for name in ("out", "up/secret", "far", "up"):
        assert one(root, name).verdict == Verdict.OUTSIDE_ROOT, name
    assert one(root, "dangling").verdict == Verdict.NO_FILE
    assert one(root, "loop").verdict == Verdict.UNREADABLE
    assert one(root, "f/g").verdict == Verdict.NO_FILE


@pytest.mark.parametrize("size", [100, 1_000_000])
def test_a_file_that_moves_once_is_read_again(
    tmp_path: Path, hook: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "f"
    path.write_bytes(os.urandom(size))
    changes = iter([size + 10, size // 2])

    def change(descriptor: int) -> None:
        new_size = next(changes, None)
        if new_size is not None:
            path.write_bytes(os.urandom(new_size))

    hook.setattr(files, "between_looks", change)
    result = one(tmp_path, "f")
    assert result.verdict == "hashed"
    assert result.size_bytes == size // 2
    assert result.sha256.hex() == digest_of(path)


@pytest.mark.parametrize("size", [100, 1_000_000])
def test_a_file_that_never_holds_still_has_no_hash(
    tmp_path: Path, hook: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "f"
    path.write_bytes(os.urandom(size))

    def rewrite(descriptor: int) -> None:
        with open(path, "r+b") as file:  # same size, other bytes
            file.write(os.urandom(50))

    hook.setattr(files, "between_looks", rewrite)
    assert one(tmp_path, "f").verdict == Verdict.UNSTABLE


def test_a_replaced_file_is_one_state(tmp_path: Path, hook: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    old = digest_of(path)

    def replace(descriptor: int) -> None:
        (tmp_path / "new").write_text("newer")
        os.replace(tmp_path / "new", path)

    hook.setattr(files, "between_looks", replace)
    result = one(tmp_path, "f")
    assert result.verdict != "hashed" or result.sha256.hex() in (old, digest_of(path))


def test_a_difference_is_read_twice(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f")
    result = one(tmp_path, "f", stored="0" * 64)
    assert result.compared == "0" * 64
    assert result.sha256.hex() == digest_of(tmp_path / "f")
    assert not one(tmp_path, "f", stored=digest_of(tmp_path / "f").upper()).compared


def test_other_bytes_once_are_no_drift(tmp_path: Path, hook: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 1000)
    stored = digest_of(path)
    wrong = [b"\0" * 32]
    real = Reader.digest

    def digest(self, paths, watch, *, past_cache=False):  # type: ignore[no-untyped-def]
        state = real(self, paths, watch, past_cache=past_cache)
        if wrong:
            return state._replace(digests=state.digests._replace(sha256=wrong.pop()))
        return state

    hook.setattr(SmallFiles, "read", lambda self, root, names, *_: [None] * len(names))
    hook.setattr(Reader, "digest", digest)
    result = one(tmp_path, "f", stored=stored)
    assert result.verdict == "hashed"
    assert result.sha256.hex() == stored


def test_transient_errors_are_tried_again(tmp_path: Path, hook: pytest.MonkeyPatch) -> None:
    import errno

    (tmp_path / "f").write_text("f")
    failures = [errno.EIO, errno.ESTALE]
    real = os.readv

    def readv(descriptor, buffers):  # type: ignore[no-untyped-def]
        if failures:
            raise OSError(failures.pop(), "once")
        return real(descriptor, buffers)

    hook.setattr(SmallFiles, "read", lambda self, root, names, *_: [None] * len(names))
    hook.setattr(os, "readv", readv)
    assert one(tmp_path, "f").sha256.hex() == digest_of(tmp_path / "f")
    failures += [errno.EIO] * 99
    result = one(tmp_path, "f")
    assert result.verdict == Verdict.UNREADABLE
    assert "EIO" in result.detail


def test_a_root_that_vanishes_gives_no_verdict(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "f").write_text("f")
    watcher = inspector(root)
    root.rename(tmp_path / "elsewhere")
    with pytest.raises(RootMissingError):
        watcher.inspect(1, [Task("1", "f", None, None)], 0)
    unit = Unit(7, 1, 1, None, (Task("1", "f", None, None),))
    (message,) = process(unit, watcher)
    assert isinstance(message, RootGone)
    root.mkdir()
    assert missing_root(watcher.setup.roots) is not None, "another directory in its place"
    root.rmdir()
    (tmp_path / "elsewhere").rename(root)
    assert missing_root(watcher.setup.roots) is None
    assert watcher.inspect(1, [Task("1", "f", None, None)], 0)[0].verdict == "hashed"


def test_other_normal_form_is_told(tmp_path: Path) -> None:
    (tmp_path / "e\u0301").write_text("decomposed")
    result = one(tmp_path, "\u00e9")
    assert result.verdict == Verdict.NO_FILE
    assert "NFD" in result.detail


def test_sparse_file(tmp_path: Path) -> None:
    with open(tmp_path / "f", "wb") as file:
        file.truncate(200 * 1024 * 1024)
    assert one(tmp_path, "f").sha256.hex() == digest_of(tmp_path / "f")


def test_unreadable(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (tmp_path / "f").write_text("f")
    (tmp_path / "f").chmod(0)
    assert one(tmp_path, "f").verdict == Verdict.UNREADABLE


def test_reader_refuses_what_is_not_there(tmp_path: Path) -> None:
    reader = Reader((find_root(str(tmp_path)),), 4096)
    with pytest.raises(FileProblemError):
        reader.digest([os.fsencode(tmp_path / "nothing")], Unwatched())


def test_several_names_of_one_file_are_read_once(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    for name in ("a", "alone"):
        (tmp_path / name).write_bytes(content)
    for name in ("b", "c"):
        os.link(tmp_path / "a", tmp_path / name)
    time.sleep(files.RACY_NS / 1e9)
    worker = inspector(tmp_path)
    tasks = [Task(str(n), name, None, None) for n, name in enumerate(["a", "b", "alone", "c"])]
    results = worker.inspect(1, tasks, 0)
    assert {r.sha256 for r in results} == {hashlib.sha256(content).digest()}
    assert worker.take_read_bytes() == 2 * len(content)
    changed = os.urandom(3_000_000)
    (tmp_path / "b").write_bytes(changed)
    for result in worker.inspect(2, tasks[:2], 0):
        assert result.sha256 == hashlib.sha256(changed).digest(), "the file is another now"


def test_a_mapped_file_that_changes_while_its_stamps_stand_still(
    tmp_path: Path, hook: pytest.MonkeyPatch
) -> None:
    """Stores to a page that is dirty already move no stamp: only a second reading shows them."""
    path = tmp_path / "mapped"
    path.write_bytes(b"a" * 1_000_000)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[0:1] = mapping[999_999:] = b"b"  # the first and the last page are dirty
        stamps = os.stat(path)
        torn = hashlib.sha256(bytes(mapping[:-1]) + b"c").digest()

        class Writer(Unwatched):
            """Changes both ends between the first piece and the rest."""

            def advance(self, read_bytes: int) -> None:
                mapping[0:1] = mapping[999_999:] = b"c"

        state = Reader((find_root(str(tmp_path)),), 65_536).digest([os.fsencode(path)], Writer())
        assert os.stat(path).st_ctime_ns == stamps.st_ctime_ns, "the stamps stood still"
        assert state.sha256 != torn
        assert state.sha256 == hashlib.sha256(bytes(mapping)).digest()
