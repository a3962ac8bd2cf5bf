"""Where an intact copy of a damaged or missing file is."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import Database
from test_scrub import OLD, drifts, rot


@pytest.fixture
def damaged(database: Database) -> Database:
    """Files a to f of one content: b rots, c is missing, d is a bad copy, e was never verified."""
    database.make_table()
    for n, name in enumerate("abcdef"):
        path = database.root / name
        path.write_bytes(b"content" * 100)
        os.utime(path, OLD)
        database.add(n, name)
    (database.root / "alone").write_bytes(b"nobody else has this")
    os.utime(database.root / "alone", OLD)
    database.add(6, "alone")
    database.run()
    rot(database, 1, database.root / "b")
    (database.root / "c").unlink()
    rot(database, 3, database.root / "d")
    rot(database, 6, database.root / "alone")
    database.sql(
        "UPDATE artifacts SET metadata = metadata - 'file_sha256_computed_at' WHERE id = 4"
    )
    database.scrub(status=1)
    (database.root / "f").unlink()  # nobody knows yet
    return database


def test_rows_with_the_recorded_hash_are_named(damaged: Database) -> None:
    number = next(d["drift_id"] for d in drifts(damaged) if d["row_id"] == "1")
    shown = damaged.fasthash("drift", "show", str(number)).stdout
    copies = [line for line in shown.splitlines() if line.startswith("  intact ")]
    assert len(copies) == 1
    assert copies[0].startswith("  intact  a (row 0 (figure), verified 20")
    as_json = json.loads(damaged.fasthash("drift", "show", str(number), "--json").stdout)
    assert [(c["row_id"], c["path"]) for c in as_json["intact_copies"]] == [("0", "a")]
    residual = damaged.fasthash("residual").stdout
    assert "\nintact copies:\n  of row 2: a (row 0 (figure), verified 20" in residual
    rows = json.loads(damaged.fasthash("residual", "--json").stdout)
    assert [[c["row_id"] for c in row["intact_copies"]] for row in rows] == [["0"]]
    assert damaged.fasthash("residual", "--csv").stdout.count("\n") == 2
    page = damaged.root.parent / "page.html"
    damaged.fasthash("report", "-o", str(page))
    text = page.read_text()
    # Of b, c and d; the page has each row to be shown at once, and in its data.
    assert text.count("an intact copy: a (row 0 (figure), verified") == 2 * 3


def test_a_backup_is_searched(damaged: Database, tmp_path: Path) -> None:
    backup = tmp_path / "backup" / "deep"
    backup.mkdir(parents=True)
    (backup / "saved").write_bytes(b"nobody else has this")
    (backup / "same size").write_bytes(b"nobody else has THAT")
    (backup / "other size").write_bytes(b"x")
    os.mkfifo(backup / "fifo")
    os.symlink("saved", backup / "link")
    number = next(d["drift_id"] for d in drifts(damaged) if d["row_id"] == "6")
    show = ("drift", "show", str(number))
    assert "intact" not in damaged.fasthash(*show).stdout
    found = damaged.fasthash(*show, "--look-in", str(tmp_path / "backup")).stdout
    assert f"  intact  {backup}/saved\n" in found
    assert found.count("intact") == 1
    shutil.copy(damaged.root / "a", backup / "a copy")
    rows = json.loads(
        damaged.fasthash("residual", "--json", "--look-in", str(tmp_path / "backup")).stdout
    )
    paths = [copy["path"] for row in rows for copy in row["intact_copies"]]
    assert paths == ["a", f"{backup}/a copy"]


def test_a_catalog_that_is_gone_ends_nothing(damaged: Database) -> None:
    number = drifts(damaged)[0]["drift_id"]
    damaged.sql("DROP TABLE artifacts")
    done = damaged.fasthash("drift", "show", str(number))
    assert "intact copies were not looked for: " in done.stderr
    assert "corrupt, open" in done.stdout
    damaged.fasthash("residual")
