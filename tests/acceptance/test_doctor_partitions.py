"""What the doctor suggests for a partitioned table is SQL that the server takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import Database


@pytest.mark.parametrize("by", ["LIST (artifact_type)", "HASH (id)", "LIST (lower(artifact_type))"])
def test_a_unique_index(each_database: Database, by: str) -> None:
    each_database.sql(
        "CREATE TABLE artifacts (id bigint, artifact_type text, file_path text, metadata jsonb) "
        f"PARTITION BY {by}"
    )
    [found] = [f for f in examine(each_database) if f["check"] == "catalog.key"]
    assert found["level"] == "problem"
    commands = [r for r in found["remedy"].splitlines() if not r.startswith("--")]
    for command in commands:
        each_database.sql(command)
    assert bool(commands) == (by == "HASH (id)")
    if commands:
        assert "catalog.key" not in [f["check"] for f in examine(each_database)]
    else:
        what = "artifact_type" if by == "LIST (artifact_type)" else "(an expression)"
        assert f"partitioned by {what}" in found["text"]


def examine(database: Database) -> list[dict[str, Any]]:
    arguments = ("doctor", "--json", "--root", str(database.root))
    found: list[dict[str, Any]] = json.loads(database.fasthash(*arguments, status=None).stdout)[
        "findings"
    ]
    return found
