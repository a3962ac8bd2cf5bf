"""What kind of disk a file lies on, and where on it: what an order of reading is chosen by."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterable, Sequence

from fasthash import cautious
from fasthash.fixity import Root

SYSFS = "/sys/dev/block"
VIRTUAL_DRIVERS = {"virtio_blk", "vbd"}  # KVM, Xen
VIRTUAL_VENDORS = {"QEMU", "VMware", "Msft", "VBOX", "Google", "Virtio"}  # SCSI's INQUIRY
# <linux/fiemap.h>: _IOWR('f', 11, struct fiemap), a header and room for one extent.
FS_IOC_FIEMAP = 0xC020660B
_HEADER = struct.Struct("=QQIIII")  # start, length, flags, extents mapped, room for extents, -
_EXTENT = struct.Struct("=QQQQQIIII")  # logical, physical, length, -, -, flags, -, -, -
_EXTENT_UNKNOWN = 0x2 | 0x4  # location unknown, or delayed: not on the disk yet


def is_rotational(device: int, sysfs: str = SYSFS) -> bool:
    """Whether a device has heads that have to move; False where the system does not tell.

    A disk of a virtual machine says that it has, whatever is behind it, unless its host was told
    otherwise (virtio's default); it is not believed.

    Args:
        device: `st_dev` of a file on it.
        sysfs: where the kernel lists block devices.
    """
    said, disk = _claim(device, sysfs)
    return said == "1" and not _is_virtual(disk)


def claims_rotational(device: int, sysfs: str = SYSFS) -> bool | None:
    """What the system says of a device, believed or not; None where it says nothing."""
    said, _ = _claim(device, sysfs)
    return None if said is None else said == "1"


def _claim(device: int, sysfs: str) -> tuple[str | None, str]:
    """What the system says of a device (`1`: rotational), and of which disk it says it."""
    place = os.path.realpath(os.path.join(sysfs, f"{os.major(device)}:{os.minor(device)}"))
    for disk in (place, os.path.dirname(place)):  # a partition's queue is its disk's
        try:
            with open(os.path.join(disk, "queue", "rotational"), encoding="ascii") as file:
                return file.read().strip(), disk
        except OSError:
            continue
    return None, place


def _is_virtual(disk: str) -> bool:
    """Whether a disk, or one that it is made of (device mapper, md), is a virtual machine's."""
    driver = os.path.basename(os.path.realpath(os.path.join(disk, "device", "driver")))
    if driver in VIRTUAL_DRIVERS:
        return True
    with contextlib.suppress(OSError), open(os.path.join(disk, "device", "vendor")) as file:
        if file.read().strip() in VIRTUAL_VENDORS:
            return True
    with contextlib.suppress(OSError):
        slaves = os.path.join(disk, "slaves")
        return any(_is_virtual(os.path.join(slaves, name)) for name in os.listdir(slaves))
    return False


def rotational_devices(roots: Iterable[Root], kind: str = "auto") -> set[int]:
    """The rotational devices that roots lie on.

    Args:
        roots: directories that files lie beneath.
        kind: `rotational` or `solid` where somebody knows; `auto` asks the system.
    """
    if kind != "auto":
        return {root.device for root in roots if kind == "rotational"}
    return {root.device for root in roots if is_rotational(root.device)}


def best_workers(roots: Sequence[Root], cores: int, kind: str = "auto") -> int:
    """How many workers to use where nobody said: one a disk that would only seek between them."""
    slow = rotational_devices(roots, kind)
    return len(slow) if len(slow) == len({root.device for root in roots}) else cores


def position(path: bytes) -> tuple[int, int]:
    """Where a file begins on its disk, for sorting: its first extent, else its inode.

    Files that cannot be looked at come first, and are found out about soon.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor, facts = cautious.open_seen(path, flags, cautious.refuse_special, follows=False)
    except (OSError, ValueError):
        return -1, 0
    try:
        physical = _first_extent(descriptor)
    finally:
        os.close(descriptor)
    return (0, facts.st_ino) if physical is None else (1, physical)


def _first_extent(descriptor: int) -> int | None:
    request = bytearray(_HEADER.size + _EXTENT.size)
    _HEADER.pack_into(request, 0, 0, 2**64 - 1, 0, 0, 1, 0)
    try:
        fcntl.ioctl(descriptor, FS_IOC_FIEMAP, request)
    except OSError:
        return None  # the file system does not tell
    if _HEADER.unpack_from(request)[3] == 0:
        return None  # no content, or all of it in the inode
    _, physical, *_, flags, _, _, _ = _EXTENT.unpack_from(request, _HEADER.size)
    return None if flags & _EXTENT_UNKNOWN else physical
