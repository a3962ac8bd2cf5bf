"""`fasthash bench`: measures this machine and storage, and says which settings to use."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from fasthash import config, parsing
from fasthash.cli import tables
from fasthash.cli.options import (
    CONFIG_USED,
    Folder,
    Parsed,
    database_options,
    find_dsn,
    json_option,
)
from fasthash.errors import ConfigError
from fasthash.logs import printable
from fasthash.summary import human_bytes

if TYPE_CHECKING:
    from fasthash.bench.advice import Advice, Found
    from fasthash.bench.sample import Sample
    from fasthash.bench.trial import Rate, Trial

CHUNKS_KIB = (64, 256, 1024, 4096)
BAR_COLUMNS = 40
# Less of a sample is not worth a sweep over readers.
LARGE_SHARE = 0.1


@dataclass
class Progress:
    """A bar on a terminal's stderr, a step a trial."""

    steps: int

    def __enter__(self) -> Progress:
        from tqdm import tqdm  # noqa: PLC0415

        self._bar: tqdm[Any] = tqdm(
            total=self.steps, unit="trial", leave=False, disable=not sys.stderr.isatty()
        )
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.close()

    def next(self, what: str) -> None:
        """A trial begins."""
        self._bar.set_description(what)
        self._bar.update()


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=Folder())
@database_options
@click.option(
    "--for",
    "budget_s",
    type=Parsed("TIME", parsing.parse_duration),
    default="20s",
    show_default=True,
    help="About how long it may take.",
)
@click.option("--write", is_flag=True, help="Write the settings into the configuration file.")
@json_option
def bench_command(
    directory: str | None, dsn: str | None, budget_s: float, write: bool, as_json: bool
) -> None:
    """Measure this machine, and find the settings for the files of DIR.

    Reads a sample of the files below DIR (without it, some made in a temporary directory), by the
    same code as `run`, with different numbers of workers, readers and buffers. With --dsn it also
    tries how fast the database takes rows, on a temporary table. Changes nothing; --write puts
    workers, chunk_size and reader into fasthash.toml.
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            from fasthash.bench.sample import make  # noqa: PLC0415

            try:
                made = tempfile.TemporaryDirectory(prefix="fasthash-bench-")
            except OSError as error:
                why = f"cannot make a temporary directory: {error.strerror}"
                raise ConfigError(f"{why}; set TMPDIR, or name a directory") from error
            directory = stack.enter_context(made)
            make(directory)
        sample, found = measure(directory, dsn, budget_s)
    from fasthash.bench.advice import advise  # noqa: PLC0415

    advice = advise(found)
    path = _write(advice) if write else None
    with tables.standard_output() as out:
        if as_json:
            print(json.dumps(_as_json(sample, found, advice, path), indent=2), file=out)
        else:
            print(printable_lines(_as_text(sample, found, advice, path)), file=out)


def printable_lines(lines: Iterator[str]) -> str:
    """Lines without control characters."""
    return "\n".join(map(printable, lines))


def measure(directory: str, dsn: str | None, budget_s: float) -> tuple[Sample, Found]:
    """All trials, each as long as the budget lets it."""
    from fasthash.bench.advice import Found, best  # noqa: PLC0415
    from fasthash.bench.sample import draw, warm  # noqa: PLC0415
    from fasthash.bench.trial import Trial, run  # noqa: PLC0415

    cores = len(os.sched_getaffinity(0))
    counts = sorted({1, max(1, cores // 2), cores, 2 * cores})
    free_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    sample = draw(directory, min(1 << 30, free_bytes // 4))
    is_cold = sample.resident_share < 0.5
    readers = [Trial(1, kib * 1024) for kib in CHUNKS_KIB] + [Trial(1, reader="mmap")]
    if sample.large_share < LARGE_SHARE:
        readers = []
    steps = 2 + len(counts) + len(readers) + 1 + (dsn is not None)
    seconds = max(0.2, 0.8 * budget_s / steps)
    with Progress(steps) as progress:

        def one(trial: Trial, what: str) -> Rate:
            progress.next(what)
            return run(trial, sample, seconds)

        digests = [one(Trial(n, reader=None), "digest in memory") for n in (1, cores)]
        state = "cold" if is_cold else "warm"
        sweep = {Trial(n): one(Trial(n), f"{n} workers, {state}") for n in counts}
        chosen = best(sweep, Trial(1))
        warm(sample)
        other = one(chosen, f"{chosen.workers} workers, warm") if is_cold else None
        rates = {}
        for trial in (replace(reading, workers=chosen.workers) for reading in readers):
            rates[trial] = one(trial, f"{trial.reader}, {trial.chunk_bytes // 1024} KiB")
        rows_per_s = None
        if dsn is not None:
            progress.next("database")
            rows_per_s = _write_rate(dsn, seconds)
    return sample, Found(
        sample.mean_bytes, digests[0], digests[1], sweep, rates, is_cold, other, rows_per_s
    )


def _write_rate(dsn: str, seconds: float) -> float:
    from fasthash.errors import PreflightFailed  # noqa: PLC0415
    from fasthash.store import answers, rate, session  # noqa: PLC0415

    with session.connect_once(find_dsn(dsn, make=True), "bench") as connection:
        try:
            return rate.write_rate(connection, seconds)
        except answers.DatabaseError as error:
            raise PreflightFailed(f"the database refused: {answers.one_line(error)}") from error


def _settings(advice: Advice) -> dict[str, Any]:
    return {
        "workers": advice.workers,
        "chunk_size": f"{advice.chunk_bytes // 1024}KiB",
        "reader": advice.reader,
    }


def _write(advice: Advice) -> str:
    path = click.get_current_context().meta.get(CONFIG_USED, "fasthash.toml")
    config.write_keys(path, _settings(advice))
    return str(path)


def _as_text(sample: Sample, found: Found, advice: Advice, path: str | None) -> Iterator[str]:
    state = "cold" if found.is_cold else "warm"
    yield (
        f"{len(sample.files):,} files of {os.fsdecode(sample.root.path)}, "
        f"{human_bytes(sample.size_bytes)}, {human_bytes(sample.mean_bytes)} each on average; "
        f"{sample.resident_share:.0%} were in the page cache"
    )
    yield ""
    every = _bytes(found.digest_all)
    yield f"digest in memory     one core {_bytes(found.digest_one)}, all {every}"
    one = min(found.sweep, key=lambda t: t.workers)
    cost_us = found.sweep[one].processor_share / found.sweep[one].files_per_s * 1e6
    yield f"one worker           {cost_us:,.1f} µs of processor time a file"
    yield ""
    yield from _chart({f"{_workers(t.workers)}, {state}": r for t, r in found.sweep.items()})
    if found.other_state is not None:
        yield from _chart({f"{_workers(advice.workers)}, warm": found.other_state})
    if found.readers:
        yield ""
        yield from _chart(
            {
                "mmap, warm"
                if t.reader == "mmap"
                else f"{t.reader} {t.chunk_bytes // 1024} KiB, warm": r
                for t, r in found.readers.items()
            }
        )
    if found.database_rows_per_s is not None:
        yield ""
        yield f"database             {found.database_rows_per_s:,.0f} rows/s (temporary table)"
    yield ""
    yield (
        f"expect at most {advice.rows_per_s:,.0f} rows/s, {human_bytes(advice.bytes_per_s)}/s; "
        f"what limits it: {advice.reason}"
    )
    yield f"written to {path}:" if path is not None else "settings (--write puts them there):"
    for key, value in _settings(advice).items():
        yield f"  {key} = {json.dumps(value)}"


def _workers(count: int) -> str:
    return f"{count} worker{'' if count == 1 else 's'}"


def _bytes(rate: Rate) -> str:
    return f"{human_bytes(rate.bytes_per_s)}/s"


def _chart(rates: dict[str, Rate]) -> Iterator[str]:
    most = max(rate.bytes_per_s for rate in rates.values())
    for name, rate in rates.items():
        bar = "#" * round(BAR_COLUMNS * rate.bytes_per_s / max(most, 1e-9))
        yield f"{name:24} {rate.files_per_s:>9,.0f} files/s {_bytes(rate):>12} {bar}"


def _as_json(sample: Sample, found: Found, advice: Advice, path: str | None) -> dict[str, Any]:
    def rate(trial: Trial | None, one: Rate) -> dict[str, Any]:
        settings = {} if trial is None else {
            "workers": trial.workers, "chunk_bytes": trial.chunk_bytes, "reader": trial.reader,
        }  # fmt: skip
        return {
            **settings,
            "files_per_s": round(one.files_per_s, 1),
            "bytes_per_s": round(one.bytes_per_s),
        }

    return {
        "directory": printable(os.fsdecode(sample.root.path)),
        "files": len(sample.files),
        "mean_bytes": round(sample.mean_bytes),
        "resident_share": round(sample.resident_share, 3),
        "digest_one_core_bytes_per_s": round(found.digest_one.bytes_per_s),
        "digest_all_cores_bytes_per_s": round(found.digest_all.bytes_per_s),
        "cache": "cold" if found.is_cold else "warm",
        "sweep": [rate(t, r) for t, r in found.sweep.items()],
        "warm": None if found.other_state is None else rate(None, found.other_state),
        "readers": [rate(t, r) for t, r in found.readers.items()],
        "database_rows_per_s": found.database_rows_per_s,
        "limit": advice.limit,
        "reason": advice.reason,
        "expect_rows_per_s": round(advice.rows_per_s, 1),
        "settings": _settings(advice),
        "written_to": path,
    }
