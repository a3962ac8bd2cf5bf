"""How a list of digests from elsewhere is written: determined once, for the whole of it. Pure."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

FORMS = ("sha256sum", "bsd", "bagit", "hashdeep", "jsonl", "csv")
# What a catalog may have.
ALGORITHMS = ("sha256", "blake3")
# So much is looked at to determine what a list is.
SAMPLE_BYTES = 1024 * 1024
SAMPLE_LINES = 1_000

HASHDEEP = b"%%%% "
# coreutils, BSD's md5 and its kin, OpenSSL (without the blanks): `SHA256 (name) = digest`.
TAG = re.compile(rb"\\?([A-Za-z0-9][A-Za-z0-9/-]*) ?\((.*)\) ?= ?([0-9a-fA-F]{8,128})", re.DOTALL)
# coreutils and the like: an escape mark, a digest, a blank and a mark for the mode, a name.
LINE = re.compile(rb"\\?([0-9a-fA-F]{32,128})([ \t]+)(.*)", re.DOTALL)
# RFC 8493, 2.1.3 and 2.2.1.
OF_A_BAG = re.compile(r"(?:tag)?manifest-([A-Za-z0-9]+)\.txt")
_BY_LENGTH = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a list is written in.

    Args:
        form: one of FORMS.
        algorithm: that is compared.
        listed: the algorithm of the list's digests, as far as the whole list has one.
        line_end: LF, CRLF or NUL; of a list with NUL nothing is escaped.
        has_modes: whether a blank is followed by a mark for the mode.
        columns: of hashdeep or CSV.
        delimiter: of CSV.
        encoding: of the text, where a byte order mark told it.
        is_signed: whether it stands in a PGP signed message.
    """

    form: str
    algorithm: str
    listed: str
    line_end: bytes = b"\n"
    has_modes: bool = True
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    encoding: str = ""
    is_signed: bool = False

    def told(self) -> str:
        """What was determined, for people."""
        ends = {b"\n": "", b"\r\n": ", lines end in CRLF", b"\0": ", lines end in NUL"}
        names = {"sha256sum": "lines of sha256sum", "bsd": "tagged lines", "bagit": "a bag's lines"}
        said = f"{names.get(self.form, self.form)}, {self.listed}{ends[self.line_end]}"
        if self.encoding:
            said += f", {self.encoding}"
        if self.is_signed:
            said += ", in a PGP signed message whose signature is not checked"
        if self.listed != self.algorithm:
            said += f": not compared, for {self.algorithm} is"
        return said


def determine(
    head: bytes, name: str, algorithm: str | None = None, form: str | None = None
) -> Dialect:
    """What a list is written in.

    Args:
        head: its first bytes, about `SAMPLE_BYTES` of them; all if it is shorter.
        name: of the file: that of a bag's manifest tells its form and algorithm.
        algorithm: that is to be compared; None for the one of the list.
        form: where the form is known.
    """
    text, encoding = _decoded(head)
    line_end = b"\0" if b"\0" in text else b"\n"
    lines = [line for line in text.split(line_end) if line.strip()][:SAMPLE_LINES]
    is_signed = bool(lines) and lines[0].rstrip() == b"-----BEGIN PGP SIGNED MESSAGE-----"
    if is_signed:
        body = text[text.find(b"\n\n") + 1 :] if b"\n\n" in text else text[text.find(b"\r\n\r\n") :]
        lines = [line for line in body.split(b"\n") if line.strip()][:SAMPLE_LINES]
    if line_end == b"\n" and _ends_in_cr(lines, whole=text.endswith(b"\n")):
        line_end = b"\r\n"
        lines = [line.removesuffix(b"\r") for line in lines]
    of_bag = OF_A_BAG.fullmatch(name)
    form = form or ("bagit" if of_bag else _form(lines))
    columns, delimiter = _columns(form, lines)
    listed = of_bag[1].lower() if of_bag and form == "bagit" else _listed(form, lines, columns)
    chosen = algorithm or (listed if listed in ALGORITHMS else "sha256")
    if form in ("bsd", "hashdeep", "jsonl", "csv"):
        listed = chosen if _has(form, lines, columns, chosen) else listed
    elif algorithm is not None and listed == "sha256" and form == "sha256sum":
        listed = algorithm  # of the same length: nothing else can be told
    return Dialect(
        form, chosen, listed, line_end, _has_modes(lines), columns, delimiter, encoding, is_signed
    )


def transcoded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of a list in UTF-8, without a byte order mark.

    Args:
        chunks: the bytes as they are.
    """
    decode: codecs.IncrementalDecoder | None = None
    for number, chunk in enumerate(chunks):
        found = _mark(chunk) if number == 0 else None
        if found is not None:
            mark, codec, _ = found
            chunk = chunk.removeprefix(mark)  # noqa: PLW2901
            if codec != "utf-8":
                decode = codecs.getincrementaldecoder(codec)("replace")
        yield decode.decode(chunk).encode("utf-8", "replace") if decode else chunk


def _mark(head: bytes) -> tuple[bytes, str, str] | None:
    return next((found for found in _MARKS if head.startswith(found[0])), None)


def _decoded(head: bytes) -> tuple[bytes, str]:
    found = _mark(head)
    return b"".join(transcoded([head])), found[2] if found else ""


def _ends_in_cr(lines: Sequence[bytes], *, whole: bool) -> bool:
    """Whether a CR belongs to the end of each line: of hashdeep's, the first tells."""
    if lines and lines[0].startswith(HASHDEEP):
        return lines[0].endswith(b"\r")
    complete = lines if whole or len(lines) == 1 else lines[:-1]
    return bool(complete) and all(line.endswith(b"\r") for line in complete)


def _form(lines: Sequence[bytes]) -> str:
    if not lines:
        return "sha256sum"
    if lines[0].startswith(HASHDEEP):
        return "hashdeep"
    if lines[0].startswith(b"{") and _facts(lines[0]) is not None:
        return "jsonl"
    if {"path"} <= set(_cells(lines[0])[0]):
        return "csv"
    tagged = sum(TAG.fullmatch(line) is not None for line in lines)
    plain = sum(LINE.fullmatch(line) is not None for line in lines)
    return "bsd" if tagged > plain else "sha256sum"


def _facts(line: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _cells(line: bytes) -> tuple[tuple[str, ...], str]:
    """The names of columns, and what is between them."""
    text = line.decode("utf-8", "replace").strip()
    delimiter = max(",;\t", key=text.count)
    try:
        cells = next(csv.reader(io.StringIO(text), delimiter=delimiter), [])
    except csv.Error:
        return (), delimiter
    return tuple(cells), delimiter


def _columns(form: str, lines: Sequence[bytes]) -> tuple[tuple[str, ...], str]:
    if form == "csv" and lines:
        return _cells(lines[0])
    if form == "hashdeep":
        for line in lines:
            if line.startswith(HASHDEEP + b"size,"):
                cells = line.removeprefix(HASHDEEP).decode("ascii", "replace").strip().split(",")
                return tuple(cells), ","
    return (), ","


def _listed(form: str, lines: Sequence[bytes], columns: Sequence[str]) -> str:
    """The algorithm of most digests; of the catalog's own the first that is there."""
    if form in ("hashdeep", "csv"):
        known = [name for name in ALGORITHMS if name in columns]
        others = [c for c in columns if c in _BY_LENGTH.values() or c in ("tiger", "whirlpool")]
        return (known or others or ["no digest"])[0]
    if form == "jsonl":
        facts = _facts(lines[0]) if lines else {}
        return next((n for n in (*ALGORITHMS, *_BY_LENGTH.values()) if n in (facts or {})), "none")
    if form == "bsd":
        tags = [algorithm_of(tag[1]) for line in lines if (tag := TAG.fullmatch(line)) is not None]
        return next((name for name in ALGORITHMS if name in tags), tags[0] if tags else "sha256")
    lengths = Counter(len(found[1]) for line in lines if (found := LINE.fullmatch(line)))
    length = lengths.most_common(1)[0][0] if lengths else 64
    return _BY_LENGTH.get(length, f"digests of {length * 4} bits")


def _has(form: str, lines: Sequence[bytes], columns: Sequence[str], algorithm: str) -> bool:
    """Whether a list has digests of an algorithm."""
    if form in ("hashdeep", "csv"):
        return algorithm in columns
    if form == "jsonl":
        return any(algorithm in (_facts(line) or {}) for line in lines[:10])
    tags = {found[1] for line in lines if (found := TAG.fullmatch(line)) is not None}
    return algorithm in map(algorithm_of, tags)


def algorithm_of(tag: bytes) -> str:
    """The algorithm that a tag names, as a catalog's key has it."""
    return tag.decode("ascii").lower().replace("sha2-", "sha").replace("-", "")


def _has_modes(lines: Sequence[bytes]) -> bool:
    """Whether names stand behind a mark for the mode, as coreutils and shasum write it."""
    found = [m for line in lines if (m := LINE.fullmatch(line)) is not None]
    second = [(m[2] + m[3])[1:2] for m in found if m[2].startswith(b" ")]
    if any(mark in (b" ", b"*") for mark in second):
        return True
    return len(second) > 1 and len(set(second)) == 1 and second[0] in (b"U", b"^", b"?")
