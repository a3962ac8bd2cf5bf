"""Rows as they are in the wild: repeated ids, unreadable rows, markers and hashes of others."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Database, close_sessions, drop_database, sha256

from fasthash.drift import is_hash
from fasthash.store.catalog import digest_of

TIME = "2020-01-01T00:00:00.000000Z"


@pytest.fixture
def database(each_database: Database) -> Database:
    """Each test on both servers."""
    return each_database


def files(database: Database, *names: str) -> dict[str, str]:
    """Files that hold their names; the hash of each."""
    for name in names:
        (database.root / name).write_text(name)
    return {name: sha256(database.root / name) for name in names}


def hashes(database: Database) -> dict[str, Any]:
    rows = database.sql("SELECT file_path, metadata ->> 'file_sha256' AS h FROM artifacts")
    return {row["file_path"]: row["h"] for row in rows}


def residual(database: Database) -> dict[str, tuple[str, str]]:
    rows = json.loads(database.fasthash("residual", "--json").stdout)
    return {row["row_id"]: (row["reason"], row["detail"]) for row in rows}


# --- which row it is


def test_ids_that_a_child_table_repeats(database: Database) -> None:
    true = files(database, *(f"f{n}" for n in range(8)))
    database.make_table()
    database.sql("CREATE TABLE child () INHERITS (artifacts)")
    for n in range(8):
        table = "artifacts" if n < 4 else "child"
        values = (n if n < 6 else n - 6, f"f{n}")  # 0 and 1 are in both
        database.sql(f"INSERT INTO {table} VALUES (%s, 't', %s, '{{}}')", *values)
    dry = database.run("--dry-run", "--range-rows", "3", status=1)
    assert dry["residual"] == {"write_refused": 2}
    summary = database.run("--range-rows", "3", status=1)
    assert summary["outcomes"] | {"hashed": 4, "failed": 2} == summary["outcomes"]
    assert hashes(database) == {
        f"f{n}": None if n in {0, 1, 6, 7} else true[f"f{n}"] for n in range(8)
    }
    detail = "2 rows have the id {}: they cannot be told apart"
    assert residual(database) == {n: ("write_refused", detail.format(n)) for n in "01"}
    assert summary["rows_updated"] == 4


def test_an_id_that_another_table_takes_while_its_file_is_read(database: Database) -> None:
    true = files(database, "f0", "f1", "f2")
    database.make_table()
    database.sql("CREATE TABLE child () INHERITS (artifacts)")
    for n in range(3):
        database.add(n, f"f{n}")
    database.sql(
        "CREATE FUNCTION another() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO child VALUES (1, 't', 'f2'); RETURN NULL; END $$"
    )
    database.sql(
        "CREATE TRIGGER another AFTER UPDATE ON fasthash.checkpoint FOR EACH ROW "
        "WHEN (OLD.state = 'pending' AND NEW.state = 'leased') EXECUTE FUNCTION another()"
    )
    # The lease and the reading of its rows are two transactions: the child is there for the second.
    # So the row is put there again when the writer locks the range.
    database.sql("DROP TRIGGER another ON fasthash.checkpoint")
    database.sql(
        "CREATE TRIGGER another AFTER INSERT ON fasthash.segment FOR EACH ROW "
        "EXECUTE FUNCTION another()"
    )
    summary = database.run(status=1)
    assert summary["outcomes"]["hashed"] == 2
    assert summary["outcomes"]["failed"] == 1
    rows = database.sql("SELECT id, file_path, metadata ->> 'file_sha256' AS h FROM artifacts")
    assert all(row["h"] in (None, true[row["file_path"]]) for row in rows)


# --- rows that cannot be given

UNREADABLE = {
    "nul": '{"name": "a\\u0000b", "file_sha256": "x"}',
    "half": '{"name": "caf\\udce9.png"}',
    "other half": '{"k": [{"deep": "\\ud800x"}]}',
}


@pytest.mark.parametrize("with_ledger", [True, False])
def test_json_that_is_no_text(database: Database, with_ledger: bool) -> None:
    true = files(database, *(f"f{n}" for n in range(9)))
    database.make_table(metadata_type="json")
    texts = dict(zip((2, 3, 7), UNREADABLE.values(), strict=True))
    for n in range(9):
        text = texts.get(n, '{"a": 1}')
        database.sql("INSERT INTO artifacts VALUES (%s, 't', %s, %s)", n, f"f{n}", text)
    if not with_ledger:
        database.sql("DROP SCHEMA fasthash CASCADE")
        dry = database.run("--dry-run", status=1)
        assert dry["outcomes"] | {"hashed": 6, "failed": 3} == dry["outcomes"]
        assert dry["residual"] == {"unreadable_row": 3}
        return
    for arguments in (["--dry-run"], ["--range-rows", "4"], []):
        summary = database.run(*arguments, status=1)
        assert summary["residual"] == {"unreadable_row": 3}, arguments
    rows = database.sql("SELECT id, metadata::text AS m FROM artifacts ORDER BY id")
    for row in rows:
        if row["id"] in texts:
            assert row["m"] == texts[row["id"]], "left as it was"
        else:
            assert json.loads(row["m"])["file_sha256"] == true[f"f{row['id']}"]
    found = residual(database)
    assert set(found) == {"2", "3", "7"}
    assert all("Unicode" in detail or "cannot be" in detail for _, detail in found.values()), found
    scrubbed = database.scrub(status=1)
    assert scrubbed["outcomes"] | {"confirmed": 6, "failed": 3} == scrubbed["outcomes"]
    assert scrubbed["residual"] == {"unreadable_row": 3}


def test_reports_go_on_without_rows_that_cannot_be_read(database: Database, tmp_path: Path) -> None:
    files(database, "f0", "f1", "f2")
    (database.root / "f2").write_text("f1")
    database.make_table(metadata_type="json")
    for n in range(3):
        database.sql("INSERT INTO artifacts VALUES (%s, 't', %s, '{}')", n, f"f{n}")
    database.run()
    database.sql("INSERT INTO artifacts VALUES (9, 't', 'f0', %s)", UNREADABLE["nul"])
    listed = database.fasthash("manifest", status=1)
    assert len(listed.stdout.splitlines()) == 3
    assert "1 row with a path is not in the list: 1 without a hash" in listed.stderr
    assert "row 9 cannot be read and is left out" in listed.stderr
    for command in (
        ["duplicates", "--no-links"],
        ["report", "--output", str(tmp_path / "r.html")],
        ["doctor"],
    ):
        done = database.fasthash(*command, status=None)
        assert done.returncode in (0, 1, 4), done.stderr  # 4: doctor wants a root
        said = "cannot give 1 rows" if command == ["doctor"] else "row 9 cannot be read"
        assert said in done.stderr + done.stdout, command


def test_a_damaged_value(database: Database) -> None:
    true = files(database, "f0", "f1", "f2")
    database.make_table()
    database.sql("ALTER TABLE artifacts ALTER COLUMN metadata SET STORAGE EXTERNAL")
    for n in range(3):
        database.add(n, f"f{n}", {"long": "x" * 20_000 if n == 1 else ""})
    (toast,) = database.sql(
        "SELECT reltoastrelid::regclass::text AS t FROM pg_class WHERE relname = 'artifacts'"
    )
    kind = "UPDATE pg_class SET relkind = '{}' WHERE oid = '{}'::regclass"
    database.sql("SET allow_system_table_mods = on")
    database.sql(kind.format("r", toast["t"]))
    database.sql(f"DELETE FROM {toast['t']}")
    database.sql(kind.format("t", toast["t"]))
    summary = database.run(status=1)
    assert summary["residual"] == {"unreadable_row": 1}
    assert "chunk" in residual(database)["1"][1]
    rows = database.sql("SELECT id, metadata ->> 'file_sha256' AS h FROM artifacts WHERE id <> 1")
    assert {row["id"]: row["h"] for row in rows} == {0: true["f0"], 2: true["f2"]}
    assert database.run(status=1)["residual"] == {"unreadable_row": 1}
    assert database.scrub(status=1)["residual"] == {"unreadable_row": 1}


def test_rows_without_an_id(database: Database) -> None:
    files(database, "f")
    database.sql(
        "CREATE TABLE artifacts (id bigint UNIQUE, artifact_type text, file_path text, "
        "metadata jsonb)"
    )
    database.sql("INSERT INTO artifacts VALUES (1, 't', 'f'), (NULL, 't', 'f'), (NULL, 'u', 'f')")
    for arguments in (["--dry-run"], ["--range-rows", "1"], []):
        summary = database.run(*arguments, status=1)
        assert summary["outcomes"]["failed"] == 2, arguments
        assert summary["residual"] == {"unreadable_row": 2}
    assert set(residual(database)) == {"(no id) 1", "(no id) 2"}


def test_numbers_that_are_no_sizes(database: Database) -> None:
    true = files(database, "f0", "f1", "f2")
    database.make_table()
    nested = "[" * 3_000 + "]" * 3_000
    for n, size in enumerate(("1e5000", nested, '{"a": 1}')):
        text = (
            f'{{"file_sha256": "{"0" * 64}", "file_size_bytes": {size}, '
            f'"file_sha256_computed_at": "{TIME}"}}'
        )
        database.sql("INSERT INTO artifacts VALUES (%s, 't', %s, %s)", n, f"f{n}", text)
    scrubbed = database.scrub(status=1)
    assert scrubbed["drift_events"] == 3
    assert hashes(database) == true
    for row_id in range(3):
        database.fasthash("journal", str(row_id))


# --- markers and hashes


def test_what_is_a_hash_is_the_same_in_python(admin: psycopg.Connection) -> None:
    a = "a" * 64
    texts = [
        a, a.upper(), f" {a}\n", f"sha256:{a}", f"SHA-256 = {a}", a[1:], f"{a}a", "z" * 64, "",
        f"md5:{a}", f"x {a}", f"{a} x",
    ]  # fmt: skip
    statement = psycopg.sql.SQL("SELECT {}").format(digest_of(psycopg.sql.SQL("%(text)s::text")))
    for text in texts:
        ((digest,),) = admin.execute(statement, {"text": text}).fetchall()
        assert is_hash(text) == (digest is not None), text


NO_TIMES = [
    "yesterday", "", " ", "0", "2024", "2024-01-01", "01/02/2024 10:00", "2024-31-12T00:00:00Z",
    "2024-13-01T00:00:00.000000Z", "2024-12-32T00:00:00.000000Z", "2024-12-01T24:00:00.000000Z",
    "abcd-ef-ghTij:kl:mn.opqrstZ", "2024-12-01 10:00:00Z", f"{TIME} ", "infinity",
]  # fmt: skip
TIMES = [TIME, "2024-12-01T10:00Z", "2024-12-01T10:00:00+02:00", "2024-12-01T10:00:00.5-0330"]


def test_only_times_are_markers(database: Database) -> None:
    (digest,) = files(database, "f").values()
    database.make_table()
    for n, text in enumerate([*NO_TIMES, *TIMES, 5, True, {}, [], None]):
        database.add(n, "f", {"file_sha256": digest, "file_sha256_computed_at": text})
    summary = database.run()
    assert summary["outcomes"]["confirmed"] == len(NO_TIMES) + 5
    kept = database.sql(
        "SELECT metadata ->> 'file_sha256_computed_at' AS m FROM artifacts WHERE id = ANY (%s)",
        list(range(len(NO_TIMES), len(NO_TIMES) + len(TIMES))),
    )
    assert {row["m"] for row in kept} == set(TIMES)
    assert database.run()["rows_scanned"] == 0
    entry = json.loads(database.fasthash("journal", "0", "--json").stdout)[0]
    assert entry["old_keys"]["file_sha256_computed_at"] == "yesterday"


def test_a_marker_without_a_hash_is_none(database: Database) -> None:
    (digest,) = files(database, "f").values()
    database.make_table()
    database.add(1, "f", {"file_sha256_computed_at": TIME})
    database.add(2, "f", {"file_sha256_computed_at": TIME, "file_sha256": None})
    database.add(3, "f", {"file_sha256_computed_at": TIME, "file_sha256": "  "})
    scrubbed = database.scrub()
    assert scrubbed["rows_scanned"] == 0
    assert database.run()["outcomes"]["hashed"] == 3
    assert set(hashes(database).values()) == {digest}


def test_the_same_hash_in_other_letters(database: Database) -> None:
    (digest,) = files(database, "f").values()
    same = [digest, digest.upper(), f"sha256:{digest}", f"SHA256:{digest.upper()}",
            f" {digest}\n", f"sha256: {digest}"]  # fmt: skip
    database.make_table()
    for n, text in enumerate(same):
        database.add(n, "f", {"file_sha256": text})
    summary = database.run()
    assert summary["outcomes"]["confirmed"] == len(same)
    assert [database.metadata(n)["file_sha256"] for n in range(len(same))] == same
    assert database.scrub()["outcomes"]["confirmed"] == len(same)
    assert len(database.fasthash("manifest").stdout.splitlines()) == len(same)


def test_text_that_is_no_hash_is_never_called_corrupt(database: Database) -> None:
    texts = ["md5:abc", "z" * 64, "a" * 63, "a" * 65, "TODO"]
    digests = list(files(database, *(f"f{n}" for n in range(len(texts)))).values())
    database.make_table()
    for n, text in enumerate(texts):
        database.add(n, f"f{n}", {"file_sha256": text, "file_sha256_computed_at": TIME})
    done = database.fasthash("run", "--root", str(database.root), "--on-drift", "hold", status=1)
    lines = [line for line in done.stderr.splitlines() if "DRIFT" in line]
    found = json.loads(database.fasthash("drift", "list", "--json").stdout)
    assert len(lines) == len(found) == len(texts)
    for n, (text, digest) in enumerate(zip(texts, digests, strict=True)):
        (line,) = [line for line in lines if f"row {n}:" in line]
        assert f"was {text} (no hash that can be compared), is {digest}" in line
        (drift,) = [drift for drift in found if drift["row_id"] == str(n)]
        assert (drift["kind"], drift["old_hash"]) == ("unknown", text)
        shown = database.fasthash("drift", "show", str(drift["drift_id"])).stdout
        assert "(no hash that can be compared)" in shown
        assert database.metadata(n)["file_sha256"] == text
    database.fasthash("drift", "accept", "--all", "--root", str(database.root))
    assert [database.metadata(n)["file_sha256"] for n in range(len(texts))] == digests
    assert database.scrub()["outcomes"]["confirmed"] == len(texts)


def test_bytes_that_are_no_text_in_a_database_without_an_encoding(
    admin: psycopg.Connection, server_dsn: str, tmp_path: Path
) -> None:
    name = f"ascii_{os.getpid()}"
    admin.execute(
        f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 "
        "LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    try:
        database = Database(
            psycopg.conninfo.make_conninfo(server_dsn, dbname=name, client_encoding="UTF8"),
            tmp_path,
        )
        database.fasthash("init")
        true = files(database, "f0", "f2")
        database.make_table()
        for n in (0, 2):
            database.add(n, f"f{n}")
        database.sql("INSERT INTO artifacts VALUES (1, 't', E'caf\\351.png', '{}')")
        for arguments in (["--dry-run"], [], []):
            assert database.run(*arguments, status=1)["residual"] == {"unreadable_row": 1}
        assert residual(database)["1"][0] == "unreadable_row"
        rows = database.sql("SELECT id, metadata ->> 'file_sha256' AS h FROM artifacts")
        assert {row["id"]: row["h"] for row in rows} == {0: true["f0"], 1: None, 2: true["f2"]}
        assert len(database.fasthash("manifest", "--allow-missing").stdout.splitlines()) == 2
        database.scrub(status=None)
    finally:
        close_sessions()
        drop_database(admin, name)
