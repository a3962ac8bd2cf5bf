"""`fasthash compare`: what a manifest from elsewhere and the catalog disagree about."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, TextIO

import click

from fasthash.cli import tables
from fasthash.cli.listing import FORMS, list_options, naming_of, open_catalog
from fasthash.cli.options import json_option
from fasthash.errors import ConfigError
from fasthash.logs import printable
from fasthash.widths import shorten

# Of the lines that are no entries.
ODD_LINES_SHOWN = 5
# These are counted even if there are none.
ALWAYS_COUNTED = ("differs", "not_in_catalog", "not_in_manifest")


@click.command()
@click.argument("manifest_file", metavar="MANIFEST", type=click.Path())
@list_options
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
    with open_catalog(values, "compare") as (connection, catalog):
        naming = naming_of(connection, values)
        rows = iterate_files(connection, catalog, kind.algorithm, values["types"])
        found_out = listing.compare(entries, listing.entries(rows, naming))
    with tables.standard_output() as out:
        if as_json:
            tables.write_json_array(out, map(_disagreement_json, found_out))
        else:
            _write_disagreements(out, found_out, len(entries))
    click.get_current_context().exit(1 if found_out or n_odd else 0)


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
