"""Undoing what a run wrote: batch by batch, only where it still stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import Rollback, sql

from fasthash.errors import ConfigError
from fasthash.store import naming
from fasthash.store.answers import IN_THE_WAY, is_away, one_line
from fasthash.store.catalog import Catalog, digest_of
from fasthash.store.kept import BLAKE3, KEYS, kept
from fasthash.store.queries import identifier, query
from fasthash.store.refused import has_triggers
from fasthash.store.session import Connection, Row
from fasthash.store.transactions import transaction

BATCH_ROWS = 1_000

LOCKED = "another session has locked the row"
REFUSED = "the row did not take it: a trigger or a rule of the catalog changed it back"
REFUSED_BY_FUNCTION = (
    "the update function did not do it: a key whose patch is null has to be taken away, and it "
    "cannot make metadata NULL again"
)


@dataclass(slots=True)
class Reverted:
    """What a batch came to: how many rows of each outcome, and which were left for what reason."""

    counts: Counter[str] = field(default_factory=Counter)
    left: list[tuple[str, str]] = field(default_factory=list)  # row id, reason

    def __iadd__(self, more: Reverted) -> Reverted:
        self.counts += more.counts
        self.left += more.left
        return self


def open_revert(connection: Connection, catalog: Catalog, of: int, host: str) -> int:
    """The run that undoes run `of`: the one that was interrupted, or a new one.

    Raises:
        ConfigError: another run is being undone and not at its end.
    """
    naming.note(connection, catalog)
    while True:
        row = connection.execute(
            query("revert", "open_revert"), {"catalog": catalog.key}
        ).fetchone()
        if row is not None:
            if row["of"] != of:
                raise ConfigError(
                    f"undoing run {row['of']} is unfinished: `fasthash revert {row['of']}` first"
                )
            return int(row["run_id"])
        key = {"catalog": catalog.key, "of": of, "host": host}
        made = connection.execute(query("revert", "begin_revert"), key).fetchone()
        if made is not None:
            return int(made["run_id"])


def revert(
    connection: Connection,
    catalog: Catalog,
    of: int,
    run_id: int,
    *,
    blake3: bool,
    dry_run: bool,
) -> Iterator[Reverted]:
    """Puts the keys back as they were before a run, in batches of a transaction each.

    Doing it again is harmless: what was put back is no longer what the run wrote. A row that the
    database refuses is found, and left.

    Args:
        of: the run to undo.
        run_id: the run that does it, for the journal.
        blake3: the run wrote the second digest, too.
        dry_run: only look.

    Yields:
        For each batch how many rows were `reverted`, or left because they are `changed` since,
        `gone`, `locked` by another session, or `refused` by the database, a trigger of the catalog
        or the site's function; the last two by id.

    Raises:
        psycopg.Error: the database is away, or refuses them all.
    """
    marker = query("result", "marker_text", ns=sql.SQL("j.read_at_ns"))
    old = query("revert", f"old_of_{catalog.metadata_type}")
    # Read once, sorted once; no transaction stays open meanwhile (WITH HOLD).
    with connection.cursor(name="written", withhold=True) as written:
        with transaction(connection):
            written.execute(query("revert", "written_by", marker=marker, old=old), {"of": of})
        while rows := _next(connection, written):
            yield _Batch(connection, catalog, run_id, blake3, dry_run).settle(rows)
    if not dry_run:
        connection.execute(query("revert", "end_revert"), {"run_id": run_id})


def _next(connection: Connection, written: psycopg.ServerCursor[Row]) -> list[Row]:
    with transaction(connection):
        return written.fetchmany(BATCH_ROWS)


@dataclass(frozen=True, slots=True)
class _Batch:
    """How rows are put back: all in one transaction, but for those that refuse it."""

    connection: Connection
    catalog: Catalog
    run_id: int
    blake3: bool
    dry_run: bool

    def settle(self, rows: Sequence[Row]) -> Reverted:
        """What rows came to; in halves, where something of them is an error."""
        try:
            found = self._without_refusing(rows)
        except psycopg.Error as error:
            if isinstance(error, IN_THE_WAY) or is_away(error, self.connection):
                raise
            if len(rows) == 1:
                return Reverted(Counter(refused=1), [(rows[0]["row_id"], one_line(error))])
            middle = len(rows) // 2
            found = self.settle(rows[:middle])
            found += self.settle(rows[middle:])
            # Not of the rows' making: a privilege, a column that is not there any more.
            if (error.sqlstate or "").startswith("42") and found.counts["refused"] == len(rows):
                raise
        return found

    def _without_refusing(self, rows: Sequence[Row]) -> Reverted:
        """What rows came to, those that do not hold what was put back being left as they were."""
        refused: set[str] = set()
        while True:
            counts, left, more = self._put_back(rows, refused)
            if not more:
                return Reverted(counts, left)
            refused |= more

    def _put_back(
        self, rows: Sequence[Row], refused: set[str]
    ) -> tuple[Counter[str], list[tuple[str, str]], set[str]]:
        """The counts, the rows that were left, and those that refused it: then nothing was done."""
        catalog, connection = self.catalog, self.connection
        by_function = catalog.update_function is not None
        counts: Counter[str] = Counter()
        left: list[tuple[str, str]] = []
        refusing: set[str] = set()
        with transaction(connection):
            looks = not self.dry_run and (by_function or has_triggers(connection, catalog))
            values: dict[str, Any] = {
                **{
                    name: [row[name] for row in rows]
                    for name in ("row_id", "new_sha256", "size_bytes", "marker", "old", "was_null")
                },
                "run_id": self.run_id,
                "dry_run": self.dry_run,
                "refused": list(refused),
                "keys": [*KEYS, BLAKE3] if self.blake3 else list(KEYS),
                "looks": looks,
            }
            found = {r["outcome"]: r for r in connection.execute(self._statement(), values)}
            patched, not_back = found.pop("patched"), found.pop("not_back", None)
            found.pop("called", None)
            refusing.update((not_back or {}).get("row_ids") or ())
            for outcome, row in found.items():
                counts[outcome] = row["n"]
                reasons = {"locked": LOCKED, "refused": self._refusal}
                if outcome in reasons:
                    left += [(row_id, reasons[outcome]) for row_id in row["row_ids"]]
            if looks and patched["n"]:
                connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                look = catalog.query("revert", "not_back", is_back=self._is_back, **self._types)
                back = {"row_id": patched["row_ids"], "before": patched["befores"]}
                refusing.update(r["row_id"] for r in connection.execute(look, back))
            if refusing:
                raise Rollback
        return counts, left, refusing

    @property
    def _refusal(self) -> str:
        return REFUSED if self.catalog.update_function is None else REFUSED_BY_FUNCTION

    @property
    def _is_back(self) -> sql.Composed:
        return self.catalog.query("revert", "is_back")

    @property
    def _types(self) -> dict[str, sql.Composable]:
        form = self.catalog.metadata_type
        return {"metadata_type": sql.SQL(form), "object_keys": sql.SQL(f"{form}_object_keys")}

    def _statement(self) -> sql.Composed:
        catalog = self.catalog
        patch: sql.Composable = sql.SQL("NULL")
        if catalog.update_function is not None:
            name = identifier(*catalog.update_function)
            write = query("revert", "write_back_by_function", update_function=name)
            written_rows, patch = query("revert", "called_back"), query("revert", "patch")
        else:
            write = catalog.query("revert", "write_back", is_back=self._is_back)
            written_rows = query("revert", "written_back")
        before = query(
            "revert", f"before_{catalog.metadata_type}", cut_off=query("revert", "cut_off")
        )
        return catalog.query(
            "revert",
            "put_back",
            digest_now=digest_of(sql.SQL("(l.now ->> 'file_sha256')")),
            digest_then=digest_of(sql.SQL("p.hash_now")),
            before=before,
            patch=patch,
            write=write,
            written_rows=written_rows,
            **kept(catalog, blake3=True, document=sql.SQL("j.now")),
            **self._types,
        )
