"""The public API's types are what scripts are told they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHECKED = ROOT / "tests" / "typing" / "public_api.py"


def test_scripts_are_type_checked_as_documented(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(CHECKED)],
        cwd=tmp_path,  # none of our own settings
        env={"MYPYPATH": str(ROOT)},  # an editable install is nothing to mypy
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
