"""Finished text on a terminal: what one has to look at stands out of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TextIO

from fasthash.colour import Style, is_wanted, paint

# The line of a summary that counts what could not be checked.
_NOT_CHECKED = (
    r"  [\d,]+ (files?|paths?|rows?) "
    r"(not found|could not|changed while|leads? outside|(is|are) no|ha(s|ve) metadata|"
    r"cannot be read|w(as|ere) not checked)"
)
# Which lines, what of them, and how. Names of files are in none of these places.
_RULES = [
    (re.compile(line), re.compile(part), style)
    for line, part, style in (
        (r"(run \d+ \(|dry run).*: ", r"^(run \d+ \(\w+\)|dry run)", Style.STRONG),
        (r"(run \d+ \(|dry run).*: failed ", r"(?<=: )failed", Style.BAD),
        (r"(run \d+ \(|dry run).*: interrupted ", r"(?<=: )interrupted", Style.WARNING),
        (r"  found   drift", r"(drift|failed) [1-9](,?\d)*", Style.BAD),
        (r"  found   drift", r"missing [1-9](,?\d)*", Style.WARNING),
        (r"  \S+, pid \d+: (DEAD|alive but SILENT)", r"(?<=: )DEAD|(?<=but )SILENT", Style.BAD),
        (r"    (HELD:|WAITING for)", r"HELD|WAITING", Style.WARNING),
        (r"  error: ", r"error", Style.BAD),
        (r"  .* written; [1-9]", r"[0-9,]+ mismatch(es)?", Style.BAD),
        (r"  not one of the files was found", r"not one.*", Style.BAD),
        (_NOT_CHECKED, r"[0-9].*", Style.WARNING),
        (r"  [\d,]+ drifts? to be decided", r"[\d,]+ drifts?", Style.WARNING),
        (r"drift \d+: row .*: corrupt, \w+$", r"corrupt(?=, \w+$)", Style.BAD),
        (r"drift \d+: row .*: (modified|unknown), \w+$", r"\w+(?=, \w+$)", Style.WARNING),
        (r"drift \d+: row .*, open$", r"open$", Style.STRONG),
    )
]
_HEADER = re.compile(r"  type .* bytes$")
_COLUMNS = {"drifted": Style.BAD, "no file": Style.WARNING, "failed": Style.BAD}

Span = tuple[int, int, Style]


def coloured(text: str, out: TextIO) -> str:
    """A report as `screen`, `summary` and `drift` make it, in colour where `out` gets any."""
    if not is_wanted(out):
        return text
    return "\n".join(map(_painted, text.split("\n"), _spans(text.split("\n"))))


def heading(line: str, out: TextIO) -> str:
    """The first line of a list."""
    return paint(line, Style.STRONG) if is_wanted(out) else line


def _painted(line: str, spans: list[Span]) -> str:
    for begin, end, style in sorted(spans, reverse=True):
        line = line[:begin] + paint(line[begin:end], style) + line[end:]
    return line


def _spans(lines: list[str]) -> Iterator[list[Span]]:
    """What is to be painted of each line."""
    columns: dict[int, Style] = {}  # by where they end, seen from the right: names may be wide
    for line in lines:
        if _HEADER.match(line):
            found = {name: line.find(name) + len(name) for name in _COLUMNS if name in line}
            columns = {end - len(line): _COLUMNS[name] for name, end in found.items()}
            yield [(2, len(line), Style.STRONG)]
            continue
        columns = columns if line else {}
        yield [*_of_rules(line), *_of_columns(line, columns)]


def _of_rules(line: str) -> Iterator[Span]:
    for of_line, of_part, style in _RULES:
        if of_line.match(line):
            yield from ((*part.span(), style) for part in of_part.finditer(line))


def _of_columns(line: str, columns: dict[int, Style]) -> Iterator[Span]:
    for from_right, style in columns.items():
        end = len(line) + from_right
        cell = re.search(r"(?<= )[1-9][\d,]*$", line[: max(0, end)])
        if cell:
            yield (*cell.span(), style)
