"""Manifests that other tools check, comparisons, the journal of a row, and rows of one content."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bagit
import pytest
from conftest import Database, sha256

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
    database.run("--missing-ok")


def write(database: Database, *arguments: str, status: int = 1) -> bytes:
    """A manifest; `fill` has a row without a hash, so that none is whole."""
    done = subprocess.run(
        database.command("manifest", *arguments),
        env=database.env(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
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


# The bagit module's own, since Python 3.13.
@pytest.mark.filterwarnings("ignore:'count' is passed as positional:DeprecationWarning")
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
    table = write(database, "--format", "csv", "--type", "(none)", status=0)
    assert table.startswith(b'"id","artifact_type","path","sha256","size_bytes","computed_at"\n')
    assert len(write(database, "--type", "odd", status=0).splitlines()) == len(NAMES) // 2


def test_a_manifest_of_the_second_digest(database: Database) -> None:
    fill(database, ("plain",))
    assert write(database, "--algorithm", "blake3") == b""
    whole = ("--algorithm", "sha256", "--allow-missing")
    assert len(write(database, *whole, status=0).splitlines()) == 2
    database.run("--missing-ok", "--since", "2090-01-01", "--algorithm", "sha256,blake3")
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
    assert compared(database, listed, status=1) == [
        {"kind": "not_in_manifest", "path": "missing", "in_manifest": None, "in_catalog": None,
         "row_id": "101", "detail": None}
    ]  # fmt: skip
    database.sql("DELETE FROM artifacts WHERE id = 101")
    assert compared(database, listed, status=0) == []
    lines = [line for line in listed.read_bytes().splitlines() if b"plain" not in line]
    lines = [
        line.replace(sha256(database.root / "with space").encode(), b"0" * 64) for line in lines
    ]
    entry = {"sha256sum": b"%s  elsewhere", "bsd": b"SHA256 (elsewhere) = %s"}[form]
    listed.write_bytes(b"\n".join([*lines, entry % (b"1" * 64), b""]))
    found = {d["path"]: d for d in compared(database, listed, status=1)}
    assert {p: d["kind"] for p, d in found.items()} == {
        "plain": "not_in_manifest", "with space": "differs", "elsewhere": "not_in_catalog",
    }  # fmt: skip
    assert found["with space"]["in_catalog"] == sha256(database.root / "with space")
    text = database.fasthash("compare", str(listed), status=1).stdout
    assert "1 differs, 1 not in catalog, 1 not in manifest" in text
    listed.write_text("nonsense\n")
    said = database.fasthash("compare", str(listed), status=2).stderr
    assert "line 1: no entry: nonsense" in said
    assert "not one line is a digest and a name" in said
    assert "cannot read" in database.fasthash("compare", "/nowhere", status=2).stderr


def test_a_file_called_minus_is_checked(database: Database) -> None:
    """Tools take - for their standard input."""
    fill(database, ("plain", "-"))
    names = ("--relative-to", str(database.root), "--root", str(database.root))
    content = write(database, *names)
    assert b"  ./-\n" in content
    check(["sha256sum", "-c", "--strict", "--quiet"], content, database.root)


def test_what_a_list_lacks_is_told(database: Database) -> None:
    fill(database, ("plain", "new\nline"))
    database.sql("DELETE FROM artifacts WHERE id = 100")
    database.sql("UPDATE artifacts SET metadata = metadata - 'file_size_bytes' WHERE id = 0")
    done = database.fasthash("manifest", "--format", "hashdeep", status=1)
    assert done.stderr == (
        "fasthash: 3 rows with a path are not in the list: 1 without a hash, "
        "1 with a newline in the name, which hashdeep cannot read, "
        "1 without a recorded size, which hashdeep wants\n"
    )
    assert "0,plain" not in done.stdout, "a size that is not known is not 0"
    assert database.fasthash("manifest", "--allow-missing").stderr == (
        "fasthash: 1 row with a path is not in the list: 1 without a hash\n"
    )
    for command in (["manifest"], ["compare", "/dev/null"]):
        said = database.fasthash(*command, "--type", "fgure", status=4).stderr
        assert "no row has type 'fgure'" in said


def test_a_bag_that_is_none_is_told(database: Database) -> None:
    fill(database, ("plain",))
    database.sql("UPDATE artifacts SET file_path = '../plain' WHERE id = 0")
    database.sql("DELETE FROM artifacts WHERE id > 0")
    done = database.fasthash("manifest", "--format", "bagit", status=1)
    assert "this is no manifest of a bag: ../plain (row 0) leads out of it" in done.stderr


def test_two_rows_of_one_path_and_a_name_that_is_listed_twice(
    database: Database, tmp_path: Path
) -> None:
    fill(database, ("plain", "other"))
    database.sql("DELETE FROM artifacts WHERE id > 1")
    listed = tmp_path / "list"
    listed.write_bytes(write(database, status=0) + b"0" * 64 + b"  plain\n")
    done = subprocess.run(["sha256sum", "-c", "--status", listed], cwd=database.root, check=False)
    assert done.returncode == 1, "the tool's own verdict"
    assert [d["kind"] for d in compared(database, listed, status=1)] == ["manifest_contradicts"]
    listed.write_bytes(write(database, status=0))
    database.sql(
        "INSERT INTO artifacts SELECT 2, artifact_type, file_path, "
        "jsonb_set(metadata::jsonb, '{file_sha256}', to_jsonb(repeat('0', 64))) "
        "FROM artifacts WHERE id = 0"
    )
    found = compared(database, listed, status=1)
    assert [(d["kind"], d["path"]) for d in found] == [("catalog_contradicts", "plain")]
    assert (
        "catalog contradicts itself" in database.fasthash("compare", str(listed), status=1).stdout
    )


TOOLS = {
    "md5sum": ["md5sum"], "sha512 tags": ["sha512sum", "--tag"], "b3sum": ["b3sum"],
    "sha256sum": ["sha256sum"], "sha256 tags": ["sha256sum", "--tag"], "zero": ["sha256sum", "-z"],
    "binary": ["sha256sum", "-b"], "shasum": ["shasum", "-a", "256"],
    "shasum -U": ["shasum", "-a", "256", "-U"], "openssl": ["openssl", "dgst", "-sha256"],
    "hashdeep": ["hashdeep", "-l", "-c", "md5,sha256"],
}  # fmt: skip


def _three_names(database: Database) -> None:
    fill(database, ("plain", "back\\slash", "with space"))
    database.sql("DELETE FROM artifacts WHERE id > 2")


def _three_plain_names(database: Database) -> None:
    fill(database, ("plain", "per%cent", "with space"))
    database.sql("DELETE FROM artifacts WHERE id > 2")


@pytest.mark.parametrize("tool", TOOLS)
def test_lists_that_real_tools_write(
    copy_of: Callable[[Callable[[Database], None]], Database], tmp_path: Path, tool: str
) -> None:
    command = TOOLS[tool]
    if shutil.which(command[0]) is None:
        pytest.skip(f"wants {command[0]} (make test-tools)")
    is_plain = tool in ("shasum -U", "openssl")
    database = copy_of(_three_plain_names if is_plain else _three_names)
    names = ["plain", "per%cent" if is_plain else "back\\slash", "with space"]
    made = subprocess.run([*command, *names], cwd=database.root, capture_output=True, check=True)
    listed = tmp_path / "list"
    listed.write_bytes(made.stdout)
    other = tool in ("md5sum", "sha512 tags")
    found = compared(database, listed, status=1 if other or tool in ("b3sum", "shasum -U") else 0)
    if tool == "b3sum":  # whose lines say nothing of BLAKE3: it has to be asked for
        assert {d["kind"] for d in found} == {"differs"}
        found = compared(database, listed, "--algorithm", "blake3", status=1)
        other = True
    assert {d["kind"] for d in found} == (
        {"not_compared"} if other or tool == "shasum -U" else set()
    )


def test_a_list_from_a_pipe(database: Database) -> None:
    fill(database, ("plain",))
    database.sql("DELETE FROM artifacts WHERE id > 0")
    content = write(database, "--format", "bsd", status=0)
    done = subprocess.run(
        database.command("compare", "-"), env=database.env(), input=content, capture_output=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == b"1 line: 0 differs, 0 not in catalog, 0 not in manifest\n"
    assert done.stderr == b"fasthash: -: tagged lines, sha256\n"


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
    assert plain[0]["could_be_saved_bytes"] == 2000, "a path in two rows is one file"
    text = database.fasthash("duplicates", *roots).stdout
    assert "2 groups of equal files, 1.0 kB could be saved" in text


def test_only_copies_that_are_there_and_were_good_can_be_spared(database: Database) -> None:
    """The last good copy is never one too many."""
    names = ("good", "second", "missing", "grown", "rotten", "folder", "held", "marked", "unread")
    database.make_table()
    for n, name in enumerate(names):
        (database.root / name).write_bytes(b"x" * 1000)
        os.utime(database.root / name, (1_600_000_000, 1_600_000_000))
        database.add(n, name)
    database.run()
    roots = ("--root", str(database.root))

    def look() -> tuple[dict[str, Any], dict[str, str | None]]:
        groups = json.loads(database.fasthash("duplicates", "--json", *roots).stdout)
        assert len(groups) == 1
        return groups[0], {row["path"]: row["not_counted"] for row in groups[0]["rows"]}

    assert look()[0]["could_be_saved_bytes"] == 8000
    (database.root / "rotten").write_bytes(b"y" * 1000)
    os.utime(database.root / "rotten", (1_600_000_000, 1_600_000_000))
    (database.root / "held").write_bytes(b"z" * 1000)
    (database.root / "unread").unlink()
    (database.root / "unread").mkdir()
    assert database.scrub("--on-drift", "hold", status=1)["drift_open"] == 2
    (database.root / "unread").rmdir()
    (database.root / "unread").write_bytes(b"x" * 1000)  # nobody has looked at it since
    (database.root / "missing").unlink()
    (database.root / "grown").write_bytes(b"x" * 1001)
    (database.root / "folder").unlink()
    (database.root / "folder").mkdir()
    database.sql(
        "UPDATE artifacts SET metadata = metadata - 'file_sha256_computed_at' WHERE file_path = "
        "'marked'"
    )
    group, why = look()
    assert (group["files"], group["could_be_saved_bytes"]) == (2, 1000)
    bad = "it was found bad when it was looked at last"
    assert why == {
        "good": None, "second": None, "missing": "it is missing", "rotten": bad, "held": bad,
        "unread": bad, "grown": "it has 1,001 bytes, 1,000 are recorded",
        "folder": "it is no regular file", "marked": "its hash was never verified",
    }  # fmt: skip
    text = database.fasthash("duplicates", *roots).stdout
    assert "2 files, 1.0 kB could be saved" in text
    assert "missing  (no copy to rely on: it is missing)" in text
    # The page looks at no file, and knows what the last look found.
    page = json.loads(database.fasthash("report", "--json").stdout)["duplicates"]["top"][0]
    assert page["files"] == len({"good", "second", "missing", "grown", "folder"})
    (database.root / "second").unlink()
    assert look()[0]["could_be_saved_bytes"] == 0
    # Without a ledger only what the rows tell counts.
    database.sql("DROP SCHEMA fasthash CASCADE")
    group, why = look()
    assert why["marked"] == "its hash was never verified"
