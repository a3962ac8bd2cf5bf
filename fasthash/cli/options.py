"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from fasthash import config, logs, parsing, windows
from fasthash.cli import keys
from fasthash.cli.keys import PREFIX, Setting, settings_of
from fasthash.cli.keys import Checked as Checked  # noqa: PLC0414 (commands have it from here)
from fasthash.cli.keys import Folder as Folder  # noqa: PLC0414
from fasthash.cli.keys import Parsed as Parsed  # noqa: PLC0414
from fasthash.cli.keys import Place as Place  # noqa: PLC0414
from fasthash.config import CatalogNames, Courtesy, Settings
from fasthash.database import locate

if TYPE_CHECKING:
    from fasthash.controls import Reload

F = TypeVar("F", bound=Callable[..., Any])

# In a context's `meta`: the configuration file, if it was given on the command line.
CONFIG_GIVEN = "fasthash.config"
# And the one that is used.
CONFIG_USED = "fasthash.config.used"
# And what is in it, by key.
CONFIG_CONTENT = "fasthash.config.content"


def option(*names: str, **kwargs: Any) -> Callable[[F], F]:
    """A click option that is also a key of the configuration file, and a variable FASTHASH_<KEY>.

    Args:
        names: the option's; the first, with `_` for `-`, names the key unless `key` is given.
        kwargs: as for `click.option`; `key` another name, `example` a value for the documentation
            where the default is none.
    """
    key = kwargs.pop("key", names[0].lstrip("-").replace("-", "_"))
    variable = f"{PREFIX}{key.upper()}"
    return click.option(*names, key, cls=Setting, envvar=variable, show_default=True, **kwargs)


def combine(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, shown in the order given."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _load_file(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if ctx.resilient_parsing:
        return  # a completion, which is none of the file's business
    if value is not None and value != os.environ.get("FASTHASH_CONFIG"):
        ctx.meta[CONFIG_GIVEN] = value
    path = value or config.find_file(os.environ)
    if path is not None:
        ctx.meta[CONFIG_USED] = os.path.abspath(path)
        content = keys.load(path)
        ctx.meta[CONFIG_CONTENT] = content
        # An option of the same name that is no key has another meaning.
        own = {setting.name for setting in settings_of(ctx.command)}
        ctx.default_map = {
            **{key: value for key, value in content.items() if key in own},
            **(ctx.default_map or {}),
        }


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
        example="host=db1 dbname=atlas user=fasthash",
        help="libpq connection string, or embedded:NAME.  [default: libpq's variables (PGHOST, "
        "PGSERVICE..) if any is set, else embedded:fasthash]",
    ),
)

catalog_options = combine(
    option(
        "--table",
        type=Checked("TABLE", parsing.parse_table),
        default="artifacts",
        help="Catalog table, schema.table where needed.",
    ),
    option("--id-column", default="id", help="The table's key; text, uuid, bigint or the like."),
    option(
        "--type-column", default="artifact_type", help="The column with the type of the artifact."
    ),
    option("--path-column", default="file_path", help="The column with the path of the file."),
    option("--metadata-column", default="metadata", help="The jsonb (or json) column to write to."),
)

log_options = combine(
    option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        help="How log lines are written to stderr.",
    ),
)

json_option = click.option("--json", "as_json", is_flag=True, help="Machine output on stdout.")


# Of commands whose table is that of a run.
column_options = combine(
    option("--id-column", default="id", help="The catalog's key."),
    option("--type-column", default="artifact_type", help="Its type."),
    option("--path-column", default="file_path", help="The file's path."),
    option("--metadata-column", default="metadata", help="The jsonb (or json) with the hashes."),
)


def column_names(values: dict[str, Any]) -> CatalogNames:
    """The names of the columns from a command's parameters."""
    return CatalogNames(
        id=values["id_column"],
        type=values["type_column"],
        path=values["path_column"],
        metadata=values["metadata_column"],
    )


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
    """The connection string to use, until the command ends; see `database.locate`."""
    database = locate(dsn, make=make)
    if database.is_embedded:
        # The little that its connection string leaves open, these would fill in.
        for variable in [v for v in os.environ if v.startswith("PG")]:
            del os.environ[variable]
    click.get_current_context().call_on_close(database.release)
    return database.dsn


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


def reload_rates(ctx: click.Context) -> Reload | None:
    """What reads the rates in the configuration file again, if there is one.

    A flag and a variable rank above the file here, too. What the file has never said is left to
    `fasthash rate`.
    """
    path = ctx.meta.get(CONFIG_USED)
    if path is None:
        return None
    above = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    said = set(ctx.meta[CONFIG_CONTENT])

    def reload() -> tuple[float | None, float | None]:
        content = keys.load(path)
        said.update(content)
        parsers = {"rate": parsing.parse_rate, "files_rate": parsing.parse_files_rate}
        rate, files_rate = (
            parse(str(content.get(key, "off")))
            if key in said and ctx.get_parameter_source(key) not in above
            else None
            for key, parse in parsers.items()
        )
        return rate, files_rate

    return reload


def settings_from(values: dict[str, Any], dsn: str) -> Settings:
    """The settings of a run from a command's parameters.

    Raises:
        ConfigError: a variable looks like a setting and is none.
    """
    keys.check_variables(os.environ)
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
        missing_ok=values["missing_ok"],
        restart=values["restart"],
        db_timeout_s=values["db_timeout"],
        lease_ttl_s=values["lease_ttl"],
        log_format=values["log_format"],
    )
