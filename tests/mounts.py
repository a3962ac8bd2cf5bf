"""File systems that come and go: images on loop devices, and whatever else mount(8) knows.

Only root may mount, and not everywhere: elsewhere the tests that need it are skipped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

IMAGE_BYTES = 16 << 20


def command(*arguments: str | Path) -> str:
    """What a command says; skips the test where it may not be done."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    if shutil.which(str(arguments[0])) is None:
        pytest.skip(f"there is no {arguments[0]}")
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def mount(*arguments: str | Path) -> None:
    """Mounts, or skips the test where that is not allowed."""
    command("mount", *arguments)


def unmount(folder: Path) -> None:
    """Unmounts at once, whoever still has something open there."""
    subprocess.run(["umount", "--lazy", folder], capture_output=True, check=False)


def unmount_all(folder: Path) -> None:
    """Unmounts whatever is mounted there. (`os.path.ismount` does not see a bind mount.)"""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split(" ")[4] == str(folder):
            unmount(folder)


class Disk:
    """A new ext4 in a file, and the loop devices that it has been on."""

    def __init__(self, image: Path) -> None:
        self.image = image
        self.devices: list[str] = []
        image.touch()
        os.truncate(image, IMAGE_BYTES)
        command("mkfs.ext4", "-q", image)

    def mount(self, folder: Path) -> int:
        """Mounts it by a device that it never had before; returns the device's number."""
        self.devices.append(command("losetup", "--find", "--show", self.image))
        mount(self.devices[-1], folder)
        return os.stat(folder).st_dev

    def close(self) -> None:
        """Gives the devices back."""
        for device in self.devices:
            subprocess.run(["losetup", "--detach", device], capture_output=True, check=False)


@contextlib.contextmanager
def disks(folder: Path, mountpoint: Path, count: int = 1) -> Iterator[list[Disk]]:
    """New disks; what is mounted in the end is unmounted."""
    found = [Disk(folder / f"disk{n}.img") for n in range(count)]
    try:
        yield found
    finally:
        unmount_all(mountpoint)
        for disk in found:
            disk.close()
