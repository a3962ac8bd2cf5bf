"""Which rows a run is for, which of them it has met, and what is known of their files."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from fasthash.store.catalog import Catalog, compared
from fasthash.store.queries import EMPTY, stamps

_SHARES = 2**32  # a row's place in a sample is 32 bits of a hash


@dataclass(frozen=True, slots=True)
class Due:
    """The rows of one run. Times are as markers are written: ISO 8601, UTC.

    Args:
        kind: `backfill` for rows without a marker, `scrub` for rows with an old one.
        run_id: the run.
        catalog_no: the catalog's number in the ledger.
        since: markers before it count as absent (backfill).
        started: when the run began: what is marked later is fresh (scrub).
        cutoff: markers before it are old (scrub).
        sample: a seed, and a share of all rows from 0 to 1.
        precheck: `off`, `stat`, `xxh3`, or `size` for no reading at all.
        blake3: whether rows need a second digest.
        has_history: the ledger may know hashes that rows have lost.
    """

    kind: str = "backfill"
    run_id: int = 0
    catalog_no: int = 0
    since: str | None = None
    started: str | None = None
    cutoff: str | None = None
    sample: tuple[str, float] | None = None
    precheck: str = "off"
    blake3: bool = False
    has_history: bool = False

    @property
    def is_scrub(self) -> bool:
        """Whether the run is a scrub."""
        return self.kind == "scrub"

    @property
    def looks_up(self) -> bool:
        """Whether what earlier runs know of files is looked up."""
        return self.is_scrub or self.has_history or self.precheck != "off"

    def parameters(self, catalog: Catalog) -> dict[str, object]:
        """The values that the fragments name."""
        seed, share = self.sample or (None, 1.0)
        return {
            "run_id": self.run_id,
            "catalog": catalog.key,
            "catalog_no": self.catalog_no,
            "since": self.since,
            "started": self.started,
            "cutoff": self.cutoff,
            "seed": seed,
            "share": round(share * _SHARES),
        }


def due(catalog: Catalog, rows: Due, **marker: sql.Composable) -> sql.Composable:
    """Rows that the run is for; `marker` is where it stands, if it is looked for already."""
    if rows.is_scrub:
        found = catalog.query("catalog", "due_scrub", is_bad=is_bad(catalog), **marker)
    else:
        found = catalog.query("catalog", "due_since" if rows.since else "due_unmarked")
    if rows.sample is not None:
        found += sql.SQL(" ") + catalog.query("catalog", "in_sample")
    return found


def is_bad(catalog: Catalog) -> sql.Composable:
    """Whether a row's file was found to be bad, and not good again since."""
    return catalog.query("catalog", "is_bad")


def unmet(catalog: Catalog, rows: Due) -> sql.Composable:
    """Rows that the run is for and has no residual and no held drift of."""
    return due(catalog, rows) + sql.SQL(" ") + catalog.query("catalog", "not_met")


def fresh(catalog: Catalog, rows: Due) -> sql.Composable:
    """Whether a row that is read is marked already."""
    if rows.is_scrub:
        return catalog.query("catalog", "fresh_scrub")
    return catalog.query("catalog", "fresh_since" if rows.since else "fresh_marked")


def stored(catalog: Catalog, rows: Due) -> sql.Composable:
    """The hash that a file's is compared with."""
    if not rows.has_history:
        return compared(catalog.key_text("file_sha256"))
    known = catalog.query("result", "known_hash")
    now = compared(catalog.key_text("file_sha256"))
    return catalog.query("catalog", "stored_or_known", compared=now, known_hash=known)


def known(catalog: Catalog, rows: Due) -> tuple[sql.Composable, sql.Composable]:
    """What is known of a row's file: the columns, and the join they need."""
    if rows.precheck == "off":
        return EMPTY, EMPTY
    and_hash: sql.Composable = catalog.query("catalog", "and_hash", is_bad=is_bad(catalog))
    if rows.blake3:
        blake3_text = catalog.key_text("file_blake3")
        and_hash += sql.SQL(" ") + catalog.query("catalog", "and_blake3", blake3_text=blake3_text)
    if rows.precheck == "size":
        return catalog.query("catalog", "known_size", and_hash=and_hash), EMPTY
    name = "known_stamps" if rows.precheck == "stat" else "known_xxh3"
    return (
        catalog.query("catalog", name, and_hash=and_hash),
        catalog.query("catalog", "with_state", **stamps(sql.SQL("f.stamps"))),
    )
