"""Judges and writes the results of a batch: one statement, and one more for some drifts."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from psycopg import sql
from psycopg.rows import tuple_row

from fasthash import drift
from fasthash.fixity import Counts, Outcome, Part, Verdict
from fasthash.store.catalog import Catalog
from fasthash.store.queries import EMPTY, identifier, query, stamps
from fasthash.store.session import Connection

# Nearly every row of a backfill: columns that hold nothing else are not sent.
_USUALLY = {
    "marker": None,
    "verdict": "hashed",
    "reread": False,
    "detail": None,
    "stamps": None,
    "blake3": None,
    "xxh3": None,
}
_FAILED = frozenset(
    {
        Verdict.UNREADABLE,
        Verdict.UNSTABLE,
        Verdict.OUTSIDE_ROOT,
        Verdict.NOT_REGULAR,
        Verdict.BAD_METADATA,
        Verdict.WRITE_REFUSED,
    }
)


class UpdateFunctionError(Exception):
    """The site's update function returned without writing what it was given."""


@dataclass(slots=True)
class Tally:
    """What a batch came to: counts a range, the drifts found, and what was not committed."""

    counts: dict[int, Counts] = field(default_factory=dict)
    drifts: list[dict[str, Any]] = field(default_factory=list)
    fenced: list[Part] = field(default_factory=list)
    left_over: list[Part] = field(default_factory=list)
    moved: int = 0
    locked: int = 0

    def add(self, range_no: int, outcome: str, rows: int, size_bytes: int) -> None:
        """Counts rows of one outcome as the statement reports them."""
        if outcome == "moved":
            self.moved += rows
            return
        if outcome == "locked":
            self.locked += rows
            return
        if outcome == Verdict.PRECHECKED:
            more = Counts(confirmed=rows, prechecked=rows)
        else:
            name = "failed" if outcome in _FAILED else outcome
            hashed = outcome in (Outcome.HASHED, Outcome.CONFIRMED, Outcome.DRIFTED)
            more = Counts(**{name: rows, "bytes_hashed": size_bytes if hashed else 0})
        self.counts[range_no] = self.counts.get(range_no, Counts()) + more


@dataclass(frozen=True, slots=True)
class Target:
    """Where results go and how.

    `policy` says which drifts are overwritten, as `drift.is_overwritten` knows it; `remembers`
    whether what the files look like is kept for looking up; `blake3` and `xxh3` which digests are
    made beside the SHA-256: the first is written, the second kept.
    """

    catalog: Catalog
    run_id: int
    holder_id: int
    policy: str
    catalog_no: int = 0
    remembers: bool = False
    blake3: bool = False
    xxh3: bool = False

    @property
    def other_digests(self) -> bool:
        """Whether any digest beside the SHA-256 is made."""
        return self.blake3 or self.xxh3


def apply_rows(
    connection: Connection, target: Target, columns: dict[str, Any], tally: Tally
) -> None:
    """One statement for all, and one more for the drifts that are to be overwritten."""
    hashed = [
        (row_id, sha256)
        for row_id, sha256, verdict in zip(
            columns["row_id"], columns["sha256"], columns["verdict"], strict=True
        )
        if verdict == Verdict.HASHED
    ]
    # Without stamps to look up, what becomes of a drift is known before it is found.
    at_once = target.policy == "overwrite"
    _execute(connection, target, columns, tally, overwrite=at_once)
    places = {row_id: place for place, row_id in enumerate(columns["row_id"])}
    tally.drifts.sort(key=lambda found: places[found["row_id"]])
    for evidence in tally.drifts:
        _judge_drift(target, evidence)
    chosen = [places[d["row_id"]] for d in tally.drifts if d["resolution"] == "overwritten"]
    if chosen and not at_once:
        some = {
            name: [values[n] for n in chosen] if type(values) is list and values else values
            for name, values in columns.items()
        }
        again = Tally()
        _execute(connection, target, some, again, overwrite=True)
        for range_no, counts in again.counts.items():
            tally.counts[range_no] += Counts(updated=counts.updated)
    for evidence in tally.drifts:
        connection.execute(query("result", "add_drift"), {"run_id": target.run_id, **evidence})
    if target.catalog.update_function is not None:
        _check_written(connection, target, hashed, tally)


def _execute(
    connection: Connection,
    target: Target,
    columns: dict[str, Any],
    tally: Tally,
    *,
    overwrite: bool,
) -> None:
    parameters = {
        **columns,
        "run_id": target.run_id,
        "catalog_no": target.catalog_no,
        "overwrite": overwrite,
    }
    for name, usual in _USUALLY.items():
        if all(value == usual for value in columns[name]):
            parameters[name] = []  # the statement fills in the usual value
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(_apply_statement(target), parameters)
        for range_no, outcome, count, size_bytes, evidence in cursor:
            if outcome == "drift":
                tally.drifts.append(evidence)
            elif outcome != "called":
                tally.add(range_no, outcome, count, size_bytes)


@cache
def _apply_statement(target: Target) -> sql.Composed:
    catalog = target.catalog
    if catalog.update_function is not None:
        write = query(
            "result",
            "write_by_function",
            update_function=identifier(*catalog.update_function),
        )
        called: sql.Composable = query("result", "called")
    else:
        write = catalog.query("result", f"write_{catalog.metadata_type}")
        called = EMPTY
    of_patched = stamps(sql.SQL("p.stamps"))
    return catalog.query(
        "result",
        "apply",
        write=write,
        called=called,
        new_marker=query("result", "marker_text", ns=sql.SQL("i.read_at_ns")),
        known_marker=query("result", "marker_text", ns=sql.SQL("f.read_at_ns")),
        old_blake3=(
            catalog.query("result", "old_blake3") if target.blake3 else sql.SQL("NULL::jsonb")
        ),
        new_blake3=query("result", "new_blake3") if target.blake3 else EMPTY,
        remembered=(query("result", "remember", **of_patched) if target.remembers else EMPTY),
        ctime_ns=stamps(sql.SQL("j.stamps"))["ctime_ns"],
        xxh3=sql.SQL("j.xxh3") if target.other_digests else sql.SQL("NULL::bytea"),
        **{
            name: query("result", name) if target.other_digests else EMPTY
            for name in ("others", "other_arrays", "other_names")
        },
    )


def _judge_drift(target: Target, evidence: dict[str, Any]) -> None:
    """Completes what is known of a drift by its kind and what becomes of it."""
    old_size, stamps = evidence["old_size"], evidence.pop("stamps")
    evidence["old_size"] = old_size if type(old_size) is int and 0 <= old_size < 2**63 else None
    known = drift.Stamps(**stamps) if stamps is not None else None
    found = drift.Stamps(evidence["new_size"], evidence["mtime_ns"], evidence["ctime_ns"])
    kind = drift.classify(evidence["old_marker"], evidence["old_size"], found, known)
    overwritten = drift.is_overwritten(kind, target.policy)
    evidence |= {
        "kind": kind,
        "resolution": "overwritten" if overwritten else "open",
        "old_mtime_ns": known.mtime_ns if known else None,
        "old_ctime_ns": known.ctime_ns if known else None,
    }


def _check_written(
    connection: Connection, target: Target, hashed: list[tuple[str, bytes]], tally: Tally
) -> None:
    """The site's function has to have written every hash it was given."""
    updated = sum(c.updated for c in tally.counts.values())
    found = connection.execute(
        target.catalog.query("result", "unwritten"),
        {"row_id": [h[0] for h in hashed], "sha256": [h[1].hex() for h in hashed]},
    ).fetchone()
    unwritten = int(found["n"]) if found else 0
    # Rows that moved, or whose drift is held, do not hold the hash and should not.
    if len(hashed) - unwritten < updated:
        raise UpdateFunctionError("the update function did not write every row it was given")
