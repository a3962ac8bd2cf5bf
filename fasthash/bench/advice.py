"""What trials say: the settings to use, and what limits a run. Decides and touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fasthash.bench.trial import Rate, Trial

# Another setting has to be so much better to be preferred: less is noise, and fewer workers and
# the usual reader disturb others less.
BETTER_BY = 1.07
# A limit is reached when so much of it is used.
REACHED = 0.75
DEFAULT = Trial(1)


@dataclass(frozen=True, slots=True)
class Found:
    """All that was measured; a rate is None where it could not be."""

    mean_bytes: float
    digest_one: Rate
    digest_all: Rate
    sweep: Mapping[Trial, Rate]  # by workers, with the usual reader
    readers: Mapping[Trial, Rate]  # by reader and chunk, on large files
    is_cold: bool  # the sweep read from the disk
    other_state: Rate | None  # the best number of workers on a warm cache, if the sweep is cold
    database_rows_per_s: float | None


@dataclass(frozen=True, slots=True)
class Advice:
    """Settings as in the configuration file, and why a run will not be faster."""

    workers: int
    chunk_bytes: int
    reader: str
    rows_per_s: float
    bytes_per_s: float
    limit: str  # sha, disk, files or database
    reason: str


def advise(found: Found) -> Advice:
    """The settings and the limit."""
    by_workers = best(found.sweep, Trial(min(t.workers for t in found.sweep)))
    rate = found.sweep[by_workers]
    usual = Trial(by_workers.workers)
    reading = best(found.readers, usual) if usual in found.readers else usual
    limit, reason = _limit(found, rate)
    rows_per_s = min(rate.files_per_s, found.database_rows_per_s or rate.files_per_s)
    return Advice(
        by_workers.workers,
        reading.chunk_bytes,
        reading.reader or "readinto",
        rows_per_s,
        rate.bytes_per_s * rows_per_s / max(rate.files_per_s, 1e-9),
        limit,
        reason,
    )


def best(rates: Mapping[Trial, Rate], usual: Trial) -> Trial:
    """The trial to follow: the usual one, unless another is clearly better.

    Trials are compared in ascending number of workers, so that of two that are equally good the
    one with fewer is taken.
    """
    chosen = usual
    for trial in sorted(rates, key=lambda t: t.workers):
        if rates[trial].bytes_per_s > rates[chosen].bytes_per_s * BETTER_BY:
            chosen = trial
    return chosen


def _limit(found: Found, rate: Rate) -> tuple[str, str]:
    database = found.database_rows_per_s
    if database is not None and database < rate.files_per_s:
        return "database", (
            f"the database takes {database:,.0f} rows/s, the files come at {rate.files_per_s:,.0f}"
        )
    if rate.bytes_per_s > REACHED * found.digest_all.bytes_per_s:
        return "sha", "the SHA-256 of the processor is at its limit on all cores"
    if found.is_cold and rate.processor_share < REACHED:
        return "disk", (
            f"the disk: workers wait for it {1 - rate.processor_share:.0%} of their time"
        )
    return "files", (
        "opening, reading and closing files costs the processor more than their digests do"
        if found.mean_bytes < 64 * 1024
        else "the processor reads more slowly than it hashes: bandwidth of memory or page cache"
    )
