"""`fasthash manifest`, `compare`, `journal` and `duplicates`: what the catalog knows of files."""

from __future__ import annotations

import contextlib
import itertools
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
from fasthash.errors import ConfigError
from fasthash.logs import printable
from fasthash.summary import human_bytes
from fasthash.widths import human_time, shorten

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
_catalog_options = combine(
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
def _catalog(values: dict[str, Any], purpose: str) -> Iterator[tuple[Connection, Catalog]]:
    """The catalog, which needs no ledger to be listed."""
    set_up_logs(values)
    from fasthash.store import preflight, session  # noqa: PLC0415

    with session.connect_once(find_dsn(values["dsn"], make=False), purpose) as connection:
        names = catalog_names(values)
        catalog = preflight.check_catalog(connection, names, writing=False, update_function=None)
        preflight.check_types(connection, catalog, values.get("types", ()))
        yield connection, catalog


def _naming(connection: Connection, values: dict[str, Any]) -> Naming:
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
@_catalog_options
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

    with _catalog(values, "manifest") as (connection, catalog):
        naming = _naming(connection, values)
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
@click.argument("manifest_file", metavar="MANIFEST", type=click.Path())
@_catalog_options
@click.option(
    "--algorithm",
    type=click.Choice(["sha256", "blake3"]),
    help="Which digest is compared.  [default: the list's]",
)
@click.option(
    "--format", "form", type=click.Choice(FORMS), help="Of MANIFEST.  [default: found out]"
)
@json_option
def compare_command(
    manifest_file: str, algorithm: str | None, form: str | None, as_json: bool, **values: Any
) -> None:
    """Show what a manifest from elsewhere and the catalog disagree about.

    MANIFEST is of any form that `fasthash manifest` prints, also with CRLF or NUL at the ends of
    lines, in UTF-16, or in a PGP signed message (whose signature is not checked); - is the standard
    input. What it is written in is determined once, and said on stderr; a bag's is known by its
    name (manifest-sha256.txt). Its names are compared with the catalog's paths, or with
    --relative-to DIR with the names from there.

    \b
    differs               the digests are others
    not in catalog        no row has this path
    not in manifest       the list has no such name
    manifest contradicts  the list has one name twice, with two digests
    catalog contradicts   rows of one path have different digests
    not hashed yet        the row has no digest
    not compared          the two have no digest of one algorithm

    Exits with 1 if there is any of these, or a line that is no entry.
    """
    from fasthash import dialect, listed, listing  # noqa: PLC0415
    from fasthash.store.listing import iterate_files  # noqa: PLC0415

    entries: list[listed.Listed] = []
    odd: list[listed.Odd] = []
    n_odd = 0
    try:
        with click.open_file(manifest_file, "rb") as file:
            chunks = iter(lambda: file.read(dialect.SAMPLE_BYTES), b"")
            head = next(chunks, b"")
            kind = dialect.determine(head, os.path.basename(manifest_file), algorithm, form)
            for found in listed.read(itertools.chain([head], chunks), kind):
                if isinstance(found, listed.Listed):
                    entries.append(found)
                    continue
                n_odd += 1
                if n_odd <= ODD_LINES_SHOWN:
                    odd.append(found)
    except OSError as error:
        raise ConfigError(f"cannot read {manifest_file}: {error.strerror}") from error
    _tell_of_list(manifest_file, kind.told(), odd, n_odd)
    if n_odd and not entries:
        raise ConfigError(f"{manifest_file}: not one line is a digest and a name")
    with _catalog(values, "compare") as (connection, catalog):
        naming = _naming(connection, values)
        rows = iterate_files(connection, catalog, kind.algorithm, values["types"])
        found_out = listing.compare(entries, listing.entries(rows, naming))
    with tables.standard_output() as out:
        if as_json:
            tables.write_json_array(out, map(_disagreement_json, found_out))
        else:
            _write_disagreements(out, found_out, len(entries))
    click.get_current_context().exit(1 if found_out or n_odd else 0)


# Of the lines that are no entries.
ODD_LINES_SHOWN = 5
# These are counted even if there are none.
ALWAYS_COUNTED = ("differs", "not_in_catalog", "not_in_manifest")


def _tell_of_list(name: str, told: str, odd: Sequence[Any], n_odd: int) -> None:
    click.echo(printable(f"fasthash: {name}: {told}"), err=True)
    for line in odd:
        shown = shorten(printable(line.text.decode(errors="backslashreplace")), 80)
        click.echo(printable(f"fasthash: {name}, line {line.line_no}: no entry: {shown}"), err=True)
    if n_odd:
        what = "1 line is" if n_odd == 1 else f"{n_odd:,} lines are"
        click.echo(printable(f"fasthash: {name}: {what} no entry and not compared"), err=True)


def _write_disagreements(out: TextIO, found: Sequence[Any], lines: int) -> None:
    for d in found:
        what = d.kind.replace("_", " ")
        if d.kind == "differs":
            what = f"is {d.in_catalog}, there {d.in_manifest}"
        elif d.kind in ("manifest_contradicts", "catalog_contradicts"):
            what += f" itself: {d.in_manifest if d.kind[0] == 'm' else d.in_catalog}"
        detail = f" ({d.detail})" if d.detail else ""
        name = d.path.decode(errors="backslashreplace")
        print(printable(f"{name}: {what}{detail}"), file=out)
    counts = Counter(d.kind for d in found)
    kinds = dict.fromkeys((*ALWAYS_COUNTED, *counts))
    parts = ", ".join(f"{counts[kind]:,} {kind.replace('_', ' ')}" for kind in kinds)
    print(f"{lines:,} line{'' if lines == 1 else 's'}: {parts}", file=out)


def _disagreement_json(found: Any) -> dict[str, Any]:
    from fasthash import manifest  # noqa: PLC0415

    return {
        "kind": found.kind,
        "path": manifest.as_text(found.path),
        "in_manifest": found.in_manifest,
        "in_catalog": found.in_catalog,
        "row_id": found.row_id,
        "detail": found.detail,
    }


@click.command()
@click.argument("row_id", metavar="ID")
@database_options
@catalog_options
@json_option
def journal_command(row_id: str, as_json: bool, **values: Any) -> None:
    """Show every value that row ID was ever given: when, by which run, on which host."""
    from fasthash.store import schema  # noqa: PLC0415
    from fasthash.store.listing import read_journal  # noqa: PLC0415

    with _catalog(values, "journal") as (connection, catalog):
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

    with _catalog(values, "duplicates") as (connection, catalog):
        naming = _naming(connection, {**values, "relative_to": os.sep}) if links else None
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
