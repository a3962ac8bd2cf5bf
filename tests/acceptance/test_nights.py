"""Windows of time: a week of nights under a clock that the test sets."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from conftest import PATIENCE_S, Database
from oracle import ends, is_pending, until
from test_scrub import fill

BERLIN = ZoneInfo("Europe/Berlin")
FILES = 900
FIRST_DAY = datetime(2026, 3, 24, 12, tzinfo=BERLIN)  # clocks go forward in the fifth night
RESOLVER = str(Path(__file__).parents[1])


class Night:
    """A database, a clock, and what was read when."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.clock = folder / "clock"
        self.reads = folder / "reads"
        self.reads.touch()
        self.set(FIRST_DAY)
        database.environment |= {
            "FASTHASH_TEST_CLOCK": str(self.clock),
            "READS": str(self.reads),
            "PYTHONPATH": RESOLVER,
            "SLOW_S": "0.002",
        }

    def set(self, time: datetime) -> None:
        """Sets the clock, at one stroke."""
        new = self.clock.with_suffix(".new")
        new.write_text(str(time.timestamp()))
        new.replace(self.clock)

    def read(self) -> list[tuple[datetime, str]]:
        """The time on the clock and the name of each file that was asked for."""
        lines = self.reads.read_text().splitlines()
        pairs = (line.split(" ", 1) for line in lines)
        return [(datetime.fromtimestamp(float(at), BERLIN), name) for at, name in pairs]

    def held(self) -> str | None:
        """Why the run is held."""
        rows = self.database.sql(
            "SELECT report ->> 'held' AS held FROM fasthash.holder ORDER BY holder_id DESC LIMIT 1"
        )
        return rows[0]["held"] if rows else None

    def leased(self) -> int:
        """How many ranges are held."""
        rows = self.database.sql(
            "SELECT count(*) AS n FROM fasthash.checkpoint WHERE state = 'leased'"
        )
        return int(rows[0]["n"])

    def done(self) -> int:
        """How many rows the scrub has verified."""
        rows = self.database.sql(
            "SELECT coalesce(sum(confirmed), 0) AS n FROM fasthash.checkpoint "
            "JOIN fasthash.run USING (run_id) WHERE kind = 'scrub'"
        )
        return int(rows[0]["n"])


@pytest.fixture
def night(database: Database, tmp_path: Path) -> Night:
    fill(database, FILES)
    database.fasthash("init")
    database.run()
    return Night(database, tmp_path)


WINDOW = ("--window", "22:00-06:00", "--timezone", "Europe/Berlin",
          "--resolver", "site_resolvers:clocked", "--workers", "2")  # fmt: skip


def test_a_week_of_nights(night: Night) -> None:
    """Each file is read once in the week, and none outside of the windows."""
    process = night.database.start(
        *WINDOW, "--range-rows", "20", "--files-rate", "60", command="scrub"
    )
    for n in range(7):
        day = FIRST_DAY + timedelta(days=n)  # by the wall clock: noon is noon
        night.set(day)
        opens = day.replace(hour=22)
        shut = f"outside the window until {opens:%Y-%m-%d %H:%M %Z}"
        until(lambda shut=shut: night.held() == shut, shut)  # type: ignore[misc]
        until(lambda: night.leased() == 0, "the leases are given back")
        before = night.done()
        night.set(opens.replace(hour=21, minute=59))
        assert night.done() == before
        night.set(opens)
        wanted = FILES if n == 6 else min(FILES, before + 30)
        until(lambda wanted=wanted: night.done() >= wanted, f"night {n}")  # type: ignore[misc]
        if n < 6:
            night.set((opens + timedelta(hours=8)).replace(hour=6))
            until(lambda: (night.held() or "").startswith("outside the window"), "shut again")
    summary, _ = ends(process, 0)
    assert summary["outcomes"]["confirmed"] == summary["rows_scanned"] == FILES
    read = night.read()
    for at, name in read:
        # What was asked for at the stroke of six had begun before.
        assert at.hour >= 22 or at.hour < 6 or (at.hour, at.minute) == (6, 0), (at, name)
    nights = {(at - timedelta(hours=12)).date() for at, _ in read}
    assert len(nights) == 7
    paths = [night.database.root / name for name in os.listdir(night.database.root)]
    sizes = sum(path.stat().st_size for path in paths if path.is_file())
    assert summary["bytes_hashed"] == sizes, "each was read once"
    # Six in the morning of the night when clocks go forward is four in UTC.
    sunday = [at.astimezone(UTC) for at, _ in read if at.date() == datetime(2026, 3, 29).date()]
    assert all(at <= datetime(2026, 3, 29, 4, tzinfo=UTC) or at.hour >= 20 for at in sunday)


def test_a_huge_file_goes_on_from_the_same_byte(night: Night) -> None:
    huge = night.database.root / "huge"
    with open(huge, "wb") as file:
        file.truncate(300_000_000)
    os.utime(huge, (1, 1))
    night.database.sql("DELETE FROM artifacts")
    night.database.add(1, "huge")
    night.set(FIRST_DAY.replace(hour=23))
    process = night.database.start(*WINDOW, "--rate", "4MB/s")

    def read_bytes() -> int:
        rows = night.database.sql(
            "SELECT report FROM fasthash.holder ORDER BY holder_id DESC LIMIT 1"
        )
        workers = rows[0]["report"].get("workers", []) if rows else []
        return max((w.get("read_bytes", 0) for w in workers), default=0)

    until(lambda: read_bytes() > 0, "it is in the middle")
    night.set((FIRST_DAY + timedelta(days=1)).replace(hour=7))
    until(lambda: (night.held() or "").startswith("outside the window"), "shut")
    stopped_at = until(lambda: (a := read_bytes()) and a == read_bytes() and a, "it stands")
    assert 0 < stopped_at < 300_000_000
    assert night.leased() == 1, "what is half read is kept"
    night.database.fasthash("rate", "off")
    night.set((FIRST_DAY + timedelta(days=1)).replace(hour=23))
    summary, err = ends(process, 0)
    assert summary["outcomes"]["hashed"] == 1
    # Asked for once by each step of one reading; a second reading would ask again.
    assert "died" not in err


def test_no_wait_ends_at_once(night: Night) -> None:
    summary = night.database.scrub(*WINDOW, "--no-wait")
    assert (summary["state"], summary["ended_for"]) == ("interrupted", "window")
    assert summary["rows_scanned"] == 0
    night.set(FIRST_DAY.replace(hour=23))
    assert night.database.scrub(*WINDOW, "--no-wait")["state"] == "complete"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_waits(night: Night, number: int) -> None:
    process = night.database.start(*WINDOW, command="scrub")
    until(lambda: (night.held() or "").startswith("outside the window"), "it waits")
    process.send_signal(number)
    summary, _ = ends(process, 128 + number)
    assert summary["state"] == "interrupted"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--window", "22:00-06:00", "--window", "05:00-07:00"), "overlap"),
        (("--window", "22:00-22:00"), "is empty"),
        (("--window", "late"), "is no window"),
        (("--timezone", "Europe/Atlantis"), "no time zone 'Europe/Atlantis'"),
        (("--rate", "0"), "too slow"),
        (("--rate", "fast"), "is no rate"),
        (("--files-rate", "0"), "no rate of files"),
        (("--budget", "0"), "allows nothing"),
        (("--ionice", "realtime"), "no I/O priority"),
        (("--max-io-pressure", "101"), "max-io-pressure"),
        (("--sample", "0%"), "is no share"),
        (("--older-than", "soon"), "is no duration"),
    ],
)
def test_bad_input_is_one_line(database: Database, arguments: tuple[str, ...], says: str) -> None:
    done = database.fasthash("scrub", *arguments, status=2)
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def hosts(database: Database) -> list[dict[str, Any]]:
    """The hosts of the run that is under way, with their rates."""
    done = database.fasthash("rate", "--json", status=None)
    found = json.loads(done.stdout) if done.returncode == 0 else []
    return found[0]["hosts"] if found else []


def test_a_hangup_ends_no_run(database: Database, tmp_path: Path) -> None:
    """Without a file there is nothing to read; with one, it does not outrank a flag."""
    fill(database, 20, size=20_000)
    for arguments in ([], ["--config", str(tmp_path / "fasthash.toml")]):
        (tmp_path / "fasthash.toml").write_text("workers = 1\n")
        log = tmp_path / f"log{len(arguments)}"
        process = database.start(*arguments, "--rate", "2kB/s", "--restart", stderr_file=log)
        # It reports for the first time when it hears signals already.
        until(lambda: [h for h in hosts(database) if h["bytes_per_s"]], "it is at work")
        (tmp_path / "fasthash.toml").write_text('rate = "1GB/s"\n')
        process.send_signal(signal.SIGHUP)
        until(lambda p=process: not is_pending(p.pid, signal.SIGHUP), "it is taken")
        process.send_signal(signal.SIGUSR1)
        until(lambda f=log: " rows, at work" in f.read_text(), "and so is the next")
        assert hosts(database)[0]["bytes_per_s"] == 2_000
        database.fasthash("rate", "off")
        assert process.wait(PATIENCE_S) == 0, log.read_text()
        assert ("there is no configuration file" in log.read_text()) == (not arguments)
        database.sql("UPDATE artifacts SET metadata = '{}'")


def test_the_rate_is_changed_while_it_runs(database: Database, tmp_path: Path) -> None:
    """By a command from anywhere, and by the configuration file on SIGHUP."""
    fill(database, 60, size=20_000)
    database.fasthash("init")
    config = tmp_path / "fasthash.toml"
    config.write_text('rate = "2kB/s"\n')
    process = database.start("--config", str(config))

    def shown() -> dict[str, float]:
        found = json.loads(database.fasthash("rate", "--json").stdout)
        return found[0]["hosts"][0] if found and found[0]["hosts"] else {}

    until(lambda: database.sql("SELECT 1 FROM fasthash.holder WHERE report ? 'rates'"), "at work")
    assert shown()["bytes_per_s"] == 2_000
    assert "told" in database.fasthash("rate", "3kB/s", "--files-rate", "7").stdout
    until(lambda: (shown()["bytes_per_s"], shown()["files_per_s"]) == (3_000, 7), "as commanded")
    config.write_text('rate = "nonsense"\n')
    process.send_signal(signal.SIGHUP)
    config_lines: list[str] = []

    def hears(text: str) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            config_lines.append(line)
            if text in line:
                return
        raise AssertionError(config_lines)

    hears("the configuration is left as it was")
    config.write_text('rate = "off"\nfiles_rate = "off"\n')
    process.send_signal(signal.SIGUSR1)
    hears("worker ")
    process.send_signal(signal.SIGHUP)
    hears("the rate is unlimited now")
    summary, _ = ends(process, 0)
    assert summary["outcomes"]["hashed"] == 60
    done = database.fasthash("rate", "1MB/s", status=2)
    assert "no run is under way" in done.stderr
