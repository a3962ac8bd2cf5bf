"""`fasthash demo`: a first look, on the files of Python itself."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from fasthash.cli.options import log_options, set_up_logs
from fasthash.colour import is_wanted
from fasthash.errors import FasthashError, PreflightFailed
from fasthash.logs import printable
from fasthash.summary import human_seconds

if TYPE_CHECKING:
    from fasthash.embedded import Server

COMPARED_ROWS = 20


@click.command()
@click.option("--wait", is_flag=True, help="Keep the database up until Ctrl-C, for psql.")
@log_options
def demo_command(wait: bool, **values: Any) -> None:
    """Try it all on the Python standard library.

    Makes a catalog of a few thousand real files in a database of its own (never yours), makes a
    few of its rows go wrong, runs `fasthash run` on it, and says what came of it.
    """
    set_up_logs(values)
    from fasthash import demo  # noqa: PLC0415

    started_s = time.monotonic()
    click.echo(f"database {demo.DATABASE} on the embedded PostgreSQL, made anew; no other is used")
    with _make_database() as server:
        directory = _plant(server.dsn)
        _run(server.dsn, values["log_format"])
        _compare(server.dsn, directory)
        took = human_seconds(time.monotonic() - started_s)
        click.echo(f"\nAll of this took {took}. What to try next:\n{_next_commands()}")
        if wait:
            _wait(server.dsn)


def _make_database() -> Server:
    """An empty database of the demo's own, for one demo at a time."""
    from fasthash import demo, embedded  # noqa: PLC0415

    # The connection string leaves some of libpq's settings open, and these would fill them in.
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    with embedded.ensure(embedded.data_home(), "postgres") as server:
        lock = os.open(server.home / "demo.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until this process ends
        except BlockingIOError as error:
            raise PreflightFailed("another `fasthash demo` is running: wait for it") from error
        embedded.drop_database(server, demo.DATABASE)
        return embedded.ensure(server.home, demo.DATABASE)


def _plant(dsn: str) -> str:
    from fasthash import demo  # noqa: PLC0415

    started_s = time.monotonic()
    done = demo.plant(dsn)
    took = human_seconds(time.monotonic() - started_s)
    left_out = ", ".join(sorted(os.fsdecode(name) for name in demo.LEFT_OUT))
    click.echo(
        f"""\
cataloged {done.added:,} files in {took}: {printable(done.directory)}
(except {left_out}). So that there is something to find,
  3 rows were added whose files do not exist,
  {demo.DRIFTED} was given a wrong hash,
  {demo.CONFIRMED} its right hash, but in upper case and without the marker,
  {demo.FRESH} the marker, as if another job had just hashed it.

Now `fasthash run`:"""
    )
    return done.directory


def _run(dsn: str, log_format: str) -> None:
    from fasthash import demo  # noqa: PLC0415
    from fasthash.cli.colour import coloured  # noqa: PLC0415
    from fasthash.cli.progress import choose_progress  # noqa: PLC0415
    from fasthash.cli.tables import list_columns  # noqa: PLC0415
    from fasthash.controls import Signals  # noqa: PLC0415
    from fasthash.main_job import run_job  # noqa: PLC0415
    from fasthash.summary import as_text  # noqa: PLC0415

    progress = choose_progress(quiet=False, log_format=log_format)
    finished = run_job(demo.settings(dsn, log_format), progress, Signals())
    if finished.error is not None:
        raise finished.error
    if finished.stopped_by is not None:
        sys.exit(128 + finished.stopped_by)
    text = coloured(as_text(finished.summary, list_columns()), sys.stdout)
    click.echo(f"\n{text}\n", color=is_wanted(sys.stdout))
    total = finished.summary.total
    click.echo(
        f"""\
What that means:
  hashed {total.hashed:,}: had no hash; hash, size and marker were written
  confirmed {total.confirmed:,}: {demo.CONFIRMED} had the same hash, so size and marker were added
  drifted {total.drifted:,}: {demo.DRIFTED} had another hash; the warning above has old and new,
    and the ledger keeps both
  fresh {total.fresh:,}: {demo.FRESH} had the marker: neither read nor written
  no file {total.no_file:,}: nothing written; the next run tries again"""
    )


def _compare(dsn: str, directory: str) -> None:
    from fasthash import demo  # noqa: PLC0415

    tool = shutil.which("sha256sum")
    if tool is None:
        click.echo("\nThere is no sha256sum here to compare with.")
        return
    compared = demo.compare(dsn, directory, tool, COMPARED_ROWS)
    if compared.differing:
        raise FasthashError(f"sha256sum has another hash for {', '.join(compared.differing)}")
    click.echo(
        f"\nsha256sum agrees with {compared.rows} of the hashes, that of {demo.DRIFTED} among them."
    )


def _next_commands() -> str:
    from fasthash import demo  # noqa: PLC0415

    program = _program()
    at = f"--dsn embedded:{demo.DATABASE}"
    lines = {
        f"{program} drift list {at}": "old and new hash",
        f"{program} residual {at}": "rows that could not be checked",
        f"{program} run {at}": "once more: little to do",
        f"{program} register DIR": "files of your own",
    }
    width = max(map(len, lines))
    return "\n".join(f"  {command:{width}}  # {what}" for command, what in lines.items())


def _program() -> str:
    """What to type for fasthash here."""
    called = sys.argv[0]
    if os.path.basename(called) != "fasthash":
        return f"{shlex.quote(sys.executable)} -m fasthash"
    found = shutil.which("fasthash")
    same = found is not None and os.path.realpath(found) == os.path.realpath(called)
    return "fasthash" if same else shlex.quote(called)


def _wait(dsn: str) -> None:
    click.echo(f"\nThe database is up until Ctrl-C:\n  psql {shlex.quote(dsn)}")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        click.echo()
