"""What is mounted where, as the kernel tells it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MOUNTS = "/proc/self/mountinfo"
_ESCAPE = re.compile(r"\\([0-7]{3})")
# Their files may change, shrink or vanish without this kernel's doing.
NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs",
    "gpfs", "orangefs", "ocfs2", "gfs2", "ncpfs", "coda", "davfs", "virtiofs", "fuse.sshfs",
    "fuse.glusterfs", "fuse.ceph-fuse", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse",
    "fuse.goofys", "fuse.mount-s3", "fuse.juicefs", "fuse.davfs2", "fuse.blobfuse2",
    "fuse.moosefs", "fuse.mfs", "fuse.seaweedfs", "fuse.cvmfs2",
}  # fmt: skip


class Mount(NamedTuple):
    """One line of the kernel's table."""

    device: str  # major:minor
    point: str
    options: tuple[str, ...]
    file_system: str
    source: str
    super_options: tuple[str, ...]

    @property
    def is_network(self) -> bool:
        """Whether the files lie on another machine."""
        return self.file_system in NETWORK


def parse_mount(line: str) -> Mount | None:
    """One line of mountinfo (proc_pid_mountinfo(5)); None where it is none."""
    before, dash, after = line.rstrip("\n").partition(" - ")
    fields, rest = before.split(" "), after.split(" ")
    if not dash or len(fields) < 6 or len(rest) < 3:
        return None
    return Mount(
        fields[2],
        plain(fields[4]),
        tuple(fields[5].split(",")),
        rest[0],
        plain(rest[1]),
        tuple(rest[2].split(",")),
    )


def plain(text: str) -> str:
    """A name as it is, from mountinfo or fstab, where blanks are octal escapes."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def read_mounts(path: str = MOUNTS) -> list[Mount]:
    """All mounts, the latest last."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return [mount for mount in map(parse_mount, file) if mount is not None]
    except OSError:
        return []


def find_mount(path: str, mounts: Sequence[Mount]) -> Mount | None:
    """The mount that a real path lies on: of the longest beginning the latest."""
    found: Mount | None = None
    for mount in mounts:
        point = mount.point.rstrip("/")
        inside = path == mount.point or path.startswith(f"{point}/")
        if inside and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found
