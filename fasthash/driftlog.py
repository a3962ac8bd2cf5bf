"""Log lines about drifts: loud, one a drift, and only of what is committed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fasthash import drift, logs
from fasthash.fixity import DriftKind
from fasthash.store import results
from fasthash.store.session import Connection, Row
from fasthash.widths import human_time

log = logging.getLogger("fasthash")

_EPOCH = datetime.fromtimestamp(0, UTC)


def tell(
    connection: Connection,
    run_ids: Sequence[int],
    holder_id: int | None,
    reach: Callable[[str], Any] = lambda _point: None,
) -> int:
    """Logs the drifts that no line has told of yet, and notes that one has.

    A process that dies between the two leaves them to whoever asks next: a line may then come
    twice, but none is missing.

    Args:
        run_ids: of these runs.
        holder_id: only those that this coordinator's writer has found; None for all.
        reach: a point for tests, between the lines and the note.

    Returns:
        How many there were.
    """
    found = results.unlogged_drifts(connection, run_ids, holder_id)
    for row in found:
        _log(row)
    if found:
        reach("drifts_logged")
        results.note_logged(connection, [row["drift_id"] for row in found])
    return len(found)


def _log(found: Row) -> None:
    mtime = human_time(found["file_mtime"])
    level = logging.ERROR if found["kind"] == DriftKind.CORRUPT else logging.WARNING
    log.log(
        level,
        "DRIFT row %s: file_sha256 was %s%s, is %s; file mtime %s; kind %s%s; %s; path %s",
        found["row_id"],
        found["old_hash"],
        _about(found),
        found["new_hash"],
        mtime,
        found["kind"],
        _moved(found),
        found["resolution"],
        found["path"],
        extra=logs.event(
            "drift",
            row_id=found["row_id"],
            artifact_type=found["artifact_type"],
            path=found["path"],
            kind=found["kind"],
            moved=found["moved"],
            resolution=found["resolution"],
            old_hash=found["old_hash"],
            new_hash=found["new_hash"],
            old_size=found["old_size_bytes"],
            new_size=found["new_size_bytes"],
            file_mtime=mtime,
            mtime_ns=_nanoseconds(found["file_mtime"]),
            ctime_ns=_nanoseconds(found["file_ctime"]),
            old_mtime_ns=_nanoseconds(found["old_mtime"]),
            old_ctime_ns=_nanoseconds(found["old_ctime"]),
            old_marker=found["old_marker"],
            was_lost=found["was_lost"],
        ),
    )


def _about(found: Row) -> str:
    """What has to be known of the old hash."""
    if found["was_lost"]:
        return " (the row has lost it)"
    return "" if drift.is_hash(found["old_hash"]) else f" ({drift.NO_HASH})"


def _moved(found: Row) -> str:
    """Which stamps moved, where that is not what one expects of the kind."""
    if found["kind"] != DriftKind.CORRUPT or not found["moved"]:
        return ""
    return f" ({drift.told(found['moved'])} moved)"


def _nanoseconds(time: datetime | None) -> int | None:
    """Since the epoch, in whole microseconds as the ledger keeps them."""
    return None if time is None else (time - _EPOCH) // timedelta(microseconds=1) * 1_000
