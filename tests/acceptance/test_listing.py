"""Manifests that other tools check, comparisons, the journal of a row, and rows of one content."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import bagit
import pytest
from conftest import Database, sha256
from hypothesis import given
from hypothesis import strategies as st

from fasthash import manifest
from fasthash.manifest import Entry, Listed

NAMES = ("plain", "with space", "back\\slash", "new\nline", "return\r", "\\n", "per%cent %0A",
         "日本", "-dash", "*star", " lead", "a/b/c", "#hash", "(x) = y")  # fmt: skip
NO_NEWLINE = tuple(n for n in NAMES if "\n" not in n and "\r" not in n)


def fill(database: Database, names: tuple[str, ...] = NAMES) -> None:
    database.make_table()
    for n, name in enumerate(names):
        path = database.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * (n + 1))
        database.add(n, name, None, "odd" if n % 2 else None)
    odd = os.fsencode(database.root) + b"/\xff\xfe"
    with open(odd, "wb") as file:
        file.write(b"bytes")
    database.add(100, f"file://{database.root}/%ff%fe")
    database.add(101, "missing")
    database.fasthash("init")
    database.run()


def write(database: Database, *arguments: str) -> bytes:
    done = subprocess.run(
        database.command("manifest", *arguments),
        env=database.env(), capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout


def check(tool: list[str], content: bytes, folder: Path) -> None:
    """The tool finds every file as it is listed, and sees when one changes."""
    listed = folder.parent / "list"
    listed.write_bytes(content)
    subprocess.run([*tool, str(listed)], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    kept = (folder / "plain").read_bytes()
    (folder / "plain").write_bytes(b"another")
    done = subprocess.run([*tool, str(listed)], cwd=folder, capture_output=True, check=False)
    (folder / "plain").write_bytes(kept)
    assert done.returncode != 0


@pytest.mark.parametrize("form", ["sha256sum", "bsd"])
def test_sha256sum_checks_it(database: Database, form: str) -> None:
    fill(database)
    content = write(
        database, "--format", form, "--relative-to", str(database.root), "--root",
        str(database.root),
    )  # fmt: skip
    assert len(content.splitlines()) == len(NAMES) + 1
    check(["sha256sum", "-c", "--strict", "--quiet"], content, database.root)


@pytest.mark.skipif(shutil.which("shasum") is None, reason="wants shasum (make test-tools)")
def test_shasum_checks_it(database: Database) -> None:
    fill(database, tuple(n for n in NAMES if "\r" not in n))  # which it does not escape
    names = ("--relative-to", str(database.root), "--root", str(database.root))
    check(["shasum", "-a", "256", "-c", "-s"], write(database, *names), database.root)


@pytest.mark.skipif(shutil.which("hashdeep") is None, reason="wants hashdeep (make test-tools)")
def test_hashdeep_audits_it(database: Database) -> None:
    fill(database, NO_NEWLINE)
    absolute = write(database, "--format", "hashdeep", "--relative-to", "/", "--root",
                     str(database.root))  # fmt: skip
    lines = absolute.splitlines(keepends=True)
    head, rows = lines[:3], [line.replace(b",", b",", 2) for line in lines[3:]]
    # hashdeep knows files by their absolute names.
    rows = [b",".join([*r.split(b",", 2)[:2], b"/" + r.split(b",", 2)[2]]) for r in rows]
    check(["hashdeep", "-r", "-a", "-l", str(database.root), "-k"], b"".join(head + rows),
          database.root)  # fmt: skip


def test_a_bag_is_valid(database: Database, tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    database.root = bag / "data"
    database.root.mkdir(parents=True)
    # The bagit module knows no escape for a percent sign, as RFC 8493 wants it.
    fill(database, tuple(n for n in NAMES if "\r" not in n and "%" not in n))
    os.unlink(os.fsencode(database.root) + b"/\xff\xfe")
    database.sql("DELETE FROM artifacts WHERE id = 100")
    names = ("--relative-to", str(bag), "--root", str(database.root), "--format", "bagit")
    (bag / "manifest-sha256.txt").write_bytes(write(database, *names))
    (bag / "bagit.txt").write_text("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
    assert bagit.Bag(str(bag)).validate()
    (database.root / "plain").write_bytes(b"another")
    assert not bagit.Bag(str(bag)).is_valid()


def test_for_programs(database: Database) -> None:
    fill(database)
    found = [json.loads(line) for line in write(database, "--format", "jsonl").splitlines()]
    by_id = {row["id"]: row for row in found}
    for n, name in enumerate(NAMES):
        assert by_id[str(n)]["path"] == name
        assert by_id[str(n)]["sha256"] == sha256(database.root / name)
        assert by_id[str(n)]["size_bytes"] == (database.root / name).stat().st_size
    assert "101" not in by_id, "without a hash there is nothing to list"
    table = write(database, "--format", "csv", "--type", "(none)")
    assert table.startswith(b'"id","artifact_type","path","sha256","size_bytes","computed_at"\n')
    assert len(write(database, "--type", "odd").splitlines()) == len(NAMES) // 2


def test_a_manifest_of_the_second_digest(database: Database) -> None:
    fill(database, ("plain",))
    assert write(database, "--algorithm", "blake3") == b""
    database.run("--since", "2090-01-01", "--algorithm", "sha256,blake3")
    digest = database.metadata(0)["file_blake3"]
    lines = write(database, "--algorithm", "blake3", "--format", "bsd").splitlines()
    assert f"BLAKE3 (plain) = {digest}".encode() in lines


def compared(database: Database, path: Path, *arguments: str, status: int) -> list[dict[str, Any]]:
    done = database.fasthash("compare", str(path), *arguments, "--json", status=status)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("form", ["sha256sum", "bsd"])
def test_compare(database: Database, tmp_path: Path, form: str) -> None:
    fill(database)
    listed = tmp_path / "list"
    listed.write_bytes(write(database, "--format", form))
    assert compared(database, listed, status=0) == []
    lines = [line for line in listed.read_bytes().splitlines() if b"plain" not in line]
    lines = [
        line.replace(sha256(database.root / "with space").encode(), b"0" * 64) for line in lines
    ]
    listed.write_bytes(b"\n".join([*lines, b"1" * 64 + b"  elsewhere", b""]))
    found = {d["path"]: d for d in compared(database, listed, status=1)}
    assert {p: d["kind"] for p, d in found.items()} == {
        "plain": "not_in_manifest", "with space": "differs", "elsewhere": "not_in_catalog",
    }  # fmt: skip
    assert found["with space"]["in_catalog"] == sha256(database.root / "with space")
    text = database.fasthash("compare", str(listed), status=1).stdout
    assert "1 differs, 1 not in catalog, 1 not in manifest" in text
    listed.write_text("nonsense\n")
    assert "line 1" in database.fasthash("compare", str(listed), status=2).stderr
    assert "cannot read" in database.fasthash("compare", "/nowhere", status=2).stderr


digests = st.text("0123456789abcdef", min_size=64, max_size=64)
names = st.binary(min_size=1, max_size=20).filter(lambda n: b"\0" not in n)


@given(st.lists(st.tuples(names, digests), max_size=5), st.sampled_from(["sha256sum", "bsd"]))
def test_what_is_written_is_read_again(files: list[tuple[bytes, str]], form: str) -> None:
    entries = [Entry("1", None, name, digest, 1, None) for name, digest in files]
    written = b"".join(manifest.lines(entries, form, "sha256"))
    found = list(manifest.parse(written.splitlines(keepends=True)))
    expected = [Listed(n, *file) for n, file in enumerate(files, 1)]
    # A name with one of Unicode's own line ends is one line all the same.
    assert list(manifest.parse(written.split(b"\n"))) == expected or found == expected


def test_the_journal_of_a_row(database: Database) -> None:
    fill(database, ("plain",))
    before = sha256(database.root / "plain")
    (database.root / "plain").write_bytes(b"changed")
    database.scrub(status=None)
    found = json.loads(database.fasthash("journal", "0", "--json").stdout)
    assert [row["new_sha256"] for row in found] == [before, sha256(database.root / "plain")]
    assert found[0]["old_keys"] is None
    assert found[1]["old_sha256"] == before
    assert [row["kind"] for row in found] == ["backfill", "scrub"]
    text = database.fasthash("journal", "0").stdout
    assert f"to    {before}" in text
    assert "never written" in database.fasthash("journal", "nobody").stdout


def test_duplicates(database: Database) -> None:
    database.make_table()
    for n, (name, content) in enumerate(
        [("a", b"x" * 1000), ("b", b"x" * 1000), ("c", b"y"), ("d", b"z" * 10), ("e", b"z" * 10)]
    ):
        (database.root / name).write_bytes(content)
        database.add(n, name)
    os.link(database.root / "a", database.root / "linked")
    database.add(5, "linked")
    database.add(6, "a")
    database.fasthash("init")
    database.run()
    roots = ("--root", str(database.root))
    groups = json.loads(database.fasthash("duplicates", "--json", *roots).stdout)
    assert [(g["files"], g["could_be_saved_bytes"]) for g in groups] == [(2, 1000), (2, 10)]
    rows = {r["row_id"]: r["linked"] for r in groups[0]["rows"]}
    assert rows == {"0": False, "1": False, "5": True, "6": True}
    plain = json.loads(database.fasthash("duplicates", "--json", "--no-links").stdout)
    assert plain[0]["could_be_saved_bytes"] == 3000
    text = database.fasthash("duplicates", *roots).stdout
    assert "2 groups of equal files, 1.0 kB could be saved" in text
