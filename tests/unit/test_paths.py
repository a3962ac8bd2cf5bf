"""Names alone: no text can name a file outside the roots, and every byte can be named."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fasthash.fixity import Root, Verdict
from fasthash.paths import (
    LONGEST_PATH_BYTES,
    PathRefusedError,
    candidates,
    decode,
    encode,
    is_beneath,
    is_inside,
)

A = Root(b"/data/a", b"/data/a", 1, 1)
LINK = Root(b"/srv/link", b"/mnt/real", 1, 2)
SLASH = Root(b"/", b"/", 1, 3)
ROOTS = (A, LINK)

STARTS = [
    "", "/", "//", "///", "./", "../", "file:///", "file:////", "file://", "file:/", "FILE:///",
    "file://localhost/", "/data/a", "/data/a/", "//data/a/", "/data//a/./", "/srv/link/",
    "/mnt/real/", "/data/ab/", "/data/a/../", "file:///data/a/", "file:///data/a/%2e%2e/",
]  # fmt: skip
SEGMENTS = [
    "..", ".", "", "...", "a", "ab", "data", "srv", "link", "mnt", "real", "a..b", "..a", "a..",
    "%2e%2e", "%2E.", "%2F", "..%2f..", "%00", "%", "%zz", "é", "\u202e", "a\nb", "a b", "\\..\\",
    "..\u2044", "~", "$HOME", "*",
]  # fmt: skip
texts = st.builds(
    lambda start, segments: start + "/".join(segments),
    st.sampled_from(STARTS),
    st.lists(st.sampled_from(SEGMENTS), max_size=10),
) | st.text(max_size=60)


def walk(path: bytes) -> list[bytes]:
    """Where a path leads if no name in it is a link: written apart from the code under test."""
    assert path.startswith(b"/")
    stack: list[bytes] = []
    for name in path.split(b"/"):
        if name == b"..":
            stack = stack[:-1]
        elif name not in (b"", b"."):
            stack.append(name)
    return stack


def lies_in(path: bytes, root: Root) -> bool:
    found = walk(path)
    return any(found[: len(walk(r))] == walk(r) for r in (root.path, root.real_path))


@given(texts)
@example("/data/a/../../etc/passwd")
@example("file:///data/a/%2e%2e/%2e%2e/etc/passwd")
@example("//etc/passwd")
@example("/data/ab")
def test_no_text_names_a_file_outside_the_roots(text: str) -> None:
    try:
        found = candidates(text, ROOTS)
    except PathRefusedError as refused:
        assert refused.verdict in (Verdict.OUTSIDE_ROOT, Verdict.NO_FILE)
        assert refused.detail
        return
    assert found
    for path in found:
        assert b"\0" not in path
        assert any(lies_in(path, root) for root in ROOTS), path


@given(texts)
def test_nothing_is_refused_but_what_leads_out(text: str) -> None:
    raw = decode(text)
    whole = raw if raw.startswith(b"/") else b"/data/a/" + raw
    if not text or b"\0" in raw or not lies_in(whole, A):
        return
    assert whole in candidates(text, ROOTS)


@given(texts)
def test_with_the_whole_tree_as_root_nothing_is_outside(text: str) -> None:
    try:
        candidates(text, [SLASH])
    except PathRefusedError as refused:
        assert refused.verdict == Verdict.NO_FILE, refused.detail


@given(st.lists(st.sampled_from(["x", "y.png", "é", "a b"]), min_size=1, max_size=5))
def test_a_relative_path_is_tried_beneath_each_root_in_their_order(names: list[str]) -> None:
    text = "/".join(names)
    assert candidates(text, ROOTS) == [root.path + b"/" + text.encode() for root in ROOTS]
    assert candidates(text, ROOTS[::-1]) == candidates(text, ROOTS)[::-1]


def test_an_absolute_path_is_one_path_whichever_name_of_the_root_it_uses() -> None:
    for text in ("/srv/link/x", "/mnt/real/x", "/data/a/x", "//data/a/x"):
        assert candidates(text, ROOTS) == [text.encode()]


@pytest.mark.parametrize(
    "text",
    [
        "../a2/x", "/data/a2", "/data", "/", "..", "x/../..", "/srv", "/mnt", "/mnt/real2/x",
        "file:///data/a%2F..%2F..%2Fx", "file:///data/ab/x", "/proc/self/root/data/a/x",
    ],
)  # fmt: skip
def test_neighbours_and_parents_of_a_root_are_outside(text: str) -> None:
    with pytest.raises(PathRefusedError) as caught:
        candidates(text, ROOTS)
    assert caught.value.verdict == Verdict.OUTSIDE_ROOT


def test_without_roots_everything_is_outside() -> None:
    for text in ("x", "/x", "../x"):
        with pytest.raises(PathRefusedError) as caught:
            candidates(text, ())
        assert caught.value.verdict == Verdict.OUTSIDE_ROOT


@given(st.sampled_from(["", "x", "/data/a/x", "file:///data/a/x"]), texts)
def test_a_nul_anywhere_names_no_file(start: str, rest: str) -> None:
    for text in (f"{start}\0{rest}", f"file:///data/a/%00{start}"):
        with pytest.raises(PathRefusedError) as caught:
            candidates(text, ROOTS)
        assert caught.value.verdict == Verdict.NO_FILE


def test_the_longest_path_is_the_kernels() -> None:
    assert LONGEST_PATH_BYTES == 4095
    fits = "/data/a/" + "x" * (LONGEST_PATH_BYTES - len("/data/a/"))
    assert candidates(fits, ROOTS) == [fits.encode()]
    with pytest.raises(PathRefusedError) as caught:
        candidates(fits + "x", ROOTS)
    assert caught.value.verdict == Verdict.NO_FILE
    accents = "/data/a/" + "é" * 2044  # bytes count, not characters
    with pytest.raises(PathRefusedError):
        candidates(accents, ROOTS)


def test_a_path_too_long_beneath_one_root_may_fit_beneath_another() -> None:
    long = Root(b"/" + b"d" * 100, b"/" + b"d" * 100, 1, 1)
    short = Root(b"/s", b"/s", 1, 2)
    assert b"/s/" + b"x" * 4050 in candidates("x" * 4050, [long, short])


@given(st.binary())
def test_any_bytes_are_named_by_a_text_of_utf_8(rest: bytes) -> None:
    path = b"/" + rest
    text = encode(path)
    text.encode("utf-8")  # PostgreSQL takes nothing else
    assert decode(text) == path
    try:
        assert text == path.decode("utf-8")  # and reads as it is, where that is possible
    except UnicodeDecodeError:
        assert text.isascii()


@given(st.text().filter(lambda t: not t.startswith("file:///")))
def test_any_other_text_is_the_name_itself(text: str) -> None:
    assert decode(text) == text.encode()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("file:///a%20b", b"/a b"),
        ("file:///a%ff%FE", b"/a\xff\xfe"),
        ("file:///100%", b"/100%"),
        ("file:///a%2Fb", b"/a/b"),
        ("file:///é", "/é".encode()),
        ("a%20b", b"a%20b"),
        ("file://host/a", b"file://host/a"),
        ("File:///a", b"File:///a"),
    ],
)
def test_only_file_uris_have_escapes(text: str, name: bytes) -> None:
    assert decode(text) == name


@given(st.sampled_from([b"/", b"/data", b"/data/a"]), texts)
def test_beneath_is_by_whole_names(folder: bytes, text: str) -> None:
    path = b"/" + b"/".join(walk(b"/" + text.encode()))
    assert is_beneath(path, folder) == (walk(path)[: len(walk(folder))] == walk(folder))


def test_an_opened_file_counts_by_its_real_path_alone() -> None:
    assert is_inside(b"/mnt/real/x", ROOTS)
    assert is_inside(b"/mnt/real", ROOTS)
    assert not is_inside(b"/srv/link/x", ROOTS)  # a link cannot be part of a real path
    assert not is_inside(b"/mnt/real2/x", ROOTS)
    assert not is_inside(b"(unreachable)/data/a/x", ROOTS)
    assert is_inside(b"/anything", [SLASH])
