"""Lists of files and digests in the forms that other tools read and write. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

# As the tools name them.
TAGS = {"sha256": b"SHA256", "blake3": b"BLAKE3"}


class Entry(NamedTuple):
    """A file with a digest."""

    row_id: str
    artifact_type: str | None
    path: bytes
    digest: str  # hexadecimal, lower case
    size_bytes: int | None
    computed_at: str | None


def _escaped(path: bytes) -> tuple[bytes, bytes]:
    """A name as coreutils write it: a backslash before the line says that there are some in it."""
    new = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"" if new == path else b"\\"), new


def _sha256sum(entry: Entry, algorithm: str) -> bytes:
    lead, path = _escaped(entry.path)
    return b"%s%s  %s\n" % (lead, entry.digest.encode(), path)


def _bsd(entry: Entry, algorithm: str) -> bytes:
    lead, path = _escaped(entry.path)
    return b"%s%s (%s) = %s\n" % (lead, TAGS[algorithm], path, entry.digest.encode())


def _bagit(entry: Entry, algorithm: str) -> bytes:
    # RFC 8493, 2.1.3: these three and no others are percent-encoded.
    path = entry.path.replace(b"%", b"%25").replace(b"\n", b"%0A").replace(b"\r", b"%0D")
    return b"%s  %s\n" % (entry.digest.encode(), path)


def _hashdeep(entry: Entry, algorithm: str) -> bytes:
    # hashdeep itself escapes nothing: a name with a newline would be two lines of it.
    size = b"%d" % (entry.size_bytes or 0)
    return b"%s,%s,%s\n" % (size, entry.digest.encode(), entry.path)


def _jsonl(entry: Entry, algorithm: str) -> bytes:
    facts = {
        "id": entry.row_id,
        "artifact_type": entry.artifact_type,
        "path": entry.path.decode("utf-8", "surrogateescape"),
        algorithm: entry.digest,
        "size_bytes": entry.size_bytes,
        "computed_at": entry.computed_at,
    }
    return json.dumps(facts).encode() + b"\n"


def _csv(entry: Entry, algorithm: str) -> bytes:
    line = io.StringIO()
    path = entry.path.decode("utf-8", "surrogateescape")
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(
        [entry.row_id, entry.artifact_type, path, entry.digest, entry.size_bytes, entry.computed_at]
    )
    return line.getvalue().encode("utf-8", "surrogateescape")


FORMATS: dict[str, Callable[[Entry, str], bytes]] = {
    "sha256sum": _sha256sum,
    "bsd": _bsd,
    "bagit": _bagit,
    "hashdeep": _hashdeep,
    "jsonl": _jsonl,
    "csv": _csv,
}


def header(form: str, algorithm: str) -> bytes:
    """What comes before the first entry."""
    if form == "hashdeep":
        return b"%%%%%%%% HASHDEEP-1.0\n%%%%%%%% size,%s,filename\n##\n" % algorithm.encode()
    if form == "csv":
        return b'"id","artifact_type","path","%s","size_bytes","computed_at"\n' % algorithm.encode()
    return b""


def lines(entries: Iterable[Entry], form: str, algorithm: str) -> Iterator[bytes]:
    """A manifest, line by line.

    Args:
        entries: the files.
        form: one of FORMATS.
        algorithm: of the digests, `sha256` or `blake3`.
    """
    yield header(form, algorithm)
    write = FORMATS[form]
    for entry in entries:
        yield write(entry, algorithm)


class Listed(NamedTuple):
    """A line of somebody's manifest: its number, the name, and the digest (lower case)."""

    line_no: int
    path: bytes
    digest: str


def parse(content: Iterable[bytes]) -> Iterator[Listed | int]:
    """The entries of a manifest in any of the forms of lines (`sha256sum`, `bsd`, BagIt, hashdeep).

    Args:
        content: its lines.

    Yields:
        An entry, or the number of a line that is none.
    """
    columns: list[bytes] | None = None  # of hashdeep
    is_bagit = False
    for number, raw in enumerate(content, 1):
        line = raw.rstrip(b"\r\n") if not columns else raw.rstrip(b"\n")
        if line.startswith(b"%%%% size,"):
            columns = line[len(b"%%%% ") :].split(b",")
        if not line or line.startswith((b"#", b"%%%%")):
            continue
        found = _hashdeep_entry(line, columns) if columns else _entry(line, is_bagit)
        yield number if found is None else Listed(number, *found)


def _entry(line: bytes, is_bagit: bool) -> tuple[bytes, str] | None:
    escaped, line = line.startswith(b"\\"), line.removeprefix(b"\\")
    tag, bracket, rest = line.partition(b" (")
    if bracket and tag in TAGS.values():
        path, _, digest = rest.rpartition(b") = ")
    else:
        digest, _, path = line.partition(b" ")
        path = path[1:] if path[:1] in (b" ", b"*") else path
    if not _is_digest(digest) or not path:
        return None
    return (_unescaped(path) if escaped else path), digest.decode().lower()


def _unescaped(path: bytes) -> bytes:
    parts = path.split(b"\\\\")
    return b"\\".join(p.replace(b"\\n", b"\n").replace(b"\\r", b"\r") for p in parts)


def _hashdeep_entry(line: bytes, columns: list[bytes]) -> tuple[bytes, str] | None:
    cells = line.split(b",", len(columns) - 1)
    if b"sha256" not in columns or len(cells) < len(columns):
        return None
    digest = cells[columns.index(b"sha256")]
    return (cells[-1], digest.decode().lower()) if _is_digest(digest) else None


def _is_digest(text: bytes) -> bool:
    return len(text) == 64 and all(c in b"0123456789abcdefABCDEF" for c in text)
