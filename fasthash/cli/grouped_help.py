"""The help of commands with many options: the everyday ones in groups, and all with --help-all."""

from __future__ import annotations

from collections.abc import Iterator

import click

# The options of `run` and `scrub` by parameter name, in the order shown. The everyday ones, which
# `--help` shows, come first in each group, before the `None`.
GROUPS: dict[str, tuple[str | None, ...]] = {
    "Rows": (
        "types", "limit", "older_than", "sample", "missing", None,
        "since", "seed", "restart",
    ),
    "Action": ("dry_run", None, "on_drift", "algorithm", "precheck", "missing_ok"),
    "Files": ("roots", None, "root_sentinel", "resolver"),
    "Schedule and limits": ("windows", "for_time", None, "timezone", "wait", "budget"),
    "Load": (
        "rate", None,
        "files_rate", "pause_file", "nice", "ionice",
        "max_io_pressure", "max_replication_lag", "max_wal_backlog",
    ),
    "Catalog": (
        "config", "dsn", "table", None,
        "id_column", "type_column", "path_column", "metadata_column", "update_function",
    ),
    "Tuning": (
        "workers", None,
        "range_rows", "chunk_size", "reader", "disk", "db_timeout", "lease_ttl",
    ),
    "Output": (
        "quiet", "as_json", None,
        "log_format", "metrics_port", "metrics_file", "help", "help_all",
    ),
}  # fmt: skip

_SHOW_ALL = "fasthash.help_all"
_ALWAYS = ("help", "help_all")


def _show_all(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        ctx.meta[_SHOW_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


help_all_option = click.option(
    "--help-all",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_all,
    help="Show all options and exit.",
)


class GroupedCommand(click.Command):
    """A command whose help shows its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the everyday options, or all of them, under the names of their groups."""
        for title, options in self._groups(ctx, everything=ctx.meta.get(_SHOW_ALL, False)):
            records = [record for o in options if (record := o.get_help_record(ctx)) is not None]
            with formatter.section(title):
                formatter.write_dl(records)
        if not ctx.meta.get(_SHOW_ALL):
            formatter.write_paragraph()
            formatter.write_text(f"All options: {ctx.command_path} --help-all")

    def _groups(
        self, ctx: click.Context, *, everything: bool
    ) -> Iterator[tuple[str, list[click.Parameter]]]:
        of_name: dict[str | None, click.Parameter]
        of_name = {param.name: param for param in self.get_params(ctx)}
        if (own := self.get_help_option(ctx)) is not None:
            of_name["help"] = own  # its name differs between versions of click
        for title, names in GROUPS.items():
            end = names.index(None)
            shown = [*names[:end], *(n for n in names[end:] if everything or n in _ALWAYS)]
            options = [of_name[name] for name in shown if name is not None and name in of_name]
            if options:
                yield title, options
