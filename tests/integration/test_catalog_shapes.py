"""Catalogs as they come: odd names, key types, metadata types, the site's own update function."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import psycopg
import pytest
from conftest import Database, sha256

HOSTILE = 'we"ird; DROP TABLE x; -- %s %% \\ é\n$1'


def test_hostile_names(database: Database) -> None:
    schema, table = f"{HOSTILE}.s", f"{HOSTILE}.t"
    columns = {c: f"{HOSTILE} {c}" for c in ("id", "type", "path", "meta")}

    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    with database.connect() as connection:
        full = f"{quoted(schema)}.{quoted(table)}"
        statements = [
            f"CREATE SCHEMA {quoted(schema)}",
            f"CREATE TABLE {full} ({quoted(columns['id'])} text PRIMARY KEY, "
            f"{quoted(columns['type'])} text, {quoted(columns['path'])} text, "
            f"{quoted(columns['meta'])} jsonb)",
        ]
        for statement in statements:
            connection.execute(statement.encode())  # type: ignore[arg-type]
        for name in ("plain", HOSTILE.replace("/", "")):
            (database.root / name).write_text(name)
            connection.execute(
                psycopg.sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, NULL)").format(
                    psycopg.sql.Identifier(schema.replace("%", "%%"), table.replace("%", "%%"))
                ),
                (f"id {name}", f"type {name}", name),
            )
    arguments = [
        "--table", full, "--id-column", columns["id"], "--type-column", columns["type"],
        "--path-column", columns["path"], "--metadata-column", columns["meta"],
    ]  # fmt: skip
    role = f"{HOSTILE} role {database.root.name}"[:60]
    database.sql(f"CREATE ROLE {quoted(role)} LOGIN")
    user = Database(psycopg.conninfo.make_conninfo(database.dsn, user=role), database.root)
    try:
        script = database.fasthash("grants", role, *arguments).stdout
        with database.connect() as connection:
            connection.execute(script.encode())  # type: ignore[arg-type]
        dry = user.run("--dry-run", *arguments)
        assert dry["outcomes"]["hashed"] == 2
        summary = user.run(*arguments)
        assert summary["rows_updated"] == 2
        again = user.run(*arguments)
        assert again["rows_scanned"] == 0
    finally:
        database.sql(f"DROP OWNED BY {quoted(role)}")
        database.sql(f"DROP ROLE {quoted(role)}")
    with database.connect() as connection:
        rows = connection.execute(
            psycopg.sql.SQL("SELECT {} AS path, {} AS meta FROM {}").format(
                psycopg.sql.Identifier(columns["path"]),
                psycopg.sql.Identifier(columns["meta"]),
                psycopg.sql.Identifier(schema, table),
            )
        ).fetchall()
    for row in rows:
        assert row["meta"]["file_sha256"] == sha256(database.root / row["path"])


@pytest.mark.parametrize("id_type", ["text", "varchar(80)", "uuid", "bigint", "integer", "numeric"])
def test_id_types(database: Database, id_type: str) -> None:
    database.make_table(id_type)
    for n in range(25):
        (database.root / str(n)).write_text(str(n))
        row_id = uuid.uuid4() if id_type == "uuid" else n * 37 % 100
        database.add(row_id, str(n), None, [None, "a", "b"][n % 3])
    summary = database.run("--range-rows", "4")
    assert summary["outcomes"]["hashed"] == 25
    assert database.run()["rows_scanned"] == 0


def test_char_columns(database: Database) -> None:
    database.sql(
        "CREATE TABLE artifacts (id char(12) PRIMARY KEY, artifact_type char(8), "
        "file_path text, metadata jsonb)"
    )
    (database.root / "f").write_text("f")
    database.sql("INSERT INTO artifacts VALUES ('a', 'figure', 'f'), ('b', 'x', 'f')")
    assert database.run("--range-rows", "1")["rows_updated"] == 2


def test_enum_type_column_and_no_rows(database: Database) -> None:
    database.sql("CREATE TYPE kind AS ENUM ('z', 'a')")
    database.sql(
        "CREATE TABLE artifacts (id int PRIMARY KEY, artifact_type kind, file_path varchar(99), "
        "metadata jsonb NOT NULL DEFAULT '{}')"
    )
    empty = database.run()
    assert empty["state"] == "complete"
    assert empty["rows_scanned"] == 0
    (database.root / "f").write_text("f")
    database.sql("INSERT INTO artifacts VALUES (1, 'z', 'f'), (2, 'a', 'f'), (3, NULL, 'f')")
    summary = database.run("--restart")
    assert {t: c["rows_updated"] for t, c in summary["by_type"].items()} == {
        "z": 1, "a": 1, "(none)": 1,
    }  # fmt: skip


def test_json_keeps_every_other_key_to_the_letter(database: Database) -> None:
    database.make_table(metadata_type="json")
    (database.root / "f").write_text("f")
    text = '{"b": 1.50, "file_size_bytes": "old", "a": {"z":1,  "y":[ 1e2 ]}, "b": 2}'
    database.sql("INSERT INTO artifacts VALUES (1, 't', 'f', %s)", text)
    database.run()
    after = database.sql("SELECT metadata::text AS m FROM artifacts")[0]["m"]
    pairs = json.loads(after, object_pairs_hook=lambda p: p, parse_float=str)
    assert [k for k, _ in pairs][:3] == ["b", "a", "b"]
    assert '"b" : 1.50' in after
    assert '{"z":1,  "y":[ 1e2 ]}' in after
    assert len(pairs) == 6
    assert dict(pairs)["file_size_bytes"] == 1


def test_null_paths_are_not_scanned_and_empty_ones_are_missing(database: Database) -> None:
    database.make_table()
    database.add(1, None)
    database.add(2, "")
    summary = database.run("--missing-ok")
    assert summary["rows_scanned"] == 1
    assert summary["residual"] == {"no_file": 1}


def test_two_rows_with_one_file(database: Database) -> None:
    database.make_table()
    (database.root / "f").write_text("f")
    for row_id in (1, 2):
        database.add(row_id, "f")
    assert database.run()["outcomes"]["hashed"] == 2


UPDATE_FUNCTION = """
CREATE TABLE site_log (id bigint, patch jsonb);
CREATE FUNCTION journaled_update(ids bigint[], patches jsonb[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO site_log SELECT * FROM unnest(ids, patches);
    UPDATE artifacts a SET metadata = coalesce(a.metadata, '{}') || u.patch
    FROM unnest(ids, patches) AS u (id, patch) WHERE a.id = u.id %s;
END $$
"""


def test_update_function_is_called_in_place_of_ours(database: Database) -> None:
    database.make_table()
    with database.connect() as connection:
        connection.execute((UPDATE_FUNCTION % "").encode())
    for n in range(50):
        (database.root / str(n)).write_text(str(n))
        database.add(n, str(n) if n else "gone", {"k": n})
    summary = database.run("--update-function", "journaled_update", status=1)
    assert summary["rows_updated"] == 49
    logged = database.sql("SELECT id, patch FROM site_log ORDER BY id")
    assert [r["id"] for r in logged] == list(range(1, 50))
    for row in logged:
        assert database.metadata(row["id"]) == {"k": row["id"], **row["patch"]}
        assert row["patch"]["file_sha256"] == sha256(database.root / str(row["id"]))
    assert database.sql("SELECT count(*) AS n FROM fasthash.journal")[0]["n"] == 49


def test_update_function_that_skips_a_row_is_found_out(database: Database) -> None:
    database.make_table()
    with database.connect() as connection:
        connection.execute((UPDATE_FUNCTION % "AND a.id <> 7").encode())
    for n in range(20):
        (database.root / str(n)).write_text(str(n))
        database.add(n, str(n))
    summary = database.run("--update-function", "public.journaled_update", status=1)
    assert summary["rows_updated"] == 19
    assert summary["residual"] == {"write_refused": 1}
    assert database.sql("SELECT row_id FROM fasthash.residual")[0]["row_id"] == "7"


def test_a_row_that_the_database_refuses_holds_up_no_other(database: Database) -> None:
    database.make_table()
    with database.connect() as connection:
        connection.execute(
            b"CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
            b"$$ BEGIN IF new.id IN (3, 40) THEN RAISE 'not this one'; END IF; RETURN new; END $$;"
            b"CREATE TRIGGER no BEFORE UPDATE ON artifacts FOR EACH ROW EXECUTE FUNCTION no()"
        )
    for n in range(60):
        (database.root / str(n)).write_text(str(n))
        database.add(n, str(n))
    summary = database.run(status=1)
    assert summary["rows_updated"] == 58
    assert summary["residual"] == {"write_refused": 2}
    found = database.sql("SELECT row_id, detail FROM fasthash.residual ORDER BY 1")
    assert [(r["row_id"], r["detail"]) for r in found] == [
        ("3", "not this one"), ("40", "not this one"),
    ]  # fmt: skip


def test_hold_keeps_the_old_hash(database: Database) -> None:
    database.make_table()
    (database.root / "f").write_text("f")
    database.add(1, "f", {"file_sha256": "0" * 64, "file_size_bytes": 9})
    for _ in range(2):
        summary = database.run("--on-drift", "hold", status=1)
        assert summary["outcomes"]["drifted"] == 1
        assert summary["rows_updated"] == 0
        assert database.metadata(1) == {"file_sha256": "0" * 64, "file_size_bytes": 9}
    drifts = database.sql(
        "SELECT run_id, resolution, old_size_bytes, new_size_bytes FROM fasthash.drift"
        " ORDER BY drift_id"
    )
    sizes = {"old_size_bytes": 9, "new_size_bytes": 1}
    assert drifts == [
        {"run_id": 1, "resolution": "superseded", **sizes},
        {"run_id": 2, "resolution": "open", **sizes},
    ]


def test_file_uri_names_any_bytes(database: Database) -> None:
    database.make_table()
    name = b"not utf-8 \xff\xfe"
    Path(database.root, "x").write_text("x")
    import os

    os.rename(os.fsencode(database.root / "x"), os.fsencode(database.root) + b"/" + name)
    database.add(1, f"file://{database.root}/not%20utf-8%20%ff%FE")
    assert database.run()["outcomes"]["hashed"] == 1
