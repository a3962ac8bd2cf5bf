"""`run` and `scrub` for scripts: the commands' work, in a thread, without their signals."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_type_hints

from fasthash import logs, neighbourly, parsing, windows
from fasthash.config import DEFAULT_WAL_BACKLOG, Courtesy, Scrub, Settings
from fasthash.controls import Remote
from fasthash.errors import ConfigError
from fasthash.library.catalog import Catalog
from fasthash.progress import NoProgress, Position
from fasthash.summary import RunSummary

if TYPE_CHECKING:
    from fasthash.coordinator import Finished


class WorkOptions(TypedDict, total=False):
    """What `run` and `scrub` may be told; each is the command's flag, with its unit in the name.

    They begin as the flags do. Rates and limits of 0 are for none; `workers` of 0 is for as many
    as cores and disks can use.
    """

    workers: int
    range_rows: int
    chunk_bytes: int
    reader: Literal["readinto", "mmap"]
    disk: Literal["auto", "rotational", "solid"]
    on_drift: Literal["overwrite", "hold"] | None
    precheck: Literal["off", "stat", "xxh3"]
    blake3: bool
    types: Iterable[str]
    limit: int | None
    dry_run: bool
    restart: bool
    db_timeout_s: float
    lease_ttl_s: float
    rate_bytes_per_s: float
    files_per_s: float
    windows: Iterable[str]
    timezone: str | None
    waits: bool
    nice: int
    ionice: str | None
    pause_file: str | None
    most_io_pressure: float
    most_replication_lag_s: float
    most_wal_backlog: int
    budget_bytes: int
    for_s: float


_CHOICES: dict[str, tuple[object, ...]] = {
    "reader": ("readinto", "mmap"),
    "disk": ("auto", "rotational", "solid"),
    "on_drift": ("overwrite", "hold", None),
    "precheck": ("off", "stat", "xxh3"),
}
# A run that is open gives its leases back in 3 s. One that is not waits for the database, perhaps,
# and has nothing to give back: it ends by itself when it gets there.
GIVE_UP_S = 5.0
# As the command's flags have it; the budget is kept in 8 bytes.
_MOST = {
    "workers": 1024,
    "range_rows": 1_000_000,
    "nice": 19,
    "budget_bytes": 2**63 - 1,
    "most_io_pressure": 100,
}
_COURTESIES = frozenset(field.name for field in fields(Courtesy))


def run(
    catalog: Catalog,
    *,
    since: str | None = None,
    progress: Callable[[Position], None] | None = None,
    **options: Unpack[WorkOptions],
) -> RunSummary:
    """Hashes every row that lacks the marker, as `fasthash run`: goes on, joins or begins.

    The run is in a thread, and takes no signals of the process. What interrupts the wait for it
    (Ctrl-C) has it commit what is in hand and give its leases back within seconds, and goes on up
    from here; the next call picks up there.

    Args:
        catalog: to be hashed.
        since: markers before this time (ISO 8601) count as absent.
        progress: called a few times a second, in that thread, with where the run is.
        options: see `WorkOptions`.

    Returns:
        The summary; `state` is `complete`, or `interrupted` where `ended_for` says why.

    Raises:
        FasthashError: nothing was begun, or what ended it; what is committed is kept.
    """
    settings = replace(catalog.settings(), since=since and parsing.parse_time(since))
    return _work(settings, progress, options)


def scrub(
    catalog: Catalog,
    *,
    older_than_s: float = 0.0,
    sample: float = 1.0,
    seed: str = "0",
    missing: bool = False,
    progress: Callable[[Position], None] | None = None,
    **options: Unpack[WorkOptions],
) -> RunSummary:
    """Reads again every row that has the marker, the oldest first, as `fasthash scrub`.

    Args:
        catalog: to be read.
        older_than_s: only rows whose marker is older, and those known to be bad.
        sample: only this share of the rows, above 0 and up to 1.
        seed: which rows the sample takes.
        missing: read nothing: only see that files exist, by size.
        progress: as for `run`.
        options: see `WorkOptions`.

    Returns:
        The summary, as for `run`; its `freshness` says how old the oldest marker is.

    Raises:
        FasthashError: as for `run`.
    """
    if not 0 < sample <= 1 or older_than_s < 0:
        raise ConfigError(f"sample={sample!r}, older_than_s={older_than_s!r}: out of bounds")
    wanted = Scrub(older_than_s, sample, seed, missing)
    return _work(replace(catalog.settings(), scrub=wanted), progress, options)


class _Watcher(NoProgress):
    """Somebody's function as a progress; what it raises ends the run, and comes out of it."""

    def __init__(self, show: Callable[[Position], None], stop: Callable[[], None]) -> None:
        self._show = show
        self._stop = stop
        self.raised: Exception | None = None

    def show(self, position: Position) -> None:
        if self.raised is not None:
            return
        try:
            self._show(position)
        except Exception as error:
            self.raised = error
            self._stop()


def _work(
    settings: Settings, progress: Callable[[Position], None] | None, options: WorkOptions
) -> RunSummary:
    from fasthash.main_job import run_job  # noqa: PLC0415

    settings = with_options(settings, options)
    if settings.resolver is not None:
        # Workers are started bare; the resolver may lie beside the script.
        settings = replace(settings, import_paths=tuple(map(os.path.abspath, sys.path)))
    controls = Remote()
    watcher = _Watcher(progress or (lambda _: None), controls.stop)
    ended: Future[Finished] = Future()

    def work() -> None:
        try:
            ended.set_result(run_job(settings, watcher, controls))
        except BaseException as error:
            ended.set_exception(error)
        finally:
            logs.unbind()

    # A loop of its own: the caller may be in one (a notebook is), and not in the main thread.
    threading.Thread(target=work, name="fasthash run", daemon=True).start()
    try:
        wait([ended])
    except BaseException:
        controls.stop()
        wait([ended], GIVE_UP_S)
        raise
    finished = ended.result()
    if watcher.raised is not None:
        raise watcher.raised
    if finished.error is not None:
        raise finished.error
    return finished.summary


def with_options(settings: Settings, options: WorkOptions) -> Settings:
    """The settings with what a caller wants of them.

    Raises:
        ConfigError: an option has a value that it cannot have, or there is none of that name.
    """
    wanted: dict[str, Any] = {**options}
    for name, choices in _CHOICES.items():
        if name in wanted and wanted[name] not in choices:
            raise ConfigError(f"{name}={wanted[name]!r}: one of {', '.join(map(str, choices))}")
    for name in ("types", "windows"):
        if isinstance(wanted.get(name), str):
            raise ConfigError(f"{name} is a list, not one text")
    if "chunk_bytes" in wanted:
        parsing.parse_chunk_size(str(wanted["chunk_bytes"]))
    if "windows" in wanted:
        wanted["windows"] = tuple(map(windows.parse_window, wanted["windows"]))
        windows.check(wanted["windows"])
    windows.find_zone(wanted.get("timezone"))
    wanted["types"] = tuple(wanted.get("types", ()))
    courtesy = {name: wanted.pop(name) for name in _COURTESIES & wanted.keys()}
    unknown = wanted.keys() - WorkOptions.__annotations__.keys()
    if unknown:
        raise ConfigError(f"there is no option {min(unknown)!r}")
    for name, value in (wanted | courtesy).items():
        _check_number(name, value)
    if courtesy.get("ionice") is not None:
        neighbourly.parse_ionice(courtesy["ionice"])
    wished = replace(Courtesy(most_wal_backlog=DEFAULT_WAL_BACKLOG), **courtesy)
    return replace(settings, courtesy=wished, **{"workers": 0, **wanted})


def _check_number(name: str, value: Any) -> None:
    """Refuses what is no number where one is wanted, or one that is out of bounds."""
    hint = get_type_hints(WorkOptions)[name]
    if hint not in (int, float, int | None) or (value is None and hint == (int | None)):
        return
    kinds = int | float if hint is float else int
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
        raise ConfigError(f"{name}={value!r}: a {'' if hint is float else 'whole '}number")
    least = 1 if name in ("limit", "range_rows", "lease_ttl_s") else 0
    most = _MOST.get(name, math.inf)
    if not least <= value <= most:
        bounds = f"at least {least}" if most == math.inf else f"{least} to {most}"
        raise ConfigError(f"{name}={value!r}: {bounds}")
