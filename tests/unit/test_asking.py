"""A helper that is asked something answers it, however slow the machine, and whatever it does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fasthash import asking, probe
from fasthash.evidence import Look
from fasthash.fixity import Root


def question(root: Path, rows: int) -> probe.Question:
    return probe.Question((str(root),), None, tuple((str(n), f"{n:0>200}") for n in range(rows)))


@pytest.mark.parametrize("rows", [0, 3, 600])
def test_a_look_that_comes_too_early_loses_nothing(
    tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question is larger than a pipe holds, and nobody waits for it to be written."""
    monkeypatch.setattr(asking, "LOOK_EVERY_S", 0.001)
    with asking.Helper(probe.MODULE) as helper:
        root, *looks = helper.ask(question(tmp_path, rows), 600.0)
    assert isinstance(root, Root)
    assert [look.row_id for look in looks] == [str(n) for n in range(rows)]
    assert not any(look.is_there for look in looks)


def test_what_is_needed_is_enough(tmp_path: Path) -> None:
    """A file that keeps the helper waiting keeps nobody else."""
    (tmp_path / "f").write_text("x")
    with asking.Helper(probe.MODULE) as helper:
        began_s = time.monotonic()
        found = helper.ask(question(tmp_path, 600), 600.0, needed=1, more_s=0.0)
        assert time.monotonic() - began_s < 600.0
    assert isinstance(found[0], Root)
    assert all(isinstance(one, Look) for one in found[1:])


def test_one_that_dies_says_why(tmp_path: Path) -> None:
    with (
        asking.Helper("fasthash.no_such_module") as helper,
        pytest.raises(asking.PreflightFailed, match=r"No module named 'fasthash\.no_such_module'"),
    ):
        helper.ask(question(tmp_path, 600), 600.0)
    assert os.listdir(tmp_path) == []
