"""What kind a drift is: a pure decision over the stamps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fasthash.fixity import DriftKind


def parse_marker(marker: str | None) -> datetime | None:
    """The time of a marker (ISO 8601 with an offset), or None where it is not one."""
    if marker is None:
        return None
    try:
        time = datetime.fromisoformat(marker)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


def classify(
    marker: str | None, old_size_bytes: int | None, new_size_bytes: int, mtime_ns: int
) -> DriftKind:
    """The kind of a drift.

    Args:
        marker: when the stored hash was made, as it stands in the catalog.
        old_size_bytes: the stored size, if there is one.
        new_size_bytes: the file's size.
        mtime_ns: the file's modification time, nanoseconds since the epoch.

    Returns:
        `modified` where size or mtime moved since the marker, `corrupt` where they did not,
        `unknown` where there is no marker to compare with.
    """
    marked_at = parse_marker(marker)
    if marked_at is None:
        return DriftKind.UNKNOWN
    if old_size_bytes is not None and old_size_bytes != new_size_bytes:
        return DriftKind.MODIFIED
    return DriftKind.MODIFIED if mtime_ns > _nanoseconds(marked_at) else DriftKind.CORRUPT


def _nanoseconds(time: datetime) -> int:
    """Since the epoch, in whole numbers: floats of this size are 238 ns apart."""
    return (time - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1) * 1_000
