"""`--exclude`: which names a pattern means, compared with a model of another kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fasthash.errors import ConfigError
from fasthash.excluding import excluded_by, read_patterns

FOLDER = b"/data/in"


def model(pattern: str) -> re.Pattern[str]:
    """A whole pattern as one regular expression over the whole path."""
    folders = pattern.rstrip("/")
    parts = [part for part in folders.split("/") if part]
    names = [
        "".join({"*": "[^/]*", "?": "[^/]"}.get(c, re.escape(c)) for c in part) for part in parts
    ]
    text = "" if "/" in folders else "(?:[^/]+/)*"
    last = len(parts) - 1
    for n, (part, name) in enumerate(zip(parts, names, strict=True)):
        if part != "**" or (last == 0 and "/" not in folders):
            text += name + ("/" if n < last else "")
        elif n < last:
            text += "(?:[^/]+/)*"
        else:
            text += ".+"
    return re.compile(text, re.DOTALL)


NAMES = st.text(st.sampled_from("ab\n.é\udcff*?"), min_size=1, max_size=4).filter(
    lambda name: name not in (".", "..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=5)
PARTS = st.one_of(
    st.just("**"),
    st.text(st.sampled_from("ab\n.é\udcff*?"), min_size=1, max_size=4).filter(
        lambda part: part not in (".", "..")
    ),
)
PATTERNS = st.tuples(
    st.sampled_from(["", "/"]), st.lists(PARTS, min_size=1, max_size=4), st.sampled_from(["", "/"])
).map(lambda p: p[0] + "/".join(p[1]) + p[2])


@given(PATTERNS, PATHS, st.booleans())
@example("a/**", ["a"], True)
@example("a/**/b", ["a", "b"], False)
@example("**/b", ["b"], False)
@example("/**", ["a"], False)
@example("a/**/**", ["a", "b"], False)
def test_a_pattern_means_what_the_model_says(
    pattern: str, names: list[str], is_folder: bool
) -> None:
    path = "/".join(names)
    found = excluded_by([pattern], FOLDER)(path.encode("utf-8", "surrogateescape"), is_folder)
    wanted = model(pattern).fullmatch(path) is not None
    assert found == (wanted and (is_folder or not pattern.endswith("/")))


@given(st.lists(PATTERNS, max_size=5), PATHS, st.booleans())
def test_several_patterns_leave_out_what_any_does(
    patterns: list[str], names: list[str], is_folder: bool
) -> None:
    path = "/".join(names).encode("utf-8", "surrogateescape")
    each = [excluded_by([pattern], FOLDER)(path, is_folder) for pattern in patterns]
    assert excluded_by(patterns, FOLDER)(path, is_folder) == any(each)


@pytest.mark.parametrize(
    ("pattern", "left_out", "kept"),
    [
        ("*.pyc", ["x.pyc", "a/b/x.pyc", ".pyc"], ["x.py", "x.pyc.gz"]),
        ("[!a]x", ["bx", "d/bx"], ["ax", "x"]),
        ("[*]", ["*", "d/*"], ["x"]),
        ("/x", ["x"], ["d/x"]),
        ("d/x", ["d/x"], ["x", "e/d/x"]),
        ("d/*", ["d/x", "d/y"], ["d", "d/e/x"]),
        ("/data/in/d/x", ["d/x"], ["x", "data/in/d/x"]),
        ("/data/in2/d", ["data/in2/d"], ["d", "2/d"]),
        ("./x", ["x"], ["d/x"]),
        ("#x", ["#x"], ["x"]),
        ("**/!x", ["!x", "d/!x"], ["x"]),
        ("?", ["é", "\udcff", "\n"], ["ab"]),
        ("x\n*", ["x\ny"], ["x"]),
    ],
)
def test_patterns_of_the_help(pattern: str, left_out: list[str], kept: list[str]) -> None:
    is_excluded = excluded_by([pattern], FOLDER)
    for path in left_out + kept:
        raw = path.encode("utf-8", "surrogateescape")
        assert is_excluded(raw, False) == (path in left_out), path


@pytest.mark.parametrize("pattern", ["", "/", "//", ".", "./", "../x", "a/../b", "!x", "/data/in/"])
def test_patterns_that_can_match_nothing_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="--exclude"):
        excluded_by([pattern], FOLDER)


def test_a_file_of_patterns(tmp_path: Path) -> None:
    file = tmp_path / "patterns"
    file.write_bytes(b"\xef\xbb\xbf# a comment\n\n   \n*.o\r\n a b \n/x#y\n\xff*\nlast")
    assert read_patterns(str(file)) == ["*.o", " a b ", "/x#y", "\udcff*", "last"]
    file.write_bytes("*.o\n".encode("utf-16"))
    for bad, word in ((file, "NUL"), (tmp_path / "none", "No such file"), (tmp_path, "directory")):
        with pytest.raises(ConfigError, match=f"--exclude-from.*{word}"):
            read_patterns(str(bad))
