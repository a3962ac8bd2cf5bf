"""The entries of a list from elsewhere, read as its dialect says. Pure."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from fasthash import manifest
from fasthash.dialect import HASHDEEP, LINE, TAG, Dialect, algorithm_of, transcoded

_SIGNATURE = b"-----BEGIN PGP SIGNATURE-----"
_BAG_ESCAPE = re.compile(rb"%(25|0[AaDd])")
_DIGEST = re.compile(rb"[0-9a-fA-F]{64}")


class Listed(NamedTuple):
    """An entry: the number of its line, the name, and the digest (lower case).

    The digest is None where it is of another algorithm than the one that is compared.
    """

    line_no: int
    path: bytes
    digest: str | None


class Odd(NamedTuple):
    """A line that is no entry."""

    line_no: int
    text: bytes


Found = Listed | Odd


def read(chunks: Iterable[bytes], dialect: Dialect) -> Iterator[Found]:
    """The entries of a list, and the lines that are none.

    Args:
        chunks: its bytes, from the first.
        dialect: as `dialect.determine` found it.
    """
    text = transcoded(chunks)
    if dialect.form == "csv":
        yield from _csv(text, dialect)
        return
    entry = _PARSERS[dialect.form]
    for number, raw in _numbered(_lines(text, dialect.line_end), is_signed=dialect.is_signed):
        line = raw.removesuffix(dialect.line_end)
        if not line.strip() or _is_remark(line, dialect):
            continue
        found = entry(line, dialect)
        yield Odd(number, line) if found is None else Listed(number, *found)


def _lines(chunks: Iterable[bytes], line_end: bytes) -> Iterator[bytes]:
    """Lines with their ends."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(line_end)
        for line in whole:
            yield line + line_end
    if rest:
        yield rest


def _numbered(lines: Iterable[bytes], *, is_signed: bool) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers, without what a signed message has around them."""
    in_header = is_signed
    for number, line in enumerate(lines, 1):
        if is_signed and line.startswith(_SIGNATURE):
            return
        if not in_header:
            yield number, line.removeprefix(b"- ") if is_signed else line
        elif not line.strip():
            in_header = False


def _is_remark(line: bytes, dialect: Dialect) -> bool:
    if dialect.form == "hashdeep":
        return line.startswith((HASHDEEP, b"#"))
    return line.startswith(b"#")


# A name and a digest; None where a line is no entry.
_Parsed = tuple[bytes, str | None] | None


def _plain(line: bytes, dialect: Dialect) -> _Parsed:
    found = LINE.fullmatch(line)
    if found is None or len(found[1]) not in _lengths(dialect):
        return None
    name = _named(found[2] + found[3], dialect)
    is_escaped = line.startswith(b"\\") and dialect.line_end != b"\0"
    path = _unescaped(name[0]) if is_escaped else name[0]
    return (path, _digest(found[1], dialect) if name[1] else None) if path else None


def _named(rest: bytes, dialect: Dialect) -> tuple[bytes, bool]:
    """The name in what follows a digest, and whether that is a digest of the file's bytes."""
    if dialect.form == "bagit":
        two = rest[:2] in (b"  ", b" *")
        return rest[2:] if two else rest.lstrip(b" \t"), True
    if not dialect.has_modes:
        return rest[1:], True
    mark = rest[1:2]
    if mark in (b" ", b"*"):
        return rest[2:], True
    return (rest[2:], False) if mark in (b"U", b"^", b"?") else (rest[1:], True)


def _bagit(line: bytes, dialect: Dialect) -> _Parsed:
    found = _plain(line.removeprefix(b"\\"), dialect)
    if found is None:
        return None
    return _BAG_ESCAPE.sub(lambda m: bytes([int(m[1], 16)]), found[0]), found[1]


def _bsd(line: bytes, dialect: Dialect) -> _Parsed:
    found = TAG.fullmatch(line)
    if found is None or not found[2]:
        return None
    is_escaped = line.startswith(b"\\") and dialect.line_end != b"\0"
    path = _unescaped(found[2]) if is_escaped else found[2]
    if algorithm_of(found[1]) != dialect.algorithm:
        return path, None
    return (path, found[3].decode().lower()) if _DIGEST.fullmatch(found[3]) else None


def _hashdeep(line: bytes, dialect: Dialect) -> _Parsed:
    cells = line.split(b",", len(dialect.columns) - 1)
    if len(dialect.columns) < 2 or len(cells) < len(dialect.columns) or not cells[-1]:
        return None
    if dialect.algorithm not in dialect.columns:
        return cells[-1], None
    digest = cells[dialect.columns.index(dialect.algorithm)]
    return (cells[-1], digest.decode().lower()) if _DIGEST.fullmatch(digest) else None


def _jsonl(line: bytes, dialect: Dialect) -> _Parsed:
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(facts, dict) or not isinstance(facts.get("path"), str):
        return None
    return _with_digest(facts["path"], facts.get(dialect.algorithm))


def _with_digest(path: str, digest: object) -> _Parsed:
    """An entry of a form that calls names as `manifest.as_text` does."""
    if not path:
        return None
    if digest is None:
        return manifest.from_text(path), None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest.encode("utf-8", "replace")):
        return None
    return manifest.from_text(path), digest.lower()


def _csv(chunks: Iterable[bytes], dialect: Dialect) -> Iterator[Found]:
    lines = (line.decode("utf-8", "surrogateescape") for line in _lines(chunks, b"\n"))
    reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
    place = {name: n for n, name in enumerate(dialect.columns)}
    begins = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Odd(begins, str(error).encode())
            begins = reader.line_num + 1
            continue
        if cells is None:
            return
        if begins > 1 and cells:
            shown = dialect.delimiter.join(cells).encode("utf-8", "surrogateescape")
            found = _csv_entry(cells, place, dialect)
            yield Odd(begins, shown) if found is None else Listed(begins, *found)
        begins = reader.line_num + 1


def _csv_entry(cells: list[str], place: dict[str, int], dialect: Dialect) -> _Parsed:
    if len(cells) < len(place):
        return None
    column = place.get(dialect.algorithm)
    digest = cells[column] if column is not None else None
    return _with_digest(manifest.without_guard(cells[place["path"]]), digest)


_PARSERS: dict[str, Callable[[bytes, Dialect], _Parsed]] = {
    "sha256sum": _plain,
    "bagit": _bagit,
    "bsd": _bsd,
    "hashdeep": _hashdeep,
    "jsonl": _jsonl,
}


def _lengths(dialect: Dialect) -> range | tuple[int, ...]:
    """How long digests are: of another algorithm, as they come."""
    return (64,) if dialect.listed == dialect.algorithm else range(8, 129)


def _digest(text: bytes, dialect: Dialect) -> str | None:
    return text.decode().lower() if dialect.listed == dialect.algorithm else None


def _unescaped(path: bytes) -> bytes:
    parts = path.split(b"\\\\")
    return b"\\".join(p.replace(b"\\n", b"\n").replace(b"\\r", b"\r") for p in parts)
