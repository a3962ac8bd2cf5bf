"""`fasthash drift`: stored hashes that differed, and what is decided about them."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

import click

from fasthash.cli import intact, tables
from fasthash.cli.colour import coloured
from fasthash.cli.intact import intact_options
from fasthash.cli.options import (
    Folder,
    Parsed,
    catalog_names,
    catalog_options,
    combine,
    database_options,
    json_option,
    option,
    set_up_logs,
)
from fasthash.cli.reports import ledger, run_number, table_option
from fasthash.config import NO_TYPE, Settings
from fasthash.drift import NO_HASH, digest_in, is_hash, told, unseen_writer
from fasthash.errors import ConfigError
from fasthash.fixity import DriftKind
from fasthash.logs import printable, shown
from fasthash.widths import human_time, shorten

if TYPE_CHECKING:
    from fasthash.review import Decision
    from fasthash.store.catalog import Catalog
    from fasthash.store.session import Connection, Row

# What a stored hash may be is up to who stored it; in text no more of it is shown than this.
MOST_OF_A_HASH = 130
LARGEST_DRIFT = 2**63 - 1

_kind_option = click.option(
    "--kind", type=click.Choice([str(k) for k in DriftKind]), help="Only this kind."
)


def _parse_drift(text: str) -> int:
    """A drift's number.

    Raises:
        ConfigError: the text is none.
    """
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= LARGEST_DRIFT):
        raise ConfigError(f"{text!r} is no drift number: `fasthash drift list` shows them")
    return int(text)


_drift_number = Parsed("DRIFT", _parse_drift)


@click.group(no_args_is_help=False)
def drift_command() -> None:
    """Look at stored hashes that differed from the file's, and decide."""


@drift_command.command("list")
@database_options
@table_option
@click.option("--run", "run_id", type=run_number, help="Only what this run found.")
@_kind_option
@click.option("--open", "only_open", is_flag=True, help="Only those not decided yet.")
@json_option
def drift_list_command(
    dsn: str | None,
    table: str | None,
    run_id: int | None,
    kind: str | None,
    only_open: bool,
    as_json: bool,
) -> None:
    """List drifts in the order they were found, of all runs.

    \b
    modified  size or mtime of the file have moved since it was hashed
    corrupt   they have not, yet the content differs: bit rot
    unknown   there was no marker, or no hash, to compare with
    """
    from fasthash.store import reports  # noqa: PLC0415

    with ledger(dsn, "drift") as connection:
        if run_id is not None:
            reports.read_run(connection, run_id)
            table = None
        found = reports.iterate_drift(connection, run_id, kind, table, only_open=only_open)
        with contextlib.closing(found) as rows, tables.standard_output() as out:
            if as_json:
                tables.write_json_array(out, rows)
            else:
                _write_drifts(out, rows)


@drift_command.command("show")
@click.argument("drift_id", metavar="DRIFT", type=_drift_number)
@database_options
@intact_options
@json_option
def drift_show_command(drift_id: int, dsn: str | None, as_json: bool, **values: Any) -> None:
    """Show one drift with its evidence, and where intact copies of the old content are.

    These are files of other rows that have the old hash and were good when they were last verified,
    and with --look-in files of other directories, which are read for it.
    """
    from fasthash.store import reports  # noqa: PLC0415

    with ledger(dsn, "drift") as connection:
        found = list(reports.iterate_drift(connection, None, None, None, drift_id=drift_id))
        if not found:
            raise ConfigError(f"there is no drift {drift_id}: `fasthash drift list` shows them")
        drift, copies = found[0], []
        digest = digest_in(drift["old_hash"])
        if digest is not None:
            size = drift["old_size_bytes"]
            copies = intact.of_hash(connection, drift["run_id"], digest, size, values)
    with tables.standard_output() as out:
        if as_json:
            as_objects = [copy.as_json() for copy in copies]
            print(tables.to_json({**drift, "intact_copies": as_objects}, indent=2), file=out)
        else:
            lines = [*_drift_lines(drift), *(f"  intact  {copy.told()}" for copy in copies)]
            print(coloured("\n".join(map(shown, lines)), out), file=out)


_review_options = combine(
    click.argument("drift_ids", metavar="[DRIFT]...", nargs=-1, type=_drift_number),
    database_options,
    catalog_options,
    click.option("--all", "all_open", is_flag=True, help="All that are open and match these:"),
    _kind_option,
    click.option("--run", "run_id", type=run_number, help="Only what this run found."),
    click.option(
        "--type",
        "types",
        multiple=True,
        help=f"Only rows of this type; may be repeated, {NO_TYPE} for none.",
    ),
    click.option("--by", help="Who decides.  [default: this user on this host]"),
    click.option("--why", help="The reason, kept with the decision."),
    json_option,
)


@drift_command.command("accept")
@_review_options
@option(
    "--root",
    key="roots",
    multiple=True,
    type=Folder(),
    help="Directory that files lie in.  [default: those that were registered]",
)
@option("--root-sentinel", help="A name that must exist beneath every root.")
@option("--resolver", help="package.module:function from path text to path, or None.")
@option("--update-function", help="schema.function(ids, jsonb patches) to write through.")
def drift_accept_command(**values: Any) -> None:
    """The file is right: write its hash.

    Each file is read again; if it has the hash that the drift is about, that is written through the
    journal, with size and marker. Exits with 1 if any of them could not be accepted.
    """
    from fasthash import review  # noqa: PLC0415
    from fasthash.main_job import find_roots  # noqa: PLC0415
    from fasthash.store.preflight import registered_roots  # noqa: PLC0415

    def decide(connection: Connection, catalog: Catalog, drifts: list[Row]) -> Iterator[Decision]:
        names = list(values["roots"]) or registered_roots(connection)
        roots = tuple(find_roots(names, values["root_sentinel"]))
        settings = Settings("", resolver=values["resolver"])
        who = values["by"] or _this_user()
        return review.accept(connection, catalog, settings, roots, drifts, who, values["why"])

    _review(values, "accepted", decide)


@drift_command.command("reject")
@_review_options
def drift_reject_command(**values: Any) -> None:
    """The stored hash is right: keep it.

    The file itself stays as it is; a scrub finds it again until it is restored. Exits with 1 if any
    of them was decided before.
    """
    from fasthash import review  # noqa: PLC0415

    def decide(connection: Connection, catalog: Catalog, drifts: list[Row]) -> Iterator[Decision]:
        who = values["by"] or _this_user()
        return review.reject(connection, drifts, who, values["why"])

    _review({**values, "update_function": None}, "rejected", decide)


def _this_user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # before Python 3.13, and since
        name = f"uid {os.geteuid()}"  # without a name, as in a container
    return f"{name}@{socket.gethostname()}"


def _review(
    values: dict[str, Any],
    verb: str,
    decide: Callable[[Connection, Catalog, list[Row]], Iterator[Decision]],
) -> None:
    """Chooses drifts, decides about each, and says what became of it."""
    if bool(values["drift_ids"]) == values["all_open"]:
        raise click.UsageError("name drifts by number, or --all", click.get_current_context())
    set_up_logs(values)
    from fasthash.store import preflight, reviews  # noqa: PLC0415

    with ledger(values["dsn"], "review") as connection:
        catalog = preflight.check_catalog(
            connection,
            catalog_names(values),
            writing=verb == "accepted",
            update_function=values["update_function"],
        )
        drifts = reviews.choose(
            connection,
            catalog,
            values["drift_ids"],
            all_open=values["all_open"],
            kind=values["kind"],
            run_id=values["run_id"],
            types=values["types"],
        )
        _expect(values["drift_ids"], drifts, catalog.full_name)
        with tables.standard_output() as out:
            decisions = _show_decisions(out, decide(connection, catalog, drifts), verb, values)
    click.get_current_context().exit(0 if all(d.done for d in decisions) else 1)


def _expect(wanted: Sequence[int], found: Sequence[Row], table: str) -> None:
    missing = sorted(set(wanted) - {d["drift_id"] for d in found})
    if missing:
        raise ConfigError(f"there is no drift {missing[0]} of {table}: see `fasthash drift list`")


def _show_decisions(
    out: TextIO, decisions: Iterator[Decision], verb: str, values: dict[str, Any]
) -> list[Decision]:
    made = []
    for decision in decisions:
        made.append(decision)
        if not values["as_json"]:
            result = verb if decision.done else f"not {verb}: {decision.reason}"
            print(
                printable(f"drift {decision.drift_id}: row {decision.row_id}: {result}"), file=out
            )
    if values["as_json"]:
        rows = (
            {"drift_id": d.drift_id, "row_id": d.row_id, verb: d.done, "reason": d.reason}
            for d in made
        )
        tables.write_json_array(out, rows)
    elif not made:
        print("no open drift matches", file=out)
    return made


def _write_drifts(out: TextIO, rows: Iterable[Row]) -> None:
    kinds: Counter[str] = Counter()
    for row in rows:
        kinds[row["kind"]] += 1
        text = "\n".join(map(shown, _drift_lines(row)))
        print(coloured(text, out), end="\n\n", file=out)
    total = sum(kinds.values())
    parts = ", ".join(f"{n:,} {kind}" for kind, n in sorted(kinds.items()))
    print(f"{total:,} drift{'' if total == 1 else 's'}: {parts}" if total else "no drift", file=out)


def _drift_lines(row: Row) -> list[str]:
    """One drift: a heading and its evidence; control characters are still in it."""
    old_size, new_size = row["old_size_bytes"], row["new_size_bytes"]
    before = "not known" if old_size is None else f"{old_size:,}"
    of_type = "" if row["artifact_type"] is None else f" ({row['artifact_type']})"
    lines = [
        f"drift {row['drift_id']}: row {row['row_id']}{of_type}, run {row['run_id']}: "
        f"{row['kind']}, {row['resolution']}",
        f"  path    {row['path']}",
        f"  old     {shorten(printable(row['old_hash']), MOST_OF_A_HASH)}"
        + (" (the row has lost it; the ledger knows it)" if row["was_lost"] else "")
        + ("" if is_hash(row["old_hash"]) else f" ({NO_HASH})"),
        f"  new     {row['new_hash']}",
        f"  bytes   {new_size:,}, before {before}",
        f"  mtime   {human_time(row['file_mtime'])}{_before(row['old_mtime'])}",
        f"  ctime   {human_time(row['file_ctime'])}{_before(row['old_ctime'])}",
    ]
    if row["moved"] is not None:
        lines.append(f"  moved   {told(row['moved'])}")
    lines.append(f"  found   {human_time(row['found_at'])}")
    if row["old_marker"] is not None:
        lines.append(f"  marker  {shorten(printable(row['old_marker']), MOST_OF_A_HASH)}")
    ctime = row["old_ctime"] or (None if "ctime" in (row["moved"] or ()) else row["file_ctime"])
    doubt = unseen_writer(DriftKind(row["kind"]), row["old_marker"], ctime)
    if doubt is not None:
        lines.append(f"  but     {doubt}")
    if row["resolved_at"] is not None or row["resolved_by"] is not None:
        who = row["resolved_by"] or "(unknown)"
        lines.append(f"  settled {human_time(row['resolved_at'])} by {who}")
    if row["comment"] is not None:
        lines.append(f"  comment {row['comment']}")
    return lines


def _before(time: datetime | None) -> str:
    return "" if time is None else f", before {human_time(time)}"
