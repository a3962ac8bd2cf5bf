"""`--metrics-port` and `--metrics-file`: who is told what a run does."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fasthash import parsing
from fasthash.cli.options import Parsed, combine, option
from fasthash.errors import INTERNAL_ERROR_STATUS, ConfigError, FasthashError

if TYPE_CHECKING:
    from fasthash.config import Settings
    from fasthash.coordinator import Finished
    from fasthash.exporter import Exporter

COMMANDLINE = ParameterSource.COMMANDLINE
# Of a command to which the database said no, as `fasthash.cli.main` has it.
REFUSED_STATUS = 4

metrics_options = combine(
    option(
        "--metrics-port",
        example="9188",
        type=Parsed("[ADDRESS:]PORT", parsing.parse_listen),
        help="Serve Prometheus metrics there while the run goes on; 0 for any free port.  "
        f"[default address: {parsing.DEFAULT_ADDRESS}]",
    ),
    option(
        "--metrics-file",
        example="/var/lib/prometheus/node-exporter/fasthash.prom",
        type=click.Path(),
        help="Keep metrics in this .prom file, for node_exporter's textfile collector.",
    ),
)


def start_metrics(values: dict[str, Any], settings: Settings) -> Exporter | None:
    """What was asked for, checked and, for a port, opened; None where nothing was.

    Raises:
        ConfigError: it cannot be had.
    """
    port, path = values["metrics_port"], values["metrics_file"]
    if port is None and path is None:
        return None
    source = click.get_current_context().get_parameter_source
    asked_for = [n for n in ("metrics_port", "metrics_file") if source(n) == COMMANDLINE]
    if settings.dry_run:
        # A configuration file has these for the runs of every night; a dry run goes without.
        for name in asked_for:
            raise ConfigError(f"--{name.replace('_', '-')}: a dry run has no metrics")
        return None
    if importlib.util.find_spec("prometheus_client") is None:
        raise ConfigError(
            "--metrics-port and --metrics-file need the package prometheus-client: "
            "pip install prometheus-client"
        )
    from fasthash.exporter import Exporter  # noqa: PLC0415

    listen = parsing.parse_listen(str(port)) if isinstance(port, int) else port
    has_to_listen = "metrics_port" in asked_for
    return Exporter(str(settings.catalog), settings.kind, listen, path, has_to_listen=has_to_listen)


def tell_end(metrics: Exporter, finished: Finished) -> None:
    """Tells how a run that was begun has ended."""
    from fasthash.exposition import How  # noqa: PLC0415
    from fasthash.summary import ENDINGS  # noqa: PLC0415

    summary = finished.summary
    if finished.stopped_by is not None:
        how = How.SIGNAL
    elif finished.error is not None:
        how = How.FAILED
    elif summary.state == "complete":
        how = How.COMPLETE
    else:
        how = How(summary.ended_for) if summary.ended_for in ENDINGS else How.LEFT
    metrics.ended(how, finished.exit_status, summary)


def tell_failure(metrics: Exporter, error: Exception) -> None:
    """Tells that it came to no summary: nothing was begun, or the driver or a defect ended it."""
    from fasthash.exposition import How  # noqa: PLC0415
    from fasthash.store.answers import DatabaseError  # noqa: PLC0415

    if isinstance(error, FasthashError):
        status = error.exit_status
    else:
        status = REFUSED_STATUS if isinstance(error, DatabaseError) else INTERNAL_ERROR_STATUS
    metrics.ended(How.FAILED if metrics.is_open else How.NOT_BEGUN, status, None)
