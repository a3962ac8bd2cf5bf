"""Lists of digests: every one that is written is read back, and what others write is determined."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fasthash import dialect, listed, listing, manifest
from fasthash.dialect import FORMS, Dialect, determine
from fasthash.listed import Listed, Odd
from fasthash.manifest import Entry

A, B = "a" * 64, "0123456789abcdef" * 4
digests = st.sampled_from([A, B, "f" * 64])
# Any name that a file of Linux can have, with more of what some form has a meaning for.
pieces = st.sampled_from(
    [b"%", b"%0A", b"%25", b"\\", b"\\n", b"\n", b"\r", b" ", b"*", b"#", b",", b'"', b"'", b"=",
     b"-", b"(", b") = ", b"../", b"/", b"file:", b"file:///", b"\xff", b"\xed\xa0\x80", b"a",
     "é".encode(), "\u2028".encode(), b"\t", b"\x0c", b"\x1c", b"{", b"U", b"^", b"//"]
)  # fmt: skip
names = (
    (st.lists(pieces, min_size=1, max_size=6).map(b"".join) | st.binary(min_size=1, max_size=20))
    .map(lambda name: name.replace(b"\0", b"0"))
    .filter(lambda name: os.path.normpath(name) != b".")
)


def entries(files: Sequence[tuple[bytes, str]]) -> list[Entry]:
    return [Entry(f"-{n}", "=t", name, digest, 7, None) for n, (name, digest) in enumerate(files)]


def of(form: str, algorithm: str, files: Sequence[tuple[bytes, str]]) -> tuple[bytes, int]:
    """A list, and how many of the files it could not have."""
    left_out: list[str] = []
    lines = manifest.lines(
        entries(files), form, algorithm, lambda _entry, why: left_out.append(why)
    )
    return b"".join(lines), len(left_out)


def reads(
    content: bytes, name: str = "SUMS", *, chunk: int = 7, **asked: str
) -> tuple[Dialect, list[Listed | Odd]]:
    found = determine(content[: dialect.SAMPLE_BYTES], name, **asked)
    chunks = [content[:4], *(content[n : n + chunk] for n in range(4, len(content), chunk))]
    return found, list(listed.read(chunks, found))


def pairs(found: Sequence[Listed | Odd]) -> list[tuple[bytes, str | None]]:
    assert all(isinstance(line, Listed) for line in found), found
    return [(line.path, line.digest) for line in found if isinstance(line, Listed)]


@given(
    st.sampled_from(FORMS),
    st.sampled_from(["sha256", "blake3"]),
    st.lists(st.tuples(names, digests), max_size=5, unique_by=lambda f: os.path.normpath(f[0])),
)
@example("sha256sum", "sha256", [(b"-", A)])
@example("sha256sum", "sha256", [(b"a\r", A)])
@example("hashdeep", "blake3", [(b"a\r", A)])
@example("bagit", "sha256", [(b"%0a", A), (b"100%", B)])
@example("bagit", "sha256", [(b" lead", A)])
@example("csv", "sha256", [(b"=1+1", A), (b"'=1+1", B), (b"a\r\nb", A)])
@example("jsonl", "sha256", [(b"\xff", A), (b"file:%FF", B), (b"/\xff", A)])
@example("sha256sum", "sha256", [(b"U", A), (b"^", B)])
def test_what_is_written_is_read_back(
    form: str, algorithm: str, files: list[tuple[bytes, str]]
) -> None:
    written, left_out = of(form, algorithm, files)
    if form == "hashdeep":
        files = [file for file in files if b"\n" not in file[0]]
    else:
        assert left_out == 0
    name = f"manifest-{algorithm}.txt" if form == "bagit" else "SUMS"
    kind, found = reads(written, name, algorithm=algorithm)
    assert kind.form == form or not files
    assert [(os.path.normpath(p), d) for p, d in pairs(found)] == [
        (os.path.normpath(p), d) for p, d in files
    ]
    read_again = [line for line in found if isinstance(line, Listed)]
    assert listing.compare(read_again, entries(files)) == []
    if form in ("bsd", "hashdeep", "jsonl", "csv") and files:  # these say what they are of
        assert reads(written)[0].algorithm == algorithm


LINES = f"{A}  one\n{B}  two three\n".encode()
EXPECTED = [(b"one", A), (b"two three", B)]


@pytest.mark.parametrize(
    ("content", "name", "told"),
    [
        (LINES, "S", "lines of sha256sum, sha256"),
        (LINES.replace(b"\n", b"\r\n"), "S", "lines of sha256sum, sha256, lines end in CRLF"),
        (LINES.replace(b"\n", b"\0"), "S", "lines of sha256sum, sha256, lines end in NUL"),
        (LINES.replace(b"  ", b" *"), "S", "lines of sha256sum, sha256"),
        (LINES.replace(b"  ", b" "), "S", "lines of sha256sum, sha256"),
        (LINES.replace(b"  ", b"\t"), "manifest-sha256.txt", "a bag's lines, sha256"),
        (LINES[:-1], "S", "lines of sha256sum, sha256"),
        (f"# by hand\n\n{A.upper()}  one\n{B.upper()}  two three\n".encode(), "S",
         "lines of sha256sum, sha256"),
        (codecs.BOM_UTF8 + LINES, "S",
         "lines of sha256sum, sha256, UTF-8 with a byte order mark"),
        (codecs.BOM_UTF16_LE + LINES.decode().replace("\n", "\r\n").encode("utf-16-le"), "S",
         "lines of sha256sum, sha256, lines end in CRLF, UTF-16"),
        (codecs.BOM_UTF16_BE + LINES.decode().encode("utf-16-be"), "S",
         "lines of sha256sum, sha256, UTF-16"),
        (b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + LINES
         + b"-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n", "S",
         "lines of sha256sum, sha256, in a PGP signed message whose signature is not checked"),
        (f"SHA256 (one) = {A}\nSHA256 (two three) = {B}\n".encode(), "S", "tagged lines, sha256"),
        (f"SHA2-256(one)= {A}\nSHA2-256(two three)= {B}\n".encode(), "S", "tagged lines, sha256"),
        (b"%%%% HASHDEEP-1.0\r\n%%%% size,md5,sha256,filename\r\n## Invoked\r\n"
         + f"1,{'0' * 32},{A},one\r\n22,{'1' * 32},{B},two three\r\n".encode(), "S",
         "hashdeep, sha256, lines end in CRLF"),
        (b"path;sha256\r\n" + f"one;{A}\r\ntwo three;{B}\r\n".encode(), "S",
         "csv, sha256, lines end in CRLF"),
        (f'{{"path": "one", "sha256": "{A}"}}\n{{"sha256": "{B}", "path": "two three"}}\n'.encode(),
         "S", "jsonl, sha256"),
    ],
)  # fmt: skip
def test_what_others_write_is_determined(content: bytes, name: str, told: str) -> None:
    kind, found = reads(content, name)
    assert pairs(found) == EXPECTED
    assert (
        kind.told().removesuffix(", lines end in CRLF") == told.removesuffix(", lines end in CRLF")
        or kind.told() == told
    )


@pytest.mark.parametrize(
    ("content", "name", "algorithm", "listed_as"),
    [
        (f"BLAKE3 (one) = {A}\nBLAKE3 (two three) = {B}\n".encode(), "S", "sha256", "blake3"),
        (f"MD5 (one) = {A[:32]}\nMD5 (two three) = {B[:32]}\n".encode(), "S", "sha256", "md5"),
        (f"SHA512 (one) = {A * 2}\nSHA512 (two three) = {B * 2}\n".encode(), "S", "blake3",
         "sha512"),
        (b"%%%% HASHDEEP-1.0\n%%%% size,md5,sha256,filename\n"
         + f"1,{'0' * 32},{A},one\n22,{'1' * 32},{B},two three\n".encode(), "S", "blake3",
         "sha256"),
        (f"{A[:32]}  one\n{B[:32]}  two three\n".encode(), "S", "sha256", "md5"),
        (f"{A}{A}  one\n{B}{B}  two three\n".encode(), "manifest-sha512.txt", "sha256", "sha512"),
        (LINES, "manifest-blake3.txt", "sha256", "blake3"),
        (b'{"path": "one", "md5": "x"}\n{"path": "two three"}\n', "S", "sha256",
         "md5"),
        (b"path,md5\none,x\ntwo three,y\n", "S", "sha256", "md5"),
    ],
)  # fmt: skip
def test_digests_of_another_algorithm_are_not_compared(
    content: bytes, name: str, algorithm: str, listed_as: str
) -> None:
    kind, found = reads(content, name, algorithm=algorithm)
    assert (kind.algorithm, kind.listed) == (algorithm, listed_as)
    assert pairs(found) == [(b"one", None), (b"two three", None)]
    assert kind.told().endswith(f": not compared, for {algorithm} is")
    held = entries([(b"one", A), (b"two three", A)])
    read = [line for line in found if isinstance(line, Listed)]
    assert {d.kind for d in listing.compare(read, held)} == {"not_compared"}


def test_a_list_of_blake3_is_compared_with_blake3_unasked() -> None:
    kind, found = reads(f"BLAKE3 (one) = {A}\n".encode())
    assert (kind.algorithm, pairs(found)) == ("blake3", [(b"one", A)])


def test_modes_of_shasum() -> None:
    """Universal line ends and bits: such digests are of something else than the file's bytes."""
    _, found = reads(f"{A}  one\n{B} Utwo\n{B} ^three\n{B} *four\n".encode())
    assert pairs(found) == [(b"one", A), (b"two", None), (b"three", None), (b"four", B)]


def test_lines_that_are_no_entries_stop_nothing() -> None:
    content = b"header\n" + LINES + b"sha256sum: x: No such file\n" + b"deadbeef  short\n"
    _, found = reads(content)
    assert [line for line in found if isinstance(line, Odd)] == [
        Odd(1, b"header"), Odd(4, b"sha256sum: x: No such file"), Odd(5, b"deadbeef  short"),
    ]  # fmt: skip
    assert pairs([line for line in found if isinstance(line, Listed)]) == EXPECTED


@given(st.binary(max_size=200), st.sampled_from(["S", "manifest-sha256.txt", "manifest-x.txt"]))
@example(codecs.BOM_UTF16_LE + b"a", "S")
@example(codecs.BOM_UTF32_LE + b"abc", "S")
@example(b'path,sha256\n"a', "S")
@example(b"%%%% HASHDEEP-1.0\n%%%% size,sha256,filename", "S")
@example(b"-----BEGIN PGP SIGNED MESSAGE-----", "S")
@example(b"{" * 200, "S")
@example(b'{"path": 1}\n{"path": ""}\n[]', "S")
def test_any_bytes_are_some_list(content: bytes, name: str) -> None:
    kind, found = reads(content, name)
    assert kind.told()
    for line in found:
        assert isinstance(line, Odd) or line.path


@given(st.text(max_size=9) | st.sampled_from(["=1", "'=1", "''-", "'", "", "+", "\t", "'a"]))
def test_no_cell_is_a_formula_and_none_is_lost(cell: str) -> None:
    written = manifest.guarded(cell)
    assert not written.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert manifest.without_guard(written) == cell


def test_csv_is_safe_in_every_cell() -> None:
    files = [Entry("=1", "@t", b"+p", A, 1, "-x")]
    text = b"".join(manifest.lines(files, "csv", "sha256", lambda *_: None)).decode()
    assert list(csv.reader(io.StringIO(text)))[1] == ["'=1", "'@t", "'+p", A, "1", "'-x"]


@given(names)
def test_a_name_as_text_has_no_halves_of_pairs(name: bytes) -> None:
    text = manifest.as_text(name)
    text.encode()
    assert manifest.from_text(text) == name


def kinds(theirs: list[tuple[str, str]], ours: list[Entry]) -> dict[str, str]:
    lines = [Listed(n, path.encode(), digest) for n, (path, digest) in enumerate(theirs)]
    return {d.path.decode(): d.kind for d in listing.compare(lines, ours)}


def entry(row_id: str, path: str, digest: str | None, *, is_hashed: bool = True) -> Entry:
    return Entry(row_id, None, path.encode(), digest, 1, None, is_hashed)


def test_what_contradicts_itself_is_no_agreement() -> None:
    twice = [("a", A), ("a", B), ("b", A), ("./b", A)]
    assert kinds(twice, [entry("1", "a", A), entry("2", "b", A)]) == {"a": "manifest_contradicts"}
    rows = [entry("1", "a", A), entry("2", "a", B), entry("3", "c", A), entry("4", "c", B)]
    assert kinds([("a", A)], rows) == {"a": "catalog_contradicts", "c": "catalog_contradicts"}
    found = listing.compare([Listed(1, b"a", A)], rows[:2])
    assert (found[0].in_manifest, found[0].in_catalog) == (A, f"{B}, {A}")
    assert found[0].row_id == "2", "the one that the list has not"
    same = [entry("1", "a", A), entry("2", "./a", A)]
    assert kinds([("a", A)], same) == {}


def test_rows_without_a_digest_are_told_apart() -> None:
    rows = [
        entry("1", "new", None, is_hashed=False), entry("2", "other", None),
        entry("3", "unlisted", None, is_hashed=False),
    ]  # fmt: skip
    assert kinds([("new", A), ("other", A), ("gone", A)], rows) == {
        "new": "not_hashed_yet", "other": "not_compared", "unlisted": "not_in_manifest",
        "gone": "not_in_catalog",
    }  # fmt: skip


def test_names_that_look_alike_are_told() -> None:
    lines = [Listed(1, "caf\u0065\u0301".encode(), A), Listed(2, b"dir\\file", B)]
    rows = [entry("1", "caf\u00e9", A), entry("2", "dir/file", B)]
    details = {d.kind + d.path.decode(): d.detail or "" for d in listing.compare(lines, rows)}
    assert len(details) == 4
    assert "another Unicode form" in details["not_in_catalogcafe\u0301"]
    assert "another kind of slash" in details["not_in_manifestdir/file"]
