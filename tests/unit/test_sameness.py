"""What identifies a root: the decision, and real file systems that are mounted anew."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fuse
import mounts
import pytest

from fasthash import files, roots, small
from fasthash.fixity import Root, Task
from fasthash.inspector import Inspector, WorkerSetup
from fasthash.roots import RootMissingError, find_root, look_again, missing_root
from fasthash.sameness import ANOTHER, NOT_TOLD, difference
from fasthash.shortage import ShortageError
from fasthash.slot import Slot

NAMED = Root(b"/r", b"/r", 7, 2, 100, 5, b"fsid 1")
NAMELESS = Root(b"/r", b"/r", 7, 1, 100)


@pytest.mark.parametrize("device", [7, 8])
@pytest.mark.parametrize("mount_id", [100, 101])
def test_a_file_system_with_a_name_is_known_on_any_device(device: int, mount_id: int) -> None:
    assert difference(NAMED, replace(NAMED, device=device, mount_id=mount_id)) is None


@pytest.mark.parametrize("changed", [{"inode": 3}, {"birth_ns": 6}, {"file_system": b"fsid 2"}])
def test_another_directory_or_file_system_is_another_root(changed: dict[str, object]) -> None:
    """Whatever else is equal; but in one mount there is one file system."""
    for sentinel in (None, (1, 2, 3)):
        before = replace(NAMED, sentinel=sentinel)
        now = replace(before, mount_id=101, **changed)  # type: ignore[arg-type]
        assert difference(before, now) == ANOTHER


@pytest.mark.parametrize("file_system", [b"", b"fsid 2"])
def test_a_name_that_only_one_of_the_two_has_is_no_name(file_system: bytes) -> None:
    for before, now in itertools.permutations([b"fsid 1", file_system]):
        one = replace(NAMED, file_system=before)
        assert difference(one, replace(one, file_system=now, mount_id=101)) == ANOTHER


def test_without_a_name_it_is_the_mount_that_tells() -> None:
    assert difference(NAMELESS, replace(NAMELESS)) is None
    # Its number goes to the next that is mounted: it says nothing.
    assert difference(NAMELESS, replace(NAMELESS, mount_id=101)) == NOT_TOLD
    assert difference(NAMELESS, replace(NAMELESS, mount_id=101, device=8)) == NOT_TOLD


def test_without_a_name_the_sentinel_tells() -> None:
    before = replace(NAMELESS, sentinel=(5, 0, 1_000))
    assert difference(before, replace(before, mount_id=101, device=8)) is None
    for sentinel in (None, (6, 0, 1_000), (5, 1, 1_000), (5, 0, 1_001)):
        assert difference(before, replace(before, mount_id=101, sentinel=sentinel)) == NOT_TOLD


def test_an_old_kernel_has_the_device_number_alone() -> None:
    before = replace(NAMELESS, mount_id=0)
    assert difference(before, before) is None
    assert difference(before, replace(before, device=8)) == ANOTHER


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[Path]:
    """An empty directory that something may be mounted at."""
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    mounts.unmount_all(path)


def test_a_file_system_on_another_device_is_the_same_root(tmp_path: Path, mountpoint: Path) -> None:
    with mounts.disks(tmp_path, mountpoint, 2) as (disk, other):
        numbers = [disk.mount(mountpoint)]
        before = find_root(str(mountpoint))
        mounts.unmount(mountpoint)
        found = missing_root([before])
        assert found is not None, "an empty directory is no root"
        assert found[1] == ANOTHER
        numbers.append(disk.mount(mountpoint))
        assert numbers[0] != numbers[1], "or this test tests nothing"
        (now,) = look_again([before])
        assert (now.device, now.inode) == (numbers[1], before.inode)
        mounts.unmount(mountpoint)
        other.mount(mountpoint)
        assert os.stat(mountpoint).st_ino == before.inode, "as of nearly every ext4"
        assert missing_root([before]) == (before, ANOTHER)
        assert missing_root([now]) == (now, ANOTHER)


def test_another_tmpfs_with_the_number_of_the_first_is_another_root(mountpoint: Path) -> None:
    found = []
    for _ in range(2):
        mounts.mount("-t", "tmpfs", "none", mountpoint)
        found.append(find_root(str(mountpoint)))
        mounts.unmount(mountpoint)
    assert found[0].inode == found[1].inode
    assert difference(*found) == ANOTHER


def test_a_directory_seen_by_another_mount_is_the_same_root(
    tmp_path: Path, mountpoint: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    mounts.mount("--bind", store, mountpoint)
    before = find_root(str(mountpoint))
    mounts.unmount(mountpoint)
    assert missing_root([before]) is not None, "the directory underneath"
    mounts.mount("--bind", store, mountpoint)
    assert missing_root([before]) is None
    assert not roots.is_unmoved(before) or before.mount_id == 0


def test_a_file_system_that_nothing_names_is_told_by_its_sentinel(mountpoint: Path) -> None:
    seen: dict[str | None, list[Root]] = {None: [], ".mounted": []}
    for _ in range(2):
        try:
            with fuse.mounted(mountpoint) as storage:
                storage.add(".mounted", b"")
                for sentinel, found in seen.items():
                    found.append(find_root(str(mountpoint), sentinel))
        except OSError as error:
            pytest.skip(f"no FUSE here: {error}")
    assert seen[None][0].file_system == b""
    if seen[None][0].mount_id:  # Linux 6.8
        assert difference(*seen[None]) == NOT_TOLD
    assert difference(*seen[".mounted"]) is None


@pytest.fixture(params=["native", "off"])
def inspector(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, mountpoint: Path
) -> Iterator[Inspector]:
    """An inspector with either reader, whose one root is not there yet."""
    if request.param == "off":
        monkeypatch.setenv(small.VARIABLE, "off")
    monkeypatch.setattr(files, "RACY_NS", 0)
    slot = Slot.create()
    here = find_root(str(mountpoint))
    yield Inspector(WorkerSetup((here,), None, 65_536, False, None, "text"), slot)
    slot.close()


def test_a_worker_goes_on_beneath_a_root_on_another_device(
    tmp_path: Path, mountpoint: Path, inspector: Inspector
) -> None:
    with mounts.disks(tmp_path, mountpoint, 2) as (disk, other):
        disk.mount(mountpoint)
        (mountpoint / "small").write_bytes(b"small")
        (mountpoint / "large").write_bytes(b"l" * 300_000)
        inspector.setup = replace(inspector.setup, roots=(find_root(str(mountpoint)),))
        tasks = [Task(name, name, None, None) for name in ("small", "large", "none")]
        digests = [hashlib.sha256(c).digest() for c in (b"small", b"l" * 300_000)] + [None]
        assert [r.sha256 for r in inspector.inspect(1, tasks, 0)] == digests
        mounts.unmount(mountpoint)
        with pytest.raises(RootMissingError):
            inspector.inspect(2, tasks, 0)
        number = disk.mount(mountpoint)
        found = inspector.inspect(3, tasks, 0)
        assert [r.sha256 for r in found] == digests
        assert inspector.setup.roots[0].device == number
        asked: list[bool] = []
        read = inspector.small._read

        def count(*arguments: object) -> object:
            asked.append((states := read(*arguments)) is not None)  # type: ignore[arg-type]
            return states

        inspector.small._read = count  # type: ignore[method-assign,assignment]
        assert inspector.inspect(4, tasks[:1], 0)[0].sha256 == digests[0]
        assert asked == [True], "it is known to the small reader by now"
        mounts.unmount(mountpoint)
        other.mount(mountpoint)
        (mountpoint / "small").write_bytes(b"another")
        with pytest.raises(RootMissingError):
            inspector.inspect(5, tasks[:1], 0)


def test_another_tmpfs_is_noticed_though_every_file_is_there(
    mountpoint: Path, inspector: Inspector
) -> None:
    """Its device number and the number of its root are those of the first."""
    numbers = []
    for content in (b"one", b"other"):
        mounts.mount("-t", "tmpfs", "none", mountpoint)
        (mountpoint / "f").write_bytes(content)
        facts = os.stat(mountpoint)
        numbers.append((facts.st_dev, facts.st_ino))
        if content == b"one":
            inspector.setup = replace(inspector.setup, roots=(find_root(str(mountpoint)),))
            assert inspector.inspect(1, [Task("f", "f", None, None)], 0)[0].size_bytes == 3
            mounts.unmount(mountpoint)
    if numbers[0] != numbers[1] or not inspector.setup.roots[0].mount_id:
        pytest.skip("the number went to somebody else, or the kernel is older than 6.8")
    with pytest.raises(RootMissingError):
        inspector.inspect(2, [Task("f", "f", None, None)], 0)


def test_a_want_of_descriptors_is_no_missing_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = find_root(str(tmp_path))

    def none(*arguments: object, **more: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", none)
    with pytest.raises(ShortageError):
        missing_root([root])
    (said,) = roots.find_roots([str(tmp_path)], None)
    assert "ulimit -n" in str(said)
    ((answer,),) = roots._answer(("missing", [root], None))  # type: ignore[misc]
    assert answer[0] == root, "it is asked again, and not taken for back"
