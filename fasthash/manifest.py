"""Lists of files and digests in the forms that other tools read. Pure."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

# As the tools name them.
TAGS = {"sha256": b"SHA256", "blake3": b"BLAKE3"}
URI = "file:"


class Entry(NamedTuple):
    """A file with a digest; None where it has none yet, or not of that algorithm."""

    row_id: str
    artifact_type: str | None
    path: bytes
    digest: str | None  # hexadecimal, lower case
    size_bytes: int | None
    computed_at: str | None
    is_hashed: bool = True  # whether it has a SHA-256


def why_not(entry: Entry, form: str) -> str | None:
    """Why a form cannot have an entry, or None where it can.

    Args:
        entry: a file.
        form: one of FORMS.
    """
    if entry.digest is None:
        return "without a digest of this algorithm" if entry.is_hashed else "without a hash"
    if form == "hashdeep" and entry.size_bytes is None:
        return "without a recorded size, which hashdeep wants"
    if form == "hashdeep" and b"\n" in entry.path:
        return "with a newline in the name, which hashdeep cannot read"
    return None


def is_no_bag(entry: Entry) -> bool:
    """Whether a name leads out of a bag, which makes the whole bag invalid (RFC 8493, 2.1.3)."""
    return entry.path.startswith((b"/", b"~")) or b".." in entry.path.split(b"/")


def as_text(path: bytes) -> str:
    """A name as text: itself, or a `file:` URI (RFC 8089) where it is not UTF-8 or looks like one.

    Args:
        path: the name, absolute or not.
    """
    try:
        text = path.decode()
    except UnicodeDecodeError:
        text = URI
    if not text.startswith(URI):
        return text
    return ("file://" if path.startswith(b"/") else URI) + quote(path)


def from_text(text: str) -> bytes:
    """The name that a text stands for."""
    raw = text.encode("utf-8", "surrogateescape" if _is_escaped(text) else "replace")
    if not text.startswith(URI):
        return raw
    name = raw.removeprefix(b"file:")
    return unquote_to_bytes(name.removeprefix(b"//") if name.startswith(b"///") else name)


def _is_escaped(text: str) -> bool:
    """Whether all surrogates in a text stand for bytes."""
    return all("\udc80" <= c <= "\udcff" for c in text if "\ud800" <= c <= "\udfff")


# What a spreadsheet takes for the beginning of a formula, behind guards that are there already.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def guarded(cell: str) -> str:
    """A cell of CSV that no spreadsheet takes for a formula: an apostrophe before it."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def without_guard(cell: str) -> str:
    """The text that `guarded` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def _escaped(path: bytes) -> tuple[bytes, bytes]:
    """A name as coreutils write it: a backslash before the line says that there are some in it."""
    if path == b"-":
        return b"", b"./-"  # the tools would read their standard input
    new = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"" if new == path else b"\\"), new


def _sha256sum(entry: Entry, digest: str, algorithm: str) -> bytes:
    lead, path = _escaped(entry.path)
    return b"%s%s  %s\n" % (lead, digest.encode(), path)


def _bsd(entry: Entry, digest: str, algorithm: str) -> bytes:
    lead, path = _escaped(entry.path)
    return b"%s%s (%s) = %s\n" % (lead, TAGS[algorithm], path, digest.encode())


def _bagit(entry: Entry, digest: str, algorithm: str) -> bytes:
    # RFC 8493, 2.1.3: these three and no others are percent-encoded.
    path = entry.path.replace(b"%", b"%25").replace(b"\n", b"%0A").replace(b"\r", b"%0D")
    return b"%s  %s\n" % (digest.encode(), path)


def _hashdeep(entry: Entry, digest: str, algorithm: str) -> bytes:
    # hashdeep itself escapes nothing.
    return b"%d,%s,%s\n" % (entry.size_bytes or 0, digest.encode(), entry.path)


def _clean(text: str | None) -> str | None:
    """A text without halves of surrogate pairs, which are no UTF-8."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def _jsonl(entry: Entry, digest: str, algorithm: str) -> bytes:
    facts = {
        "id": _clean(entry.row_id),
        "artifact_type": _clean(entry.artifact_type),
        "path": as_text(entry.path),
        algorithm: digest,
        "size_bytes": entry.size_bytes,
        "computed_at": _clean(entry.computed_at),
    }
    return json.dumps(facts).encode() + b"\n"


def _csv(entry: Entry, digest: str, algorithm: str) -> bytes:
    line = io.StringIO()
    texts = (entry.row_id, entry.artifact_type, as_text(entry.path), digest)
    cells = [guarded(_clean(text) or "") for text in texts]
    writer = csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow([*cells, entry.size_bytes, guarded(_clean(entry.computed_at) or "")])
    return line.getvalue().encode()


_WRITERS: dict[str, Callable[[Entry, str, str], bytes]] = {
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


def lines(
    entries: Iterable[Entry], form: str, algorithm: str, left_out: Callable[[Entry, str], object]
) -> Iterator[bytes]:
    """A manifest, line by line.

    Args:
        entries: the files.
        form: one of `dialect.FORMS`.
        algorithm: of the digests, `sha256` or `blake3`.
        left_out: told of each file that the list cannot have, and why.
    """
    yield header(form, algorithm)
    write = _WRITERS[form]
    for entry in entries:
        reason = why_not(entry, form)
        if reason is not None or entry.digest is None:
            left_out(entry, reason or "")
        else:
            yield write(entry, entry.digest, algorithm)
