"""What a database refuses: one row, every row, for now; each in its own words, and nothing lost."""

from __future__ import annotations

import json

import psycopg
import pytest
from conftest import Database, sha256

# What a trigger may raise, and what a server says that is gone, full or in the way.
STATES = [
    "08006", "08000", "53100", "53200", "53300", "53400", "57P01", "57P03", "58000",
    "58030", "25006", "40001", "55P03", "55006", "XX000", "P0001", "42501", "0A000",
]  # fmt: skip


@pytest.fixture
def database(each_database: Database) -> Database:
    """Each test on both servers."""
    return each_database


def fill(database: Database, rows: int) -> None:
    database.make_table()
    for n in range(rows):
        (database.root / f"f{n}").write_text(str(n))
    database.sql(
        "INSERT INTO artifacts SELECT n, 't', 'f' || n, '{}' FROM generate_series(0, %s) n",
        rows - 1,
    )


def hashed(database: Database) -> set[int]:
    rows = database.sql("SELECT id, file_path, metadata ->> 'file_sha256' AS h FROM artifacts")
    found = {row["id"] for row in rows if row["h"] is not None}
    assert all(
        row["h"] == sha256(database.root / row["file_path"]) for row in rows if row["id"] in found
    )
    return found


def details(database: Database) -> dict[str, str]:
    rows = json.loads(database.fasthash("residual", "--json").stdout)
    assert {row["reason"] for row in rows} <= {"write_refused"}
    return {row["row_id"]: row["detail"] for row in rows}


def raises(database: Database, condition: str, state: str = "NEW.content_hash") -> None:
    database.sql(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"RAISE EXCEPTION 'no, says the site' USING ERRCODE = {state}, HINT = 'ask the site'; "
        "END $$"
    )
    database.sql(
        "CREATE TRIGGER refuse BEFORE UPDATE ON artifacts FOR EACH ROW "
        f"WHEN ({condition}) EXECUTE FUNCTION refuse()"
    )


def test_a_row_s_own_error_is_its_own_whatever_it_says(database: Database) -> None:
    fill(database, 60)
    for n, state in enumerate(STATES):
        database.sql("UPDATE artifacts SET content_hash = %s WHERE id = %s", state, 3 * n)
    raises(database, "NEW.content_hash IS NOT NULL")
    summary = database.run("--db-timeout", "20s", status=1)
    assert summary["state"] == "complete"
    refused = {3 * n for n in range(len(STATES))}
    assert hashed(database) == set(range(60)) - refused
    found = details(database)
    assert set(found) == {str(n) for n in refused}
    assert all("no, says the site" in text for text in found.values()), found


@pytest.mark.parametrize("state", ["'P0001'", "'53100'"])
def test_a_refusal_of_all_is_not_one_of_each(
    database: Database, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, 300)
    raises(database, "true", state)
    done = database.fasthash("run", "--root", str(database.root), "--db-timeout", "1s", status=3)
    last = done.stderr.splitlines()[-1]
    assert "no, says the site" in last
    assert "ask the site" in last
    assert len(details(database)) <= 100
    database.sql("DROP TRIGGER refuse ON artifacts")
    assert database.run(status=None)["state"] == "complete"
    database.run()
    assert hashed(database) == set(range(300))


TAKEN = {
    "REVOKE UPDATE ON artifacts FROM {role}": "permission denied",
    "ALTER TABLE artifacts DROP COLUMN metadata": "metadata",
    "ALTER TABLE artifacts RENAME COLUMN metadata TO meta": "metadata",
    "ALTER TABLE artifacts RENAME TO things": "artifacts",
    "CREATE RULE nothing AS ON UPDATE TO artifacts DO INSTEAD NOTHING": "rule",
    "CREATE PUBLICATION p FOR TABLE artifacts; ALTER TABLE artifacts REPLICA IDENTITY NOTHING": (
        "replica identity"
    ),
}


ON_THE_OLDER = [one for one in TAKEN if one.startswith(("REVOKE", "CREATE PUBLICATION"))]


@pytest.mark.parametrize(
    ("server", "statement"),
    [
        *(("make_database", one) for one in TAKEN),
        *(("older_database", one) for one in ON_THE_OLDER),
    ],
)
def test_what_is_taken_away_in_the_middle(
    request: pytest.FixtureRequest, server: str, statement: str
) -> None:
    """When the first batch is committed, which holds not all rows; the next is refused whole."""
    found = request.getfixturevalue(server)
    database: Database = found() if server == "make_database" else found
    fill(database, 3_200)  # more than any batch can hold
    role = f"role_{psycopg.conninfo.conninfo_to_dict(database.dsn)['dbname']}"
    database.sql(f"CREATE ROLE {role} LOGIN")
    try:
        _taken_away(database, role, statement)
    finally:
        database.sql(f"DROP OWNED BY {role}")
        database.sql(f"DROP ROLE {role}")


def _taken_away(database: Database, role: str, statement: str) -> None:
    grants = database.fasthash("grants", role).stdout
    with database.connect() as connection:
        connection.execute(grants.encode())  # type: ignore[arg-type]
    database.sql("CREATE TABLE done (n int)")
    body = "; ".join(
        f"EXECUTE {psycopg.sql.quote(part.strip())}"
        for part in statement.format(role=role).split(";")
    )
    database.sql(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN "
        f"IF NOT EXISTS (SELECT FROM done) THEN INSERT INTO done VALUES (1); {body}; END IF; "
        "RETURN NULL; END $$"
    )
    database.sql(
        "CREATE CONSTRAINT TRIGGER meddle AFTER INSERT ON fasthash.segment DEFERRABLE INITIALLY "
        "DEFERRED FOR EACH ROW EXECUTE FUNCTION meddle()"
    )
    user = Database(psycopg.conninfo.make_conninfo(database.dsn, user=role), database.root)
    done = user.fasthash("run", "--root", str(database.root), "--workers", "1", status=3)
    assert TAKEN[statement] in done.stderr.splitlines()[-1], done.stderr
    counted = database.sql("SELECT count(*) AS n FROM fasthash.residual")
    assert counted == [{"n": 0}]


def test_preflight_names_what_every_row_would_be_refused_for(database: Database) -> None:
    fill(database, 1)
    database.sql("CREATE RULE nothing AS ON UPDATE TO artifacts DO INSTEAD NOTHING")
    done = database.fasthash("run", "--root", str(database.root), status=4)
    assert "public.artifacts cannot be written: " in done.stderr
    assert database.sql("SELECT FROM fasthash.run") == []


def test_rows_that_a_policy_lets_be_seen_and_not_changed(database: Database) -> None:
    fill(database, 30)
    role = f"role_{psycopg.conninfo.conninfo_to_dict(database.dsn)['dbname']}"
    database.sql(f"CREATE ROLE {role} LOGIN")
    try:
        grants = database.fasthash("grants", role).stdout
        with database.connect() as connection:
            connection.execute(grants.encode())  # type: ignore[arg-type]
        database.sql(
            "ALTER TABLE artifacts ENABLE ROW LEVEL SECURITY; "
            "CREATE POLICY seen ON artifacts FOR SELECT USING (true); "
            "CREATE POLICY mine ON artifacts FOR UPDATE USING (id % 10 <> 3)"
        )
        user = Database(psycopg.conninfo.make_conninfo(database.dsn, user=role), database.root)
        assert user.run(status=1)["outcomes"]["failed"] == 3
        assert hashed(database) == set(range(30)) - {3, 13, 23}
        assert set(details(database)) == {"3", "13", "23"}
        assert all("row level security" in text for text in details(database).values())
    finally:
        database.sql(f"DROP OWNED BY {role}")
        database.sql(f"DROP ROLE {role}")
