"""What the control groups of this process allow it: cores, memory, reads; versions 1 and 2."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from fasthash.doctor.mounts import read_mounts

OWN_GROUPS = "/proc/self/cgroup"
# Version 1 writes "no limit" of memory as the largest number of whole pages.
ENDLESS_BYTES = 1 << 60
READ_LIMITS_V1 = ("blkio.throttle.read_bps_device", "blkio.throttle.read_iops_device")


@dataclass(frozen=True, slots=True)
class Limits:
    """The tightest limits of all groups this process is in; None for none."""

    cores: float | None = None
    memory_bytes: int | None = None
    io: tuple[str, ...] = ()


def read() -> Limits:
    """The limits as the kernel tells them; none where it does not."""
    cores: list[float] = []
    memory: list[int] = []
    io: list[str] = []
    for kinds, folder in _folders():
        if "cpu" in kinds:
            cores += _cores(folder)
        if "memory" in kinds:
            for name in ("memory.max", "memory.limit_in_bytes"):
                memory += [int(t) for t in _words(folder, name)[:1] if t.isdigit()]
        if "io" in kinds or "blkio" in kinds:
            io += read_limits(_text(folder, "io.max"))
            for name in READ_LIMITS_V1:
                io += [f"{line} ({name})" for line in _text(folder, name).splitlines()]
    memory = [n for n in memory if n < ENDLESS_BYTES]
    return Limits(min(cores, default=None), min(memory, default=None), tuple(dict.fromkeys(io)))


def read_limits(text: str) -> list[str]:
    """The lines of `io.max` that limit reading: `8:0 rbps=1048576 wbps=max riops=max wiops=max`."""
    found = []
    for line in text.splitlines():
        device, *fields = line.split()
        said = [f for f in fields if f.startswith(("rbps=", "riops=")) and not f.endswith("=max")]
        if said:
            found.append(" ".join([device, *said]))
    return found


def _folders() -> Iterator[tuple[set[str], str]]:
    """The folders of this process's groups with what they control, each with all above it."""
    trees = {}
    for mount in read_mounts():
        if mount.file_system == "cgroup2":
            trees["cgroup2"] = mount.point
        elif mount.file_system == "cgroup":
            for kind in mount.super_options:
                trees[kind] = mount.point
    try:
        with open(OWN_GROUPS, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        kinds = set(controllers.split(",")) if controllers else {"cpu", "memory", "io"}
        tree = next((trees[k] for k in sorted(kinds) if k in trees), None)
        if not controllers:
            tree = trees.get("cgroup2")
        while tree is not None:
            yield kinds, os.path.join(tree, path.lstrip("/"))
            if path in ("/", ""):
                break
            path = os.path.dirname(path)


def _cores(folder: str) -> list[float]:
    """Version 2 has quota and period in one file, version 1 in two; `max` and -1 are no limit."""
    both = _words(folder, "cpu.max") or [
        *_words(folder, "cpu.cfs_quota_us"),
        *_words(folder, "cpu.cfs_period_us"),
    ]
    if len(both) != 2 or not all(word.isdigit() for word in both):
        return []
    return [int(both[0]) / max(1, int(both[1]))]


def _words(folder: str, name: str) -> list[str]:
    return _text(folder, name).split()


def _text(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name), encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
