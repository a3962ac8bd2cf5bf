"""Which disks have heads, how many read from them, and in what order."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from fasthash import disks
from fasthash.fixity import Root, Task
from fasthash.inspector import Inspector, WorkerSetup
from fasthash.roots import find_root
from fasthash.slot import Slot


def device(
    sysfs: Path,
    major: int,
    minor: int,
    rotational: str,
    driver: str = "sd",
    partition: bool = False,
) -> int:
    """A block device as the kernel lists it; a partition lies inside its disk's folder."""
    disk = sysfs / "devices" / f"disk{major}"
    (disk / "queue").mkdir(parents=True, exist_ok=True)
    (disk / "queue" / "rotational").write_text(f"{rotational}\n")
    (disk / "device").mkdir(exist_ok=True)
    (sysfs / driver).mkdir(exist_ok=True)
    if not (disk / "device" / "driver").exists():
        (disk / "device" / "driver").symlink_to(sysfs / driver)
    place = disk / f"part{minor}" if partition else disk
    place.mkdir(exist_ok=True)
    (sysfs / f"{major}:{minor}").symlink_to(place)
    return os.makedev(major, minor)


def test_disks_with_heads_are_known_by_sysfs(tmp_path: Path) -> None:
    assert disks.is_rotational(device(tmp_path, 8, 0, "1"), str(tmp_path))
    assert disks.is_rotational(device(tmp_path, 8, 1, "1", partition=True), str(tmp_path))
    assert not disks.is_rotational(device(tmp_path, 259, 0, "0"), str(tmp_path))
    assert not disks.is_rotational(os.makedev(0, 50), str(tmp_path)), "a tmpfs, an NFS mount"


def test_a_virtual_disk_is_not_believed(tmp_path: Path) -> None:
    assert not disks.is_rotational(device(tmp_path, 254, 0, "1", "virtio_blk"), str(tmp_path))
    mapped = device(tmp_path, 253, 0, "1", "none")
    assert disks.is_rotational(mapped, str(tmp_path))
    slaves = tmp_path / "devices" / "disk253" / "slaves"
    slaves.mkdir()
    (slaves / "vda").symlink_to(tmp_path / "devices" / "disk254")
    assert not disks.is_rotational(mapped, str(tmp_path)), "made of a virtual disk"
    scsi = device(tmp_path, 8, 0, "1")
    (tmp_path / "devices" / "disk8" / "device" / "vendor").write_text("QEMU    \n")
    assert not disks.is_rotational(scsi, str(tmp_path))


def root_on(number: int) -> Root:
    return Root(b"/r%d" % number, b"/r%d" % number, number, 1)


@pytest.mark.parametrize(
    ("rotational", "devices", "workers"),
    [
        (set(), [1], 8),
        ({1}, [1], 1),
        ({1}, [1, 1], 1),
        ({1, 2}, [1, 2], 2),
        ({1}, [1, 2], 8),  # the other disk can use them all
    ],
)
def test_one_worker_a_disk_with_heads(
    monkeypatch: pytest.MonkeyPatch, rotational: set[int], devices: list[int], workers: int
) -> None:
    monkeypatch.setattr(disks, "is_rotational", lambda device: device in rotational)
    roots = [root_on(number) for number in devices]
    assert disks.best_workers(roots, 8) == workers
    assert disks.best_workers(roots, 8, "solid") == 8
    assert disks.best_workers(roots, 8, "rotational") == len(set(devices))


def seeks(order: list[str], places: dict[str, int]) -> int:
    """How often a head that reads in this order has to go back."""
    return sum(places[a] > places[b] for a, b in itertools.pairwise(order))


def inspector(root: Path, *, seek_order: bool) -> Inspector:
    roots = (find_root(str(root)),)
    return Inspector(
        WorkerSetup(roots, None, 65_536, False, None, "text", seek_order), Slot.create()
    )


def test_a_head_that_moves_reads_along_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"f{number}" for number in range(200)]
    random.Random(3).shuffle(names)
    for name in names:
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (1, 1))
    places = {f"f{number}": number for number in range(200)}
    by_path = {os.fsencode(tmp_path / name): place for name, place in places.items()}
    monkeypatch.setattr(disks, "position", lambda path: (1, by_path[path]))
    asked = random.Random(4).sample(names, len(names))
    read = {}
    for seek_order in (False, True):
        one = inspector(tmp_path, seek_order=seek_order)
        order: list[str] = []
        plain = one.small._read

        def note(root, names, *rest, order=order, plain=plain):  # type: ignore[no-untyped-def]
            order += [os.fsdecode(name) for name in names if name is not None]
            return plain(root, names, *rest)

        monkeypatch.setattr(one.small, "_read", note)
        tasks = [Task(str(row), name, None, None) for row, name in enumerate(asked)]
        results = [
            result
            for first in range(0, len(tasks), one.group_files)
            for result in one.inspect(1, tasks[first : first + one.group_files], first)
        ]
        read[seek_order] = order, results
    assert read[False][1] != [] and [r.row_id for r in read[True][1]] == [
        r.row_id for r in read[False][1]
    ]
    assert [r.sha256 for r in read[True][1]] == [r.sha256 for r in read[False][1]]
    assert seeks(read[False][0], places) > 80
    assert seeks(read[True][0], places) == 0


def test_positions_are_those_of_filefrag(tmp_path: Path) -> None:
    if shutil.which("filefrag") is None:
        pytest.skip("wants filefrag (make test-tools)")
    path = tmp_path / "f"
    path.write_bytes(os.urandom(300_000))
    os.sync()
    kind, place = disks.position(os.fsencode(path))
    told = subprocess.run(
        ["filefrag", "-b1", "-v", path], capture_output=True, text=True, check=False
    )
    if told.returncode != 0 or kind == 0:
        assert place == path.stat().st_ino, "a file system that does not tell"
    else:
        first = next(line for line in told.stdout.splitlines() if line.strip().startswith("0:"))
        assert int(first.split(":")[2].split("..")[0]) == place


def test_what_cannot_be_read_is_found_out_about_first(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in (b"fifo", b"link", b"none", b"nul\0"):
        assert disks.position(os.fsencode(tmp_path) + b"/" + name) == (-1, 0)
    empty = tmp_path / "empty"
    empty.touch()
    assert disks.position(os.fsencode(empty)) == (0, empty.stat().st_ino)
