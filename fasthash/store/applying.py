"""Judges and writes the results of a batch: one statement, one more for some drifts, and a look."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from psycopg import sql
from psycopg.rows import tuple_row

from fasthash import drift
from fasthash.fixity import Counts, Outcome, Part, Result, Verdict
from fasthash.store.catalog import Catalog, compared, digest_of, marker_of
from fasthash.store.kept import kept, write_keys
from fasthash.store.queries import EMPTY, identifier, query, stamps
from fasthash.store.refused import (
    REFUSED,
    REFUSED_BY_FUNCTION,
    RowsAlike,
    RowsRefused,
    has_triggers,
    name_repeated,
    not_held,
)
from fasthash.store.session import Connection

# Nearly every row of a backfill: columns that hold nothing else are not sent.
_USUALLY = {
    "marker": None,
    "verdict": "hashed",
    "compared": None,
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
        Verdict.UNREADABLE_ROW,
        Verdict.WRITE_REFUSED,
    }
)


@dataclass(slots=True)
class Tally:
    """What a batch came to: counts a range, the drifts found, and what was not committed."""

    counts: dict[int, Counts] = field(default_factory=dict)
    drifts: list[dict[str, Any]] = field(default_factory=list)
    fenced: list[Part] = field(default_factory=list)
    left_over: list[Part] = field(default_factory=list)
    moved: int = 0
    locked: int = 0
    refused: set[str] = field(default_factory=set)
    patched: list[dict[str, Any]] = field(default_factory=list)  # where they are looked at again
    judged: int = 0

    def take(self, range_no: int, what: str, rows: int, size_bytes: int, facts: Any) -> None:
        """Takes a line of what the statement reports."""
        if what == "drift":
            self.drifts.append(facts)
        elif what == "refused":
            self.refused.add(facts["row_id"])
        elif what == "patched":
            self.patched.append(facts)
        elif what == "judged":
            self.judged = rows
        elif what != "called":
            self.add(range_no, what, rows, size_bytes)

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

    `policy` says which drifts are overwritten, as `drift.is_overwritten` knows it; `is_scrub` that
    what is only confirmed is no news, and which rows are bad is kept; `has_history` that the ledger
    may know hashes that rows have lost; `blake3` and `xxh3` which digests are made beside the
    SHA-256: the first is written, the second kept.
    """

    catalog: Catalog
    run_id: int
    holder_id: int
    policy: str
    catalog_no: int = 0
    is_scrub: bool = False
    has_history: bool = False
    blake3: bool = False
    xxh3: bool = False

    @property
    def other_digests(self) -> bool:
        """Whether any digest beside the SHA-256 is made."""
        return self.blake3 or self.xxh3


def apply_rows(
    connection: Connection, target: Target, columns: dict[str, Any], tally: Tally, *, sweep: bool
) -> None:
    """One statement for all, and one more for the drifts that are to be overwritten.

    Args:
        columns: the fields of the results, by name.
        tally: what it comes to is added there.
        sweep: some rows may have been counted before.

    Raises:
        RowsRefused: some do not hold what they were given.
    """
    looks = target.catalog.update_function is not None or has_triggers(connection, target.catalog)
    # Without stamps to look up, what becomes of a drift is known before it is found.
    at_once = target.policy == "overwrite"
    how = Statement(target, sweep, looks)
    _execute(connection, how, columns, tally, overwrite=at_once)
    if tally.judged != len(columns["row_id"]):
        raise RowsAlike(name_repeated(connection, target.catalog, columns["row_id"]))
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
        _execute(connection, how, some, again, overwrite=True)
        for range_no, counts in again.counts.items():
            tally.counts[range_no] += Counts(updated=counts.updated)
        tally.refused |= again.refused
        tally.patched += again.patched
    by_whom = REFUSED if target.catalog.update_function is None else REFUSED_BY_FUNCTION
    if looks and tally.patched and not tally.refused:
        tally.refused |= not_held(connection, target.catalog, tally.patched)
    if tally.refused:
        raise RowsRefused(frozenset(tally.refused), by_whom)
    for evidence in tally.drifts:
        key = {
            "run_id": target.run_id,
            "holder_id": target.holder_id,
            "catalog_no": target.catalog_no,
        }
        connection.execute(query("result", "add_drift"), {**key, **evidence})


def probe(connection: Connection, target: Target) -> None:
    """Has the server prepare the statement, and not execute it, within the caller's transaction.

    What it refuses then is refused for every row: a missing privilege or column, a rule, a table
    that is published without a replica identity. No trigger is called.

    Raises:
        psycopg.Error: it refuses it.
    """
    columns: dict[str, Any] = {name: [] for name in (*Result._fields, "range_no")}
    how = Statement(target, sweep=False, looks=False)
    key = {"run_id": target.run_id, "catalog_no": target.catalog_no}
    values = {**columns, **key, "overwrite": True, "locked_rows_fail": False}
    connection.execute(sql.SQL("EXPLAIN ") + statement(how), values)


def _execute(
    connection: Connection,
    how: Statement,
    columns: dict[str, Any],
    tally: Tally,
    *,
    overwrite: bool,
) -> None:
    parameters = {
        **columns,
        "run_id": how.target.run_id,
        "catalog_no": how.target.catalog_no,
        "overwrite": overwrite,
    }
    for name, usual in _USUALLY.items():
        if all(value == usual for value in columns[name]):
            parameters[name] = []  # the statement fills in the usual value
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(statement(how), parameters)
        for line in cursor:
            tally.take(*line)


@dataclass(frozen=True, slots=True)
class Statement:
    """Which form of the statement is wanted."""

    target: Target
    sweep: bool
    looks: bool


@cache
def statement(how: Statement) -> sql.Composed:
    """The text of a form of the statement."""
    target, catalog = how.target, how.target.catalog
    if catalog.update_function is not None:
        name = identifier(*catalog.update_function)
        write = query("result", "write_by_function", update_function=name)
        reported: sql.Composable = query("result", "called")
    else:
        holds = catalog.query("result", "holds", marker_column=sql.SQL("new_marker"))
        write = write_keys(catalog, holds)
        reported = query("result", "written_rows")
    if how.looks:
        reported = reported + sql.SQL(" ") + query("result", "patched_rows")
    xxh3 = sql.SQL("j.xxh3") if target.other_digests else sql.SQL("NULL::bytea")
    beside = query("result", "beside_scrub" if target.is_scrub else "beside_backfill")
    if target.is_scrub or target.has_history:
        beside = beside + sql.SQL(" ") + query("result", "cured")
    known = stamps(sql.SQL("f.stamps"))
    old_hash, was_hash = sql.SQL("l.old_hash"), sql.SQL("j.old_hash")
    old_size = {"size_text": sql.SQL("(j.old_size_json #>> '{}')")}
    news: sql.Composable = sql.SQL("true")
    if target.is_scrub:
        known_times = {f"known_{name}": known[name] for name in ("mtime_ns", "ctime_ns")}
        news = query("result", "is_news", xxh3=xxh3, **known_times)
    looked_up = target.is_scrub or target.has_history
    return catalog.query(
        "result",
        "apply",
        write=write,
        written_rows=reported,
        beside=beside,
        is_news=news,
        new_marker=query("result", "marker_text", ns=sql.SQL("i.read_at_ns")),
        known_hash=catalog.query("result", "known_hash") if looked_up else sql.SQL("NULL::text"),
        known_stamps=query(
            "result",
            "known_stamps",
            was_digest=digest_of(was_hash),
            **known,
        ),
        looked_at=query("result", "looked_at"),
        compared_now=compared(old_hash),
        marker_now=marker_of(sql.SQL("l.old_marker"), old_hash),
        is_hash=sql.SQL("({} IS NOT NULL OR j.old_hash IS NULL)").format(digest_of(was_hash)),
        old_size=query("row", "size", **old_size),
        old_digest=digest_of(sql.SQL("p.old_hash")),
        old_blake3=(
            catalog.query("result", "old_blake3")
            if target.blake3
            else sql.SQL(f"NULL::{catalog.metadata_type}")
        ),
        **kept(catalog, blake3=target.blake3),
        new_blake3=query("result", "new_blake3") if target.blake3 else EMPTY,
        found_stamps=query("result", "found_stamps", **stamps(sql.SQL("j.stamps"))),
        xxh3=xxh3,
        met=query("result", "met") if how.sweep else EMPTY,
        met_join=query("result", "met_join") if how.sweep else EMPTY,
        first_met=sql.SQL("m.row_id IS NULL") if how.sweep else sql.SQL("true"),
        **{
            name: query("result", name) if target.other_digests else EMPTY
            for name in ("others", "other_arrays", "other_names")
        },
    )


def _judge_drift(target: Target, evidence: dict[str, Any]) -> None:
    """Completes what is known of a drift by its kind and what becomes of it."""
    stamps = evidence.pop("stamps")
    known = drift.Stamps(**stamps) if stamps is not None else None
    found = drift.Stamps(evidence["new_size"], **evidence.pop("found"))
    moved = None
    if evidence.pop("is_hash"):
        moved = drift.moved(evidence["old_marker"], evidence["old_size"], found, known)
    kind = drift.classify(moved)
    overwritten = drift.is_overwritten(kind, target.policy) and evidence["refused"] is None
    evidence |= {
        "kind": kind,
        "moved": None if moved is None else list(moved),
        "mtime_ns": found.mtime_ns,
        "ctime_ns": found.ctime_ns,
        "resolution": "overwritten" if overwritten else "open",
        "old_mtime_ns": known.mtime_ns if known else None,
        "old_ctime_ns": known.ctime_ns if known else None,
    }
