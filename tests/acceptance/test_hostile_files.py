"""Whatever lies on the disk: each row gets the right verdict, and no file hurts the others."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Database, sha256, sha256sum

from fasthash import files
from fasthash.paths import encode

TESTS = str(Path(__file__).parents[1])
NAMES = [
    "new\nline", "tab\tcr\r", "quo'te \"s\"", "back\\slash", "100%s %(x)s {0}", "-rf", "~", "*",
    " leading", "trailing ", "\x1b[31mred", "\x7f", "a:b;c,d|e", "日本語", "x" * 255,
    "deep/" * 200 + "end",
]  # fmt: skip


def nothing(path: Path) -> None:
    """The file is not there."""


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = os.open(path.parent, os.O_RDONLY)
        one.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


SPECIAL: dict[str, tuple[Callable[[Path], object], str]] = {
    "fifo": (os.mkfifo, "not_regular"),
    "socket": (a_socket, "not_regular"),
    "folder": (Path.mkdir, "not_regular"),
    "to-itself": (lambda p: p.symlink_to("to-itself"), "unreadable"),
    "out": (lambda p: p.symlink_to("/etc/passwd"), "outside_root"),
    "out-relative": (lambda p: p.symlink_to("../secret"), "outside_root"),
    "to-a-device": (lambda p: p.symlink_to("/dev/zero"), "outside_root"),
    "dangling": (lambda p: p.symlink_to("nowhere"), "no_file"),
    "../secret": (nothing, "outside_root"),
    "d/../../secret": (nothing, "outside_root"),
    "/etc/passwd": (nothing, "outside_root"),
    "": (nothing, "no_file"),
    "missing": (nothing, "no_file"),
    "missing/deeper": (nothing, "no_file"),
    "plain/beneath-a-file": (nothing, "no_file"),
    "n" * 256: (nothing, "no_file"),
    "p/" * 2048: (nothing, "no_file"),
    "file:///%00": (nothing, "no_file"),
}


@pytest.fixture
def zoo(database: Database) -> dict[str, str | None]:
    """Rows for everything there is; what each should come to: None is a hash."""
    root = database.root
    (root.parent / "secret").write_text("secret")
    (root / "d").mkdir()
    expected: dict[str, str | None] = {}
    for name in NAMES:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(100))
        expected[name] = None
    raw = os.path.join(os.fsencode(root), b"not utf-8 \xff\xfe\x80")
    with open(raw, "wb") as file:
        file.write(b"odd name")
    expected[encode(raw)] = None
    for name, size in (("plain", 10), ("empty", 0), ("large", 3 * 1024 * 1024)):
        (root / name).write_bytes(os.urandom(size))
        expected[name] = None
    with open(root / "sparse", "wb") as hole:
        hole.truncate(300 * 1024 * 1024)
    os.link(root / "plain", root / "hard-link")
    (root / "inside").symlink_to("d/../plain")
    (root / "folder-link").symlink_to("deep")
    expected |= dict.fromkeys(["sparse", "hard-link", "inside", str(root / "plain")])
    expected["folder-link/" + "deep/" * 199 + "end"] = None
    for name, (make, reason) in SPECIAL.items():
        make(root / name)
        expected[name] = reason
    if os.geteuid() == 0:
        os.mknod(root / "device", stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
        expected["device"] = "not_regular"
    return expected


@pytest.mark.parametrize(
    ("reader", "native"), [("readinto", "on"), ("readinto", "off"), ("mmap", "on")]
)
def test_a_zoo_in_one_run(
    database: Database, zoo: dict[str, str | None], reader: str, native: str
) -> None:
    database.environment["FASTHASH_NATIVE"] = native
    database.make_table("text")
    time.sleep(files.RACY_NS / 1e9)  # new files take the long way
    names = dict(enumerate(zoo))
    for n, name in names.items():
        database.add(f"{n:03}", name, {"k": n})
    summary = database.run("--reader", reader, status=1)
    assert summary["rows_scanned"] == len(zoo)
    left = {
        int(r["row_id"]): (r["reason"], r["detail"])
        for r in database.sql("SELECT row_id, reason, detail FROM fasthash.residual")
    }
    good = {n: database.root / name for n, name in names.items() if zoo[name] is None}
    for n, name in names.items():
        if name.startswith("file:///") and zoo[name] is None:
            good[n] = next(database.root.glob("not utf-8*"))
    digests = sha256sum(list(good.values()))
    for n, name in names.items():
        metadata = database.metadata(f"{n:03}")
        assert metadata["k"] == n
        if zoo[name] is None:
            assert n not in left, (name, left.get(n))
            assert metadata["file_sha256"] == digests[good[n]], name
            assert metadata["file_size_bytes"] == good[n].stat().st_size
        else:
            assert left[n][0] == zoo[name], (name, left[n])
            assert metadata == {"k": n}


@pytest.mark.parametrize("reader", ["readinto", "mmap"])
@pytest.mark.parametrize("size", [5_000, files.WHOLE_FILE_BYTES + 5_000])
def test_files_that_change_while_they_are_read(database: Database, reader: str, size: int) -> None:
    database.environment["PYTHONPATH"] = TESTS
    database.make_table("text")
    names = ["grows", "shrinks", "replaced", "vanishes", "always-grows", "still"]
    for name in names:
        (database.root / name).write_bytes(os.urandom(size))
        database.add(name, name)
    (database.root / "replaced.new").write_bytes(os.urandom(size + 1))
    summary = database.run(
        "--reader", reader, "--resolver", "restless:resolve", "--workers", "1", status=1
    )
    assert summary["outcomes"]["hashed"] == 4
    assert summary["residual"] == {"no_file": 1, "unstable": 1}
    for name in ("grows", "shrinks", "replaced", "still"):
        metadata = database.metadata(name)
        assert metadata["file_sha256"] == sha256(database.root / name)
        assert metadata["file_size_bytes"] == (database.root / name).stat().st_size
    assert database.metadata("always-grows") is None
    assert database.metadata("vanishes") is None


def test_a_mapped_file_that_shrinks_kills_a_worker_and_not_the_run(database: Database) -> None:
    path = database.root / "cut"
    path.write_bytes(os.urandom(3 * files.MMAP_WINDOW_BYTES))
    database.environment |= {"PYTHONPATH": TESTS, "CUT": str(path)}
    database.make_table("text")
    for name in ("a", "cut", "z"):
        if name != "cut":
            (database.root / name).write_text(name)
        database.add(name, name)
    arguments = ("--reader", "mmap", "--resolver", "restless:resolve", "--workers", "1")
    done = database.fasthash("run", "--root", str(database.root), *arguments)
    assert "died (signal 7) while reading cut" in done.stderr
    for name in ("a", "cut", "z"):
        assert database.metadata(name)["file_sha256"] == sha256(database.root / name)


PAGE, PAGES = 4096, 50
# Rewrites files in place, again and again, from the first page to the last.
WRITER = f"""
import itertools, os, sys
files = [os.open(path, os.O_WRONLY) for path in sys.argv[1:]]
print("ready", flush=True)
for n in itertools.count(1):
    for file in files:
        os.pwrite(file, bytes([n % 16]) * {PAGE * PAGES}, 0)
"""


def states_of_the_file() -> set[str]:
    """All that the writer ever makes of a file: pages of one state, then those of the last."""
    found = set()
    for n in range(16):
        new, old = bytes([n]) * PAGE, bytes([(n - 1) % 16]) * PAGE
        for pages in range(PAGES + 1):
            found.add(hashlib.sha256(new * pages + old * (PAGES - pages)).hexdigest())
    return found


def test_a_writer_that_never_stops_leaves_no_torn_hash(database: Database) -> None:
    database.make_table("text")
    names = [f"f{n}" for n in range(30)]
    for name in names:
        (database.root / name).write_bytes(b"\0" * PAGE * PAGES)
        database.add(name, name)
    paths = [str(database.root / name) for name in names]
    writer = subprocess.Popen([sys.executable, "-c", WRITER, *paths], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        summary = database.run(status=None)
    finally:
        writer.kill()
        writer.communicate()
    hashed = {m["file_sha256"] for name in names if (m := database.metadata(name)) is not None}
    assert hashed <= states_of_the_file()
    assert summary["outcomes"]["hashed"] + summary["residual"].get("unstable", 0) == len(names)


def test_the_other_normal_form_is_named(database: Database) -> None:
    composed, decomposed = (unicodedata.normalize(f, "é-ü") for f in ("NFC", "NFD"))
    (database.root / composed).write_text("composed")
    database.make_table("text")
    database.add("1", decomposed)
    summary = database.run("--missing-ok")
    assert summary["outcomes"]["no_file"] == 1
    (row,) = database.sql("SELECT detail FROM fasthash.residual")
    assert "exists in Unicode normal form NFC" in row["detail"]
    assert database.metadata("1") is None


def test_two_rows_with_one_file_both_get_its_hash(database: Database) -> None:
    (database.root / "f").write_text("f")
    database.make_table("text")
    for n in range(3):
        database.add(f"{n}", "f" if n else str(database.root / "f"), None, f"t{n}")
    assert database.run()["outcomes"]["hashed"] == 3
    for n in range(3):
        assert database.metadata(f"{n}")["file_sha256"] == sha256(database.root / "f")
