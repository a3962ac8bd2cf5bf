"""What holds a run for the sake of others: windows, a pause file, pressure, lag and backlog."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from fasthash import clock, logs, windows
from fasthash.config import Courtesy
from fasthash.desk import Desk
from fasthash.gate import Gate
from fasthash.limits import Lag
from fasthash.store import strain
from fasthash.summary import human_seconds
from fasthash.windows import Opening

log = logging.getLogger("fasthash")

IO_PRESSURE = "/proc/pressure/io"  # Documentation/accounting/psi.rst
LOOK_AT_DATABASE_EVERY_S = 5.0
LOOK_AT_DISKS_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing is read, and whether that may take so long that leases are given back."""

    reason: str
    is_long: bool


class Manners:
    """Looks at what others need; tells the workers at once, and the supply when asked.

    Args:
        courtesy: the limits.
        gate: what the workers look at.
        desk: a line to the database that the run works with.
    """

    def __init__(self, courtesy: Courtesy, gate: Gate, desk: Desk) -> None:
        self.courtesy = courtesy
        self.gate = gate
        self.desk = desk
        self.hold: Hold | None = None
        self._zone = windows.find_zone(courtesy.timezone)
        self._pressure: str | None = None
        self._strain: str | None = None
        self._looked_at_disks_s = 0.0

    async def watch_database(self) -> None:
        """Looks at lag and backlog now and then, until cancelled."""
        lag = Lag()
        most_lag_s = self.courtesy.most_replication_lag_s
        most_backlog = self.courtesy.most_wal_backlog
        while most_lag_s or most_backlog:
            found = await self.desk.call(strain.read_strain)
            self._strain = None
            lag_s = max(
                found.lag_s if found.replayed != found.written else 0.0,
                lag.seconds(time.monotonic(), found.written, found.replayed),
            )
            if most_lag_s and lag_s > most_lag_s:
                self._strain = f"replication lags {human_seconds(lag_s)} behind"
            elif most_backlog and found.wal_backlog > most_backlog:
                self._strain = f"{found.wal_backlog} WAL segments wait for the archiver"
            await asyncio.sleep(LOOK_AT_DATABASE_EVERY_S)

    def look(self) -> Hold | None:
        """What holds the run now; the workers know it when this returns."""
        opening = windows.opening(self.courtesy.windows, self._zone, _now())
        found = self._find(opening)
        closes_at_s = opening.until.timestamp() if opening.is_open and opening.until else 0.0
        self.gate.set(paused=found is not None, closes_at_s=closes_at_s)
        if (found and found.reason) != (self.hold and self.hold.reason):
            if found is not None:
                log.info("held: %s", found.reason, extra=logs.event("held", reason=found.reason))
            else:
                log.info("going on", extra=logs.event("going_on"))
        self.hold = found
        return found

    def _find(self, opening: Opening) -> Hold | None:
        found = told_to_wait(self.courtesy.pause_file, opening, self._zone)
        if found is not None:
            return found
        if self._strain is not None:
            return Hold(self._strain, is_long=False)
        self._look_at_disks()
        return None if self._pressure is None else Hold(self._pressure, is_long=False)

    def _look_at_disks(self) -> None:
        most, now_s = self.courtesy.most_io_pressure, time.monotonic()
        if not most or now_s - self._looked_at_disks_s < LOOK_AT_DISKS_EVERY_S:
            return
        self._looked_at_disks_s = now_s
        self._pressure = too_much_pressure(most)


def told_to_wait(pause_file: str | None, opening: Opening, zone: tzinfo) -> Hold | None:
    """What the operator holds a run by: its windows or the pause file.

    Args:
        pause_file: its path, or None.
        opening: of the windows, now.
        zone: theirs.
    """
    if not opening.is_open:
        until = opening.until.astimezone(zone) if opening.until else None
        when = f" until {until:%Y-%m-%d %H:%M %Z}" if until else ""
        return Hold(f"outside the window{when}", is_long=True)
    if pause_file is not None and os.path.lexists(pause_file):
        return Hold(f"paused by {pause_file}", is_long=True)
    return None


def too_much_pressure(most: float) -> str | None:
    """Why the disks are not to be used now, if processes wait for them more than `most` percent."""
    percent = read_io_pressure()
    if percent is None or percent <= most:
        return None
    return f"processes wait for disks {percent:.0f} % of the time"


def read_io_pressure(path: str = IO_PRESSURE) -> float | None:
    """The share of the last 10 s, in percent, in which some process waited for a disk.

    Returns:
        None where the kernel does not tell.
    """
    try:
        with open(path, encoding="ascii") as file:
            for line in file:
                kind, *fields = line.split()
                if kind == "some":
                    return float(dict(f.split("=") for f in fields)["avg10"])
    except (OSError, KeyError, ValueError):
        pass
    return None


def _now() -> datetime:
    return datetime.fromtimestamp(clock.now_s(), UTC)
