"""Random catalogs, however odd, against a model that knows what becomes of each row."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from conftest import Database, sha256
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TIME = "2020-01-01T00:00:00.000000Z"
WRONG = "0" * 64
ID_TYPES = ["bigint", "numeric", "text", 'text COLLATE "C"', "uuid", "varchar(40)"]
# Only Debian's server has these.
MORE_ID_TYPES = ["citext", "text COLLATE ci"]
LAYOUTS = ["plain", "partitioned", "inherited"]
TYPES = [None, "figure", "Figure", "x" * 40]
HASHES = ["none", "null", "blank", "right", "capitals", "prefixed", "wrong", "odd", "long"]
MARKERS = [None, TIME, "2020-01-01T10:00Z", "yesterday", "01/02/2020", 5, {}, ""]
COUNTING = (TIME, "2020-01-01T10:00Z")
DOCUMENTS = ["object"] * 5 + ["null", "array", "text", "unreadable"]
# What becomes of an update; `hidden` rows are so by a policy, where there is row level security.
TRIGGERS = [None] * 6 + ["raises", "swallows", "alters", "undoes", "hidden", "hidden"]
TYPE_TYPES = ["text", "varchar(50)", 'text COLLATE "C"', "char(40)"]
POLICIES = """
ALTER TABLE artifacts ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON artifacts FOR SELECT USING (true);
CREATE POLICY taken ON artifacts FOR UPDATE USING (content_hash IS DISTINCT FROM 'hidden');
"""
LEDGER = ", ".join(
    f"fasthash.{table}"
    for table in (
        "run", "holder", "checkpoint", "segment", "journal", "drift", "residual", "sample",
        "catalog", "file_state", "bad_row", "met", "left_over",
    )
)  # fmt: skip
TRIGGER = """
CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.content_hash = 'raises' THEN RAISE EXCEPTION 'no' USING ERRCODE = '53200';
    ELSIF NEW.content_hash = 'swallows' THEN RETURN NULL;
    ELSIF NEW.content_hash = 'alters' THEN
        NEW.metadata := jsonb_set(NEW.metadata::jsonb, '{file_size_bytes}', '7');
    ELSIF NEW.content_hash = 'undoes' THEN NEW.metadata := OLD.metadata;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER meddle BEFORE UPDATE ON artifacts FOR EACH ROW EXECUTE FUNCTION meddle();
"""


@dataclass(frozen=True)
class Row:
    """One row, by what is odd about it."""

    artifact_type: str | None
    path: str  # `file`, `missing` or `none`
    document: str
    old_hash: str
    marker: Any
    trigger: str | None
    repeated: bool


@dataclass(frozen=True)
class Layout:
    id_type: str
    metadata_type: str
    type_type: str
    layout: str
    has_policies: bool
    rows: tuple[Row, ...]


def layouts(id_types: list[str]) -> st.SearchStrategy[Layout]:
    row = st.builds(
        Row,
        st.sampled_from(TYPES),
        st.sampled_from(["file"] * 6 + ["missing", "none"]),
        st.sampled_from(DOCUMENTS),
        st.sampled_from(HASHES),
        st.sampled_from(MARKERS),
        st.sampled_from(TRIGGERS),
        st.booleans(),
    )
    return st.builds(
        Layout,
        st.sampled_from(id_types),
        st.sampled_from(["json", "jsonb"]),
        st.sampled_from(TYPE_TYPES),
        st.sampled_from(LAYOUTS),
        st.booleans(),
        st.lists(row, min_size=1, max_size=14).map(tuple),
    )


class Model:
    """The catalog as it is made, and what has to become of it."""

    def __init__(self, database: Database, layout: Layout) -> None:
        self.database = database
        self.layout = layout
        self.outcomes: Counter[str] = Counter()
        self.residual: Counter[str] = Counter()
        self.drifts: dict[str, str] = {}
        self.written: set[str] = set()
        self.not_again = 0
        self.before: dict[tuple[str, str | None], tuple[str | None, str]] = {}
        database.sql("DROP TABLE IF EXISTS artifacts CASCADE")
        database.sql(f"TRUNCATE {LEDGER} RESTART IDENTITY")
        partitions = "PARTITION BY HASH (id)" if layout.layout == "partitioned" else ""
        database.sql(
            f"CREATE TABLE artifacts (id {layout.id_type} PRIMARY KEY, "
            f"artifact_type {layout.type_type}, file_path text, "
            f"metadata {layout.metadata_type}, content_hash text) {partitions}"
        )
        if partitions:
            for n in range(2):
                database.sql(
                    f"CREATE TABLE part{n} PARTITION OF artifacts "
                    f"FOR VALUES WITH (MODULUS 2, REMAINDER {n})"
                )
        elif layout.layout == "inherited":
            database.sql("CREATE TABLE child () INHERITS (artifacts)")
        for n, row in enumerate(layout.rows):
            self._add(n, row)
        database.sql(TRIGGER)
        if layout.layout == "inherited":
            database.sql(
                "CREATE TRIGGER meddle BEFORE UPDATE ON child FOR EACH ROW "
                "EXECUTE FUNCTION meddle()"
            )

    def _id(self, n: int) -> str:
        kind = self.layout.id_type
        if kind == "uuid":
            return str(uuid.UUID(int=n * 37 % 101))
        return str(n * 37 % 101) if kind in ("bigint", "numeric") else f"{'aB'[n % 2]}{n}"

    def _add(self, n: int, row: Row) -> None:
        name = f"f{n}"
        file = self.database.root / name
        file.write_text(name)
        digest = sha256(file)
        text = self._document(row, digest)
        if row.path == "missing":
            file.unlink()
        path = None if row.path == "none" else name
        row_id = self._id(n)
        insert = "INSERT INTO {} VALUES (%s, %s, %s, %s, %s)"
        values = (row_id, row.artifact_type, path, text, row.trigger)
        self.database.sql(insert.format("artifacts"), *values)
        twice = row.repeated and self.layout.layout == "inherited" and row.path != "none"
        if twice:
            self.database.sql(insert.format("child"), *values[:2], "f0", *values[3:])
            self.before[row_id, "f0"] = (text, "")
        self.before[row_id, path] = (text, digest)
        if path is not None:
            self._judge(row_id, row, twice=twice)

    def _document(self, row: Row, digest: str) -> str | None:
        if row.document in ("null", "array", "text"):
            return {"null": None, "array": "[1]", "text": '"text"'}[row.document]
        keys: dict[str, Any] = {"title": "t", "n": 1.50}
        hashes = {
            "null": None, "blank": " ", "right": digest, "capitals": digest.upper(),
            "prefixed": f"sha256:{digest}", "wrong": WRONG, "odd": "md5:1", "long": "z" * 64,
        }  # fmt: skip
        if row.old_hash != "none":
            keys["file_sha256"] = hashes[row.old_hash]
        if row.marker is not None:
            keys["file_sha256_computed_at"] = row.marker
        text = json.dumps(keys)
        if row.document == "unreadable" and self.layout.metadata_type == "json":
            return f'{{"name": "caf\\udce9", {text[1:]}'
        return text

    def _judge(self, row_id: str, row: Row, *, twice: bool) -> None:
        unreadable = row.document == "unreadable" and self.layout.metadata_type == "json"
        known = row.document in ("object", "unreadable")
        hidden = row.trigger == "hidden" and self.layout.has_policies
        trigger = None if row.trigger == "hidden" else row.trigger
        old_hash = row.old_hash if known else "none"
        has_hash = old_hash in ("right", "capitals", "prefixed", "wrong")
        if unreadable and not twice:
            self._fails("unreadable_row")
        elif twice:
            self._fails("write_refused")
            # A marked row is none that a later run is for.
            self.not_again += int(known and has_hash and row.marker in COUNTING)
        elif row.document in ("array", "text"):
            self._fails("write_refused" if hidden else "bad_metadata")
        elif known and has_hash and row.marker in COUNTING:
            self.outcomes["fresh"] += 1
        elif hidden:
            self._fails("write_refused")
        elif row.path == "missing":
            self.outcomes["no_file"] += 1
            self.residual["no_file"] += 1
        elif trigger == "raises":
            self._fails("write_refused")
        elif old_hash in ("wrong", "odd", "long"):
            self.outcomes["drifted"] += 1
            self.drifts[row_id] = "open" if trigger else "overwritten"
            if not trigger:
                self.written.add(row_id)
        elif trigger:
            self._fails("write_refused")
        else:
            self.outcomes["confirmed" if has_hash else "hashed"] += 1
            self.written.add(row_id)

    def _fails(self, reason: str) -> None:
        self.outcomes["failed"] += 1
        self.residual[reason] += 1

    def check(self, summary: dict[str, Any]) -> None:
        """Every row, count, journal entry, drift and residual of a first run."""
        sql = self.database.sql
        run_id = summary["run_id"]
        assert {k: n for k, n in summary["outcomes"].items() if n} == dict(self.outcomes)
        assert summary["residual"] == dict(sorted(self.residual.items()))
        assert summary["rows_updated"] == len(self.written)
        journal = sql("SELECT row_id FROM fasthash.journal WHERE run_id = %s", run_id)
        assert sorted(row["row_id"] for row in journal) == sorted(self.written)
        drifts = sql("SELECT row_id, resolution FROM fasthash.drift WHERE run_id = %s", run_id)
        assert {row["row_id"]: row["resolution"] for row in drifts} == self.drifts
        for row in sql("SELECT id::text, file_path, metadata::text AS m FROM artifacts"):
            text, digest = self.before[row["id"], row["file_path"]]
            if row["id"] not in self.written:
                assert _same(row["m"], text), row
                continue
            keys = json.loads(row["m"])
            old = json.loads(text or "{}")
            kept = {k: v for k, v in old.items() if not k.startswith("file_")}
            assert {k: v for k, v in keys.items() if not k.startswith("file_")} == kept
            assert keys["file_sha256"].lower().removeprefix("sha256:") == digest
            assert keys["file_size_bytes"] == len(row["file_path"])


def _same(now: str | None, before: str | None) -> bool:
    if now is None or before is None or "\\ud" in before:
        return now == before
    return bool(json.loads(now) == json.loads(before))


def live(database: Database, layout: Layout) -> None:
    """A first run, one that finds what it left, and a scrub that finds nothing to write."""
    model = Model(database, layout)
    if not layout.has_policies:
        judge(database, model)
        return
    role = f"role_{psycopg.conninfo.conninfo_to_dict(database.dsn)['dbname']}"
    database.sql(f"CREATE ROLE {role} LOGIN")
    try:
        with database.connect() as connection:
            connection.execute(database.fasthash("grants", role).stdout.encode())  # type: ignore[arg-type]
        database.sql(POLICIES)
        judge(
            Database(psycopg.conninfo.make_conninfo(database.dsn, user=role), database.root), model
        )
    finally:
        database.sql(f"DROP OWNED BY {role}")
        database.sql(f"DROP ROLE {role}")


def judge(database: Database, model: Model) -> None:
    """As the role that fasthash has."""
    model.check(database.run("--restart", "--range-rows", "5", "--missing-ok", status=None))
    again = database.run("--restart", "--missing-ok", status=None)
    assert again["rows_updated"] == 0
    assert again["outcomes"]["failed"] == model.outcomes["failed"] - model.not_again
    assert again["outcomes"]["no_file"] == model.outcomes["no_file"]
    scrubbed = database.scrub("--restart", "--missing-ok", status=None)
    confirmed = scrubbed["outcomes"]["confirmed"]
    fresh = model.outcomes["fresh"]
    assert len(model.written) <= confirmed <= len(model.written) + fresh


CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=6, derandomize=True, suppress_health_check=CHECKS)
@given(layout=layouts(ID_TYPES))
def test_on_the_newest_server(database: Database, layout: Layout) -> None:
    live(database, layout)


@settings(max_examples=6, derandomize=True, suppress_health_check=CHECKS)
@given(layout=layouts(ID_TYPES + MORE_ID_TYPES))
def test_on_an_older_server(older_database: Database, layout: Layout) -> None:
    older_database.sql("CREATE EXTENSION IF NOT EXISTS citext")
    older_database.sql(
        "CREATE COLLATION IF NOT EXISTS ci (provider = icu, locale = 'und-u-ks-level2', "
        "deterministic = false)"
    )
    live(older_database, layout)


@pytest.mark.long
@settings(max_examples=150, suppress_health_check=CHECKS)
@given(layout=layouts(ID_TYPES))
def test_many_on_the_newest_server(database: Database, layout: Layout) -> None:
    live(database, layout)
