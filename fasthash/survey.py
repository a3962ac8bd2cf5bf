"""The catalog as a whole: how much is to come, markers that are odd, how fresh it is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from fasthash import driftlog, logs
from fasthash.fixity import Counts, Root
from fasthash.freshness import Freshness, verified_by
from fasthash.metrics import Metrics
from fasthash.parsing import marker_text
from fasthash.seat import Seat, Start
from fasthash.store import reports, rows, runs, states

log = logging.getLogger("fasthash")

# A marker so far ahead of this host's clock is of the future.
FUTURE = timedelta(minutes=1)


async def count_ahead(seat: Seat, start: Start) -> int:
    """How many rows the run will meet, for the progress bar and the ETA; noted in the ledger."""
    limit = seat.settings.limit
    by_type = await seat.counter.call(
        rows.count_rows, seat.catalog, seat.due, seat.settings.types, unmet=start.only_unmet
    )
    count = sum(by_type.values())
    expected = count if limit is None else min(count, limit)
    # Which rows a limit cuts off is known when they are planned.
    of_types = by_type if expected == count else None
    await seat.pulse.call(runs.expect_rows, seat.run_id, expected, of_types)
    return expected


async def look_at_clocks(seat: Seat) -> None:
    """Says so where markers are of the future: such rows are fresh until then."""
    now = marker_text(datetime.now(UTC) + FUTURE)
    count, latest = await seat.counter.call(rows.count_future, seat.catalog, now)
    if count:
        log.warning(
            "%d row%s a marker of the future, up to %s: taken as fresh; is a clock wrong?",
            count,
            " has" if count == 1 else "s have",
            latest,
            extra=logs.event("future_markers", rows=count, latest=latest),
        )


async def look_at_digests(seat: Seat) -> None:
    """Says so where a digest that earlier runs wrote is not made: it may go stale."""
    if not seat.settings.blake3 and await seat.ledger.call(states.had_blake3, seat.catalog):
        log.warning(
            "earlier runs wrote file_blake3, this one does not: where files have changed it stays "
            "what it was; --algorithm sha256,blake3 makes both",
            extra=logs.event("blake3_left"),
        )


def look_for_files(total: Counts, roots: Sequence[Root]) -> None:
    """Says so where not one file was found: the roots may be the wrong ones."""
    if total.scanned and total.no_file == total.scanned:
        names = [root.path.decode(errors="backslashreplace") for root in roots]
        log.warning(
            "not one of %d files was found beneath %s: is that the right place?",
            total.scanned,
            ", ".join(names),
            extra=logs.event("nothing_found", rows=total.scanned, roots=names),
        )


async def tell_history(seat: Seat, metrics: Metrics) -> None:
    """Tells the metrics what earlier runs have left; before this one is opened."""
    if metrics.wanted:
        settings, key = seat.settings, seat.catalog.key
        metrics.remembered(*await seat.ledger.call(reports.read_history, key, settings.kind))


async def tell_old_drifts(seat: Seat) -> None:
    """Logs the drifts whose lines a crash has swallowed: the session of who found them is gone."""
    for run_id, holder_id in await seat.ledger.call(states.untold, seat.catalog):
        log.warning(
            "run %d had found drift when it was interrupted, and not logged it:",
            run_id,
            extra=logs.event("drift_untold", of_run=run_id),
        )
        await seat.ledger.call(driftlog.tell, [run_id], holder_id)


async def note_freshness(
    seat: Seat, done: Counts, rows_expected: int | None, *, ended_early: bool
) -> None:
    """Stores how fresh the catalog is at the end of a scrub's session.

    Args:
        seat: in the scrub.
        done: what it has come to.
        rows_expected: what it was for, if that is known.
        ended_early: it was left by plan, and goes on another time.
    """
    found = await seat.counter.call(rows.read_freshness, seat.catalog, seat.due)
    run = await seat.ledger.call(reports.read_run, seat.run_id)
    now = datetime.now(UTC)
    left = max(0, (rows_expected or 0) - done.scanned) if ended_early else 0
    nightly = ended_early or bool(seat.settings.courtesy.windows)
    by = verified_by(now, run["started_at"], run["seconds"], done.scanned, left, nightly=nightly)
    freshness = Freshness(now, verified_by=by, **found)
    await seat.ledger.call(runs.note_freshness, seat.run_id, freshness.as_json())
