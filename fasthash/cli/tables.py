"""Lists for people and machines: where they go, aligned rows written as they come, JSON."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TextIO

import click

from fasthash import streams
from fasthash.cli.colour import heading
from fasthash.errors import ResultLost
from fasthash.fixity import Counts
from fasthash.logs import printable
from fasthash.summary import RunSummary
from fasthash.widths import cut, display_width, shorten

GAP = "  "
# A list is aligned block by block: as many rows as are fetched at once, so memory stays flat.
BLOCK_ROWS = 2_000
# Where nothing is shortened, one long path must not push the next column far out on every line.
MOST_PADDING = 60


@contextlib.contextmanager
def standard_output(*, exact: bool = False) -> Iterator[TextIO]:
    """Standard output for long lists; flushed at the end, and never a traceback.

    A reader who has enough (`| head`) ends the command in silence, with status 0.

    Args:
        exact: UTF-8 whatever the locale; otherwise characters that it lacks come as escapes.

    Raises:
        ResultLost: it cannot be written to (a full disk, `>&-`).
    """
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        if exact:
            out.reconfigure(encoding="utf-8")
        else:
            out.reconfigure(errors="backslashreplace")
    try:
        yield out
        out.flush()
    except OSError as error:
        streams.discard(out)  # else the interpreter complains at its end of what is still buffered
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(0) from None
        raise ResultLost(error) from error


def has_blocks() -> bool:
    """Whether standard output can show block characters."""
    try:
        "▁█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def screen_columns() -> int:
    """The width to fit text into: the terminal's, COLUMNS, or 80."""
    return max(40, shutil.get_terminal_size().columns)


def list_columns() -> int | None:
    """The width for lists: the screen's; None (nothing is shortened) in a file or a pipe."""
    return screen_columns() if sys.stdout.isatty() else None


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a table and what gives way, in steps, where the screen is too narrow.

    Args:
        header: a heading a column.
        steps: a column's number and the width it may be brought down to; 0 leaves it out.
        prose: columns that are cut at the end, not in the middle.
    """

    header: tuple[str, ...]
    steps: tuple[tuple[int, int], ...]
    prose: frozenset[int] = frozenset()

    def fit(self, natural: Sequence[int], columns: int) -> list[int]:
        """Widths that fit beside each other, as far as the steps go."""
        widths = list(natural)
        for n, least in self.steps:
            gaps = len(GAP) * (sum(map(bool, widths)) - 1)
            excess = sum(widths) + gaps - columns
            if excess > 0:
                widths[n] = max(min(least, widths[n]), widths[n] - excess) if least else 0
        return widths

    def shorten_row(self, row: Sequence[str], widths: Sequence[int]) -> list[str]:
        """The cells, none wider than its column."""
        cells = enumerate(zip(row, widths, strict=True))
        return [(cut if n in self.prose else shorten)(cell, width) for n, (cell, width) in cells]


def write_table(
    out: TextIO, layout: Layout, rows: Iterable[Sequence[str]], columns: int | None
) -> int:
    """Writes aligned rows as they come; returns how many.

    Args:
        out: where to.
        layout: of the columns.
        rows: cells that may hold anything; control characters are escaped.
        columns: the screen's width, or None to shorten nothing.
    """
    iterator = iter(rows)
    natural = [len(name) for name in layout.header]
    count = 0
    while block := list(itertools.islice(iterator, BLOCK_ROWS)):
        cells = [[printable(cell) for cell in row] for row in block]
        natural = [
            max(width, *map(display_width, column))
            for width, column in zip(natural, zip(*cells, strict=True), strict=True)
        ]
        if count == 0:
            cells.insert(0, list(layout.header))
        if columns is None:
            widths = [min(width, MOST_PADDING) for width in natural]
        else:
            widths = [min(width, columns) for width in layout.fit(natural, columns)]
            cells = [layout.shorten_row(row, widths) for row in cells]
        lines = [_line(row, widths) for row in cells]
        if count == 0:
            lines[0] = heading(lines[0], out)
        out.writelines(f"{line}\n" for line in lines)
        count += len(block)
    return count


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Cells side by side; a column of width 0 is left out."""
    padded = [
        cell + " " * (width - display_width(cell))
        for cell, width in zip(cells, widths, strict=True)
        if width
    ]
    return GAP.join(padded).rstrip()


def to_json(value: object, indent: int | None = None) -> str:
    """JSON in ASCII without control characters, so that it is harmless on a terminal too."""
    return json.dumps(value, indent=indent, default=_iso).replace("\x7f", "\\u007f")


def _iso(value: Any) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} is no JSON")
    return value.isoformat().replace("+00:00", "Z")


def write_json_array(out: TextIO, rows: Iterable[dict[str, Any]]) -> None:
    """One array, an object a line, written as the rows come."""
    lead = "[\n"
    for row in rows:
        out.write(f"{lead}{to_json(row)}")
        lead = ",\n"
    out.write("[]\n" if lead == "[\n" else "\n]\n")


def harmless(summary: RunSummary) -> RunSummary:
    """The summary with names that cannot drive a terminal."""
    by_type: dict[str | None, Counts] = {}
    for name, counts in summary.by_type.items():
        shown = None if name is None else printable(name)
        by_type[shown] = by_type.get(shown, Counts()) + counts
    return replace(summary, by_type=by_type, goes_on_by=printable(summary.goes_on_by))
