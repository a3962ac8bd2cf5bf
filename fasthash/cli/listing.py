"""`fasthash manifest`, `compare`, `journal` and `duplicates`: what the catalog knows of files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from fasthash.listing import Naming
    from fasthash.store.catalog import Catalog
    from fasthash.store.session import Connection, Row

_roots_option = option(
    "--root",
    key="roots",
    multiple=True,
    type=Folder(),
    help="Directory that files lie in.  [default: those that were registered]",
)
_manifest_options = combine(
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
        "--algorithm", type=click.Choice(["sha256", "blake3"]), default="sha256", show_default=True
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
        yield (
            connection,
            preflight.check_catalog(connection, names, writing=False, update_function=None),
        )


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
    type=click.Choice(["sha256sum", "bsd", "bagit", "hashdeep", "jsonl", "csv"]),
    default="sha256sum",
    show_default=True,
)
@_manifest_options
def manifest_command(form: str, **values: Any) -> None:
    """Print the recorded hashes in a form that other tools check.

    \b
    sha256sum  for `sha256sum -c` (blake3: `b3sum -c`)
    bsd        `SHA256 (name) = digest`, for `shasum -c` and `sha256sum -c`
    bagit      manifest-sha256.txt of a bag: --relative-to the bag's folder
    hashdeep   for `hashdeep -a -k`
    jsonl csv  with id, type, size and marker

    The hashes are those of the catalog; no file is read. Odd names are escaped as each form wants
    it; hashdeep's has no way to write a name with a newline.
    """
    from fasthash import listing, manifest  # noqa: PLC0415
    from fasthash.store.listing import iterate_hashed  # noqa: PLC0415

    with _catalog(values, "manifest") as (connection, catalog):
        naming = _naming(connection, values)
        found = iterate_hashed(connection, catalog, values["algorithm"], values["types"])
        with contextlib.closing(found) as rows, tables.standard_output(exact=True) as out:
            out.flush()
            lines = manifest.lines(listing.entries(rows, naming), form, values["algorithm"])
            escape = out.isatty()
            for line in lines:
                if escape:  # a file name must not drive the terminal
                    out.write(printable(line.decode(errors="backslashreplace").rstrip("\n")) + "\n")
                else:
                    out.buffer.write(line)


@click.command()
@click.argument("manifest_file", metavar="MANIFEST", type=click.Path())
@_manifest_options
@json_option
def compare_command(manifest_file: str, as_json: bool, **values: Any) -> None:
    """Show what a manifest from elsewhere and the catalog disagree about.

    MANIFEST is of sha256sum, shasum, BSD's sha256 or hashdeep; its names are compared with the
    catalog's paths, or with --relative-to DIR with the names from there. Exits with 1 if a digest
    differs or a file is in one of the two alone.
    """
    from fasthash import listing, manifest  # noqa: PLC0415
    from fasthash.store.listing import iterate_hashed  # noqa: PLC0415

    listed: list[manifest.Listed] = []
    try:
        with open(manifest_file, "rb") as file:
            for found in manifest.parse(file):
                if isinstance(found, int):
                    raise ConfigError(f"{manifest_file}, line {found}: no digest and name")
                listed.append(found)
    except OSError as error:
        raise ConfigError(f"cannot read {manifest_file}: {error.strerror}") from error
    with _catalog(values, "compare") as (connection, catalog):
        naming = _naming(connection, values)
        rows = iterate_hashed(connection, catalog, values["algorithm"], values["types"])
        held = listing.entries(rows, naming)
        found_out = sorted(listing.compare(listed, held), key=lambda d: (d.kind, d.path))
    with tables.standard_output() as out:
        if as_json:
            tables.write_json_array(out, map(_disagreement_json, found_out))
        else:
            for d in found_out:
                what = {"differs": f"is {d.in_catalog}, there {d.in_manifest}"}.get(d.kind, d.kind)
                name = d.path.decode(errors="backslashreplace")
                print(printable(f"{name}: {what.replace('_', ' ')}"), file=out)
            counts = {kind: sum(d.kind == kind for d in found_out) for kind in KINDS}
            parts = ", ".join(f"{n:,} {kind.replace('_', ' ')}" for kind, n in counts.items())
            print(f"{len(listed):,} lines: {parts}", file=out)
    click.get_current_context().exit(1 if found_out else 0)


KINDS = ("differs", "not_in_catalog", "not_in_manifest")


def _disagreement_json(found: Any) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "path": found.path.decode("utf-8", "surrogateescape"),
        "in_manifest": found.in_manifest,
        "in_catalog": found.in_catalog,
        "row_id": found.row_id,
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
        f"{row['at']:%Y-%m-%d %H:%M:%S} UTC: run {row['run_id']} ({row['kind']}) on {row['host']}",
        f"  from  {str(before)[:130]}",
        f"  to    {row['new_sha256']}, {size}, read {read_at}"
        if row["new_sha256"]
        else "  to    (none)",
    ]


@click.command()
@database_options
@catalog_options
@_roots_option
@click.option("--links/--no-links", default=True, help="Look which names are one file on disk.")
@json_option
def duplicates_command(links: bool, as_json: bool, **values: Any) -> None:
    """List groups of rows whose files have one content, and what could be saved.

    Names that are hard links of one file, or one path in several rows, take no room of their own;
    --no-links does not look, and counts each row as a copy.
    """
    from fasthash.store.listing import iterate_duplicates  # noqa: PLC0415

    with _catalog(values, "duplicates") as (connection, catalog):
        naming = _naming(connection, {**values, "relative_to": os.sep}) if links else None
        with (
            contextlib.closing(iterate_duplicates(connection, catalog)) as rows,
            tables.standard_output() as out,
        ):
            groups = _groups(rows, naming)
            if as_json:
                tables.write_json_array(out, groups)
                return
            total = count = 0
            for group in groups:
                total, count = total + group["could_be_saved_bytes"], count + 1
                saved = human_bytes(group["could_be_saved_bytes"])
                print(
                    f"{group['sha256']}  {group['files']} files, {saved} could be saved", file=out
                )
                for row in group["rows"]:
                    kind = type_name(row["artifact_type"])
                    link = "  (the same file as one above)" if row["linked"] else ""
                    print(printable(f"  {row['row_id']} ({kind})  {row['path']}{link}"), file=out)
            what = f"{count:,} group{'' if count == 1 else 's'}"
            print(f"{what} of equal files, {human_bytes(total)} could be saved", file=out)


def _groups(rows: Any, naming: Naming | None) -> Iterator[dict[str, Any]]:
    """Rows of one digest together, with what is stored more than once."""
    import itertools  # noqa: PLC0415

    for digest, members in itertools.groupby(rows, key=lambda row: row["digest"]):
        seen: set[object] = set()
        found: list[dict[str, Any]] = []
        size = 0
        for row in members:
            size = row["size_bytes"] or 0
            identity = _identity(row["path"], naming) or row["row_id"]
            keys = ("row_id", "artifact_type", "path")
            found.append({**{k: row[k] for k in keys}, "linked": identity in seen})
            seen.add(identity)
        yield {
            "sha256": digest,
            "size_bytes": size,
            "files": len(seen),
            "could_be_saved_bytes": size * (len(seen) - 1),
            "rows": found,
        }


def _identity(text: str, naming: Naming | None) -> tuple[int, int] | None:
    if naming is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        facts = os.stat(naming.place(text))
        return facts.st_dev, facts.st_ino
    return None
