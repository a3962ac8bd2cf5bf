"""Texts of any length are shortened where somebody reads them, and nowhere else."""

from __future__ import annotations

import json
import logging

import pytest
from conftest import Database

from fasthash import logs

TYPE, HASH = "type " * 60_000, "ab" * 100_000


@pytest.fixture
def database(each_database: Database) -> Database:
    each_database.make_table()
    (each_database.root / "f").write_text("x")
    each_database.add(1, "f", {"file_sha256": HASH}, TYPE)
    each_database.add(2, "gone", {}, TYPE)
    each_database.add(3, "gone", {}, "other")
    return each_database


def test_on_screens(database: Database) -> None:
    said = database.fasthash("run", "--root", str(database.root), status=1)
    page = database.root.parent / "page.html"
    commands = [
        ["status"],
        ["summary"],
        ["drift", "list"],
        ["drift", "show", "1"],
        ["journal", "1"],
    ]
    commands.append(["report", "1", "--output", str(page)])
    texts = [said.stdout, said.stderr]
    for command in commands:
        done = database.fasthash(*command)
        texts += [done.stdout, done.stderr]
    for line in "\n".join(texts).splitlines():
        assert len(line) < 4_000, line[:200]
    assert "type type" in said.stdout
    assert page.stat().st_size < 250_000
    summary = json.loads(database.fasthash("summary", "--json").stdout)
    assert TYPE in summary["by_type"]
    assert HASH in database.fasthash("drift", "list", "--json").stdout


def test_a_log_line() -> None:
    record = logging.LogRecord(
        "fasthash", logging.INFO, "", 0, "row %s of %d", ("x" * 300_000 + "end", 5), None
    )
    line = logs.TextFormatter().format(record)
    assert len(line) < 600
    assert line.endswith("xend of 5")
    assert logs.shown("short\n") == "short\\x0a"
