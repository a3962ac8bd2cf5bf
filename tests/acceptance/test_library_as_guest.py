"""The library in somebody else's process: it leaves signals, descriptors and variables alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import PATIENCE_S, Database
from oracle import until

from fasthash import Catalog, FasthashError, run

FEW = 40


@pytest.fixture
def catalog(database: Database) -> Catalog:
    database.make_table()
    for n in range(FEW):
        (database.root / f"f{n}").write_text(f"content {n}")
        database.add(n, f"f{n}")
    return Catalog(database.dsn, roots=[database.root])


def started(script: str, database: Database, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, database.dsn, str(database.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


BLOCKS = """
import signal, sys, fasthash
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("begun", flush=True)
fasthash.run(fasthash.Catalog(sys.argv[1], roots=[sys.argv[2]]), files_per_s=30)
assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])
assert signal.sigwait({signal.SIGTERM}) == signal.SIGTERM
print("well")
"""


def test_signals_that_the_program_waits_for_stay_blocked(
    database: Database, catalog: Catalog
) -> None:
    script = started(BLOCKS, database)
    until(lambda: database.sql("SELECT 1 FROM fasthash.journal"), "the first rows")
    script.send_signal(signal.SIGTERM)
    out, complaints = script.communicate(timeout=PATIENCE_S)
    assert (script.returncode, out.split()) == (0, ["begun", "well"]), complaints
    assert len(list(catalog.hashes())) == FEW


WAITS = """
import signal, sys, time, fasthash
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    fasthash.run(fasthash.Catalog(sys.argv[1], roots=[sys.argv[2]]))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_before_the_run_is_open_does_not_wait_for_the_database(
    database: Database, catalog: Catalog
) -> None:
    with psycopg.connect(database.dsn) as lock:
        lock.execute("LOCK TABLE fasthash.holder IN ACCESS EXCLUSIVE MODE")
        script = started(WAITS, database)
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM "
        waiting += "pg_database WHERE datname = current_database())"
        until(lambda: database.sql(waiting), "it waits for the lock")
        script.send_signal(signal.SIGINT)
        out, complaints = script.communicate(timeout=PATIENCE_S)
        assert out.split() == ["interrupted"], complaints
    assert run(catalog).total.hashed == FEW


def test_a_resolver_beside_the_script(database: Database, tmp_path: Path) -> None:
    database.make_table()
    (database.root / "here").write_text("x")
    database.add(1, "there")
    folder = tmp_path / "site"
    folder.mkdir(mode=0o755)
    (folder / "our_site.py").write_text("def find(text):\n    return 'here'\n")
    (folder / "nightly.py").write_text(
        "import sys, fasthash\n"
        "catalog = fasthash.Catalog(sys.argv[1], roots=[sys.argv[2]], "
        "resolver='our_site:find')\n"
        "print(fasthash.run(catalog).total.hashed, fasthash.run(catalog, dry_run=True).state)\n"
    )
    command = [sys.executable, str(folder / "nightly.py"), database.dsn, str(database.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "complete"], done.stderr


def test_nothing_is_imported_from_the_current_directory(
    database: Database, catalog: Catalog, tmp_path: Path
) -> None:
    """Not even by `python -m fasthash`, whose workers could not do it either."""
    (tmp_path / "ours.py").write_text("def find(text):\n    return text\n")
    done = subprocess.run(
        [sys.executable, "-m", "fasthash", "run", "--resolver", "ours:find"],
        env={**database.env(), "FASTHASH_ROOTS": str(database.root)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "No module named 'ours'" in done.stderr


def test_what_somebody_shows_progress_with_may_fail(catalog: Catalog) -> None:
    def show(_position: object) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(catalog, files_per_s=20, progress=show)
    status = catalog.status()
    assert (status["state"], status["ranges"].get("leased", 0)) == ("interrupted", 0)
    assert run(catalog).total.hashed == FEW


def test_no_run_leaves_a_descriptor_open(catalog: Catalog) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    run(catalog, dry_run=True)
    before = count()
    for _ in range(4):
        run(catalog, dry_run=True)
        run(catalog)
    # A connection is given up by a thread that may take a moment longer.
    until(lambda: count() < before + 4, "closed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ionice": "bogus"}, "no I/O priority"),
        ({"budget_bytes": 1e12}, "a whole number"),
        ({"budget_bytes": 2**63}, "budget_bytes"),
        ({"workers": 2.0}, "a whole number"),
        ({"workers": True}, "a whole number"),
        ({"rate_bytes_per_s": float("nan")}, "a number"),
        ({"rate_bytes_per_s": "50MB"}, "a number"),
        ({"nice": 20}, "0 to 19"),
    ],
)
def test_what_would_come_out_in_a_worker_is_refused_before(
    catalog: Catalog, options: Any, message: str
) -> None:
    with pytest.raises(FasthashError, match=message):
        run(catalog, **options)
    assert list(catalog.drifts()) == []
    with pytest.raises(FasthashError, match="no run"):
        catalog.status()


def test_types_of_hashes_are_checked(catalog: Catalog) -> None:
    with pytest.raises(FasthashError, match="types is a list"):
        next(catalog.hashes(types="figure"))
    with pytest.raises(FasthashError, match="did you mean figure"):
        next(catalog.hashes(types=["figur"]))


EMBEDDED = """
import sys, fasthash
with fasthash.Catalog("embedded:mine") as catalog:
    catalog.init()
    catalog.register(sys.argv[2])
    print(fasthash.run(catalog).total.hashed)
"""


def test_the_embedded_server_is_not_mistaken_for_that_of_the_variables(
    database: Database, catalog: Catalog, tmp_path: Path
) -> None:
    script = started(
        EMBEDDED,
        database,
        FASTHASH_DATA_DIR=str(tmp_path / "home"),
        PGHOSTADDR="127.0.0.1",
        PGOPTIONS="-c no.such=setting -c search_path=elsewhere",
        PGSSLMODE="require",
        PGGSSENCMODE="require",
        PGREQUIREAUTH="scram-sha-256",
        PGREQUIREPEER="nobody",
        PGTARGETSESSIONATTRS="standby",
    )
    out, complaints = script.communicate(timeout=PATIENCE_S)
    assert out.split() == [str(FEW)], complaints
