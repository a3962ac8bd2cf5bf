"""What an operator gets wrong at night is said at once, and nothing is mixed up by it."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

from conftest import PATIENCE_S, Database
from oracle import until
from test_scrub import fill


def interrupted(database: Database) -> None:
    """A run that was begun and not finished."""
    database.make_table()
    for n in range(200):
        (database.root / f"f{n}").write_text(str(n))
        database.add(n, f"f{n}")
    database.environment |= {"SLOW_S": "0.02", "PYTHONPATH": str(Path(__file__).parent.parent)}
    process = database.start("--resolver", "site_resolvers:slow", "--range-rows", "10")
    until(lambda: database.sql("SELECT 1 FROM fasthash.journal LIMIT 1"), "something is written")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130


def test_a_wrong_root_is_said(database: Database, tmp_path: Path) -> None:
    database.make_table()
    database.add(1, "a")
    database.add(2, "b")
    root = str(database.root)
    for options in (["--dry-run"], ["--missing-ok"]):
        done = database.fasthash("run", "--root", root, *options, status=None)
        said = f"not one of 2 files was found beneath {root}"
        assert (said in done.stderr) == (options == ["--missing-ok"])
        assert ("not one of the files was found" in done.stdout) == (options == ["--dry-run"])
    (database.root / "a").write_text("a")
    done = database.fasthash("run", "--root", root, status=1)
    assert "not one" not in done.stdout + done.stderr


def test_a_run_goes_on_only_where_it_began(database: Database, tmp_path: Path) -> None:
    interrupted(database)
    other = tmp_path / "other"
    other.mkdir()
    (other / "f0").write_text("0")
    done = database.fasthash("run", "--root", str(other), status=2)
    assert done.stderr == (
        f"fasthash: run 1 (backfill; all types; sha256; files in {database.root}) is unfinished: "
        f"go on with it by `fasthash run --root {database.root} --resolver site_resolvers:slow`, "
        "or give it up for this one with --restart\n"
    )
    database.environment["SLOW_S"] = "0"
    done = database.fasthash("run", "--root", str(database.root), "--json")
    assert "run 1 began with resolver site_resolvers:slow and goes on with (none)" in done.stderr
    summary = json.loads(done.stdout)
    assert (summary["run_id"], summary["outcomes"]["hashed"]) == (1, 200)


def test_a_run_beside_another_one_is_told_where_that_is(database: Database) -> None:
    fill(database, 3)
    database.environment |= {"PYTHONPATH": str(Path(__file__).parent.parent)}
    database.hold("f2")
    process = database.start("--resolver", "site_resolvers:slow")
    until(lambda: database.sql("SELECT 1 FROM fasthash.checkpoint WHERE term > 0"), "it works")
    done = database.fasthash("run", "--root", str(database.root), "--type", "figure", status=2)
    process.let_go()
    where = f"is running on {socket.gethostname()} (pid {process.pid}) since 2"
    assert where in done.stderr
    assert ": join it by `fasthash run --root " in done.stderr
    assert process.wait(PATIENCE_S) == 0


def test_a_limit_on_a_run_that_goes_on_is_explained(database: Database) -> None:
    interrupted(database)
    database.environment["SLOW_S"] = "0"
    arguments = ("run", "--root", str(database.root), "--resolver", "site_resolvers:slow")
    done = database.fasthash(*arguments, "--limit", "20")
    assert "--limit does not cover rows that were already scheduled" in done.stderr


def test_reports_are_of_the_table_that_is_configured(database: Database) -> None:
    database.make_table()
    database.add(1, "a", {"file_sha256": "0" * 64})
    (database.root / "a").write_text("a")
    database.run(status=1)
    database.sql("CREATE TABLE other (LIKE artifacts INCLUDING ALL)")
    database.run("--table", "other")
    latest = json.loads(database.fasthash("summary", "--json").stdout)
    assert (latest["run_id"], latest["catalog"]) == (2, "public.other")
    for name in ("artifacts", "public.artifacts"):
        database.environment["FASTHASH_TABLE"] = name
        assert json.loads(database.fasthash("summary", "--json").stdout)["run_id"] == 1
        assert json.loads(database.fasthash("status", "--json").stdout)["run_id"] == 1
        assert len(json.loads(database.fasthash("drift", "list", "--json").stdout)) == 1
    assert "run 1 (backfill) of public.artifacts: complete" in database.fasthash("summary").stdout
    database.environment["FASTHASH_TABLE"] = "other"
    assert json.loads(database.fasthash("drift", "list", "--json").stdout) == []
    database.environment["FASTHASH_TABLE"] = "none"
    said = database.fasthash("summary", status=2).stderr
    assert said == "fasthash: there is no run of table none yet: start one with `fasthash run`\n"


def test_a_held_drift_is_settled_by_the_run_that_overwrites_it(database: Database) -> None:
    database.make_table()
    database.add(1, "a", {"file_sha256": "0" * 64})
    (database.root / "a").write_text("a")
    for _ in range(2):
        database.run("--on-drift", "hold", status=1)
    database.run(status=1)
    found = json.loads(database.fasthash("drift", "list", "--json").stdout)
    assert [(d["run_id"], d["resolution"]) for d in found] == [
        (1, "superseded"),
        (2, "superseded"),
        (3, "overwritten"),
    ]
    assert json.loads(database.fasthash("drift", "list", "--open", "--json").stdout) == []


def test_what_is_registered_outside_the_roots_is_said(database: Database, tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "x").write_text("x")
    file = tmp_path / "fasthash.toml"
    file.write_text(f'dsn = "{database.dsn}"\nroots = ["{database.root}"]\n')
    done = database.fasthash("register", str(beside), "--config", str(file))
    assert f"{beside} is outside the configured roots" in done.stdout
    assert f"next: fasthash run --config {file}" in done.stdout
