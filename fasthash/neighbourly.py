"""Steps back behind others: the priorities of a process for processors and disks."""

from __future__ import annotations

import ctypes
import os
import platform

from fasthash.errors import ConfigError

# <linux/ioprio.h>: the class in the upper bits, the level in the lower 13.
_CLASSES = {"idle": 3, "best-effort": 2}
_CLASS_SHIFT = 13
_WHO_PROCESS = 1
# ioprio_set has no wrapper in libc; its number is another on each machine.
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}


def parse_ionice(text: str) -> tuple[int, int]:
    """Class and level from `idle`, `best-effort` or `best-effort:7`.

    Raises:
        ConfigError: the text is neither.
    """
    name, colon, level = text.partition(":")
    if name not in _CLASSES or (colon and (name == "idle" or level not in "01234567" or not level)):
        raise ConfigError(f"{text!r} is no I/O priority: write idle, best-effort or best-effort:7")
    return _CLASSES[name], int(level) if level else 4 * (name == "best-effort")


def step_back(nice: int, ionice: str | None) -> None:
    """Lowers this process's priorities; where the system has no such thing, nothing happens.

    Args:
        nice: added to the process's niceness.
        ionice: as for `parse_ionice`, or None.
    """
    if nice:
        os.nice(nice)
    number = _IOPRIO_SET.get(platform.machine())
    if ionice is not None and number is not None:
        kind, level = parse_ionice(ionice)
        ctypes.CDLL(None, use_errno=True).syscall(
            number, _WHO_PROCESS, 0, kind << _CLASS_SHIFT | level
        )
