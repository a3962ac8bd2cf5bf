"""Results into the catalog and the ledger: one fenced transaction a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from fasthash import parts as packed
from fasthash.fixity import PIECES_A_PART, Counts, Outcome, Part, Result, Verdict
from fasthash.store.applying import Tally, Target, apply_rows
from fasthash.store.queries import query
from fasthash.store.refused import RowsRefused
from fasthash.store.session import Connection

__all__ = [
    "RowsRefused",
    "Tally",
    "Target",
    "apply",
    "claim_parts",
    "fence",
    "leave_over",
    "left_over",
    "note_logged",
    "refuse",
    "unlogged_drifts",
]

_COUNT_NAMES = [f.name for f in fields(Counts)]
_COLUMNS = Result._fields
_VERDICT = _COLUMNS.index("verdict")


def fence(connection: Connection, target: Target, parts: Sequence[Part]) -> list[Part]:
    """The parts whose range is still held under the term they were handed out with."""
    terms = sorted({(p.range_no, p.term) for p in parts})
    rows = connection.execute(
        query("result", "fence"),
        {
            "run_id": target.run_id,
            "holder_id": target.holder_id,
            "range_no": [n for n, _ in terms],
            "term": [t for _, t in terms],
        },
    )
    held = {(row["range_no"], row["term"]) for row in rows}
    return [p for p in parts if (p.range_no, p.term) in held]


def claim_parts(connection: Connection, target: Target, parts: Sequence[Part]) -> list[Part]:
    """The parts that were not committed before; they count as committed with this transaction."""
    rows = connection.execute(
        query("result", "add_segments"),
        {
            "run_id": target.run_id,
            "holder_id": target.holder_id,
            "range_no": [p.range_no for p in parts],
            "segment_no": [p.segment_no for p in parts],
            "after_id": [p.after_id for p in parts],
            "through_id": [p.through_id for p in parts],
        },
    )
    by_name = {p.segment_no: p for p in parts}  # a part may have been sent twice
    return [by_name[row["segment_no"]] for row in rows]


def left_over(connection: Connection, target: Target, part: Part) -> Part | None:
    """What is still to be committed of a part of which something was committed before."""
    row = connection.execute(
        query("result", "committed_through"),
        {
            "run_id": target.run_id,
            "holder_id": target.holder_id,
            "range_no": part.range_no,
            "first_no": part.segment_no,
            "end_no": (part.part_no + 1) * PIECES_A_PART,
        },
    ).fetchone()
    return part if row is None else packed.behind(part, row["through_id"])


def refuse(connection: Connection, target: Target, part: Part, reason: str) -> Counts:
    """The only row of a part goes to the residual, without touching the catalog."""
    result = packed.results(part)[0]
    connection.execute(
        query("result", "refuse"),
        {
            "run_id": target.run_id,
            "range_no": part.range_no,
            "row_id": result.row_id,
            "path": result.path,
            "detail": reason,
            "catalog_no": target.catalog_no,
            "is_scrub": target.is_scrub,
        },
    )
    counts = Counts(failed=1)
    _add_counts(connection, target, {part.range_no: counts})
    return counts


def leave_over(connection: Connection, target: Target, part: Part) -> None:
    """The only row of a part comes again, in the last sweep; of a backfill that is found anyway."""
    if target.is_scrub:
        key = {"run_id": target.run_id, "row_id": packed.row_ids(part)[0]}
        connection.execute(query("result", "leave_over"), key)


def apply(
    connection: Connection,
    target: Target,
    parts: Sequence[Part],
    *,
    locked_rows_fail: bool = False,
) -> Tally:
    """Judges and writes the results of parts, within the caller's transaction.

    Args:
        locked_rows_fail: a row that another session has locked becomes a residual; otherwise
            nothing is done about it, and the last sweep finds it.

    Raises:
        RowsRefused: see there; the transaction has to be rolled back.
        psycopg.Error: the transaction failed; nothing of it happened.
    """
    tally = Tally()
    range_nos: list[int] = []
    gathered: list[list[Any]] = [[] for _ in _COLUMNS]
    met: list[str] = []
    for part in parts:
        columns = packed.columns(part)
        if not columns:
            continue  # every row was left out
        if Verdict.FRESH in columns[_VERDICT]:
            columns, fresh = _without_fresh(columns)
            known = _counted_before(connection, target, part) if part.sweep else frozenset()
            tally.add(part.range_no, Outcome.FRESH, sum(r not in known for r in fresh), 0)
            met += fresh
        range_nos += [part.range_no] * len(columns[0])
        for i, column in enumerate(columns):
            gathered[i] += column
    if range_nos:
        sweep = any(part.sweep for part in parts)
        rows: dict[str, Any] = dict(zip(_COLUMNS, gathered, strict=True))
        rows |= {"range_no": range_nos, "locked_rows_fail": locked_rows_fail}
        apply_rows(connection, target, rows, tally, sweep=sweep)
    if met and not target.is_scrub:
        key = {"run_id": target.run_id, "row_ids": met}
        connection.execute(query("result", "add_met"), key)
    if tally.counts:
        _add_counts(connection, target, tally.counts)
    return tally


def _without_fresh(columns: packed.Columns) -> tuple[packed.Columns, list[str]]:
    """The other results, and the rows that were fresh when they were read."""
    rows = [row for row in zip(*columns, strict=True) if row[_VERDICT] != Verdict.FRESH]
    verdicts = zip(columns[0], columns[_VERDICT], strict=True)
    fresh = [row_id for row_id, verdict in verdicts if verdict == Verdict.FRESH]
    return list(zip(*rows, strict=True)) or [()] * len(columns), fresh


def _counted_before(connection: Connection, target: Target, part: Part) -> frozenset[str]:
    """Rows of a part's range that the run had counted before it was planned."""
    key = {"run_id": target.run_id, "range_no": part.range_no}
    row = connection.execute(query("result", "counted_before"), key).fetchone()
    return frozenset(row["met_ids"] or ()) if row else frozenset()


def unlogged_drifts(
    connection: Connection, run_ids: Sequence[int], holder_id: int | None
) -> list[dict[str, Any]]:
    """Drifts of some runs that no log line has told of yet.

    Args:
        holder_id: only those that this coordinator's writer has found; None for all.
    """
    key = {"run_ids": list(run_ids), "holder_id": holder_id}
    return connection.execute(query("result", "unlogged_drifts"), key).fetchall()


def note_logged(connection: Connection, drift_ids: Sequence[int]) -> None:
    """A log line has told of these drifts."""
    connection.execute(query("result", "note_logged"), {"drift_ids": list(drift_ids)})


def _add_counts(connection: Connection, target: Target, counts: dict[int, Counts]) -> None:
    columns = zip(*(c.as_tuple() for c in counts.values()), strict=True)
    connection.execute(
        query("result", "add_counts"),
        {
            "run_id": target.run_id,
            "range_no": list(counts),
            **dict(zip(_COUNT_NAMES, map(list, columns), strict=True)),
        },
    )
