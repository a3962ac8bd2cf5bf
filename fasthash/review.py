"""Decides about drifts: a hash is accepted only if the file still has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fasthash.alone import Alone
from fasthash.config import Settings
from fasthash.fixity import Root, Task
from fasthash.hashing import Algorithms
from fasthash.resolver import load_resolver
from fasthash.store import reviews, states
from fasthash.store.catalog import Catalog
from fasthash.store.session import Connection, Row
from fasthash.watching import Unwatched


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one drift: whether it was done, and if not, why."""

    drift_id: int
    row_id: str
    done: bool
    reason: str | None = None


def accept(
    connection: Connection,
    catalog: Catalog,
    settings: Settings,
    roots: tuple[Root, ...],
    drifts: list[Row],
    who: str,
    comment: str | None,
) -> Iterator[Decision]:
    """Reads each file again and writes its hash, if it is the one that the drift is about."""
    resolver = load_resolver(settings.resolver) if settings.resolver else None
    both = Algorithms(sha256=True, blake3=True)
    reader = Alone(roots, settings.chunk_bytes, False, both, resolver, Unwatched())
    catalog_no = states.find_catalog_no(connection, catalog)
    for found in drifts:
        decision = _refusal(found)
        if decision is None:
            read = reader.inspect(Task(found["row_id"], found["path"], None, None))
            if read.sha256 is None:
                decision = f"{read.verdict}: {read.detail}"
            elif read.sha256.hex() != found["new_hash"]:
                decision = f"the file has another hash by now: {read.sha256.hex()}"
            else:
                decision = reviews.accept(
                    connection, catalog, catalog_no, found, read, who, comment
                )
        yield Decision(found["drift_id"], found["row_id"], decision is None, decision)


def reject(
    connection: Connection, drifts: list[Row], who: str, comment: str | None
) -> Iterator[Decision]:
    """Keeps the stored hashes."""
    done = set(reviews.reject(connection, [d["drift_id"] for d in drifts], who, comment))
    for found in drifts:
        ok = found["drift_id"] in done
        reason = None if ok else _refusal(found) or "somebody else has decided meanwhile"
        yield Decision(found["drift_id"], found["row_id"], ok, reason)


def _refusal(found: Row) -> str | None:
    state = found["resolution"]
    return None if state == "open" else f"it is {state} already"
