"""The time of day, for windows and deadlines; a test may set it by a file."""

from __future__ import annotations

import os
import time

# The path of a file that holds seconds since the epoch; without it the system's clock counts.
VARIABLE = "FASTHASH_TEST_CLOCK"
_path = os.environ.get(VARIABLE)


def now_s() -> float:
    """Seconds since the epoch."""
    if _path is None:
        return time.time()
    with open(_path, encoding="ascii") as file:
        return float(file.read())
