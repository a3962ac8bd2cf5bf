"""A disk that is not mounted, or another one in its place, is no catalog of missing files."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Database
from oracle import until

TESTS = str(Path(__file__).parents[1])


def fill(database: Database, rows: int = 40) -> None:
    database.make_table()
    for n in range(rows):
        (database.root / f"f{n}").write_text(f"content {n}")
        database.add(n, f"f{n}")


def untouched(database: Database) -> bool:
    runs = database.sql("SELECT count(*) AS n FROM fasthash.run")
    rows = database.sql("SELECT count(*) AS n FROM fasthash.residual")
    return (runs[0]["n"], rows[0]["n"]) == (0, 0)


@pytest.mark.parametrize("command", ["run", "scrub"])
def test_not_one_file(database: Database, tmp_path: Path, command: str) -> None:
    fill(database)
    empty = tmp_path / "empty"
    empty.mkdir()
    done = database.fasthash(command, "--root", str(empty), status=4)
    (line,) = done.stderr.splitlines()
    assert f"not one of 40 files of the catalog was found below {empty} (row " in line
    assert line.endswith("If they are gone: --missing-ok")
    assert untouched(database)


def test_missing_files_are_something_to_look_at(database: Database) -> None:
    fill(database)
    for n in (3, 20):
        (database.root / f"f{n}").unlink()
    assert database.run(status=1)["residual"] == {"no_file": 2}
    again = database.run(status=1)
    assert (again["rows_scanned"], again["residual"]) == (2, {"no_file": 2})
    assert database.run("--missing-ok")["residual"] == {"no_file": 2}
    database.environment["FASTHASH_MISSING_OK"] = "1"
    assert database.run()["residual"] == {"no_file": 2}
    assert database.run("--dry-run")["residual"] == {"no_file": 2}


def test_all_may_be_gone(database: Database) -> None:
    database.make_table()
    for n in range(20):
        database.add(n, f"f{n}")
    assert database.run("--missing-ok")["outcomes"]["no_file"] == 20


def test_one_file_in_the_middle_is_enough(database: Database) -> None:
    """Of many at either end of the catalog none is there; more are asked for."""
    database.make_table()
    database.sql("INSERT INTO artifacts SELECT n, 't', 'f' || n FROM generate_series(0, 299) n")
    (database.root / "f150").write_text("there")
    assert database.run(status=1)["outcomes"]["hashed"] == 1


def test_files_that_may_not_be_opened_are_no_proof(database: Database) -> None:
    fill(database, 3)
    for n in range(3):
        (database.root / f"f{n}").unlink()
        (database.root / f"f{n}").mkdir()
    assert database.run(status=1)["residual"] == {"not_regular": 3}


def test_a_resolver_that_dies_keeps_no_run_from_its_beginning(database: Database) -> None:
    fill(database, 20)
    database.add(20, "poison")
    database.environment["PYTHONPATH"] = TESTS
    summary = database.run("--resolver", "site_resolvers:poisonous", status=1)
    assert (summary["outcomes"]["hashed"], summary["outcomes"]["failed"]) == (20, 1)


def begun(database: Database) -> None:
    """A run that is left in the middle."""
    fill(database, 60)
    assert database.run("--budget", "100", "--range-rows", "10")["state"] == "interrupted"


def test_who_goes_on_has_to_have_the_same_files(database: Database) -> None:
    begun(database)
    good, other = database.root, database.root.with_name("good")
    shutil.copytree(good, other)  # an older copy of it all, mounted by mistake
    for path in other.iterdir():
        os.utime(path, (1, 1))
    good.rename(good.with_name("away"))
    other.rename(good)
    arguments = ("run", "--root", str(good))
    done = database.fasthash(*arguments, status=4)
    assert "the roots are not those of run 1: of " in done.stderr
    assert "another time of change); mount the same files, or give the run up" in done.stderr
    assert database.sql("SELECT count(*) AS n FROM fasthash.residual") == [{"n": 0}]
    good.rename(other)
    good.with_name("away").rename(good)
    for n in range(0, 60, 3):  # some change all the time
        (good / f"f{n}").write_text("new")
    database.fasthash(*arguments)
    assert database.sql("SELECT state FROM fasthash.run") == [{"state": "complete"}]


def test_the_sentinel_of_the_run_has_to_be_there(database: Database) -> None:
    (database.root / ".mounted").touch()
    database.environment["FASTHASH_ROOT_SENTINEL"] = ".mounted"
    begun(database)
    del database.environment["FASTHASH_ROOT_SENTINEL"]
    (database.root / ".mounted").unlink()
    done = database.fasthash("run", "--root", str(database.root), status=4)
    assert "the roots are not those of run 1: root " in done.stderr
    assert "(sentinel .mounted): No such file or directory" in done.stderr


def test_another_host_with_another_disk_does_not_join(database: Database, tmp_path: Path) -> None:
    name = 'hostname other && exec "$@"'
    elsewhere = ("unshare", "--user", "--map-root-user", "--uts", "sh", "-c", name, "sh")
    if subprocess.run([*elsewhere, "true"], capture_output=True, check=False).returncode:
        pytest.skip("wants user namespaces")
    fill(database, 60)
    pause, other = tmp_path / "pause", tmp_path / "other"
    pause.touch()
    first = database.start("--pause-file", str(pause))
    until(lambda: database.sql("SELECT 1 FROM fasthash.run"), "it has begun")
    shutil.copytree(database.root, other)  # without their times
    for path in other.iterdir():
        os.utime(path, (1, 1))
    guest = Database(database.dsn, other)
    guest.prefix = elsewhere
    done = guest.fasthash("run", "--root", str(other), status=4)
    assert "the roots are not those of run 1: of 16 files that " in done.stderr
    for path in other.iterdir():
        path.unlink()
    done = guest.fasthash("run", "--root", str(other), status=4)
    assert "not one of 60 files of the catalog was found below" in done.stderr
    shutil.rmtree(other)
    subprocess.run(["cp", "-a", database.root, other], check=True)
    second = guest.start("--pause-file", str(pause))
    until(lambda: len(database.sql("SELECT 1 FROM fasthash.holder")) > 1, "the other has joined")
    pause.unlink()
    for process in (first, second):
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
    assert database.sql("SELECT 1 FROM fasthash.residual") == []
