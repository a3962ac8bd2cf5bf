"""Nothing but regular files is opened, wherever a name leads: the kernel is asked what was."""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fasthash import cautious, disks, files, small
from fasthash.files import Reader
from fasthash.fixity import Task, Verdict
from fasthash.inspector import Inspector, WorkerSetup
from fasthash.problems import FileProblemError
from fasthash.roots import find_root
from fasthash.slot import Slot
from fasthash.small import SmallFiles
from fasthash.watching import Unwatched

IN_OPEN = 0x20  # <sys/inotify.h>
IN_NONBLOCK = os.O_NONBLOCK
EVENT = struct.Struct("iIII")
FAR_DEVICE = os.makedev(1, 3)  # /dev/null, by another name

libc = ctypes.CDLL(None, use_errno=True)
Opened = Callable[[], int]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture(params=["fifo", "socket", "device", "link to a fifo", "link to a device"])
def trap(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Iterator[Path]:
    """Something beneath the root, or outside and linked to, that would act if it was opened."""
    kind = request.param
    path = (tmp_path if "link" in kind else root) / "trap"
    if "fifo" in kind:
        os.mkfifo(path)
    elif "device" in kind:
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, FAR_DEVICE)
        except PermissionError:
            pytest.skip("only root may make devices")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            yield path
            return
    if "link" in kind:
        (root / "trap").symlink_to(path)
    yield path


@pytest.fixture
def opened(trap: Path) -> Iterator[Opened]:
    """How often the trap was opened so far, by anybody."""
    descriptor = libc.inotify_init1(IN_NONBLOCK)
    assert libc.inotify_add_watch(descriptor, os.fsencode(trap), IN_OPEN) >= 0

    def count() -> int:
        try:
            return len(os.read(descriptor, 4_096)) // EVENT.size
        except BlockingIOError:
            return 0

    if not stat.S_ISSOCK(os.stat(trap).st_mode):  # that it counts at all
        os.close(os.open(trap, os.O_RDONLY | os.O_NONBLOCK))
        assert count() == 1
    yield count
    os.close(descriptor)


def test_no_reader_opens_what_is_not_a_regular_file(root: Path, opened: Opened) -> None:
    path = os.fsencode(root / "trap")
    one = Reader((find_root(str(root)),), 4_096)
    for _ in range(2):
        with pytest.raises(FileProblemError) as caught:
            one.digest([path], Unwatched())
        assert caught.value.verdict in (Verdict.NOT_REGULAR, Verdict.OUTSIDE_ROOT)
    assert disks.position(path) == (-1, 0)
    assert opened() == 0


@pytest.mark.parametrize("native", ["on", "off"])
@pytest.mark.parametrize("along_disk", [False, True])
def test_no_group_opens_what_is_not_a_regular_file(
    root: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch, native: str, along_disk: bool
) -> None:
    monkeypatch.setenv(small.VARIABLE, native)
    monkeypatch.setattr(files, "RACY_NS", 0)
    (root / "f").write_bytes(b"f")
    slot, here = Slot.create(), find_root(str(root))
    one = SmallFiles([here], slot, along_disk=along_disk)
    for names in ([b"trap"], [b"trap", b"f"], [b"f", b"trap"]):
        found = one.read(here, names, 1, 0)
        assert found is not None
        assert [state is not None for state in found] == [name == b"f" for name in names]
    setup = WorkerSetup((here,), None, 65_536, False, None, "text", seek_order=along_disk)
    results = Inspector(setup, slot).inspect(1, [Task(n, n, None, None) for n in ("f", "trap")], 0)
    assert [r.sha256 is not None for r in results] == [True, False]
    assert opened() == 0
    slot.close()


def test_what_was_judged_is_what_is_opened(root: Path) -> None:
    (root / "f").write_bytes(b"judged")
    os.mkfifo(root / "fifo")

    def judge(real_path: bytes, facts: os.stat_result) -> None:
        assert real_path == os.fsencode(os.path.realpath(root / "f"))
        assert stat.S_ISREG(facts.st_mode)
        os.replace(root / "fifo", root / "f")

    descriptor, facts = cautious.open_seen(os.fsencode(root / "f"), os.O_RDONLY, judge)
    assert facts.st_ino == os.fstat(descriptor).st_ino
    assert os.read(descriptor, 100) == b"judged"
    os.close(descriptor)


def test_a_refusal_leaves_nothing_open(root: Path) -> None:
    (root / "f").write_bytes(b"f")

    def judge(real_path: bytes, facts: os.stat_result) -> None:
        raise PermissionError("no")

    before = os.listdir("/proc/self/fd")
    with pytest.raises(PermissionError):
        cautious.open_seen(os.fsencode(root / "f"), os.O_RDONLY, judge)
    with pytest.raises(OSError):
        cautious.open_seen(os.fsencode(root / "none"), os.O_RDONLY, judge)
    assert os.listdir("/proc/self/fd") == before
