"""A run in numbers: the keys of the summary, and the same for a person to read."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fasthash import freshness
from fasthash.config import NO_TYPE
from fasthash.fixity import Counts, Outcome
from fasthash.widths import display_width, shorten

# Why a run was left by plan.
ENDINGS = {
    "budget": "the budget is spent",
    "time": "the time is over",
    "window": "the window is closed",
    "limit": "the row limit is reached",
}


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The figures of one run; all but the residual come from its checkpoint rows."""

    run_id: int | None
    kind: str
    state: str
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float
    by_type: Mapping[str | None, Counts]
    residual: Mapping[str, int]
    dry_run: bool = False
    catalog: str | None = None
    open_drifts: int = 0  # of the catalog, of whatever run
    ended_for: str | None = None  # budget, time, window or limit
    freshness: Mapping[str, Any] | None = None
    missing_ok: bool = False  # missing files are nothing to look at
    goes_on_by: str = ""  # the command line, where the run is unfinished
    undone_by: int | None = None  # the run by which `fasthash revert` undid it

    @property
    def total(self) -> Counts:
        """All types together."""
        return sum(self.by_type.values(), Counts())

    @property
    def by_name(self) -> dict[str, Counts]:
        """By the name shown: rows without a type go with a type that is called `(none)`."""
        found: dict[str, Counts] = {}
        known = sorted(filter(None, self.by_type))
        for artifact_type in [*known, *(t for t in self.by_type if not t)]:
            counts = self.by_type[artifact_type]
            name = NO_TYPE if artifact_type is None else artifact_type
            found[name] = found.get(name, Counts()) + counts
        return found

    @property
    def unlisted(self) -> int:
        """Rows without a verdict that the residual does not list any more: it was pruned."""
        total = self.total
        return max(0, total.no_file + total.failed - sum(self.residual.values()))

    @property
    def exit_status(self) -> int:
        """0: nothing to look at; 1: drift, decisions that wait, failures, missing or bad files."""
        total = self.total
        lost = 0 if self.missing_ok else total.no_file + self._known_bad
        return 1 if total.drifted or total.failed or self.open_drifts or lost else 0

    @property
    def _known_bad(self) -> int:
        """Rows of the catalog whose file is bad, also those that this scrub was not for."""
        freshness = self.freshness or {}
        return int(freshness.get("rows_bad", 0))

    def as_json(self) -> dict[str, Any]:
        """The summary's stable keys."""
        return {
            "run_id": self.run_id,
            "kind": self.kind,
            "catalog": self.catalog,
            "state": self.state,
            "started_at": _iso(self.started_at),
            "finished_at": _iso(self.finished_at),
            "seconds": round(self.seconds, 3),
            **_counts_json(self.total),
            "by_type": {t: _counts_json(c) for t, c in self.by_name.items()},
            "residual": dict(self.residual),
            "dry_run": self.dry_run,
            "drift_open": self.open_drifts,
            "ended_for": self.ended_for,
            "freshness": self.freshness,
        }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat().replace("+00:00", "Z")


def _counts_json(counts: Counts) -> dict[str, Any]:
    return {
        "rows_scanned": counts.scanned,
        "rows_updated": counts.updated,
        "drift_events": counts.drifted,
        "rows_skipped_no_file": counts.no_file,
        "rows_prechecked": counts.prechecked,
        "outcomes": {str(o): getattr(counts, o) for o in Outcome},
        "rows_gone": counts.gone,
        "bytes_hashed": counts.bytes_hashed,
    }


def human_bytes(count: float) -> str:
    """`12.3 GB`: powers of 1000, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit takes all")


def describe_rates(bytes_per_s: float, files_per_s: float) -> str:
    """`50.0 MB/s`, `20 files/s`, both, or `unlimited`."""
    parts = [f"{human_bytes(bytes_per_s)}/s"] if bytes_per_s else []
    parts += [f"{files_per_s:g} files/s"] if files_per_s else []
    return " and ".join(parts) or "unlimited"


def human_seconds(seconds: float) -> str:
    """`3.2 s`, `4 min 05 s`, `2 h 03 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


_COLUMNS = ("rows", "hashed", "confirmed", "drifted", "fresh", "no file", "failed", "bytes")
_INDENT = "  "
_GAP = "  "
# A type's name is not shortened below this: the numbers are put under the names instead.
_LONGEST_NAME = 200
_LEAST_NAME = 12


def as_text(summary: RunSummary, columns: int | None = None) -> str:
    """The summary for a person: a table by type, the total, the residual, what to do next.

    Args:
        summary: with type names that have no control characters.
        columns: the width of the screen, at least 40; None where lines may have any length.
    """
    table = _table(summary, columns) if summary.by_type else [f"{_INDENT}no rows were due"]
    lines = [*_wrapped(_heading(summary), columns, ""), "", *table, ""]
    for note in _notes(summary):
        lines += _wrapped(note, columns, _INDENT)
    return "\n".join(lines)


def _heading(summary: RunSummary) -> str:
    total, speed = summary.total, ""
    if summary.seconds > 0 and total.scanned:
        speed = (
            f" ({total.scanned / summary.seconds:,.0f} rows/s,"
            f" {human_bytes(total.bytes_hashed / summary.seconds)}/s)"
        )
    what = "dry run" if summary.dry_run else f"run {summary.run_id} ({summary.kind})"
    if summary.catalog is not None:
        what += f" of {summary.catalog}"
    return f"{what}: {summary.state} in {human_seconds(summary.seconds)}{speed}"


def _notes(summary: RunSummary) -> Iterator[str]:
    total = summary.total
    verb = "would be written" if summary.dry_run else "written"
    plural = "" if total.drifted == 1 else "es"
    yield f"{_rows(total.updated)} {verb}; {_no(total.drifted)} mismatch{plural}"
    if summary.undone_by is not None:
        yield f"undone by run {summary.undone_by}: what it wrote was put back as it was before"
    if total.prechecked:
        yield f"{_rows(total.prechecked)} unchanged by the pre-check, which did not hash them"
    if total.gone:
        yield f"{_rows(total.gone)} deleted meanwhile"
    if summary.dry_run and total.scanned and total.no_file == total.scanned:
        yield "not one of the files was found: are the roots right?"
    if summary.residual:
        yield "; ".join(_unchecked(reason, n) for reason, n in summary.residual.items())
    if summary.unlisted:
        verb = "was" if summary.unlisted == 1 else "were"
        dropped = "(the list was dropped by `fasthash prune`)"
        yield f"{_rows(summary.unlisted)} {verb} not checked {dropped}"
    command = f"fasthash {'scrub' if summary.kind == 'scrub' else 'run'}"
    if summary.open_drifts:
        yield (
            f"{summary.open_drifts:,} drift{'' if summary.open_drifts == 1 else 's'} to be decided "
            "about: `fasthash drift list --open`"
        )
    if summary.freshness is not None:
        yield from freshness.in_words(dict(summary.freshness))
    if summary.state in ("interrupted", "failed") and not summary.dry_run:
        why = f"ended, {ENDINGS[summary.ended_for]}; " if summary.ended_for in ENDINGS else ""
        yield f"{why}`{summary.goes_on_by or command}` goes on from here"


# What became of rows without a verdict, of one and of several.
_WITHOUT_VERDICT = {
    "no_file": ("file not found", "files not found"),
    "unreadable": ("file could not be read", "files could not be read"),
    "unstable": ("file changed while it was read", "files changed while they were read"),
    "outside_root": ("path leads outside the roots", "paths lead outside the roots"),
    "not_regular": ("path is no regular file", "paths are no regular files"),
    "bad_metadata": ("row has metadata that is no object", "rows have metadata that is no object"),
    "unreadable_row": ("row cannot be read in the database", "rows cannot be read in the database"),
    "write_refused": ("row could not be written", "rows could not be written"),
}


def _no(n: int) -> str:
    return f"{n:,}" if n else "no"


def _unchecked(reason: str, n: int) -> str:
    one, many = _WITHOUT_VERDICT.get(reason, (reason, reason))  # of another version's ledger
    return f"{n:,} {one if n == 1 else many}"


def _rows(n: int) -> str:
    return f"{n:,} row{'' if n == 1 else 's'}"


def _table(summary: RunSummary, columns: int | None) -> list[str]:
    """The counts by type. Where the screen is too narrow columns of zeros go, then long names."""
    rows: list[tuple[str, ...]] = [("type", *_COLUMNS)]
    rows += [(shorten(name, _LONGEST_NAME), *_cells(c)) for name, c in summary.by_name.items()]
    rows.append(("total", *_cells(summary.total)))
    if columns is None or _width(rows) <= columns:
        return _drawn(rows)
    zeros = [n for n, cell in enumerate(rows[-1]) if cell == "0" and rows[0][n] != "rows"]
    kept = [n for n in range(len(rows[0])) if n not in zeros]
    rows = [tuple(row[n] for n in kept) for row in rows]
    names = max(display_width(row[0]) for row in rows)
    room = columns - (_width(rows) - names)
    if room < min(names, _LEAST_NAME):
        return _listed(summary, columns)
    lines = _drawn([(shorten(row[0], room), *row[1:]) for row in rows])
    if zeros:
        lines += _wrapped(f"none {', '.join(_COLUMNS[n - 1] for n in zeros)}", columns, _INDENT)
    return lines


def _widths(rows: Sequence[tuple[str, ...]]) -> list[int]:
    return [max(map(display_width, column)) for column in zip(*rows, strict=True)]


def _width(rows: Sequence[tuple[str, ...]]) -> int:
    widths = _widths(rows)
    return len(_INDENT) + sum(widths) + len(_GAP) * (len(widths) - 1)


def _drawn(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines: a rule below the first and above the last."""
    widths = _widths(rows)
    rule = _INDENT + _GAP.join("-" * width for width in widths)
    lines = []
    for name, *numbers in rows:
        cells = [name + " " * (widths[0] - display_width(name))]
        cells += [number.rjust(w) for number, w in zip(numbers, widths[1:], strict=True)]
        lines.append(_INDENT + _GAP.join(cells).rstrip())
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def _listed(summary: RunSummary, columns: int) -> list[str]:
    """The counts one type after the other, for any width; what is zero is left out."""
    lines = []
    for name, counts in (*summary.by_name.items(), ("total", summary.total)):
        rows, *numbers, size = _cells(counts)
        lead = f": {rows} row{'' if rows == '1' else 's'}"
        lines.append(f"{_INDENT}{shorten(name, columns - len(_INDENT) - len(lead))}{lead}")
        outcomes = zip(numbers, _COLUMNS[1:-1], strict=True)
        parts = [f"{n} {outcome}" for n, outcome in outcomes if n != "0"]
        lines += _wrapped(", ".join([*parts, size]), columns, _INDENT * 2)
    return lines


def _wrapped(text: str, columns: int | None, indent: str) -> list[str]:
    if columns is None:
        return [indent + text]
    return textwrap.wrap(text, columns, initial_indent=indent, subsequent_indent=indent + _INDENT)


def _cells(c: Counts) -> tuple[str, ...]:
    numbers = (c.scanned, c.hashed, c.confirmed, c.drifted, c.fresh, c.no_file, c.failed)
    return (*(f"{n:,}" for n in numbers), human_bytes(c.bytes_hashed))
