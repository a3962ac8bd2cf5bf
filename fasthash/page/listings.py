"""The page's tables: cells that are harmless text, and the same as compact JSON: pure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fasthash.config import NO_TYPE
from fasthash.drift import NO_HASH, digest_in, is_hash, parse_marker, told
from fasthash.fixity import Counts
from fasthash.logs import shown as readable
from fasthash.page.facts import Facts, Row
from fasthash.summary import human_bytes
from fasthash.widths import human_time, shorten

# So many rows are in the page for those without JavaScript, and on one sheet for those with it.
SHEET_ROWS = 100
# A browser takes half a second and a hundred megabytes to open a page with this many.
MOST_ROWS = 250_000
# What a stored hash may be is up to who stored it.
MOST_OF_A_HASH = 130

# What is shown, or that and what it is sorted by.
Cell = str | tuple[str, int | float | str]


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and how its cells look: `text`, `number`, `tag` or `facts` (several lines)."""

    name: str
    look: str = "text"


@dataclass(slots=True)
class Listing:
    """One table: its first rows as they stand in the page, then all of them as JSON.

    Args:
        name: of the element, unique in the page.
        caption: what it lists.
        columns: their headings.
        rows: cells, read once.
        total: how many rows there are.
        foot: a last row that is not sorted.
        elsewhere: how to get all where there are too many for a page.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: Iterator[list[Cell]]
    total: int
    foot: list[Cell] | None = None
    elsewhere: str = ""
    head: list[list[Cell]] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = itertools.islice(self.rows, MOST_ROWS)
        self.head = list(itertools.islice(self.rows, SHEET_ROWS))

    @property
    def left_out(self) -> int:
        """How many rows the page does not have."""
        return max(0, self.total - MOST_ROWS)

    def as_json(self) -> Iterator[str]:
        """An array, a row a line, that is harmless within a script element."""
        lead = "["
        for row in itertools.chain(self.head, self.rows):
            yield f"{lead}{in_script(row)}"
            lead = ",\n"
        yield "[]" if lead == "[" else "]"


def in_script(value: object) -> str:
    """JSON in ASCII that cannot end a script element or begin a comment in one."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def shown(cell: Cell) -> str:
    """What of a cell is shown."""
    return cell if isinstance(cell, str) else cell[0]


def _count(n: int) -> Cell:
    return (f"{n:,}", n)


def _bytes(n: int) -> Cell:
    return (human_bytes(n), n)


_OUTCOMES = ("rows", "hashed", "confirmed", "differed", "fresh", "missing", "not checked")


def by_type(facts: Facts) -> Listing:
    """The counts of the run, a row a type."""
    names = facts.summary.by_name
    numbers = (Column(name, "number") for name in (*_OUTCOMES, "read"))
    return Listing(
        "types",
        "What became of the rows of each type",
        (Column("type"), *numbers),
        iter([_type_row(readable(name), counts) for name, counts in names.items()]),
        len(names),
        foot=_type_row("total", facts.summary.total),
    )


def _type_row(name: str, c: Counts) -> list[Cell]:
    numbers = (c.scanned, c.hashed, c.confirmed, c.drifted, c.fresh, c.no_file, c.failed)
    return [name, *map(_count, numbers), _bytes(c.bytes_hashed)]


def drifts(facts: Facts) -> Listing:
    """Drifts with their evidence."""
    return Listing(
        "drifts",
        "Files whose hash is not the recorded one, with the evidence",
        (
            Column("file", "facts"),
            Column("kind", "tag"),
            Column("decision", "facts"),
            Column("as recorded", "facts"),
            Column("as found", "facts"),
        ),
        (_drift_row(row, facts.copies) for row in facts.drifts),
        facts.drift_total,
        elsewhere="fasthash drift list --json",
    )


def _copies(digest: str | None, copies: Mapping[str, Sequence[Row]]) -> list[str]:
    """Where the content is still to be had, a line each."""
    lines = []
    for row in copies.get(digest or "", ()):
        of_type = "" if row["artifact_type"] is None else f" ({row['artifact_type']})"
        verified = f"row {row['row_id']}{of_type}, verified {row['verified_at']}"
        lines.append(f"an intact copy: {row['path']} ({verified})")
    return lines


def _drift_row(row: Row, copies: Mapping[str, Sequence[Row]]) -> list[Cell]:
    of_type = "" if row["artifact_type"] is None else f" ({row['artifact_type']})"
    decision = [row["resolution"]]
    if row["resolved_by"] or row["resolved_at"]:
        decision += [f"by {row['resolved_by'] or '(unknown)'}", human_time(row["resolved_at"])]
    if row["comment"]:
        decision.append(f"“{row['comment']}”")
    has_hash = is_hash(row["old_hash"])
    before = [row["old_hash"], *([] if has_hash else [NO_HASH]), _size(row["old_size_bytes"])]
    before += [f"{name} {human_time(row[f'old_{name}'])}" for name in ("mtime", "ctime")]
    if row["old_marker"] is not None:
        counts = has_hash and parse_marker(row["old_marker"]) is not None
        before.append(f"{'verified' if counts else 'marker'} {row['old_marker']}")
    before += _copies(digest_in(row["old_hash"]), copies)
    after = [row["new_hash"], _size(row["new_size_bytes"])]
    after += [f"{name} {human_time(row[f'file_{name}'])}" for name in ("mtime", "ctime")]
    if row["moved"] is not None:
        after.append(f"moved: {told(row['moved'])}")
    about = f"drift {row['drift_id']}, run {row['run_id']}, row {row['row_id']}{of_type}"
    return [
        _lines([row["path"], about]),
        row["kind"],
        _lines(decision),
        _lines(before),
        (_lines([*after, f"found {human_time(row['found_at'])}"]), row["found_at"].timestamp()),
    ]


def _lines(parts: Iterable[str]) -> str:
    """Lines, none of which can begin another or drive anything."""
    first, *others = map(readable, parts)
    return "\n".join([shorten(first, MOST_OF_A_HASH) if len(first) > 4096 else first, *others])


def _size(size_bytes: int | None) -> str:
    return "size not known" if size_bytes is None else f"{size_bytes:,} bytes"


def residual(facts: Facts) -> Listing:
    """The rows that were not checked."""
    names = ("row_id", "artifact_type", "path", "reason")
    looks = ("text", "text", "text", "tag", "facts")
    rows: Iterator[list[Cell]] = (
        [
            *(readable(NO_TYPE if row[n] is None and n == "artifact_type" else row[n] or "")
              for n in names),
            _lines([row["detail"] or "", *_copies(facts.lost.get(row["row_id"]), facts.copies)]),
        ]
        for row in facts.residual
    )  # fmt: skip
    headings = ("row", "type", "path", "reason", "detail")
    return Listing(
        "residual",
        "Files that were not verified, and why",
        tuple(Column(name, look) for name, look in zip(headings, looks, strict=True)),
        rows,
        facts.residual_total,
        elsewhere=f"fasthash residual {facts.summary.run_id} --csv",
    )


def duplicates(facts: Facts) -> Listing:
    """The groups of equal files that could save most."""
    found = facts.duplicates
    rows: Iterator[list[Cell]] = (
        [
            _bytes(group.could_be_saved_bytes),
            _count(group.files),
            _bytes(group.size_bytes),
            readable(f"{group.first_path}") + "\n" + readable(group.last_path),
            group.sha256,
        ]
        for group in found.top
    )
    return Listing(
        "duplicates",
        "Equal files that take most room",
        (
            Column("could be saved", "number"),
            Column("files", "number"),
            Column("size of each", "number"),
            Column("two of them", "facts"),
            Column("SHA-256", "hash"),
        ),
        rows,
        len(found.top),
    )


def reasons(facts: Facts) -> list[dict[str, Any]]:
    """How many rows each reason has, and what it means."""
    found = sorted(facts.summary.residual.items(), key=lambda item: -item[1])
    return [{"name": r, "n": f"{n:,}", "meaning": MEANINGS.get(r, "")} for r, n in found]


MEANINGS = {
    "no_file": "there is nothing at the recorded path",
    "unreadable": "the file is there, but could not be read",
    "unstable": "the file was being changed while it was read",
    "outside_root": "the path leads out of the folders that files may lie in",
    "not_regular": "a folder, pipe or device, not a file",
    "bad_metadata": "the row's metadata is no JSON object, so nothing can be recorded",
    "unreadable_row": "the database cannot give the row, or it has no id",
    "write_refused": "the database refuses to change the row",
}
