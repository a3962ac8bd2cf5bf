"""`fasthash manifest`, `journal` and `duplicates`: what the catalog knows of files."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from fasthash.cli import tables
from fasthash.cli.options import (
    Folder,
    catalog_names,
    catalog_options,
    combine,
    database_options,
    find_dsn,
    json_option,
    option,
    set_up_logs,
)
from fasthash.cli.reports import type_name
from fasthash.config import NO_TYPE
from fasthash.logs import printable
from fasthash.summary import human_bytes
from fasthash.widths import human_time

if TYPE_CHECKING:
    from fasthash import manifest
    from fasthash.listing import Naming
    from fasthash.store.catalog import Catalog
    from fasthash.store.session import Connection, Row

# As in `dialect`, which only `compare` has to load.
FORMS = ("sha256sum", "bsd", "bagit", "hashdeep", "jsonl", "csv")

_roots_option = option(
    "--root",
    key="roots",
    multiple=True,
    type=Folder(),
    help="Directory that files lie in.  [default: those that were registered]",
)
list_options = combine(
    database_options,
    catalog_options,
    _roots_option,
    click.option(
        "--relative-to",
        metavar="DIR",
        type=Folder(),
        help="Names begin in this directory.  [default: the catalog's own paths]",
    ),
    click.option(
        "--type",
        "types",
        multiple=True,
        help=f"Only rows of this type; may be repeated, {NO_TYPE} for none.",
    ),
)


@contextlib.contextmanager
def open_catalog(values: dict[str, Any], purpose: str) -> Iterator[tuple[Connection, Catalog]]:
    """The catalog, which needs no ledger to be listed."""
    set_up_logs(values)
    from fasthash.store import preflight, session  # noqa: PLC0415

    with session.connect_once(find_dsn(values["dsn"], make=False), purpose) as connection:
        names = catalog_names(values)
        catalog = preflight.check_catalog(connection, names, writing=False, update_function=None)
        preflight.check_types(connection, catalog, values.get("types", ()))
        yield connection, catalog


def naming_of(connection: Connection, values: dict[str, Any]) -> Naming:
    """How files are named: by the catalog's paths, or from --relative-to DIR on."""
    from fasthash.listing import Naming  # noqa: PLC0415
    from fasthash.main_job import find_roots  # noqa: PLC0415
    from fasthash.store.preflight import registered_roots  # noqa: PLC0415

    if values["relative_to"] is None:
        return Naming((), None)
    names = list(values["roots"]) or registered_roots(connection)
    return Naming(tuple(find_roots(names, None)), values["relative_to"])


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    default="sha256sum",
    show_default=True,
)
@list_options
@click.option(
    "--algorithm", type=click.Choice(["sha256", "blake3"]), default="sha256", show_default=True
)
@click.option("--allow-missing", is_flag=True, help="Exit with 0 though rows are left out.")
def manifest_command(form: str, allow_missing: bool, **values: Any) -> None:
    """Print the recorded hashes in a form that other tools check.

    \b
    sha256sum  for `sha256sum -c` (blake3: `b3sum -c`)
    bsd        `SHA256 (name) = digest`, for `shasum -c` and `sha256sum -c`
    bagit      manifest-sha256.txt of a bag: --relative-to the bag's folder
    hashdeep   for `hashdeep -a -k`
    jsonl csv  with id, type, size and marker; a name that is not UTF-8 as a
               file: URI; cells that a spreadsheet would calculate behind a '

    The hashes are those of the catalog; no file is read. Odd names are escaped as each form wants
    it. What the list cannot have (rows without a hash, say) is counted on stderr, and the command
    exits with 1, unless --allow-missing says that this is known.
    """
    from fasthash import listing, manifest  # noqa: PLC0415
    from fasthash.store.listing import iterate_files  # noqa: PLC0415

    left_out: Counter[str] = Counter()
    abroad: list[manifest.Entry] = []

    def noted(entries: Iterable[manifest.Entry]) -> Iterator[manifest.Entry]:
        for entry in entries:
            if form == "bagit" and manifest.is_no_bag(entry) and not abroad:
                abroad.append(entry)
            yield entry

    def count(_entry: manifest.Entry, reason: str) -> None:
        left_out[reason] += 1

    with open_catalog(values, "manifest") as (connection, catalog):
        naming = naming_of(connection, values)
        found = iterate_files(connection, catalog, values["algorithm"], values["types"])
        with contextlib.closing(found) as rows, tables.standard_output(exact=True) as out:
            out.flush()
            entries = noted(listing.entries(rows, naming))
            lines = manifest.lines(entries, form, values["algorithm"], count)
            escape = out.isatty()
            for line in lines:
                if escape:  # a file name must not drive the terminal
                    out.write(printable(line.decode(errors="backslashreplace").rstrip("\n")) + "\n")
                else:
                    out.buffer.write(line)
    _warn_of_left_out(left_out, abroad)
    incomplete = left_out and not allow_missing
    click.get_current_context().exit(1 if incomplete or abroad else 0)


def _warn_of_left_out(left_out: Counter[str], abroad: Sequence[Any]) -> None:
    """An incomplete list says so."""
    if left_out:
        n = left_out.total()
        what = "1 row with a path is" if n == 1 else f"{n:,} rows with a path are"
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in left_out.most_common())
        click.echo(f"fasthash: {what} not in the list: {reasons}", err=True)
    if abroad:
        name = printable(abroad[0].path.decode(errors="backslashreplace"))
        click.echo(
            f"fasthash: this is no manifest of a bag: {name} (row {printable(abroad[0].row_id)}) "
            "leads out of it; --relative-to names the bag's folder",
            err=True,
        )


@click.command()
@click.argument("row_id", metavar="ID")
@database_options
@catalog_options
@json_option
def journal_command(row_id: str, as_json: bool, **values: Any) -> None:
    """Show every value that row ID was ever given: when, by which run, on which host."""
    from fasthash.store import schema  # noqa: PLC0415
    from fasthash.store.listing import read_journal  # noqa: PLC0415

    with open_catalog(values, "journal") as (connection, catalog):
        schema.require_ledger(connection)
        rows = read_journal(connection, catalog, row_id)
    with tables.standard_output() as out:
        if as_json:
            tables.write_json_array(out, rows)
        elif not rows:
            print(f"row {printable(row_id)} was never written by fasthash", file=out)
        else:
            for row in rows:
                print("\n".join(map(printable, _journal_lines(row))), end="\n\n", file=out)


def _journal_lines(row: Row) -> list[str]:
    before = (row["old_keys"] or {}).get("file_sha256", "(none)")
    size, read_at = f"{row['size_bytes']:,} bytes", row["marker"] or "(unknown)"
    return [
        f"{human_time(row['at'])}: run {row['run_id']} ({row['kind']}) on {row['host']}",
        f"  from  {str(before)[:130]}",
        f"  to    {row['new_sha256']}, {size}, read {read_at}"
        if row["new_sha256"]
        else "  to    (none)",
    ]


@click.command()
@database_options
@catalog_options
@_roots_option
@click.option("--links/--no-links", default=True, help="Look at the files: are they there?")
@json_option
def duplicates_command(links: bool, as_json: bool, **values: Any) -> None:
    """List groups of rows whose files have one content, and what could be saved.

    A copy counts only if it is there with its size, and if it was good when it was last verified:
    missing files, files that are known to be bad, and rows that were never verified are named with
    the reason, and save nothing. Names that are hard links of one file, or one path in several
    rows, take no room of their own. --no-links looks at no file: each path that was good is a copy.
    """
    from fasthash.copies import groups  # noqa: PLC0415
    from fasthash.store.listing import iterate_duplicates  # noqa: PLC0415

    with open_catalog(values, "duplicates") as (connection, catalog):
        naming = naming_of(connection, {**values, "relative_to": os.sep}) if links else None
        with (
            contextlib.closing(iterate_duplicates(connection, catalog)) as rows,
            tables.standard_output() as out,
        ):
            found = groups(rows, naming)
            if as_json:
                tables.write_json_array(out, found)
            else:
                _write_groups(out, found)


def _write_groups(out: TextIO, groups: Iterable[dict[str, Any]]) -> None:
    total = count = 0
    for group in groups:
        total, count = total + group["could_be_saved_bytes"], count + 1
        saved, n = human_bytes(group["could_be_saved_bytes"]), group["files"]
        what = f"{n:,} file{'' if n == 1 else 's'}"
        print(f"{group['sha256']}  {what}, {saved} could be saved", file=out)
        for row in group["rows"]:
            kind = type_name(row["artifact_type"])
            why = row["not_counted"]
            note = f"  (no copy to rely on: {why})" if why else ""
            note = "  (the same file as one above)" if row["linked"] else note
            print(printable(f"  {row['row_id']} ({kind})  {row['path']}{note}"), file=out)
    what = f"{count:,} group{'' if count == 1 else 's'}"
    print(f"{what} of equal files, {human_bytes(total)} could be saved", file=out)
