"""What a revert puts back is what was there, to the letter; what it cannot put back it lists."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import Database, sha256

HASH, MARKER = "ab" * 32, "2026-01-02T03:04:05Z"

# Documents of either type: none of the keys, some of them, all of them, with odd values.
OF_BOTH = [
    None,
    "{}",
    '{"title": "t"}',
    '{"file_sha256": null, "file_size_bytes": null, "file_sha256_computed_at": null}',
    '{"file_sha256": {"a": null, "b": [1.50, null]}, "x": 1.10}',
    '{"file_size_bytes": 12345678901234567890.123}',
    '{"file_size_bytes": 1e5000, "n": 12345678901234567890.123}',
    f'{{"file_sha256": "{HASH.upper()}", "file_size_bytes": 7.0}}',
    f'{{"file_sha256": "sha256:{HASH}"}}',
    '{"file_size_bytes": 1.0e2, "file_sha256": ""}',
    '{"file_sha256_computed_at": null, "z": {"file_sha256": 1}}',
    '{"a": "}", "b": ", \\"file_sha256\\": 1}"}',
]
# And what only json can hold: blanks, keys that are there twice, numbers that jsonb refuses.
OF_JSON = [
    ' {\n "b" : 1 ,\t"a" : 1.50e3 } \n',
    "{ \n }",
    '{"b": 1, "b": 2, "c": 1e999999}',
    '{"caf\\u00e9": "\\u00e9", "s": "\\ud83d\\ude00"}',
]
# Of these the keys come back behind the others, and blanks between the values do not.
OF_JSON_TIDIED = [
    '{ "file_size_bytes" : 1e999999, "a" : { "k" :1 } }',
    '{ "a" : 1, "a" : 2, "file_size_bytes" : 1, "file_size_bytes" : 1.0 }',
]


@pytest.fixture
def database(each_database: Database) -> Database:
    return each_database


def fill(database: Database, kind: str, documents: list[str | None]) -> None:
    database.make_table(metadata_type=kind)
    for n, document in enumerate(documents):
        (database.root / f"f{n}").write_bytes(b"content")
        database.sql(
            "INSERT INTO artifacts VALUES (%s, 'a', %s, %s, 'untouched')", n, f"f{n}", document
        )


def texts(database: Database) -> list[str | None]:
    rows = database.sql("SELECT metadata::text AS it FROM artifacts ORDER BY id")
    return [row["it"] for row in rows]


def revert(database: Database, run: str, *arguments: str, status: int = 0) -> dict[str, Any]:
    done = database.fasthash("revert", run, *arguments, "--json", status=status)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pairs(text: str | None) -> list[tuple[str, Any]]:
    """What a document has, numbers as they are written, in its order; our keys come last."""
    found = json.loads(text or "{}", object_pairs_hook=list, parse_int=str, parse_float=str)
    return sorted(found, key=lambda pair: pair[0].startswith("file_"))


@pytest.mark.parametrize("digests", ["sha256", "sha256,blake3"])
@pytest.mark.parametrize("kind", ["jsonb", "json"])
def test_to_the_letter(database: Database, kind: str, digests: str) -> None:
    fill(database, kind, OF_BOTH + (OF_JSON + OF_JSON_TIDIED if kind == "json" else []))
    database.sql("""INSERT INTO artifacts VALUES (99, 'a', 'f0', '{"file_blake3": 1}')""")
    before = texts(database)
    database.run("--algorithm", digests, status=None)
    written = texts(database)
    digest = sha256(database.root / "f0")
    left = database.sql(
        "SELECT id, metadata::text FROM artifacts WHERE metadata ->> 'file_sha256' "
        "IS DISTINCT FROM %s", digest,
    )  # fmt: skip
    assert left == []
    if kind == "json":
        start = len(OF_BOTH)
        for old, new in zip(OF_JSON, written[start:], strict=False):
            assert new is not None and new.startswith(old.rstrip()[:-1].rstrip()), "to the letter"
    looked = revert(database, "1", "--dry-run")
    assert (looked["reverted"], texts(database)) == (len(before), written)
    found = revert(database, "1")
    assert (found["reverted"], found["left"]) == (len(before), [])
    after = texts(database)
    tidied = len(OF_JSON_TIDIED) if kind == "json" else 0
    same = len(before) - 1 - tidied
    if kind == "jsonb":
        assert after == before
    else:
        for old, new in zip(before, after, strict=True):
            assert new == old or ("file_" in (old or "") and pairs(new) == pairs(old))
        assert after[len(OF_BOTH) : same] == OF_JSON
        assert after[same:-1] == [
            '{ "a" : { "k" :1 }, "file_size_bytes" : 1e999999 }',
            '{ "a" : 1, "a" : 2, "file_size_bytes" : 1, "file_size_bytes" : 1.0 }',
        ]
    number = "1e5000" if kind == "json" else "1" + "0" * 5000
    assert number in database.fasthash("journal", "6", "--json").stdout
    database.fasthash("journal", "6")


@pytest.mark.parametrize("kind", ["jsonb", "json"])
def test_what_others_have_added_stays(database: Database, kind: str) -> None:
    fill(database, kind, [None, '{"a": 1}', '{ "file_size_bytes" : 1e3, "a": 1}'])
    database.run(status=None)
    database.sql(
        f"UPDATE artifacts SET metadata = (metadata::jsonb || '{{\"new\": 1.50}}')::{kind}"
    )
    assert revert(database, "1")["reverted"] == 3
    wanted: list[Any] = [{"new": 1.5}, {"a": 1, "new": 1.5}]
    wanted.append({**wanted[1], "file_size_bytes": 1e3})
    assert [json.loads(text or "") for text in texts(database)] == wanted
    assert all("1.50" in (text or "") for text in texts(database))


def test_rows_that_cannot_be_put_back_are_listed(database: Database) -> None:
    fill(database, "jsonb", [None, "{}", '{"file_size_bytes": 5}', "{}"])
    database.run(status=None)
    database.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.id = 1 THEN RAISE 'not this row'; END IF; "
        "IF NEW.id = 2 THEN NEW.metadata = OLD.metadata; END IF; RETURN NEW; END $$"
    )
    database.sql(
        "CREATE TRIGGER refuse BEFORE UPDATE ON artifacts FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    before = texts(database)
    found = revert(database, "1", status=1)
    assert (found["reverted"], found["refused"]) == (2, 2)
    left = {row["row_id"]: row["reason"] for row in found["left"]}
    assert left == {
        "1": "not this row",
        "2": "the row did not take it: a trigger or a rule of the catalog changed it back",
    }
    assert texts(database) == [None, before[1], before[2], "{}"]
    shown = database.fasthash("revert", "1", status=1).stdout
    assert "row 1: not this row" in shown


def test_entries_of_earlier_versions(database: Database) -> None:
    fill(database, "json", [None, '{"file_size_bytes" : 1.50, "a": 1 }'])
    database.run(status=None)
    database.sql("UPDATE fasthash.journal SET old_json = NULL, was_null = NULL")
    assert revert(database, "1")["reverted"] == 2
    found = [json.loads(text or "null") for text in texts(database)]
    assert found == [{}, {"a": 1, "file_size_bytes": 1.5}]
    assert "1.50" in (texts(database)[1] or "")


@pytest.mark.parametrize("removes", [True, False])
def test_through_the_update_function(database: Database, removes: bool) -> None:
    merged = "metadata || patches[n]"
    if removes:
        merged = (
            "(SELECT coalesce(jsonb_object_agg(k.key, k.value), '{}') "
            "FROM jsonb_each(coalesce(metadata, '{}') || patches[n]) k "
            "WHERE k.value <> 'null' OR NOT patches[n] ? k.key)"
        )
    database.sql("CREATE TABLE calls (n bigint)")
    fill(database, "jsonb", ['{"a": null}', '{"file_size_bytes": 12345678901234567890.123}', None])
    database.sql(
        "CREATE FUNCTION site(ids bigint[], patches jsonb[]) RETURNS void LANGUAGE plpgsql AS $$ "
        "BEGIN INSERT INTO calls VALUES (cardinality(ids)); "
        "FOR n IN 1 .. cardinality(ids) LOOP "
        f"UPDATE artifacts SET metadata = coalesce({merged}, patches[n]) WHERE id = ids[n]; "
        "END LOOP; END $$"
    )
    before = texts(database)
    database.run("--update-function", "site", status=None)
    written = texts(database)
    calls = len(database.sql("SELECT n FROM calls"))
    found = revert(database, "1", "--update-function", "site", status=1)
    assert (len(database.sql("SELECT n FROM calls")) > calls) == removes, "where it has done any"
    refused = ["2"] if removes else ["0", "1", "2"]
    assert [row["row_id"] for row in found["left"]] == refused
    assert all("update function" in row["reason"] for row in found["left"])
    assert texts(database) == ([*before[:2], written[2]] if removes else written)
