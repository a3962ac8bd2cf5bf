"""Types and ids whose equality and order are not those of texts: each row once."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Database, sha256
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

COLLATIONS = (
    "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false); "
    "CREATE COLLATION num (provider = icu, locale = 'en-u-kn-true'); CREATE EXTENSION citext"
)


@pytest.fixture
def database(older_database: Database) -> Database:
    older_database.sql(COLLATIONS)
    return older_database


def fill(
    database: Database, id_type: str, type_type: str, rows: list[tuple[str, str | None]]
) -> None:
    database.sql("DROP TABLE IF EXISTS artifacts")
    database.sql(
        f"CREATE TABLE artifacts (id {id_type} PRIMARY KEY, artifact_type {type_type}, "
        "file_path text, metadata jsonb)"
    )
    for n, (row_id, artifact_type) in enumerate(rows):
        (database.root / f"f{n}").write_text(str(n))
        database.sql("INSERT INTO artifacts VALUES (%s, %s, %s)", row_id, artifact_type, f"f{n}")


def all_hashed(database: Database) -> None:
    for row in database.sql("SELECT file_path, metadata ->> 'file_sha256' AS h FROM artifacts"):
        assert row["h"] == sha256(database.root / row["file_path"]), row


COLUMNS = ["text COLLATE ci", "text COLLATE num", 'text COLLATE "C"', "text", "citext"]
# One by one at length; `test_any_of_them` takes them as they come.
EACH_COLUMN = [*COLUMNS[:2], *(pytest.param(c, marks=pytest.mark.long) for c in COLUMNS[2:])]


@pytest.mark.parametrize(
    ("type_type", "types", "index"),
    [
        ("text COLLATE ci", ["Figure", "figure", "FIGURE", "model", None], True),
        ("citext", ["Figure", "figure", "model", None], False),
        ("numeric", ["1", "1.0", "1.00", "2", None], False),
        pytest.param(
            "text COLLATE num", ["t10", "t9", "T9", "t", None], False, marks=pytest.mark.long
        ),
        pytest.param("char(9)", ["a", "a ", "b", "B", None], False, marks=pytest.mark.long),
    ],
)
def test_types(database: Database, type_type: str, types: list[str | None], index: bool) -> None:
    rows = [(str(n), types[n % len(types)]) for n in range(20)]
    fill(database, "bigint", type_type, rows)
    if index:
        database.sql("CREATE INDEX ON artifacts (artifact_type, id)")
    assert database.run("--dry-run", "--range-rows", "3")["rows_scanned"] == 20
    summary = database.run("--range-rows", "3")
    assert summary["rows_scanned"] == summary["outcomes"]["hashed"] == 20
    all_hashed(database)
    scrubbed = database.scrub("--range-rows", "3")
    assert scrubbed["outcomes"]["confirmed"] == 20
    assert database.run("--since", "2100-01-01")["outcomes"]["confirmed"] == 20
    assert database.run("--restart")["rows_scanned"] == 0


def test_a_type_is_asked_for_in_its_own_equality(database: Database) -> None:
    fill(database, "bigint", "text COLLATE ci", [("1", "Figure"), ("2", "figure"), ("3", "model")])
    assert database.run("--type", "FIGURE")["rows_scanned"] == 2
    assert "no row has type" in database.fasthash("run", "--type", "figura", status=4).stderr


@pytest.mark.parametrize("id_type", EACH_COLUMN)
def test_ids(database: Database, id_type: str) -> None:
    ids = [f"{letter}{n}" for n in range(12) for letter in "aB"]
    fill(database, id_type, "text", [(row_id, "t") for row_id in ids])
    for _ in range(2):  # one that is held in a range of three rows, and goes on
        database.run("--range-rows", "3", "--limit", "7")
    summary = database.run("--range-rows", "3")
    assert summary["outcomes"]["hashed"] == len(ids) - 14
    all_hashed(database)
    assert database.scrub("--range-rows", "5")["outcomes"]["confirmed"] == len(ids)
    assert database.run("--since", "2100-01-01", "--range-rows", "4")["rows_scanned"] == len(ids)


def test_a_path_is_the_same_only_to_the_byte(database: Database) -> None:
    """In the column's own collation the path did not change."""
    fill(database, "bigint", "text", [("1", "t")])
    (database.root / "F0").write_text("another")
    database.sql("ALTER TABLE artifacts ALTER COLUMN file_path TYPE text COLLATE ci")
    database.sql(
        "CREATE FUNCTION renames() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "UPDATE artifacts SET file_path = 'F0'; RETURN NULL; END $$"
    )
    database.sql(
        "CREATE TRIGGER renames AFTER INSERT ON fasthash.segment FOR EACH ROW "
        "EXECUTE FUNCTION renames()"
    )
    database.run(status=None)
    all_hashed(database)


WORDS = st.text("aAbB19.-", min_size=1, max_size=3)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_of_them(database: Database, data: Any) -> None:
    id_type = data.draw(st.sampled_from(COLUMNS))
    type_type = data.draw(st.sampled_from(COLUMNS))
    same = str.casefold if "ci" in id_type else str
    rows = data.draw(
        st.lists(
            st.tuples(WORDS, st.none() | WORDS), max_size=12, unique_by=lambda row: same(row[0])
        )
    )
    fill(database, id_type, type_type, rows)
    range_rows = str(data.draw(st.integers(1, 5)))
    summary = database.run("--restart", "--range-rows", range_rows)
    assert summary["rows_scanned"] == len(rows)
    all_hashed(database)
    assert database.scrub("--restart", "--range-rows", range_rows)["rows_scanned"] == len(rows)


@pytest.mark.parametrize("id_type", ["text COLLATE ci", "text COLLATE num"])
def test_rows_that_come_again_in_a_scrub(database: Database, id_type: str) -> None:
    """The ledger's own columns are in another order than the catalog's."""
    fill(database, id_type, "text", [(f"a{n}", "t") for n in range(5)])
    database.run()
    database.sql(
        "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO fasthash.left_over SELECT NEW.run_id, 'a3' WHERE NEW.holder_id = 2 "
        "AND NOT EXISTS (SELECT FROM fasthash.left_over); RETURN NULL; END $$"
    )
    database.sql(
        "CREATE TRIGGER again AFTER INSERT ON fasthash.segment FOR EACH ROW "
        "WHEN (NEW.range_no = 1) EXECUTE FUNCTION again()"
    )
    scrubbed = database.scrub()
    assert scrubbed["state"] == "complete"
    assert scrubbed["outcomes"]["confirmed"] == 5
    assert database.sql("SELECT count(*) AS n FROM fasthash.left_over") == [{"n": 0}]
