"""Damage is never taken for good, whatever was done to the file that moves no content."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Database, sha256
from test_scrub import OLD, drifts, fill


def _damage(path: Path) -> None:
    """Another content under the same size and mtime, which root or a disk can do."""
    times = os.stat(path)
    content = bytearray(path.read_bytes())
    content[7] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _tool(*command: str) -> Callable[[Path], None]:
    """Copies a file with a tool, removes it, and has the copy in its place: a restore."""

    def restore(path: Path) -> None:
        copy = path.with_name(path.name + ".copy")
        subprocess.run([*command, str(path), str(copy)], check=True)
        path.unlink()
        copy.rename(path)

    return restore


def _linked(path: Path) -> None:
    os.link(path, path.with_name(path.name + ".link"))


def _renamed(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.with_name("elsewhere").rename(path)


def _abroad(path: Path) -> None:
    there = Path("/dev/shm") / f"fasthash-test-{os.getpid()}-{path.name}"
    shutil.move(path, there)
    shutil.move(there, path)


ABROAD = "mv to another file system and back"  # which may give it the inode that it had

# What moves ctime, inode or both, and neither size nor mtime.
HARMLESS: dict[str, Callable[[Path], None]] = {
    "chmod": lambda path: path.chmod(0o640),
    "link": _linked,
    "rename": _renamed,
    "cp -a": _tool("cp", "-a"),
    "cp -p": _tool("cp", "-p"),
    ABROAD: _abroad,
}


def _older_copy(path: Path) -> None:
    """As `rsync -a` brings one from elsewhere: an mtime of before the one that was recorded."""
    path.write_bytes(b"Y" * path.stat().st_size)
    os.utime(path, (OLD[0] - 9, OLD[1] - 9))


def _grown_unseen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")
    os.utime(path, OLD)


def _grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def _written(path: Path) -> None:
    path.write_bytes(b"X" * path.stat().st_size)


# What somebody changed on purpose: the size or the mtime moves.
CHANGES: dict[str, Callable[[Path], None]] = {
    "written": _written,
    "grown": _grown,
    "grown under the same mtime": _grown_unseen,
    "an older copy": _older_copy,
}


@pytest.mark.parametrize("is_known", [True, False], ids=["stamps known", "by the marker"])
def test_size_and_mtime_tell_rot_from_change_and_nothing_else(
    database: Database, is_known: bool
) -> None:
    ways = {**HARMLESS, **CHANGES}
    paths = fill(database, len(ways) + 1)
    database.run()
    if not is_known:  # as after a job of the site's own: no ledger has anything of these rows
        database.sql("UPDATE fasthash.file_state SET stamps = NULL")
        database.sql("UPDATE fasthash.journal SET stamps = NULL")
        del ways["an older copy"]  # under the size that it had: that it is older nobody knows
    hashes = {n: database.metadata(n)["file_sha256"] for n in range(len(paths))}
    for path, (name, change) in zip(paths, ways.items(), strict=False):
        if name in HARMLESS:
            _damage(path)
        change(path)
    summary = database.scrub(status=1)
    found = {int(d["row_id"]): d for d in drifts(database)}
    kinds = {name: found[n]["kind"] for n, name in enumerate(ways)}
    assert kinds == {name: "corrupt" if name in HARMLESS else "modified" for name in ways}
    assert summary["drift_open"] == len(HARMLESS)
    for n, name in enumerate(ways):
        kept = name in HARMLESS
        now = database.metadata(n)["file_sha256"]
        assert (now == hashes[n], now == sha256(paths[n])) == (kept, not kept), name
        moved = found[n]["moved"]
        assert ("size" in moved or "mtime" in moved) is not kept, (name, moved)
        assert "ctime" in moved
        if is_known:
            assert ("inode" in moved) == name.startswith("cp") or name == ABROAD, (name, moved)
    # And it stays so: the next night is as loud.
    again = database.scrub(status=1)
    assert again["outcomes"]["drifted"] == len(HARMLESS)


def test_what_moved_is_shown(database: Database) -> None:
    paths = fill(database, 3)
    database.run()
    _damage(paths[1])
    _tool("cp", "-a")(paths[1])
    done = database.fasthash("scrub", "--root", str(database.root), status=1)
    assert "kind corrupt (ctime and inode, but neither size nor mtime moved); open;" in done.stderr
    shown = database.fasthash("drift", "show", "1").stdout
    assert "  moved   ctime and inode, but neither size nor mtime\n" in shown
    page = database.root.parent / "page.html"
    database.fasthash("report", "--output", str(page))
    assert "moved: ctime and inode, but neither size nor mtime" in page.read_text()


def test_a_lost_hash_of_a_damaged_file_is_not_replaced_by_a_run(database: Database) -> None:
    paths = fill(database, 3)
    database.run()
    good = database.metadata(1)["file_sha256"]
    _damage(paths[1])
    paths[2].write_bytes(b"another")
    database.sql("UPDATE artifacts SET metadata = '{}' WHERE id IN (1, 2)")
    summary = database.run(status=1)
    assert summary["outcomes"]["drifted"] == 2
    assert summary["drift_open"] == 1
    found = {d["row_id"]: d for d in drifts(database)}
    assert (found["1"]["kind"], found["1"]["old_hash"]) == ("corrupt", good)
    assert "file_sha256" not in database.metadata(1)
    assert database.metadata(2)["file_sha256"] == sha256(paths[2])
