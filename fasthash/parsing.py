"""From what a user writes to values: sizes, times, rates, shares, names of tables."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

from fasthash.errors import ConfigError

KIB = 1024
MIB = 1024 * KIB
MOST_BYTES = 2**63 - 1  # what an off_t holds
MOST_SECONDS = 1_000 * 366 * 86_400

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(i?)[bB]?\s*")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|sec|m|min|h|d|w|mo|y)?\s*")
_DAY_S = 86_400
_SECONDS = {
    "ms": 0.001,
    "s": 1,
    "sec": 1,
    "m": 60,
    "min": 60,
    "h": 3_600,
    "d": _DAY_S,
    "w": 7 * _DAY_S,
    "mo": 30 * _DAY_S,  # as long each, whatever the calendar says
    "y": 365 * _DAY_S,
}
_DURATIONS = "90s, 5min, 12h, 90d, 12w, 3mo or 1y"
DEFAULT_ADDRESS = "127.0.0.1"
MOST_PORT = 65_535
_LISTEN = re.compile(r"\s*(?:(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]]+)):)?(\d{1,5})\s*", re.ASCII)
_IDENTIFIER = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')


def parse_size(text: str) -> int:
    """Bytes from `4096`, `256KiB`, `1.5 MB`: powers of 1000, or of 1024 with an `i`.

    Raises:
        ConfigError: the text is no size.
    """
    match = _SIZE.fullmatch(text)
    if match is None or (match[3] and not match[2]):
        raise ConfigError(f"{text!r} is no size: write 4096, 256KiB or 1.5MB")
    base = 1024 if match[3] else 1000
    size_bytes = int(Decimal(match[1]) * base ** _POWERS[match[2].lower()])
    if size_bytes > MOST_BYTES:
        raise ConfigError(f"{_shortened(text)} is more than any file or disk holds")
    return size_bytes


def parse_duration(text: str) -> float:
    """Seconds from `90s`, `5min`, `1.5h`, `90d`, `12w`, `6mo` (of 30 days), `1y` (of 365), or 0.

    A number without a unit is refused: `--older-than 90` was meant in days more often than not.

    Raises:
        ConfigError: the text is no duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ConfigError(f"{_shortened(text)!r} is no duration: write {_DURATIONS}")
    if match[2] is None and float(match[1]):
        raise ConfigError(f"{_shortened(text)!r} has no unit: write {_DURATIONS}")
    seconds = float(match[1]) * _SECONDS[match[2] or "s"]
    if seconds > MOST_SECONDS:
        raise ConfigError(f"{_shortened(text)} is more than a thousand years")
    return seconds


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def parse_chunk_size(text: str) -> int:
    """A size from 4 KiB to 64 MiB.

    Raises:
        ConfigError: the text is no size, or out of bounds.
    """
    size_bytes = parse_size(text)
    if not 4 * KIB <= size_bytes <= 64 * MIB:
        raise ConfigError(f"{text} is out of bounds: 4KiB to 64MiB")
    return size_bytes


def parse_lease_ttl(text: str) -> float:
    """A duration of at least a second.

    Raises:
        ConfigError: the text is no duration, or too short.
    """
    seconds = parse_duration(text)
    if seconds < 1:
        raise ConfigError(f"{text} is too short for a lease: at least 1s")
    return seconds


def parse_table(text: str) -> tuple[str | None, str]:
    """Schema and name from `table`, `schema.table` or, with odd characters, `"sche.ma"."table"`.

    Raises:
        ConfigError: the text is no table name.
    """
    parts: list[str] = []
    position = 0
    while match := _IDENTIFIER.match(text, position):
        parts.append(match[1].replace('""', '"') if match[1] is not None else match[2])
        position = match.end()
        if position == len(text):
            break
        if text[position] != ".":
            raise ConfigError(f'{text!r} is no table name: write table, schema.table or "a.b"')
        position += 1
    if position != len(text) or not 1 <= len(parts) <= 2 or text.endswith("."):
        raise ConfigError(f'{text!r} is no table name: write table, schema.table or "a.b"')
    return (parts[0], parts[1]) if len(parts) == 2 else (None, parts[0])


def parse_rate(text: str) -> float:
    """Bytes a second from `50MB/s`, `50 MiB/s` or `50MB`; 0 from `off`.

    Raises:
        ConfigError: the text is no rate, or none that anything could be read at.
    """
    size, slash, per = text.strip().partition("/")
    if size == "off" and not slash:
        return 0.0
    if slash and per.strip() != "s":
        raise ConfigError(f"{text!r} is no rate: write 50MB/s, or off")
    try:
        bytes_per_s = parse_size(size)
    except ConfigError as error:
        raise ConfigError(f"{_shortened(text)!r} is no rate: write 50MB/s, or off") from error
    if bytes_per_s < KIB:
        raise ConfigError(f"{text!r} is too slow to read anything: at least 1KiB/s, or off")
    return float(bytes_per_s)


def parse_files_rate(text: str) -> float:
    """Files a second from `20` or `0.5`; 0 from `off`.

    Raises:
        ConfigError: the text is no such number.
    """
    if text.strip() == "off":
        return 0.0
    try:
        files_per_s = float(text.strip().removesuffix("/s"))
    except ValueError:
        files_per_s = 0.0
    if not 0.001 <= files_per_s <= 1e9:
        raise ConfigError(f"{text!r} is no rate of files: write 20, 0.5, or off")
    return files_per_s


def parse_budget(text: str) -> int:
    """A size of at least a byte.

    Raises:
        ConfigError: the text is no size, or nothing.
    """
    size_bytes = parse_size(text)
    if not size_bytes:
        raise ConfigError(f"a budget of {text} allows nothing to be read")
    return size_bytes


def parse_listen(text: str) -> tuple[str, int]:
    """Address and port from `9188`, `0.0.0.0:9188` or `[::1]:9188`.

    Raises:
        ConfigError: the text is neither.
    """
    match = _LISTEN.fullmatch(text)
    if match is None or int(match[3]) > MOST_PORT:
        raise ConfigError(f"{text!r} is no place to listen at: write 9188 or 0.0.0.0:9188")
    return match[1] or match[2] or DEFAULT_ADDRESS, int(match[3])


def parse_share(text: str) -> float:
    """A part of a whole from `1%` or `0.01`.

    Raises:
        ConfigError: the text is no such part.
    """
    number, percent, rest = text.strip().partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = 0.0
    if rest or not 0 < share <= 1:
        raise ConfigError(f"{text!r} is no share: write 1% or 0.01")
    return share


def parse_time(text: str) -> str:
    """A point in time as markers are written (ISO 8601, UTC); without a zone it is UTC.

    Raises:
        ConfigError: the text is none.
    """
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(f"{text!r} is no time: write 2026-01-31 or 2026-01-31T02:00Z") from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return marker_text(time)


def marker_text(time: datetime) -> str:
    """A time as markers are written."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
