"""Settings: frozen, checked once; flags > FASTHASH_* environment > fasthash.toml > defaults."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fasthash.errors import ConfigError
from fasthash.trust import open_own_file
from fasthash.windows import Window

KIB = 1024
MIB = 1024 * KIB

# 256 KiB to 4 MiB read equally fast; the smallest stays in any L2 cache.
DEFAULT_CHUNK_BYTES = 256 * KIB
DEFAULT_RANGE_ROWS = 5_000
DEFAULT_DB_TIMEOUT_S = 300.0
# A lease lives five renewals long: four may fail before anybody else takes the range.
DEFAULT_LEASE_TTL_S = 60.0
# Segments that wait for the archiver: where GitLab's batched migrations hold as well.
DEFAULT_WAL_BACKLOG = 42
NO_TYPE = "(none)"


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
class Courtesy:
    """What a run does for the sake of others. 0 and None are for no limit."""

    rate_bytes_per_s: float = 0.0
    files_per_s: float = 0.0
    windows: tuple[Window, ...] = ()
    timezone: str | None = None
    waits: bool = True
    nice: int = 0
    ionice: str | None = None
    pause_file: str | None = None
    most_io_pressure: float = 0.0  # percent of the time that some process waits for a disk
    most_replication_lag_s: float = 0.0
    most_wal_backlog: int = 0  # segments
    budget_bytes: int = 0
    for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Scrub:
    """Which rows a scrub is for."""

    older_than_s: float = 0.0
    sample: float = 1.0
    seed: str = "0"
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a run needs to know, checked for form but not against the world."""

    dsn: str
    catalog: CatalogNames = CatalogNames()
    roots: tuple[str, ...] = ()
    root_sentinel: str | None = None
    resolver: str | None = None
    import_paths: tuple[str, ...] = ()  # where it may lie, beside PYTHONPATH
    update_function: str | None = None
    workers: int = 1  # 0: as many as cores and disks can use
    range_rows: int = DEFAULT_RANGE_ROWS
    chunk_bytes: int = DEFAULT_CHUNK_BYTES
    reader: str = "readinto"
    disk: str = "auto"
    on_drift: str | None = None  # all but what is corrupt; in a scrub only what was modified
    precheck: str = "off"
    blake3: bool = False
    since: str | None = None  # a marker's text
    scrub: Scrub | None = None  # a backfill where it is None
    courtesy: Courtesy = Courtesy()
    types: tuple[str, ...] = ()
    limit: int | None = None
    dry_run: bool = False
    missing_ok: bool = False
    restart: bool = False
    db_timeout_s: float = DEFAULT_DB_TIMEOUT_S
    lease_ttl_s: float = DEFAULT_LEASE_TTL_S
    log_format: str = "text"

    @property
    def kind(self) -> str:
        """`backfill` or `scrub`."""
        return "backfill" if self.scrub is None else "scrub"

    @property
    def drift_policy(self) -> str:
        """Which drifts are overwritten, as `drift.is_overwritten` knows it."""
        return self.on_drift or ("backfill" if self.scrub is None else "scrub")

    @property
    def algorithm(self) -> str:
        """The digests as they are named on the command line."""
        return "sha256,blake3" if self.blake3 else "sha256"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, or None where none does."""
    by_lower = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A clause for an error message that names the nearest of the known names."""
    found = nearest(name, known)
    return f"; did you mean {found}?" if found else ""


def load_file(path: str, known: Iterable[str]) -> dict[str, Any]:
    """The keys of a configuration file.

    Args:
        path: a TOML file of flat keys, named as the flags are, with `_` for `-`.
        known: the keys there are.

    Raises:
        ConfigError: it cannot be read, could have been written by somebody else, is no TOML, or
            has a key that there is not.
    """
    try:
        with open(open_own_file(path), "rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    names = sorted(known)
    for key, value in content.items():
        parts = value if isinstance(value, list) else [value]
        if key not in names and any(isinstance(part, dict) for part in parts):
            raise ConfigError(
                f"{place(path, key)}: [{key}] is a section, and there are none: only key = value"
            )
        if key not in names:
            raise ConfigError(
                f"{place(path, key)}: there is no key {key!r}{did_you_mean(key, names)}"
            )
    return content


def place(path: str, key: str) -> str:
    """A configuration file and, where it is easily found, the line of a key."""
    line = find_line(path, key)
    return path if line is None else f"{path}, line {line}"


def find_line(path: str, key: str) -> int | None:
    """The number of the line on which a key of a configuration file is set, if that is plain."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for n, line in enumerate(lines):
        if re.match(rf"""[\s\[]*["']?{re.escape(key)}["']?\s*[=.\]]""", line):
            with contextlib.suppress(tomllib.TOMLDecodeError):
                tomllib.loads("\n".join(lines[:n]))  # fails inside of a text of several lines
                return n + 1
    return None


def find_file(environment: Mapping[str, str]) -> str | None:
    """The configuration file to use where none is named: here, else the user's own."""
    home = environment.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    own = os.path.join(home, "fasthash", "fasthash.toml")
    # A user without a home has `~` in its place, which is no folder of this directory's.
    for path in ("fasthash.toml", *([own] if not home.startswith("~") else [])):
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
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}.new")  # of a process that was killed, or of somebody with plans
        with open(f"{path}.new", "x", encoding="utf-8") as file:
            file.write(text)
        os.replace(f"{path}.new", path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
