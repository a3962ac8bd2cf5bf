"""How far a run is: never further than its end."""

from __future__ import annotations

import logging

import pytest

from fasthash.cli import progress
from fasthash.fixity import Counts
from fasthash.progress import Position
from fasthash.store.status import _by_type


def test_rows_that_came_since_they_were_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO, "fasthash"):
        progress.Lines().show(Position(Counts(hashed=29), 20, 0))
    assert "29 of 29 (100.0%) rows" in caplog.text
    assert Position(Counts(hashed=5), 20, 0).rows_in_all == 20
    assert Position(Counts(hashed=5), None, 0).rows_in_all is None


def test_so_of_each_type() -> None:
    found = _by_type({"a": Counts(hashed=29), "b": Counts(hashed=1)}, [("a", 20), ("b", 2)])
    assert [found[name]["rows_expected"] for name in ("a", "b")] == [29, 2]
