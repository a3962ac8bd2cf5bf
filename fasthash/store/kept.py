"""What the journal keeps of a row that is written, so that it can be put back to the letter."""

from __future__ import annotations

from psycopg import sql

from fasthash.store.catalog import Catalog
from fasthash.store.queries import identifier, query

# What is written, and what is written beside.
KEYS = ("file_sha256", "file_size_bytes", "file_sha256_computed_at")
BLAKE3 = "file_blake3"


def kept(
    catalog: Catalog, *, blake3: bool, document: sql.Composable | None = None
) -> dict[str, sql.Composable]:
    """The fragments `old_json`, for where a row is looked at, and `old_keys`, where it is noted.

    The second is made of columns of `p`: `old_hash_json`, `old_size_json`, `old_marker_json` and
    `old_blake3_json`, or `old_json`.

    Args:
        catalog: whose rows they are.
        blake3: the second digest is among the keys that are written.
        document: the metadata before it is written; None for that of the catalog's row `a`.
    """
    keys = [*KEYS, BLAKE3] if blake3 else list(KEYS)
    if document is None:
        document = sql.SQL("a.{}").format(identifier(catalog.names.metadata))
    form = catalog.metadata_type
    old_json = query("kept", f"old_json_{form}", document=document, keys=sql.Literal(keys))
    return {"old_json": old_json, "old_keys": query("kept", f"old_keys_{form}")}


def write_keys(catalog: Catalog, holds: sql.Composable) -> sql.Composed:
    """The fragment that writes patches by an UPDATE of our own.

    Args:
        catalog: where to.
        holds: what tells whether a row took it.
    """
    appended = catalog.query("result", "appended")
    return catalog.query("result", f"write_{catalog.metadata_type}", holds=holds, appended=appended)
