"""The public API as a script uses it, and the documentation's own examples."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, Database, sha256, sha256sum
from oracle import until

import fasthash
from fasthash import Catalog, FasthashError, FileHash, hash_files, run, scrub
from fasthash.files import WHOLE_FILE_BYTES

DOCS = Path(__file__).parents[2] / "docs" / "library.md"
OLD = (1_600_000_000, 1_600_000_000)
NAMES = [b"plain", b"new\nline", b"\xff\xfe bytes", b"-rf", b" ", b"back\\slash", "ü".encode()]


@pytest.fixture
def catalog(database: Database) -> Catalog:
    database.make_table()
    made = Catalog(database.dsn, roots=[database.root])
    made.init()
    return made


def by_path(found: list[FileHash[Any]]) -> dict[Any, FileHash[Any]]:
    assert len({f.path for f in found}) == len(found)
    return {f.path: f for f in found}


def test_digests_are_those_of_sha256sum_whatever_the_files_are_called(tmp_path: Path) -> None:
    sizes = [0, 1, 4095, WHOLE_FILE_BYTES - 1, WHOLE_FILE_BYTES, WHOLE_FILE_BYTES + 1, 3_000_000]
    paths = []
    for n, name in enumerate(NAMES * 10):
        folder = tmp_path / f"d{n // len(NAMES)}"
        folder.mkdir(exist_ok=True)
        path = os.fsencode(folder) + b"/" + name
        Path(os.fsdecode(path)).write_bytes(os.urandom(1) * sizes[n % len(sizes)])
        paths.append(path)
    os.link(paths[0], paths[0] + b" again")
    os.symlink(paths[1], paths[1] + b" link")
    paths += [paths[0] + b" again", paths[1] + b" link"]
    found = by_path(list(hash_files(iter(paths), workers=3)))
    expected = sha256sum([Path(os.fsdecode(p)) for p in paths])
    assert {Path(os.fsdecode(p)): f.sha256 for p, f in found.items()} == expected
    assert all(f.size_bytes == os.stat(p).st_size for p, f in found.items())
    assert all(f.mtime_ns == os.stat(p).st_mtime_ns for p, f in found.items())


@pytest.mark.parametrize("reader", ["readinto", "mmap"])
def test_both_readers_and_blake3(tmp_path: Path, reader: Any) -> None:
    from blake3 import blake3

    path = tmp_path / "big"
    path.write_bytes(os.urandom(5_000_000))
    (found,) = hash_files([path], reader=reader, blake3=True, chunk_bytes=4096)
    assert (found.path, found.sha256) == (path, sha256(path))
    assert found.blake3 == blake3(path.read_bytes()).hexdigest()


def test_relative_paths_lead_through_links_as_the_kernel_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "deep" / "f").write_text("deep")
    (tmp_path / "f").write_text("here")
    (tmp_path / "link").symlink_to("deep/down")
    monkeypatch.chdir(tmp_path)
    found = by_path(list(hash_files(["f", "link/../f", "./f"])))
    assert found["link/../f"].sha256 == sha256(tmp_path / "deep" / "f")
    assert found["f"].sha256 == found["./f"].sha256 == sha256(tmp_path / "f")


def test_what_has_no_digest_says_why(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    names = ["fifo", "folder", "loop", "missing", "nul\0"]
    found = by_path(list(hash_files([f"{tmp_path}/{n}" for n in names])))
    problems = {Path(p).name: f.problem for p, f in found.items()}
    assert problems == {
        "fifo": "not_regular",
        "folder": "not_regular",
        "loop": "unreadable",
        "missing": "no_file",
        "nul\0": "no_file",
    }
    assert all(f.sha256 is None and f.detail for f in found.values())
    (empty,) = hash_files([""])
    assert empty.problem == "no_file"


def test_who_stops_listening_waits_for_no_file(tmp_path: Path) -> None:
    endless = tmp_path / "endless"
    with open(endless, "wb") as file:
        file.truncate(1 << 42)  # hours of reading
    os.utime(endless, OLD)
    (tmp_path / "small").write_text("small")
    time.sleep(2.1)  # changed within 2 s it would be no simple file
    taken = []

    def paths() -> Any:
        for path in [tmp_path / "small", *[endless] * 10_000]:
            taken.append(path)
            yield path

    files = hash_files(paths(), workers=2)
    assert next(files).path == tmp_path / "small"
    files.close()  # type: ignore[attr-defined]
    assert len(taken) < 1_000, "paths are taken as they are needed"


def test_an_error_of_the_paths_own_comes_out(tmp_path: Path) -> None:
    def paths() -> Any:
        yield tmp_path / "one"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(hash_files(paths()))
    with pytest.raises(TypeError):
        list(hash_files([3]))  # type: ignore[type-var]


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"reader": "x"}, {"chunk_bytes": 1}])
def test_bad_arguments_are_refused_at_once(wrong: Any) -> None:
    with pytest.raises(FasthashError):
        hash_files([], **wrong)


def test_no_database_is_imported_to_hash_files() -> None:
    code = (
        "import sys, fasthash; list(fasthash.hash_files([sys.executable]));"
        "sys.exit(any(m in sys.modules for m in ('psycopg', 'click', 'tqdm', 'asyncio')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_run_scrub_and_what_the_ledger_says(database: Database, catalog: Catalog) -> None:
    for n in range(50):
        path = database.root / f"f{n}"
        path.write_text(f"content {n}")
        os.utime(path, OLD)
        database.add(n, path.name)
    database.add(99, "missing")
    seen = []
    summary = run(catalog, progress=seen.append, workers=2)
    assert (summary.state, summary.total.hashed, summary.total.no_file) == ("complete", 50, 1)
    assert seen and seen[-1].counts.scanned <= 51
    assert catalog.summary() == summary
    assert catalog.status()["rows_scanned"] == 51
    assert [row["row_id"] for row in catalog.residual(reason="no_file")] == ["99"]
    digests = {r["path"]: r["digest"] for r in catalog.hashes()}
    assert digests == {p.name: d for p, d in sha256sum(list(database.root.iterdir())).items()}

    (database.root / "f7").write_text("other content")
    read = scrub(catalog, on_drift="hold", precheck="off")
    assert (read.kind, read.total.drifted, read.exit_status) == ("scrub", 1, 1)
    (drift,) = catalog.drifts(only_open=True)
    assert (drift["row_id"], drift["kind"]) == ("7", "modified")


def test_options_reach_the_run(database: Database, catalog: Catalog) -> None:
    for n in range(10):
        (database.root / f"f{n}").write_text("x" * 100)
        database.add(n, f"f{n}", artifact_type="figure" if n % 2 else "notebook")
    assert run(catalog, types=["figure"]).total.scanned == 5
    assert run(catalog, dry_run=True).dry_run
    with pytest.raises(FasthashError, match="unfinished"):
        _unfinished(catalog)
    # One was done before the budget was spent.
    assert run(catalog, restart=True, blake3=True).total.hashed == 4
    assert len(list(catalog.hashes("blake3"))) == 4


def _unfinished(catalog: Catalog) -> None:
    assert run(catalog, types=["notebook"], budget_bytes=1).ended_for == "budget"
    run(catalog)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reader": "x"}, "reader='x'"),
        ({"types": "figure"}, "types is a list"),
        ({"limit": 0}, "at least 1"),
        ({"rate_bytes_per_s": -1.0}, "at least 0"),
        ({"windows": ["9"]}, "9"),
        ({"timezone": "Mars/Base"}, "Mars/Base"),
        ({"chunk_bytes": 1}, "4KiB"),
        ({"nonsense": 1}, "nonsense"),
        ({"since": "soon"}, "soon"),
    ],
)
def test_bad_options_are_refused(catalog: Catalog, options: Any, message: str) -> None:
    with pytest.raises(FasthashError, match=re.escape(message)):
        run(catalog, **options)


def test_what_ends_a_run_comes_out_as_its_error(database: Database) -> None:
    with pytest.raises(FasthashError, match="nowhere"):
        run(Catalog(database.dsn, table="nowhere", roots=[database.root]))
    with pytest.raises(FasthashError, match="cannot reach"):
        Catalog("host=/nowhere dbname=x").summary()


def test_a_run_inside_a_running_loop(database: Database, catalog: Catalog) -> None:
    (database.root / "f").write_text("x")
    database.add(1, "f")

    async def notebook() -> int:
        return run(catalog).total.hashed

    assert asyncio.run(notebook()) == 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


SCRIPT = """
import signal, sys
import fasthash
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
catalog = fasthash.Catalog(sys.argv[1], roots=[sys.argv[2]])
handler = signal.getsignal(signal.SIGINT)
try:
    fasthash.run(catalog, files_per_s=50, workers=2, range_rows=100)
except KeyboardInterrupt:
    assert signal.getsignal(signal.SIGINT) is handler
    print(catalog.summary().state, catalog.status()["ranges"].get("leased", 0))
"""


def test_ctrl_c_gives_back_what_is_held_and_the_next_call_goes_on(
    database: Database, catalog: Catalog
) -> None:
    for n in range(400):
        path = database.root / f"f{n}"
        path.write_text(f"content {n}")
        os.utime(path, OLD)
        database.add(n, path.name)
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, database.dsn, str(database.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    marked = "SELECT count(*) AS n FROM artifacts WHERE metadata ? 'file_sha256'"
    until(lambda: database.sql(marked)[0]["n"] >= 10, "the first rows")
    script.send_signal(signal.SIGINT)
    out, complaints = script.communicate(timeout=PATIENCE_S)
    assert out.split() == ["interrupted", "0"], (script.returncode, complaints)
    done = database.sql(marked)[0]["n"]
    assert 10 <= done < 400
    summary = run(catalog)
    assert (summary.state, summary.total.hashed, summary.total.scanned) == ("complete", 400, 400)


def test_the_documented_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "data" / "figures"
    figures.mkdir(parents=True)
    for name, content in (("a.png", "a"), ("b.png", "b"), ("c.png", "a")):
        (figures / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTHASH_DATA_DIR", str(tmp_path / "home"))
    for variable in [v for v in os.environ if v.startswith("PG")]:
        monkeypatch.delenv(variable)
    examples = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(examples) == 4
    names: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, str(DOCS), "exec"), names)
    out = capsys.readouterr().out
    assert f"{sha256(figures / 'a.png')} 1 data/figures/a.png" in out
    assert "3 hashed, 3 bytes" in out
    assert "scrub complete" in out


def test_the_package_says_what_is_public() -> None:
    for name in fasthash.__all__:
        assert getattr(fasthash, name).__doc__, name
    with pytest.raises(AttributeError):
        _ = fasthash.nothing
    code = "import sys, fasthash; sys.exit('fasthash.library' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
