"""What kind a drift is: a pure decision over the stamps."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from fasthash.fixity import DriftKind

# A page that is written to through a shared mapping moves mtime and ctime when it is written to for
# the first time after it was clean; whatever is written into it until the kernel wrote it back
# moves neither, and neither does msync (Linux 6.18, ext4). What is 30 s old is written back, looked
# for every 5 s (vm.dirty_expire_centisecs, vm.dirty_writeback_centisecs); a busy disk takes longer.
MAPPED_S = 60


def parse_marker(marker: str | None) -> datetime | None:
    """The time of a marker (ISO 8601 with an offset), or None where it is not one."""
    if marker is None:
        return None
    try:
        time = datetime.fromisoformat(marker)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


# As the fragment `digest` in `row.sql` has it.
_HASH = re.compile(r"\s*(?:sha-?256\s*[:=]\s*)?([0-9a-f]{64})\s*", re.ASCII | re.IGNORECASE)
NO_HASH = "no hash that can be compared"


def is_hash(text: str) -> bool:
    """Whether a text is a SHA-256 hash; also in capitals, in blanks, or behind `sha256:`."""
    return digest_in(text) is not None


def digest_in(text: str) -> str | None:
    """The SHA-256 hash that a text is, in lower case, or None where it is none."""
    found = _HASH.fullmatch(text)
    return found and found[1].lower()


class Stamps(NamedTuple):
    """What tells one state of a file from another without reading it; times in nanoseconds."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    device: int = 0
    inode: int = 0


# By their names in `Stamps`, in the order in which they are told.
_NAMES = ("size", "mtime", "ctime", "device", "inode")
# Who changes a content on purpose moves one of these. The others move with every chmod, link,
# rename, restore and migration, and say nothing of the content.
OF_CONTENT = frozenset({"size", "mtime"})


def moved(
    marker: str | None, old_size_bytes: int | None, found: Stamps, known: Stamps | None
) -> tuple[str, ...] | None:
    """Which stamps are others than when the stored hash was made.

    Args:
        marker: when the stored hash was made, as it stands in the catalog.
        old_size_bytes: the stored size, if there is one.
        found: the file's stamps now.
        known: its stamps when the stored hash was made, if the ledger has them.

    Returns:
        Names of stamps: size, mtime, ctime, device, inode. Without known stamps the marker stands
        in for them: a time that is later has moved. None where there is no marker, either.
    """
    if known is not None:
        return tuple(n for n, now, then in zip(_NAMES, found, known, strict=True) if now != then)
    marked_at = parse_marker(marker)
    if marked_at is None:
        return None
    marked_at_ns = _nanoseconds(marked_at)
    is_other = {
        "size": old_size_bytes is not None and old_size_bytes != found.size_bytes,
        "mtime": found.mtime_ns > marked_at_ns,
        "ctime": found.ctime_ns > marked_at_ns,
    }
    return tuple(name for name, other in is_other.items() if other)


def classify(stamps: Collection[str] | None) -> DriftKind:
    """The kind of a drift.

    Args:
        stamps: those that moved, as `moved` has them.

    Returns:
        `modified` where the size or the mtime did, `corrupt` where neither did, whatever became of
        the others, and `unknown` where there is nothing to compare with.
    """
    if stamps is None:
        return DriftKind.UNKNOWN
    return DriftKind.CORRUPT if OF_CONTENT.isdisjoint(stamps) else DriftKind.MODIFIED


def unseen_writer(kind: DriftKind, marker: str | None, ctime: datetime | None) -> str | None:
    """What speaks against rot where neither size nor mtime has moved, or None where nothing does.

    It stays `corrupt`: to take the hash of a rotten file for good is worse than to ask.

    Args:
        kind: of the drift.
        marker: when the stored hash was made, as it stands in the catalog.
        ctime: of the file when it was hashed; None where it is not known.
    """
    marked_at = parse_marker(marker)
    if kind != DriftKind.CORRUPT or marked_at is None or ctime is None:
        return None
    seconds = (marked_at - ctime).total_seconds()
    if seconds >= MAPPED_S:
        return None
    return (
        f"the file had changed {max(0, round(seconds))} s before it was hashed: a program that "
        "has it mapped can have written to it since, and no time shows that"
    )


def told(stamps: Collection[str] | None) -> str | None:
    """What is said of the stamps that moved, or None where it says nothing of the content.

    Args:
        stamps: as `moved` has them.
    """
    if stamps is None:
        return None
    names = " and ".join(", ".join(stamps).rsplit(", ", 1))
    if not stamps:
        return "neither size nor times"
    if OF_CONTENT.isdisjoint(stamps):
        return f"{names}, but neither size nor mtime"
    return names


def is_overwritten(kind: DriftKind, policy: str) -> bool:
    """Whether a stored hash that differs is replaced, or kept until somebody decides.

    Args:
        kind: of the drift.
        policy: `overwrite` or `hold`; `backfill`, which replaces all but what is corrupt; or
            `scrub`, which replaces nothing but what was modified.
    """
    replaced = {
        "overwrite": frozenset(DriftKind),
        "backfill": frozenset(DriftKind) - {DriftKind.CORRUPT},
        "scrub": frozenset({DriftKind.MODIFIED}),
        "hold": frozenset(),
    }
    return kind in replaced[policy]


def _nanoseconds(time: datetime) -> int:
    """Since the epoch, in whole numbers: floats of this size are 238 ns apart."""
    return (time - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1) * 1_000
