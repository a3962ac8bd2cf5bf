"""The short form of the chaos harness: a few rounds on each server there is."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos import run_chaos
from pgserver import PgServer, embedded_binaries, older_binaries


@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", ["embedded", pytest.param("older", marks=pytest.mark.long)])
def test_nothing_is_lost_and_nothing_wrong(which: str, tmp_path: Path) -> None:
    binaries = embedded_binaries() if which == "embedded" else older_binaries()
    if binaries is None:
        pytest.skip("wants an older PostgreSQL (make test-tools)")
    server = PgServer(tmp_path / "pg", binaries)
    server.start()
    try:
        report = run_chaos(server, tmp_path, seed=11, faults=30, a_round=14, seconds=120)
    finally:
        server.stop("immediate")
    assert sum(report.faults.values()) >= 15
    assert report.clean, report.as_json()
