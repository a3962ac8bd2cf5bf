"""The metrics of a run: which there are, and what they say now."""

from __future__ import annotations

import bisect
import itertools
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from fasthash import __version__
from fasthash.config import NO_TYPE
from fasthash.drift import parse_marker
from fasthash.fixity import Counts, DriftKind, Outcome, Why
from fasthash.metrics import Moment
from fasthash.summary import ENDINGS, RunSummary

# Labels of every sample, so that one file, or one host, can have several catalogs and both kinds.
COMMON = ("catalog", "kind")
# Only this many types become labels; more would be a burden to whoever stores them.
TYPES_AT_MOST = 50
OTHER_TYPES = "(other)"
# Of seconds that a batch took: 20 ms for 2,000 rows is usual, 30 s the statement time-out.
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class How(StrEnum):
    """How a session ended; the words of `ENDINGS` are those of an end by plan."""

    COMPLETE = "complete"
    LEFT = "left"  # by plan; others go on with the run
    BUDGET = "budget"
    TIME = "time"
    WINDOW = "window"
    LIMIT = "limit"
    SIGNAL = "signal"
    FAILED = "failed"
    NOT_BEGUN = "not_begun"


GOOD_ENDS = frozenset({How.COMPLETE, How.LEFT, *map(How, ENDINGS)})


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its whole name, type, help text, and labels beside the common ones."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()


METRICS = (
    Metric("fasthash_build_info", "gauge", "Always 1; what runs here.", ("version", "python")),
    Metric("fasthash_run_info", "gauge", "Always 1; the run in the ledger.", ("run_id", "how")),
    Metric("fasthash_running", "gauge", "1 while a run is under way, 0 when it has ended."),
    Metric("fasthash_updated_timestamp_seconds", "gauge", "When this was written."),
    Metric("fasthash_run_start_timestamp_seconds", "gauge", "When the run was first started."),
    Metric("fasthash_end_timestamp_seconds", "gauge", "When the run ended here."),
    Metric("fasthash_ended", "gauge", "1 for how the run ended here, else 0.", ("how",)),
    Metric("fasthash_exit_status", "gauge", "Exit status of the command that ended."),
    Metric(
        "fasthash_last_success_timestamp_seconds",
        "gauge",
        "When a run of this kind last ended as planned, whatever it found.",
    ),
    Metric("fasthash_rows_total", "counter", "Rows of the run, all hosts.", ("type", "outcome")),
    Metric("fasthash_rows_prechecked_total", "counter", "Rows confirmed without hashing."),
    Metric("fasthash_rows_expected", "gauge", "Rows that the run will meet, once counted."),
    Metric("fasthash_hashed_bytes_total", "counter", "Bytes hashed in the run.", ("type",)),
    Metric("fasthash_read_bytes_total", "counter", "Bytes read by this coordinator's workers."),
    Metric("fasthash_drifts_total", "counter", "Drifts found in the run.", ("drift_kind",)),
    Metric("fasthash_drifts_open", "gauge", "Drifts of the catalog that wait for a decision."),
    Metric("fasthash_queued_rows", "gauge", "Rows leased here that wait for a worker."),
    Metric("fasthash_unsettled_rows", "gauge", "Rows sent to the writer, not yet committed."),
    Metric("fasthash_commit_duration_seconds", "histogram", "Time to commit a batch, all tries."),
    Metric("fasthash_leases", "gauge", "Ranges leased to this coordinator."),
    Metric("fasthash_lease_remaining_seconds", "gauge", "Time until the oldest lease runs out."),
    Metric("fasthash_workers", "gauge", "Worker processes by what they do.", ("state",)),
    Metric("fasthash_worker_restarts_total", "counter", "Workers that died and were replaced."),
    Metric("fasthash_writer_restarts_total", "counter", "Writers that died and were replaced."),
    Metric("fasthash_longest_read_seconds", "gauge", "Age of the oldest read under way."),
    Metric("fasthash_rate_limit_bytes_per_second", "gauge", "Limit on this host, 0 for none."),
    Metric("fasthash_rate_limit_files_per_second", "gauge", "Limit on this host, 0 for none."),
    Metric("fasthash_held", "gauge", "1 for what holds the run now, else 0.", ("reason",)),
    Metric("fasthash_database_reconnects_total", "counter", "Connections replaced.", ("session",)),
    Metric(
        "fasthash_oldest_marker_timestamp_seconds",
        "gauge",
        "Every row with a hash was verified since, except those known to be bad.",
    ),
    Metric("fasthash_bad_rows", "gauge", "Rows known to be bad at the end of the last scrub."),
)
# What is still true when nothing runs any more, and is kept in a file from run to run.
LASTING = (
    "fasthash_last_success_timestamp_seconds",
    "fasthash_drifts_open",
    "fasthash_oldest_marker_timestamp_seconds",
    "fasthash_bad_rows",
)

Labels = tuple[str, ...]
Samples = dict[str, dict[Labels, float]]


class Exposition:
    """What a run has told, as samples. Told by the event loop, asked by other threads.

    Counters never fall while the process lives: what a crash of the server undid is counted once
    it is done again and more.

    Args:
        catalog: as configured; a label of all.
        kind: of the run; a label of all.
    """

    wanted = True

    def __init__(self, catalog: str, kind: str) -> None:
        self.common = (catalog, kind)
        self.seconds = Histogram()
        self._lasting: dict[str, float] = {}
        self._facts: Samples = {}  # set once
        self._counters: Samples = {}
        self._moment: Moment | None = None
        self._types: set[str] = set()

    @property
    def is_open(self) -> bool:
        """Whether a run was opened."""
        return "fasthash_run_info" in self._facts

    def keep(self, name: str, value: float) -> None:
        """One of the lasting; times only go forward."""
        if name == "fasthash_last_success_timestamp_seconds":
            value = max(value, self._lasting.get(name, 0.0))
        self._lasting = {**self._lasting, name: value}

    def remembered(self, ended_at: datetime | None, freshness: Mapping[str, Any] | None) -> None:
        """See `Metrics`."""
        if ended_at is not None:
            self.keep("fasthash_last_success_timestamp_seconds", ended_at.timestamp())
        self._refresh(freshness)

    def opened(self, run_id: int, how: str, started_at: datetime) -> None:
        """See `Metrics`."""
        start_s = started_at.timestamp()
        self._facts = {
            "fasthash_run_info": {(str(run_id), how): 1.0},
            "fasthash_run_start_timestamp_seconds": {(): start_s},
        }

    def show(self, moment: Moment) -> None:
        """See `Metrics`."""
        self._moment = moment
        self._raise("fasthash_read_bytes_total", {(): moment.read_bytes})
        self._raise("fasthash_worker_restarts_total", {(): moment.worker_deaths})
        self._raise("fasthash_writer_restarts_total", {(): moment.writer_deaths})
        reconnects: dict[Labels, float] = {
            (session,): float(n) for session, n in moment.reconnects.items()
        }
        self._raise("fasthash_database_reconnects_total", reconnects)

    def committed(self, seconds: float) -> None:
        """See `Metrics`."""
        self.seconds.observe(seconds)

    def counted(self, by_type: Mapping[str | None, Counts]) -> None:
        """See `Metrics`."""
        by_name: dict[str, Counts] = {}
        for artifact_type, counts in sorted(by_type.items(), key=lambda item: -item[1].scanned):
            name = self._label(NO_TYPE if artifact_type is None else artifact_type)
            by_name[name] = by_name.get(name, Counts()) + counts
        rows: dict[Labels, float] = {
            (t, str(o)): float(getattr(c, o)) for t, c in by_name.items() for o in Outcome
        }
        prechecked = sum(counts.prechecked for counts in by_name.values())
        self._raise("fasthash_rows_total", rows)
        self._raise("fasthash_rows_prechecked_total", {(): prechecked})
        hashed: dict[Labels, float] = {(t,): float(c.bytes_hashed) for t, c in by_name.items()}
        self._raise("fasthash_hashed_bytes_total", hashed)

    def drifted(self, kinds: Mapping[str, int], waiting: int) -> None:
        """See `Metrics`."""
        found: dict[Labels, float] = {(str(kind),): float(kinds.get(kind, 0)) for kind in DriftKind}
        self._raise("fasthash_drifts_total", found)
        self.keep("fasthash_drifts_open", waiting)

    def ended(self, how: How, exit_status: int, summary: RunSummary | None) -> None:
        """The run is over here: what is true only of a running one is gone from the samples."""
        now_s = time.time()
        expected = self._moment.rows_expected if self._moment is not None else None
        self._moment = None
        if summary is not None and summary.started_at is not None:  # the ledger's own
            self.counted(summary.by_type)
            self.keep("fasthash_drifts_open", summary.open_drifts)
            self._refresh(summary.freshness)
        if how in GOOD_ENDS:
            self.keep("fasthash_last_success_timestamp_seconds", now_s)
        more: Samples = {
            "fasthash_end_timestamp_seconds": {(): now_s},
            "fasthash_ended": {(str(one),): float(one == how) for one in How},
            "fasthash_exit_status": {(): float(exit_status)},
        }
        if expected is not None:
            more["fasthash_rows_expected"] = {(): float(expected)}
        self._facts = {**self._facts, **more}

    def samples(self) -> Samples:
        """Values by name and labels (without the common ones); metrics that say nothing lack."""
        moment = self._moment
        version = (__version__, platform.python_version())
        over = "fasthash_ended" in self._facts
        return {
            "fasthash_build_info": {version: 1.0},
            "fasthash_running": {(): float(not over)},
            "fasthash_updated_timestamp_seconds": {(): time.time()},
            **self._facts,
            **{name: {(): value} for name, value in self._lasting.items()},
            **self._counters,
            **({} if moment is None else _of_moment(moment)),
        }

    def _raise(self, name: str, values: Mapping[Labels, float]) -> None:
        known = self._counters.get(name, {})
        more = {labels: max(value, known.get(labels, 0.0)) for labels, value in values.items()}
        self._counters = {**self._counters, name: {**known, **more}}

    def _label(self, name: str) -> str:
        if name not in self._types:
            if len(self._types) >= TYPES_AT_MOST:
                return OTHER_TYPES
            self._types.add(name)
        return name

    def _refresh(self, freshness: Mapping[str, Any] | None) -> None:
        oldest = parse_marker(freshness["oldest_marker"]) if freshness is not None else None
        if freshness is None or self.common[1] != "scrub":
            return
        if oldest is not None:
            self.keep("fasthash_oldest_marker_timestamp_seconds", oldest.timestamp())
        self.keep("fasthash_bad_rows", freshness["rows_bad"])


class Histogram:
    """Counts of durations by bucket."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect.bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Upper bounds and how many lie at or below each."""
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        return zip(bounds, itertools.accumulate(list(self.counts)), strict=True)


def _of_moment(moment: Moment) -> Samples:
    """The samples that only a running coordinator has; ages are as of now, not of the moment."""
    oldest_s = moment.oldest_read_since_s
    bytes_per_s, files_per_s = moment.rates
    found: Samples = {
        "fasthash_queued_rows": {(): moment.rows_queued},
        "fasthash_unsettled_rows": {(): moment.rows_unsettled},
        "fasthash_leases": {(): moment.leases},
        "fasthash_lease_remaining_seconds": {(): moment.leases_until_s - time.monotonic()},
        "fasthash_workers": {(state,): float(n) for state, n in moment.workers.items()},
        "fasthash_longest_read_seconds": {
            (): 0.0 if oldest_s is None else max(0.0, time.time() - oldest_s)
        },
        "fasthash_rate_limit_bytes_per_second": {(): bytes_per_s},
        "fasthash_rate_limit_files_per_second": {(): files_per_s},
        "fasthash_held": {(str(why),): float(why == moment.held) for why in Why},
    }
    if moment.rows_expected is not None:
        found["fasthash_rows_expected"] = {(): moment.rows_expected}
    return found
