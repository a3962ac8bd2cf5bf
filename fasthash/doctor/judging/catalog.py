"""What the facts of the catalog table mean for a run, which updates its metadata."""

from __future__ import annotations

from collections.abc import Iterator

from fasthash.config import did_you_mean
from fasthash.facts import (
    DatabaseFacts,
    Finding,
    IndexFacts,
    Level,
    RowFacts,
    ServerFacts,
    TableFacts,
    Wishes,
)
from fasthash.summary import human_bytes

KINDS = {"v": "a view", "f": "a foreign table", "m": "a materialized view"}
SUMMARIZING_SINCE = 160000  # from here on a BRIN index does not stand in the way of HOT updates
MANY_ROWS = 100_000
DEAD_ROWS = 10_000
# With rows of 400 bytes 14 to 26 % of the updates of a full scrub are HOT then, without it 1 %; for
# more the table would have to be much larger.
FILLFACTOR = 85
LARGE_METADATA_BYTES = 2_000  # what is larger is stored aside (TOAST), and written anew each time


def judge(facts: DatabaseFacts, wishes: Wishes) -> list[Finding]:
    """The findings; none where there is no database."""
    if facts.no_table is not None:
        remedy = 'table = "schema.table"'
        return [Finding("catalog.table", Level.PROBLEM, facts.no_table, remedy)]
    table = facts.table
    if table is None:
        return []
    if table.kind in KINDS:
        text = f"{table.quoted} is {KINDS[table.kind]}: name the table itself"
        return [Finding("catalog.table", Level.PROBLEM, text, 'table = "schema.table"')]
    version = facts.server.version if facts.server is not None else 0
    rows = facts.rows
    to_do = rows is None or rows.marked < rows.with_path
    return [
        *_columns(table, wishes),
        *_key(table, wishes),
        *_privileges(table),
        *_slow_indexes(table, version, to_do=to_do),
        *_storage(table, to_do=to_do),
        *_beside(table),
        *_replication(table),
        *_hidden(table, facts.server),
        *_contents(facts.rows, table, wishes),
    ]


def _columns(table: TableFacts, wishes: Wishes) -> Iterator[Finding]:
    missing = False
    for option, name in wishes.columns.items():
        if name not in table.columns:
            missing = True
            hint = did_you_mean(name, table.columns)
            text = f"table {table.quoted} has no column {name} ({option}){hint}"
            key = option.removeprefix("--").replace("-", "_")
            yield Finding("catalog.columns", Level.PROBLEM, text, f'{key} = "its name"')
    name = wishes.columns["--metadata-column"]
    kind = table.columns.get(name, "jsonb")
    if kind not in ("json", "jsonb"):
        quoted = table.quoted_columns[name]
        text = f"column {name} is of type {kind}; it has to be jsonb or json"
        remedy = f"ALTER TABLE {table.quoted} ALTER COLUMN {quoted} TYPE jsonb USING"
        remedy += f" {quoted}::jsonb;"
        yield Finding("catalog.metadata_type", Level.PROBLEM, text, remedy)
    elif not missing:
        yield Finding("catalog.table", Level.OK, f"{table.quoted}, {name} is {kind}")


def _key(table: TableFacts, wishes: Wishes) -> Iterator[Finding]:
    name, kind = wishes.columns["--id-column"], wishes.columns["--type-column"]
    if name not in table.columns or kind not in table.columns:
        return
    quoted = table.quoted_columns[name]
    indexes = [index for index in table.own_indexes if index.is_valid]
    if not any(i.is_unique and i.is_whole and i.columns == (name,) for i in indexes):
        text = f"column {name} has no unique index of its own: rows cannot be told apart"
        remedy = f"CREATE UNIQUE INDEX{_concurrently(table)} ON {table.quoted} ({quoted});"
        if set(table.partition_key) - {name}:
            # One has to have all columns of the partition key in it.
            parts = ", ".join(table.partition_key)
            text += f"; PostgreSQL makes none on a table that is partitioned by {parts}"
            remedy = f"-- a table that is partitioned by {quoted}, or not at all, can be a catalog"
        yield Finding("catalog.key", Level.PROBLEM, text, remedy)
    if not any(i.columns[:2] == (kind, name) and i.method == "btree" for i in indexes):
        text = f"no index on ({kind}, {name}): planning reads the key's own"
        remedy = f"CREATE INDEX{_concurrently(table)} ON {table.quoted}"
        remedy += f" ({table.quoted_columns[kind]}, {quoted});"
        many = sum(heap.estimated_rows for heap in table.heaps) >= MANY_ROWS
        level = Level.NOTE if many else Level.OK
        yield Finding("catalog.type_index", level, text, remedy if many else "")


def _concurrently(table: TableFacts) -> str:
    """Partitioned tables cannot have it."""
    return "" if table.kind == "p" else " CONCURRENTLY"


def _privileges(table: TableFacts) -> Iterator[Finding]:
    if table.missing_grants:
        text = f"this role may not read what it has to of {table.quoted}, or not update it"
        yield Finding("catalog.privileges", Level.PROBLEM, text, table.missing_grants)


def _slow_indexes(table: TableFacts, version: int, *, to_do: bool) -> Iterator[Finding]:
    level = Level.WARNING if to_do else Level.NOTE
    found = False
    for index in table.indexes:
        summarizing = index.method == "brin" and version >= SUMMARIZING_SINCE
        if not index.touches_metadata or summarizing:
            continue
        found = True
        what = f"{index.method} index {index.quoted} ({human_bytes(index.size_bytes)})"
        text = f"{what} covers the metadata: every write changes all indexes (no HOT updates)"
        if index.is_valid:
            text += ". Drop it for a long run and make it again afterwards, or live with it"
        if index.is_unique or index.constraint:
            text += "; meanwhile nothing keeps its values unique"
        yield Finding("catalog.metadata_index", level, text, _without(index, table))
    if not found:
        text = "no index covers the metadata: updates can stay on their page (HOT)"
        yield Finding("catalog.metadata_index", Level.OK, text)


def _without(index: IndexFacts, table: TableFacts) -> tuple[str, ...]:
    if index.constraint is not None:
        what = f"ALTER TABLE {index.partition or table.quoted}"
        again = f"{what} ADD CONSTRAINT {index.constraint} {index.constraint_definition};"
        return f"{what} DROP CONSTRAINT {index.constraint};", f"-- afterwards: {again}"
    concurrently = " CONCURRENTLY" if index.partition else _concurrently(table)
    drop = f"DROP INDEX{concurrently} {index.quoted};"
    if not index.is_valid:
        return (drop,)  # what a CREATE INDEX CONCURRENTLY left that failed
    create = index.definition.replace(" INDEX ", f" INDEX{concurrently} ", 1)
    return drop, f"-- afterwards: {create};"


def _storage(table: TableFacts, *, to_do: bool) -> Iterator[Finding]:
    for heap in table.heaps:
        if not heap.autovacuum:
            text = (
                f"autovacuum is off for {heap.quoted}: a run leaves a dead row for each it writes"
            )
            remedy = f"ALTER TABLE {heap.quoted} RESET (autovacuum_enabled);"
            yield Finding("catalog.autovacuum", Level.WARNING, text, remedy)
        if heap.dead_rows >= DEAD_ROWS and heap.dead_rows > 2 * heap.dead_rows_due:
            text = f"{heap.quoted} has {heap.dead_rows:,} dead rows: autovacuum is far behind"
            remedy = f"VACUUM (ANALYZE) {heap.quoted};"
            yield Finding("catalog.dead_rows", Level.WARNING, text, remedy)
        elif heap.estimated_rows < 0 and heap.size_bytes:
            text = f"{heap.quoted} was never analyzed: the planner guesses how large it is"
            remedy = f"ANALYZE {heap.quoted};"
            yield Finding("catalog.statistics", Level.NOTE, text, remedy)
        if to_do and heap.fillfactor > FILLFACTOR and heap.estimated_rows >= MANY_ROWS:
            text = f"{heap.quoted} fills its pages to {heap.fillfactor} %: with room on them (those"
            text += " written from now on) some updates of later scrubs stay on their page (HOT)"
            remedy = f"ALTER TABLE {heap.quoted} SET (fillfactor = {FILLFACTOR});"
            yield Finding("catalog.fillfactor", Level.NOTE, text, remedy)


def _beside(table: TableFacts) -> Iterator[Finding]:
    for trigger in table.triggers:
        text = f"{trigger.says} fires when fasthash writes; if it need not, turn it off meanwhile"
        what, how = f"ALTER TABLE {trigger.table}", "ALWAYS " if trigger.is_always else ""
        again = f"-- afterwards: {what} ENABLE {how}{trigger.switch};"
        remedy = (f"{what} DISABLE {trigger.switch};", again)
        level = Level.WARNING if trigger.per_row else Level.NOTE
        yield Finding("catalog.triggers", level, text, remedy)
    if table.generated:
        text = f"generated from the metadata and written with them: {', '.join(table.generated)}"
        yield Finding("catalog.generated", Level.NOTE, text)


def _replication(table: TableFacts) -> Iterator[Finding]:
    if not table.publications:
        return
    names = ", ".join(table.publications)
    if not table.has_identity:
        text = f"publication {names} sends updates, but the table has no replica identity: every"
        key = next((i for i in table.own_indexes if i.is_unique and i.is_whole), None)
        bare = key.quoted.rpartition(".")[2] if key is not None and "." in key.quoted else ""
        how = f"USING INDEX {bare}" if bare and table.replica_identity == "d" else "FULL"
        if any(i.constraint and "PRIMARY KEY" in (i.constraint_definition or "")
               for i in table.own_indexes):  # fmt: skip
            how = "DEFAULT"
        remedy = f"ALTER TABLE {table.quoted} REPLICA IDENTITY {how};"
        yield Finding("catalog.identity", Level.PROBLEM, f"{text} update is refused", remedy)
        return
    text = f"every write goes to the subscribers of publication {names}"
    if table.replica_identity == "f":
        text += ", with the whole row as it was before (REPLICA IDENTITY FULL)"
    yield Finding("catalog.publication", Level.NOTE, text)


def _hidden(table: TableFacts, server: ServerFacts | None) -> Iterator[Finding]:
    if table.row_security and server is not None:
        text = "row level security applies to this role: rows that it hides are not hashed"
        remedy = f"ALTER ROLE {server.quoted_role} BYPASSRLS;"
        yield Finding("catalog.row_security", Level.WARNING, text, remedy)


def _contents(rows: RowFacts | None, table: TableFacts, wishes: Wishes) -> Iterator[Finding]:
    if rows is None:
        return
    about = "" if rows.how == "count" else "about "
    if rows.odd_metadata:
        name = wishes.columns["--metadata-column"]
        quoted = table.quoted_columns[name]
        text = f"{about}{rows.odd_metadata:,} rows have metadata that are no JSON object: those"
        where = f"jsonb_typeof({quoted}::jsonb) <> 'object'"
        remedy = f"SELECT * FROM {table.quoted} WHERE {where};"  # noqa: S608
        yield Finding("catalog.metadata_odd", Level.WARNING, f"{text} cannot be written", remedy)
    if rows.unreadable:
        text = f"the database cannot give {about}{rows.unreadable:,} rows: those are not hashed"
        remedy = (
            f"SELECT {table.quoted_columns[wishes.columns['--id-column']]}, "  # noqa: S608
            f"fasthash.unreadable({table.quoted_columns[wishes.columns['--metadata-column']]}) "
            f"FROM {table.quoted};"
        )
        yield Finding("catalog.unreadable", Level.WARNING, text, remedy)
    if rows.nameless:
        text = f"{about}{rows.nameless:,} rows have no id: those are not hashed"
        yield Finding("catalog.no_id", Level.WARNING, text)
    if rows.future:
        text = f"{about}{rows.future:,} rows have a marker of the future: taken as fresh until then"
        yield Finding("catalog.future", Level.WARNING, text)
    if rows.metadata_bytes > LARGE_METADATA_BYTES:
        text = f"metadata take {human_bytes(rows.metadata_bytes)} a row, stored aside (TOAST):"
        yield Finding("catalog.metadata_size", Level.NOTE, f"{text} all of it is written anew")
