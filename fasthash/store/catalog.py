"""The catalog as it is: bound to its real columns and types, and cut into ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from psycopg import sql

from fasthash.config import NO_TYPE, CatalogNames, did_you_mean
from fasthash.errors import PreflightFailed
from fasthash.store.naming import find_key
from fasthash.store.queries import EMPTY, identifier, query
from fasthash.store.session import Connection


@dataclass(frozen=True, slots=True)
class Catalog:
    """The operator's table, found in the database.

    `id_type` and `type_type` are names of types as the server itself prints them, which makes
    them safe to stand in SQL, and `id_collation` and `type_collation` say in whose order their
    texts are; the other names only ever go in as identifiers. `is_guarded` means that rows may be
    met that the database cannot give, and that statements go on without them (see `guard`).
    """

    names: CatalogNames
    schema: str
    table_oid: int
    id_type: str
    type_type: str
    metadata_type: str
    estimated_rows: int
    has_type_index: bool
    id_collation: tuple[str, ...] = ()  # its schema and name; empty for types that have none
    type_collation: tuple[str, ...] = ()
    has_null_ids: bool = False  # perhaps: the column takes NULL
    children: int = 0  # tables that inherit from it, so that ids may repeat
    update_function: tuple[str, ...] | None = None  # its name, with its schema if one was given
    is_guarded: bool = False
    full_name: str = ""  # quoted where need be
    key: str = ""  # what the ledger calls it, whatever its name is: tells the runs of several apart

    @property
    def parts(self) -> dict[str, sql.Composable]:
        """What the placeholders of the SQL blocks stand for."""
        return _parts(self)

    def key_text(self, key: str) -> sql.Composable:
        """The fragment for the value of a key of the metadata, as text."""
        return _key_text(identifier(self.names.metadata), key, is_guarded=self.is_guarded)

    def query(self, module: str, name: str, **more: sql.Composable) -> sql.Composed:
        """A block of SQL about this catalog."""
        return query(module, name, **(self.parts | more))


@cache
def _parts(catalog: Catalog) -> dict[str, sql.Composable]:
    names = catalog.names
    columns = {
        "catalog": identifier(catalog.schema, names.table),
        "id": identifier(names.id),
        "type": identifier(names.type),
        "path": identifier(names.path),
        "metadata": identifier(names.metadata),
        "id_type": _type_name(catalog.id_type),
        "as_id": _cast(catalog.id_type, catalog.id_collation),
        "as_type": _cast(catalog.type_type, catalog.type_collation),
    }
    return columns | _looks(columns, catalog.metadata_type, is_guarded=catalog.is_guarded)


def digest_of(text: sql.Composable) -> sql.Composed:
    """The fragment for the hash that a text is, or NULL."""
    return query("row", "digest", text=text)


def marker_of(marker: sql.Composable, digest: sql.Composable) -> sql.Composed:
    """The fragment for a marker that counts, or NULL, of a marker and a hash as they stand."""
    is_time = query("row", "is_time", text=marker)
    parts = {"is_time": is_time, "digest": digest_of(digest), "marker_text": marker}
    return query("row", "marker_exact", **parts)


def compared(text: sql.Composable) -> sql.Composed:
    """The fragment for what a file's hash is compared with, of a recorded hash as it stands."""
    return query("row", "compared", text=text, digest=digest_of(text))


def _key_text(metadata: sql.Identifier, key: str, *, is_guarded: bool) -> sql.Composed:
    name = "key_text_guarded" if is_guarded else "key_text"
    return query("row", name, metadata=metadata, key=sql.Literal(key))


def _looks(
    columns: Mapping[str, Any], metadata_type: str, *, is_guarded: bool
) -> dict[str, sql.Composable]:
    """The fragments that look into a row."""
    guarded = "_guarded" if is_guarded else ""
    metadata, path = columns["metadata"], columns["path"]
    hash_text, size_text, marker_text = (
        _key_text(metadata, key, is_guarded=is_guarded)
        for key in ("file_sha256", "file_size_bytes", "file_sha256_computed_at")
    )
    digest = digest_of(hash_text)
    unreadable = query("row", f"unreadable{guarded}", metadata=metadata, path=path)
    texts = {"hash_text": hash_text, "marker_text": marker_text}
    is_ours = query("row", f"is_ours{guarded}", **texts)
    marker = {
        "is_ours": is_ours,
        "marker_text": marker_text,
        "marker_exact": marker_of(marker_text, hash_text),
        "unreadable": unreadable,
    }
    typeof = sql.SQL("json_typeof" if metadata_type == "json" else "jsonb_typeof")
    return {
        **texts,
        "is_ours": is_ours,
        "size_text": size_text,
        "digest": digest,
        "size": query("row", "size", size_text=size_text),
        "marker": query("row", f"marker{guarded}", **marker),
        "typeof": typeof,
        "metadata_kind": query("row", f"metadata_kind{guarded}", typeof=typeof, metadata=metadata),
        "path_text": query("row", f"path_text{guarded}", path=path),
        "unreadable": unreadable,
    }


def _cast(type_name: str, collation: Sequence[str]) -> sql.Composable:
    """The fragment that makes a text a value of a column, compared in the column's own order."""
    cast: sql.Composable = sql.SQL("::text::") + _type_name(type_name)
    return cast + sql.SQL(" COLLATE ") + identifier(*collation) if collation else cast


def _type_name(printed: str) -> sql.SQL:
    # As the server prints (and quotes) it; a percent sign would begin a parameter.
    return sql.SQL(printed.replace("%", "%%"))


def find_catalog(connection: Connection, names: CatalogNames) -> Catalog:
    """Finds the table and its columns.

    Raises:
        PreflightFailed: one is missing (naming the nearest that exists) or of no use.
    """
    found = connection.execute(
        query("preflight", "find_table"), {"schema": names.schema, "table": names.table}
    ).fetchone()
    if found is None:
        raise PreflightFailed(_no_table(connection, names))
    if found["kind"] not in ("r", "p"):
        raise PreflightFailed(f"{names} is a view or a foreign table; name the table itself")
    rows = connection.execute(
        query("preflight", "columns"), {"table_oid": found["table_oid"]}
    ).fetchall()
    columns = {row["name"]: row for row in rows}
    for option, name in (
        ("--id-column", names.id),
        ("--type-column", names.type),
        ("--path-column", names.path),
        ("--metadata-column", names.metadata),
    ):
        if name not in columns:
            raise PreflightFailed(
                f"table {names} has no column {name} ({option}){did_you_mean(name, columns)}"
            )
    metadata_type = columns[names.metadata]["type"]
    if metadata_type not in ("json", "jsonb"):
        raise PreflightFailed(
            f"column {names.metadata} of {names} is of type {metadata_type}; "
            "it has to be jsonb or json"
        )
    indexes = read_indexes(connection, found["table_oid"])
    unique = [
        i["columns"][0]
        for i in indexes
        if i["is_unique"] and not i["is_partial"] and len(i["columns"]) == 1
    ]
    if names.id not in unique:
        raise PreflightFailed(_not_unique(names, unique))
    return Catalog(
        names,
        found["schema"],
        found["table_oid"],
        columns[names.id]["type"],
        columns[names.type]["type"],
        metadata_type,
        max(0, found["estimated_rows"]),
        any(i["columns"][:1] == [names.type] and i["method"] == "btree" for i in indexes),
        tuple(columns[names.id]["collation"]),
        tuple(columns[names.type]["collation"]),
        not columns[names.id]["not_null"],
        found["children"],
        full_name=found["full_name"],
        key=find_key(connection, found),
    )


def read_indexes(connection: Connection, table_oid: int) -> list[dict[str, Any]]:
    """The indexes of a table."""
    return connection.execute(query("preflight", "indexes"), {"table_oid": table_oid}).fetchall()


def _not_unique(names: CatalogNames, unique: Sequence[str]) -> str:
    """Why a column does not tell rows apart, and which others do."""
    what = (
        f"column {names.id} of {names} has no unique index of its own, "
        "so it does not tell rows apart"
    )
    if unique:
        return f"{what}; columns that have one: {', '.join(sorted(set(unique)))} (--id-column)"
    return f"{what}; `fasthash doctor` shows how to create one"


def _no_table(connection: Connection, names: CatalogNames) -> str:
    tables = connection.execute(query("preflight", "table_names")).fetchall()
    full = {(f"{t['schema']}.{t['table']}" if names.schema else t["table"]): t for t in tables}
    elsewhere = [f"{t['schema']}.{t['table']}" for t in tables if t["table"] == names.table]
    hint = f"; did you mean {elsewhere[0]}?" if elsewhere else did_you_mean(str(names), full)
    return f"there is no table {names} in database {connection.info.dbname}{hint}" + (
        "" if hint else "; name yours with --table, or make one with `fasthash register DIR`"
    )


def of_type(catalog: Catalog, artifact_type: str | None) -> sql.Composed:
    """The fragment for rows of one type, or of none."""
    return catalog.query("catalog", "of_no_type" if artifact_type is None else "of_type")


def past(catalog: Catalog, after_id: str | None) -> sql.Composable:
    """The fragment for rows behind an id, if there is one."""
    return EMPTY if after_id is None else catalog.query("catalog", "past")


def of_types(catalog: Catalog, types: Sequence[str]) -> sql.Composable:
    """The fragment for rows of some types; of all where none is named."""
    return catalog.query("catalog", "of_types") if types else EMPTY


def type_parameters(types: Sequence[str]) -> dict[str, object]:
    """The parameters of the `of_types` fragment."""
    return {
        "types": [t for t in types if t != NO_TYPE],
        "with_no_type": NO_TYPE in types,
    }


def read_types(
    connection: Connection, catalog: Catalog, types: Sequence[str] = ()
) -> list[str | None]:
    """The distinct types of the catalog, NULL last; only these, where any is named."""
    name = "types_by_index" if catalog.has_type_index else "types_by_scan"
    statement = catalog.query("catalog", name, of_types=of_types(catalog, types))
    return [r["artifact_type"] for r in connection.execute(statement, type_parameters(types))]


def read_boundaries(
    connection: Connection,
    catalog: Catalog,
    artifact_type: str | None,
    after_id: str | None,
    range_rows: int,
    rows: int,
) -> list[tuple[str, int]]:
    """Cuts the next rows of a type into ranges.

    Returns:
        For each range its last id and its number of rows; all but the last are full.
    """
    found = connection.execute(
        catalog.query(
            "catalog",
            "plan_boundaries",
            of_type=of_type(catalog, artifact_type),
            past=past(catalog, after_id),
        ),
        {
            "artifact_type": artifact_type,
            "after_id": after_id,
            "range_rows": range_rows,
            "rows": rows,
        },
    ).fetchall()
    ranges = []
    before = 0
    for row in found:
        ranges.append((row["through_id"], row["rows_so_far"] - before))
        before = row["rows_so_far"]
    return ranges
