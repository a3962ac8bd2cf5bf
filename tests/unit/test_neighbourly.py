"""Priorities of a process, as the kernel has them afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from fasthash.errors import ConfigError
from fasthash.neighbourly import parse_ionice

STEP_BACK = """
import os, sys
from fasthash.neighbourly import step_back
step_back(int(sys.argv[1]), sys.argv[2] or None)
print(os.nice(0), os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(shutil.which("ionice") is None, reason="wants ionice (make test-tools)")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("idle", "idle"),
        ("best-effort", "best-effort: prio 4"),
        ("best-effort:7", "best-effort: prio 7"),
    ],
)
def test_the_kernel_has_them(text: str, says: str) -> None:
    before = os.nice(0)
    with subprocess.Popen(
        [sys.executable, "-c", STEP_BACK, "3", text],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        nice, pid = process.stdout.readline().split()
        out = subprocess.run(["ionice", "-p", pid], capture_output=True, text=True, check=True)
        process.communicate("")
    assert int(nice) == before + 3
    assert out.stdout.strip() == says


@pytest.mark.parametrize(
    "text", ["", "realtime", "idle:3", "best-effort:8", "best-effort:", "Idle"]
)
def test_what_is_no_priority(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_ionice(text)
