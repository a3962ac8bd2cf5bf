"""Which files and folders below a directory are left out, by patterns."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fasthash.errors import ConfigError

ANY_FOLDERS = "**"
# Whether a path, given as it lies below the directory, is left out; and whether it is a folder.
Excluded = Callable[[bytes, bool], bool]

_Match = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A pattern, taken apart.

    `parts` are its names from the directory on, or one name that may lie at any depth.
    """

    parts: tuple[str, ...]
    at_any_depth: bool
    folders_only: bool


def excluded_by(patterns: Sequence[str], folder: bytes) -> Excluded:
    """What tells whether a path is left out.

    A pattern without a slash is compared with the name of a file or folder, at any depth. One with
    a slash (a trailing one aside) is compared with the path from the directory on; one that begins
    with the directory's own path means what lies below it. `*`, `?`, `[abc]` and `[!abc]` stand for
    characters of one name, as in the shell; a part `**` stands for any number of folders, at the
    end for whatever is in there. A slash at the end means folders only. Names are compared as
    UTF-8; each byte that is not is a character of its own.

    Args:
        patterns: as they were written.
        folder: the directory, an absolute path.

    Raises:
        ConfigError: a pattern can match nothing.
    """
    parsed = [_parse(pattern, _text(folder)) for pattern in patterns]
    by_name = [
        _names([p for p in parsed if p.at_any_depth and (is_folder or not p.folders_only)])
        for is_folder in (False, True)
    ]
    by_path = [
        [_compiled(p) for p in parsed if not p.at_any_depth and (is_folder or not p.folders_only)]
        for is_folder in (False, True)
    ]

    def is_excluded(path: bytes, is_folder: bool) -> bool:
        text = _text(path)
        named = by_name[is_folder]
        if named is not None and named(text.rpartition("/")[2]):
            return True
        names = text.split("/") if by_path[is_folder] else ()
        return any(_matches(parts, names) for parts in by_path[is_folder])

    return is_excluded


def read_patterns(path: str) -> list[str]:
    """The patterns of a file, one a line; blank lines and those that begin with `#` are none.

    Raises:
        ConfigError: it cannot be read, or is no list of patterns.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ConfigError(f"cannot read {path} (--exclude-from): {error.strerror}") from error
    if b"\0" in content:
        raise ConfigError(f"{path} (--exclude-from) holds a NUL byte: it is no list of patterns")
    text = _text(content.removeprefix(b"\xef\xbb\xbf"))
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _parse(pattern: str, folder: str) -> _Pattern:
    if pattern.startswith("!"):
        raise ConfigError(
            f"--exclude {pattern}: nothing is included again by `!`; a name that begins with it is "
            f"**/{pattern}"
        )
    own = folder.rstrip("/") + "/"
    below = f"/{pattern.removeprefix(own)}" if pattern.startswith(own) else pattern
    parts = tuple(part for part in below.split("/") if part not in ("", "."))
    if ".." in parts or not parts:
        why = "leads out of the directory" if parts else "names nothing in the directory"
        raise ConfigError(f"--exclude {pattern!r} {why}")
    return _Pattern(parts, "/" not in below.rstrip("/"), below.endswith("/"))


def _names(patterns: Sequence[_Pattern]) -> _Match | None:
    """What tells whether a name is matched by any of the patterns; None where there are none."""
    each = (fnmatch.translate(pattern.parts[0]) for pattern in patterns)
    return re.compile("|".join(each)).match if patterns else None


def _compiled(pattern: _Pattern) -> list[_Match | None]:
    """What each part of a pattern is compared with; None for any number of folders."""
    return [
        None if part == ANY_FOLDERS else re.compile(fnmatch.translate(part)).match
        for part in pattern.parts
    ]


def _matches(parts: Sequence[_Match | None], names: Sequence[str]) -> bool:
    """Whether the names of a path are those of a pattern, all of them.

    Goes through the names once, with the set of the places in the pattern that the ones before
    can have led to.
    """
    end = len(parts)
    places = _with_skipped({0}, parts)
    for name in names:
        after = set()
        for place in places - {end}:
            match = parts[place]
            if match is None:
                after |= {place, end} if place == end - 1 else {place}
            elif match(name):
                after.add(place + 1)
        places = _with_skipped(after, parts)
        if not places:
            return False
    return end in places


def _with_skipped(places: set[int], parts: Sequence[_Match | None]) -> set[int]:
    """The places, and those behind a `**` that stands for no folder; at the end it does not."""
    found = set(places)
    for place in range(min(places, default=0), len(parts) - 1):
        if place in found and parts[place] is None:
            found.add(place + 1)
    return found
