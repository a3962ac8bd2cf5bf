"""Settings: frozen, checked once; flags > FASTHASH_* environment > fasthash.toml > defaults."""

from __future__ import annotations

import difflib
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fasthash.errors import ConfigError

KIB = 1024
MIB = 1024 * KIB

# 256 KiB to 4 MiB read equally fast; the smallest stays in any L2 cache.
DEFAULT_CHUNK_BYTES = 256 * KIB
DEFAULT_RANGE_ROWS = 5_000
DEFAULT_DB_TIMEOUT_S = 300.0
# A lease lives five renewals long: four may fail before anybody else takes the range.
DEFAULT_LEASE_TTL_S = 60.0
NO_TYPE = "(none)"

MOST_BYTES = 2**63 - 1  # what an off_t holds
MOST_SECONDS = 1_000 * 366 * 86_400

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(i?)[bB]?\s*")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|sec|m|min|h|d)?\s*")
_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_IDENTIFIER = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')


@dataclass(frozen=True, slots=True)
class CatalogNames:
    """What the operator's table and its columns are called."""

    table: str = "artifacts"
    schema: str | None = None
    id: str = "id"
    type: str = "artifact_type"
    path: str = "file_path"
    metadata: str = "metadata"

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}" if self.schema else self.table


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a run needs to know, checked for form but not against the world."""

    dsn: str
    catalog: CatalogNames = CatalogNames()
    roots: tuple[str, ...] = ()
    root_sentinel: str | None = None
    resolver: str | None = None
    update_function: str | None = None
    workers: int = 1  # 0: as many as cores and disks can use
    range_rows: int = DEFAULT_RANGE_ROWS
    chunk_bytes: int = DEFAULT_CHUNK_BYTES
    reader: str = "readinto"
    disk: str = "auto"
    on_drift: str = "overwrite"
    types: tuple[str, ...] = ()
    limit: int | None = None
    dry_run: bool = False
    restart: bool = False
    db_timeout_s: float = DEFAULT_DB_TIMEOUT_S
    lease_ttl_s: float = DEFAULT_LEASE_TTL_S
    log_format: str = "text"


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
    """Seconds from `90`, `90s`, `5min`, `1.5h`.

    Raises:
        ConfigError: the text is no duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is no duration: write 90s, 5min or 1.5h")
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


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, or None where none does."""
    by_lower = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A clause for an error message that names the nearest of the known names."""
    found = nearest(name, known)
    return f"; did you mean {found}?" if found else ""


def refuse_foreign_file(path: str) -> None:
    """Refuses a file that somebody else could have written.

    Raises:
        ConfigError: the file or its directory can be written by everybody, or the file belongs
            to neither this user nor root.
    """
    facts = os.stat(path)
    # Of a link both count: where it lies, and where it leads.
    places = {os.path.abspath(path), os.path.realpath(path)}
    if facts.st_mode & stat.S_IWOTH or any(map(_in_open_folder, places)):
        raise ConfigError(f"{path} is refused: everybody can write it (chmod o-w)")
    if facts.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"{path} is refused: it belongs to another user (uid {facts.st_uid})")


def _in_open_folder(path: str) -> bool:
    """Whether everybody can put another file in the place of this one."""
    mode = os.stat(os.path.dirname(path)).st_mode
    return bool(mode & stat.S_IWOTH and not mode & stat.S_ISVTX)


def load_file(path: str, known: Iterable[str]) -> dict[str, Any]:
    """The keys of a configuration file.

    Args:
        path: a TOML file of flat keys, named as the flags are, with `_` for `-`.
        known: the keys there are.

    Raises:
        ConfigError: it cannot be read, is no TOML, or has a key that there is not.
    """
    try:
        refuse_foreign_file(path)
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    names = sorted(known)
    for key in content:
        if key not in names:
            raise ConfigError(f"{path}: there is no key {key!r}{did_you_mean(key, names)}")
    return content


def find_file(environment: Mapping[str, str]) -> str | None:
    """The configuration file to use where none is named: here, else the user's own."""
    home = environment.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    for path in ("fasthash.toml", os.path.join(home, "fasthash", "fasthash.toml")):
        if os.path.isfile(path):
            return path
    return None


def write_keys(path: str, values: Mapping[str, str | int]) -> None:
    """Sets keys in a configuration file and leaves every other line as it is.

    Args:
        path: made if it is missing.
        values: by key, as `load_file` knows them.

    Raises:
        ConfigError: it cannot be written, or is no TOML before.
    """
    try:
        text = ""
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            tomllib.loads(text)
        lines = text.splitlines()
        for key, value in values.items():
            line = f"{key} = {json.dumps(value)}"
            at = [n for n, old in enumerate(lines) if re.match(rf"\s*{key}\s*=", old)]
            if at:
                lines[at[0]] = line
            else:
                lines.append(line)
        text = "\n".join(lines) + "\n"
        tomllib.loads(text)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(f"{path}.new", path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
