"""Progress on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from tqdm import tqdm

from fasthash import logs
from fasthash.progress import NoProgress, Position, Progress
from fasthash.summary import human_bytes, human_seconds

log = logging.getLogger("fasthash")

LINE_EVERY_S = 5.0
# The rate shown is that of the last while, so that it says what happens now.
RATE_OVER_S = 10.0


class Rate:
    """Bytes and rows a second over the last seconds."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int, int]] = []

    def add(self, rows: int, read_bytes: int) -> tuple[float, float]:
        """Takes the totals now and returns rows and bytes a second."""
        now_s = time.monotonic()
        self._points.append((now_s, rows, read_bytes))
        while now_s - self._points[0][0] > RATE_OVER_S:
            self._points.pop(0)
        first_s, first_rows, first_bytes = self._points[0]
        seconds = max(now_s - first_s, 1e-3)
        # A file that is done but not delivered yet counts no bytes for a moment.
        return (rows - first_rows) / seconds, max(0, read_bytes - first_bytes) / seconds


class Bar:
    """A tqdm bar with rows, MB/s, ETA, drift and missing counts."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._rate = Rate()

    def show(self, position: Position) -> None:
        """Redraws the bar."""
        counts = position.counts
        if self._bar is None:
            self._bar = tqdm(
                unit="row", initial=counts.scanned, dynamic_ncols=True, smoothing=0.1, leave=False
            )
        bar = self._bar
        _, bytes_per_s = self._rate.add(counts.scanned, position.read_bytes)
        bar.total = position.rows_in_all
        notes = [f"{human_bytes(bytes_per_s)}/s", f"drift {counts.drifted}"]
        notes.append(f"missing {counts.no_file}")
        if counts.failed:
            notes.append(f"failed {counts.failed}")
        if position.held:
            notes = [f"HELD: {logs.printable(position.held)}"]
        elif position.stuck:
            notes.append(f"waiting for {logs.printable(position.stuck)[-40:]}")
        bar.set_postfix_str(", ".join(notes), refresh=False)
        bar.update(counts.scanned - bar.n)
        bar.refresh()

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()


class Lines:
    """A log line every few seconds."""

    def __init__(self) -> None:
        self._rate = Rate()
        self._next_s = time.monotonic() + LINE_EVERY_S

    def show(self, position: Position) -> None:
        """Logs the position when it is time to."""
        counts = position.counts
        rows_per_s, bytes_per_s = self._rate.add(counts.scanned, position.read_bytes)
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + LINE_EVERY_S
        expected = position.rows_in_all
        of, eta = "", ""
        if expected:
            percent = min(1000, counts.scanned * 1000 // expected) / 10  # never 100% too soon
            of = f" of {expected:,} ({percent}%)"
            if rows_per_s > 0:
                eta = f", {human_seconds(max(0, expected - counts.scanned) / rows_per_s)} to go"
        held = f"; HELD: {position.held}" if position.held else ""
        stuck = f"; waiting for {position.stuck}" if position.stuck else ""
        log.info(
            "%s%s rows, %.0f rows/s, %s/s%s; drift %d, missing %d, failed %d%s%s",
            f"{counts.scanned:,}",
            of,
            rows_per_s,
            human_bytes(bytes_per_s),
            eta,
            counts.drifted,
            counts.no_file,
            counts.failed,
            held,
            stuck,
            extra=logs.event(
                "progress",
                rows_scanned=counts.scanned,
                rows_expected=expected,
                rows_per_s=round(rows_per_s, 1),
                bytes_per_s=round(bytes_per_s),
                held=position.held,
                stuck=position.stuck,
            ),
        )

    def close(self) -> None:
        """Nothing to take away."""


def choose_progress(*, quiet: bool, log_format: str) -> Progress:
    """What fits where stderr goes."""
    if quiet:
        return NoProgress()
    if sys.stderr.isatty() and log_format == "text":
        return Bar()
    return Lines()
