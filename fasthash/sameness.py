"""What identifies a root: a pure decision over what was seen of a directory at two times.

The device number alone does not: it names a slot of this machine. A file system that is mounted
anew (by an automounter, after a reboot of the server, from another volume path) may get another
number, and the number of one that was unmounted goes to the next. The inode alone does not either:
nearly every ext4 has 2, every XFS 128.
"""

from __future__ import annotations

from fasthash.fixity import Root

ANOTHER = "another file system or directory is mounted there"
NOT_TOLD = (
    "it was mounted anew, and nothing tells that it is the same file system: a sentinel file "
    "(--root-sentinel) would, else start again"
)


def difference(before: Root, now: Root) -> str | None:
    """Why a directory is not the root that it was, or cannot be told from another; None if it is.

    It is the same one if its inode is, its time of birth is, and its file system is. That is told
    by one of these:

    - the mount is the same one, which nobody has touched since;
    - the file system has a name of its own (see `roots.file_system_of`), and it is the same;
    - it has none, and the sentinel is the very file (inode, size, mtime) that it was;
    - it has none, the kernel is too old to tell mounts apart, and the device number is the same.

    An empty directory under a mount point fails by its inode or birth, and another file system by
    its name; where neither can be told, it counts as another one: a run that holds without need is
    started again, files that are wrongly missing are not found again.
    """
    born_apart = before.birth_ns and now.birth_ns and before.birth_ns != now.birth_ns
    if before.inode != now.inode or born_apart:
        return ANOTHER
    if before.mount_id and before.mount_id == now.mount_id:
        return None
    if before.file_system or now.file_system:
        return None if before.file_system == now.file_system else ANOTHER
    if before.sentinel is not None and before.sentinel == now.sentinel:
        return None
    if before.mount_id and now.mount_id:
        return NOT_TOLD
    return None if before.device == now.device else ANOTHER
