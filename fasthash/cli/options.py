"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fasthash import config, logs, parsing, windows
from fasthash.config import CatalogNames, Courtesy, Settings
from fasthash.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

# libpq's own variables that say where a database is; any of them means "not the embedded one".
LIBPQ_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE", "PGSERVICEFILE")


# In a context's `meta`: the configuration file, if it was given on the command line.
CONFIG_GIVEN = "fasthash.config"
# And the one that is used.
CONFIG_USED = "fasthash.config.used"
# `--dsn embedded:NAME`
EMBEDDED = "embedded:"


if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic only from click 8.4 on


class Parsed(ParamType):
    """A value with a unit, parsed by one of `fasthash.config`'s functions."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self.parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The parsed value; a bad one is a usage error."""
        try:
            return self.parse(value) if isinstance(value, str) else value
        except ConfigError as error:
            self.fail(str(error), param, ctx)


def option(*names: str, **kwargs: Any) -> Callable[[F], F]:
    """A click option with its environment variable, FASTHASH_<NAME>."""
    key = kwargs.pop("key", names[0].lstrip("-").replace("-", "_"))
    return click.option(*names, key, envvar=f"FASTHASH_{key.upper()}", show_default=True, **kwargs)


def combine(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, shown in the order given."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _load_file(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None and value != os.environ.get("FASTHASH_CONFIG"):
        ctx.meta[CONFIG_GIVEN] = value
    path = value or config.find_file(os.environ)
    if path is not None:
        ctx.meta[CONFIG_USED] = os.path.abspath(path)
        content = config.load_file(path, CONFIG_KEYS)
        ctx.default_map = {**content, **(ctx.default_map or {})}


config_option = click.option(
    "--config",
    type=click.Path(),
    envvar="FASTHASH_CONFIG",
    is_eager=True,
    expose_value=False,
    callback=_load_file,
    help="Configuration file  [default: ./fasthash.toml or ~/.config/fasthash/fasthash.toml]",
)

database_options = combine(
    config_option,
    option(
        "--dsn",
        help="libpq connection string, or embedded:NAME.  [default: libpq's variables (PGHOST, "
        "PGSERVICE..) if any is set, else embedded:fasthash]",
    ),
)

catalog_options = combine(
    option("--table", default="artifacts", help="Catalog table, schema.table where needed."),
    option("--id-column", default="id", help="Its key."),
    option("--type-column", default="artifact_type", help="Its type."),
    option("--path-column", default="file_path", help="The file's path."),
    option("--metadata-column", default="metadata", help="The jsonb (or json) to write to."),
)

log_options = combine(
    option(
        "--log-format", type=click.Choice(["text", "json"]), default="text", help="Of log lines."
    ),
)

json_option = click.option("--json", "as_json", is_flag=True, help="Machine output on stdout.")

CONFIG_KEYS = frozenset(
    {
        "dsn", "table", "id_column", "type_column", "path_column", "metadata_column", "roots",
        "root_sentinel", "resolver", "update_function", "workers", "range_rows", "chunk_size",
        "reader", "disk", "on_drift", "db_timeout", "lease_ttl", "log_format", "algorithm",
        "precheck", "since", "rate", "files_rate", "windows", "timezone", "wait", "budget",
        "for_time", "pause_file", "nice", "ionice", "max_io_pressure", "max_replication_lag",
        "max_wal_backlog", "older_than", "sample", "seed", "metrics_port", "metrics_file",
    }
)  # fmt: skip


def catalog_names(values: dict[str, Any]) -> CatalogNames:
    """The catalog's names from a command's parameters."""
    schema, table = parsing.parse_table(values["table"])
    return CatalogNames(
        table,
        schema,
        values["id_column"],
        values["type_column"],
        values["path_column"],
        values["metadata_column"],
    )


def find_dsn(dsn: str | None, *, make: bool) -> str:
    """The connection string to use: as given, libpq's own, or the embedded server's.

    Args:
        dsn: a libpq connection string, `embedded:NAME` for a database of the embedded server,
            or None for libpq's own variables, or where they are not set the embedded server.
        make: whether the embedded server and the database are made where they are missing: not
            by a command that could do nothing with an empty one.

    Raises:
        ConfigError: it is malformed, or the embedded server cannot be had.
        PreflightFailed: the embedded server does not start, or is missing and not to be made.
    """
    name = "fasthash"
    if dsn and dsn.startswith(EMBEDDED):
        name = dsn.removeprefix(EMBEDDED) or name
    elif dsn:
        from fasthash.store.session import check_dsn  # noqa: PLC0415

        return check_dsn(dsn)
    elif any(os.environ.get(variable) for variable in LIBPQ_VARIABLES):
        return ""
    from fasthash import embedded  # noqa: PLC0415

    # The server's connection string leaves settings open, and these would fill them in.
    for variable in [v for v in os.environ if v.startswith("PG")]:
        del os.environ[variable]
    server = (embedded.ensure if make else embedded.find)(embedded.data_home(), name)
    click.get_current_context().call_on_close(server.release)
    return server.dsn


def set_up_logs(values: dict[str, Any]) -> None:
    """Log lines in the format that was asked for."""
    import logging  # noqa: PLC0415

    level = logging.WARNING if values.get("quiet") else logging.INFO
    logs.set_up(values.get("log_format", "text"), level)


def _courtesy(values: dict[str, Any]) -> Courtesy:
    windows.check(values["windows"])
    windows.find_zone(values["timezone"])
    return Courtesy(
        rate_bytes_per_s=values["rate"],
        files_per_s=values["files_rate"],
        windows=tuple(values["windows"]),
        timezone=values["timezone"],
        waits=values["wait"],
        nice=values["nice"],
        ionice=values["ionice"],
        pause_file=values["pause_file"],
        most_io_pressure=values["max_io_pressure"],
        most_replication_lag_s=values["max_replication_lag"],
        most_wal_backlog=values["max_wal_backlog"],
        budget_bytes=values["budget"] or 0,
        for_s=values["for_time"] or 0.0,
    )


def reload_rates(ctx: click.Context) -> Callable[[], tuple[float, float]] | None:
    """What reads the rates (bytes and files a second) in the configuration file again, if any."""
    path = ctx.meta.get(CONFIG_USED)
    if path is None:
        return None

    def reload() -> tuple[float, float]:
        content = config.load_file(path, CONFIG_KEYS)
        rate, files_rate = (str(content.get(key, "off")) for key in ("rate", "files_rate"))
        return parsing.parse_rate(rate), parsing.parse_files_rate(files_rate)

    return reload


def settings_from(values: dict[str, Any], dsn: str) -> Settings:
    """The settings of a run from a command's parameters."""
    return Settings(
        dsn=dsn,
        catalog=catalog_names(values),
        roots=tuple(values["roots"]),
        root_sentinel=values["root_sentinel"],
        resolver=values["resolver"],
        update_function=values["update_function"],
        workers=values["workers"] or 0,
        range_rows=values["range_rows"],
        chunk_bytes=values["chunk_size"],
        reader=values["reader"],
        disk=values["disk"],
        on_drift=values["on_drift"],
        precheck=values["precheck"],
        blake3=values["algorithm"] == "sha256,blake3",
        since=values["since"],
        scrub=values.get("scrub"),
        courtesy=_courtesy(values),
        types=tuple(values["types"]),
        limit=values["limit"],
        dry_run=values["dry_run"],
        restart=values["restart"],
        db_timeout_s=values["db_timeout"],
        lease_ttl_s=values["lease_ttl"],
        log_format=values["log_format"],
    )
