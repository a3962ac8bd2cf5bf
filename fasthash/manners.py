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
from fasthash.fixity import Why
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

    why: Why
    reason: str  # for a person
    is_long: bool = False


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
        self._held_since_s = 0.0
        self._pressure: Hold | None = None
        self._strain: Hold | None = None
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
                text = f"replication lags {human_seconds(lag_s)} behind"
                self._strain = Hold(Why.REPLICATION_LAG, text)
            elif most_backlog and found.wal_backlog > most_backlog:
                text = f"{found.wal_backlog} WAL segments wait for the archiver"
                self._strain = Hold(Why.WAL_BACKLOG, text)
            await asyncio.sleep(LOOK_AT_DATABASE_EVERY_S)

    def look(self) -> Hold | None:
        """What holds the run now; the workers know it when this returns."""
        opening = windows.opening(self.courtesy.windows, self._zone, _now())
        found = self._find(opening)
        closes_at_s = opening.until.timestamp() if opening.is_open and opening.until else 0.0
        self.gate.set(paused=found is not None, closes_at_s=closes_at_s)
        if (found and found.reason) != (self.hold and self.hold.reason):
            self._say(found)
        self.hold = found
        return found

    def _say(self, found: Hold | None) -> None:
        now_s = time.monotonic()
        if self.hold is None:
            self._held_since_s = now_s
        if found is not None:
            log.info(
                "held: %s",
                found.reason,
                extra=logs.event("held", why=str(found.why), reason=found.reason),
            )
        else:
            seconds = round(now_s - self._held_since_s, 1)
            log.info("going on", extra=logs.event("going_on", seconds=seconds))

    def _find(self, opening: Opening) -> Hold | None:
        found = told_to_wait(self.courtesy.pause_file, opening, self._zone)
        if found is not None:
            return found
        if self._strain is not None:
            return self._strain
        self._look_at_disks()
        return self._pressure

    def _look_at_disks(self) -> None:
        most, now_s = self.courtesy.most_io_pressure, time.monotonic()
        if not most or now_s - self._looked_at_disks_s < LOOK_AT_DISKS_EVERY_S:
            return
        self._looked_at_disks_s = now_s
        text = too_much_pressure(most)
        self._pressure = None if text is None else Hold(Why.IO_PRESSURE, text)


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
        return Hold(Why.WINDOW, f"outside the window{when}", is_long=True)
    if pause_file is not None and os.path.lexists(pause_file):
        return Hold(Why.PAUSE_FILE, f"paused by {pause_file}", is_long=True)
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
