"""`fasthash rate`: how fast runs that are under way read."""

from __future__ import annotations

from typing import Any

import click

from fasthash import parsing
from fasthash.cli import tables
from fasthash.cli.options import Parsed, database_options, json_option
from fasthash.cli.reports import ledger, run_number
from fasthash.errors import ConfigError


@click.command()
@click.argument("rate", required=False, type=Parsed("RATE", parsing.parse_rate))
@click.option(
    "--files-rate", type=Parsed("NUMBER", parsing.parse_files_rate), help="Files a second."
)
@click.option("--run", "run_id", type=run_number, help="Only this run.  [default: all under way]")
@database_options
@json_option
def rate_command(
    rate: float | None,
    files_rate: float | None,
    run_id: int | None,
    dsn: str | None,
    as_json: bool,
) -> None:
    """Change how fast runs read, while they run: RATE is 200MB/s, or off.

    It holds for each host that works on the run, within a second, and until the run ends or is
    started again. Without any argument the rates are shown.
    """
    from fasthash.store import reports, runs  # noqa: PLC0415
    from fasthash.summary import describe_rates  # noqa: PLC0415

    with ledger(dsn, "rate") as connection:
        live = reports.runs_under_way(connection)
        numbers = live if run_id is None else [run_id]
        if not numbers:
            raise ConfigError("no run is under way: give --rate when you start one")
        shown: list[dict[str, Any]] = []
        for number in numbers:
            reports.read_run(connection, number)
            if rate is not None or files_rate is not None:
                if number not in live:
                    raise ConfigError(
                        f"run {number} is not under way: nothing of it would be read at this rate; "
                        "give --rate when it goes on"
                    )
                runs.give_orders(connection, number, (rate, files_rate))
            shown.append({"run_id": number, "hosts": reports.read_rates(connection, number)})
    with tables.standard_output() as out:
        if as_json:
            print(tables.to_json(shown, indent=2), file=out)
            return
        for run in shown:
            if rate is not None or files_rate is not None:
                print(f"run {run['run_id']}: told; it takes effect within a second", file=out)
            for host in run["hosts"] if rate is None and files_rate is None else ():
                rates = describe_rates(host["bytes_per_s"] or 0, host["files_per_s"] or 0)
                print(f"run {run['run_id']} on {host['host']}: {rates}", file=out)
