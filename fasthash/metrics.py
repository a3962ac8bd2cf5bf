"""How a run tells what it does to whoever watches: a protocol, and an object that tells nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from fasthash.fixity import Counts, Why


@dataclass(frozen=True, slots=True)
class Moment:
    """What this coordinator and its processes are doing."""

    read_bytes: int  # since it started
    rows_expected: int | None
    rows_queued: int  # for workers
    rows_unsettled: int  # sent to the writer, not known as committed
    leases: int
    leases_until_s: float  # monotonic
    workers: Mapping[str, int]  # by what they do
    oldest_read_since_s: float | None  # since the epoch
    rates: tuple[float, float]  # bytes and files a second; 0 for no limit
    held: Why | None
    worker_deaths: int
    writer_deaths: int
    reconnects: Mapping[str, int]  # by session


class Metrics(Protocol):
    """Told what a run does; nothing in here waits."""

    wanted: bool  # whether it is worth asking the ledger for more than a run itself needs

    def remembered(self, ended_at: datetime | None, freshness: Mapping[str, Any] | None) -> None:
        """What earlier runs have left: the last good end of this kind, the last freshness."""

    def opened(self, run_id: int, how: str, started_at: datetime) -> None:
        """The run is open: new, resumed or joined."""

    def show(self, moment: Moment) -> None:
        """What goes on now; called a few times a second."""

    def committed(self, seconds: float) -> None:
        """The writer settled a batch."""

    def counted(self, by_type: Mapping[str | None, Counts]) -> None:
        """What the run has come to, with all who work on it."""

    def drifted(self, kinds: Mapping[str, int], waiting: int) -> None:
        """The run's drifts by kind, and those of the catalog that wait for a decision."""


class NoMetrics:
    """Tells nobody."""

    wanted = False

    def remembered(self, ended_at: datetime | None, freshness: Mapping[str, Any] | None) -> None:
        """Nothing."""

    def opened(self, run_id: int, how: str, started_at: datetime) -> None:
        """Nothing."""

    def show(self, moment: Moment) -> None:
        """Nothing."""

    def committed(self, seconds: float) -> None:
        """Nothing."""

    def counted(self, by_type: Mapping[str | None, Counts]) -> None:
        """Nothing."""

    def drifted(self, kinds: Mapping[str, int], waiting: int) -> None:
        """Nothing."""


NO_METRICS = NoMetrics()
