"""Every `--json` has the keys that docs/json.md tells scripts to rely on, and no others."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Database
from oracle import until

DOCS = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
OLD = (1_600_000_000, 1_600_000_000)


def documented() -> dict[str, set[str]]:
    """The keys by heading: what stands in the first column of the table beneath it."""
    found = {}
    for heading, body in re.findall(
        r"^## fasthash (.*?)$(.*?)(?=^## |\Z)", DOCS, re.MULTILINE | re.DOTALL
    ):
        cells = re.findall(r"^\| (.*?) \|", body, re.MULTILINE)
        found[heading] = {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}
    return found


KEYS = documented()


@pytest.fixture
def drifted(database: Database) -> Database:
    """A catalog with a duplicate, a drift that waits and a file that is gone."""
    database.make_table()
    for n, content in enumerate(("same", "same", "other", "gone")):
        path = database.root / f"f{n}"
        path.write_text(content)
        os.utime(path, OLD)
        database.add(n, path.name, artifact_type="figure" if n else None)
    database.run()
    (database.root / "f2").write_text("changed")
    (database.root / "f3").unlink()
    database.scrub("--on-drift", "hold", status=1)
    return database


def check(heading: str, output: str) -> Any:
    """The output has the documented keys, wherever it has objects at its first level."""
    value = json.loads(output)
    assert output.isascii()
    objects = value if isinstance(value, list) else [value]
    assert objects
    for each in objects:
        assert set(each) == KEYS[heading], heading
    return value


def test_what_a_catalog_is_asked(drifted: Database, tmp_path: Path) -> None:
    ask = drifted.fasthash
    root = ("--root", str(drifted.root))
    summary = check("run, scrub, summary", ask("summary", "--json").stdout)
    assert set(summary["freshness"]) <= set(re.findall(r"`(\w+)`", DOCS))
    status = check("status", ask("status", "--json").stdout)
    for key in ("by_type", "history", "holders"):
        nested = status[key].values() if isinstance(status[key], dict) else status[key]
        assert nested
        for each in nested:
            assert all(f"`{name}`" in DOCS for name in each), key
    check("runs", ask("runs", "--json").stdout)
    check("drift list", ask("drift", "list", "--json").stdout)
    shown = json.loads(ask("drift", "show", "1", "--json").stdout)
    assert set(shown) == KEYS["drift list"] | KEYS["drift show"]
    check("residual", ask("residual", "--json").stdout)
    check("journal", ask("journal", "2", "--json").stdout)
    check("duplicates", ask("duplicates", *root, "--json").stdout)
    check("revert", ask("revert", "1", "--dry-run", "--json").stdout)
    lines = ask("manifest", "--format", "jsonl").stdout.splitlines()
    assert [check("manifest --format jsonl", line)["id"] for line in lines] == ["1", "2", "3", "0"]
    manifest = tmp_path / "sums"
    manifest.write_text(f"{'0' * 64}  f0\n")
    check("compare", ask("compare", str(manifest), "--json", status=1).stdout)
    check("drift accept", ask("drift", "accept", "1", *root, "--json").stdout)
    check("drift reject", ask("drift", "reject", "1", "--json", status=None).stdout)
    report = check("report", ask("report", "--json").stdout)
    parts = (report[key] for key in ("verdict", "run", "catalog", "duplicates"))
    for nested in (*parts, *report["sizes"], *report["ages"], *report["throughput"]):
        assert all(f"`{name}`" in DOCS for name in nested)
    check("run, scrub, summary", ask("run", *root, "--json", "-q").stdout)
    pruned = check("prune", ask("prune", "--keep-last", "1", "--json").stdout)
    for nested in (pruned["dropped"], *pruned["runs"]):
        assert all(f"`{name}`" in DOCS for name in nested)


def test_what_sets_things_up(database: Database, tmp_path: Path) -> None:
    ask = database.fasthash
    check("init", ask("init", "--json").stdout)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "f").write_text("x")
    looked = ask("register", str(tmp_path / "data"), "--dry-run", "--json").stdout
    check("register --dry-run", looked)
    check("register", ask("register", str(tmp_path / "data"), "--json").stdout)
    grants = check("grants", ask("grants", "postgres", "--json").stdout)
    assert all(statement.startswith("GRANT") for statement in grants["statements"])
    doctor = check("doctor", ask("doctor", "--json", status=None).stdout)
    assert all(set(f) == {"check", "level", "text", "remedy"} for f in doctor["findings"])
    check("config show", ask("config", "show", "--json").stdout)
    check("config check", ask("config", "check", "--json").stdout)
    check("bench", ask("bench", str(tmp_path / "data"), "--for", "2s", "--json").stdout)


def test_rates_of_a_run_under_way(drifted: Database, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    process = drifted.start(
        "--pause-file", str(hold), stderr_file=tmp_path / "log", command="scrub"
    )
    try:
        asked = until(lambda: drifted.fasthash("rate", "--json", status=None).stdout, "it runs")
        (run,) = check("rate", asked)
        until(
            lambda: json.loads(drifted.fasthash("rate", "--json").stdout)[0]["hosts"], "it reports"
        )
        (run,) = json.loads(drifted.fasthash("rate", "--json").stdout)
        assert set(run["hosts"][0]) == {"host", "bytes_per_s", "files_per_s"}
    finally:
        hold.unlink()
        process.wait(PATIENCE_S)
