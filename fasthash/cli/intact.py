"""What commands about lost and damaged files say of intact copies: options, and the search."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from fasthash.cli.options import Folder, column_names, column_options, combine
from fasthash.errors import FasthashError
from fasthash.logs import printable

if TYPE_CHECKING:
    from fasthash.intact import Copies, Copy
    from fasthash.listing import Naming
    from fasthash.store.catalog import Catalog
    from fasthash.store.session import Connection, Row

intact_options = combine(
    column_options,
    click.option(
        "--look-in",
        metavar="DIR",
        multiple=True,
        type=Folder(),
        help="Search this directory (a backup, say) for intact copies, too; may be repeated. Every "
        "file of the right size is read.",
    ),
)


def of_hash(
    connection: Connection, run_id: int, sha256: str, size_bytes: int | None, values: dict[str, Any]
) -> list[Copy]:
    """Intact copies of one content.

    Args:
        run_id: of a run over the catalog.
        sha256: of the content.
        size_bytes: of it, if it is known.
        values: the command's parameters.
    """
    return _search(connection, run_id, lambda _: {sha256: size_bytes}, values).get(sha256, [])


def of_residual(
    connection: Connection, run_id: int, reason: str | None, values: dict[str, Any]
) -> dict[str, list[Copy]]:
    """Intact copies of what the files of rows without a verdict held, by the row's id.

    Args:
        run_id: of the run.
        reason: only rows that have none for this.
        values: the command's parameters.
    """
    from fasthash.store import listing  # noqa: PLC0415

    lost: dict[str, str] = {}

    def wanted(catalog: Catalog) -> dict[str, int | None]:
        rows = listing.read_lost(connection, catalog, run_id, reason)
        lost.update((row["row_id"], row["digest"]) for row in rows)
        return {row["digest"]: row["size_bytes"] for row in rows}

    found = _search(connection, run_id, wanted, values)
    return {row_id: found[digest] for row_id, digest in lost.items() if found.get(digest)}


def _search(
    connection: Connection,
    run_id: int,
    wanted: Callable[[Catalog], dict[str, int | None]],
    values: dict[str, Any],
) -> Copies:
    """Copies by digest; what keeps us from looking is told, and ends nothing."""
    from fasthash import intact  # noqa: PLC0415
    from fasthash.store import facts, listing, reports  # noqa: PLC0415

    try:
        run = reports.read_run(connection, run_id)
        catalog = facts.find_catalog_of(connection, run, column_names(values))
        contents = wanted(catalog)
        if not contents:
            return {}
        rows = listing.iterate_copies(connection, catalog, list(contents))
        found = intact.of_rows(rows, _naming(connection, run))
    except FasthashError as error:
        said = f"fasthash: intact copies were not looked for: {error}"
        click.echo(printable(said), err=True)
        return {}
    for folder in values["look_in"]:
        for digest, copies in intact.elsewhere(os.fsencode(folder), contents).items():
            found[digest] = [*found.get(digest, []), *copies]
    return found


def _naming(connection: Connection, run: Row) -> Naming | None:
    """Where files of a run lie; None where that is not known, or its roots are not there."""
    from fasthash.listing import Naming  # noqa: PLC0415
    from fasthash.main_job import find_roots  # noqa: PLC0415
    from fasthash.store.preflight import registered_roots  # noqa: PLC0415

    names = run["options"].get("roots") or registered_roots(connection)
    try:
        return Naming(tuple(find_roots(list(names), None)), os.sep) if names else None
    except FasthashError:
        return None
