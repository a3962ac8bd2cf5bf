"""docs/verdicts.md is true: each combination of its table, with real files, by run and scrub."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from conftest import Database, sha256
from test_scrub import OLD, drifts, fill

from fasthash.verdicts import STAMPS

DOCS = Path(__file__).parents[2] / "docs"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATER = (4_000_000_000, 4_000_000_000)


class Line(NamedTuple):
    """A line of the table; an empty cell is tried in every way."""

    stored: str
    marker: str
    ledger: str
    content: str
    size: str
    mtime: str
    ctime: str
    by_run: str
    by_scrub: str


WAYS = {
    "marker": ("yes", "no"), "ledger": ("stamps", "no stamps"), "content": ("same", "other"),
    "size": ("same", "moved"), "mtime": ("same", "moved"), "ctime": ("same", "moved"),
}  # fmt: skip


def table() -> Iterator[Line]:
    """Every combination that the page has a line for."""
    for line in (DOCS / "verdicts.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != len(Line._fields) or not cells[-1] or cells[0] in ("row's hash", "---"):
            continue
        empty = [
            WAYS[name] if not cell else (cell,)
            for name, cell in zip(Line._fields, cells, strict=True)
        ]
        for values in itertools.product(*empty):
            found = Line(*values)
            if not (found.content == "same" and found.size == "moved"):
                yield found


def change(path: Path, line: Line) -> None:
    """Makes the file what the line says of it."""
    content = path.read_bytes()
    if line.content == "other":
        content = bytes([content[0] ^ 1]) + content[1:]
    if line.size == "moved":
        content += b"more"
    if line.ctime == "moved":  # and the inode: as a restore brings it
        new = path.with_name(f"{path.name}.new")
        new.write_bytes(content)
        new.rename(path)
    else:
        path.write_bytes(content)
    os.utime(path, LATER if line.mtime == "moved" else OLD)


def remember(database: Database, row_id: int, path: Path, line: Line) -> None:
    """Has the ledger know what the line says that it does."""
    facts = path.stat()
    for table_name in ("fasthash.journal", "fasthash.file_state"):
        one = f"{table_name} WHERE row_id = '{row_id}'"
        if line.ledger == "nothing":
            database.sql(f"DELETE FROM {one}")
        elif line.ledger == "no stamps":
            database.sql(f"UPDATE {one.replace('WHERE', 'SET stamps = NULL WHERE')}")
        elif line.ctime == "same":
            # Nothing but the kernel sets a ctime: the ledger is told that it was this one.
            then = STAMPS.pack(OLD[1] * 10**9, facts.st_ctime_ns, facts.st_dev, facts.st_ino)
            database.sql(f"UPDATE {one.replace('WHERE', 'SET stamps = %s WHERE')}", then)


def store(database: Database, row_id: int, path: Path, line: Line) -> None:
    """Has the row hold what the line says of it."""
    metadata = database.metadata(row_id)
    if line.stored == "none":
        metadata = {}
    if line.stored == "no hash":
        metadata["file_sha256"] = "not a hash at all"
    if line.ledger == "no stamps" and line.ctime == "same":
        # The marker stands in for the stamps: the file's ctime is not later.
        at = EPOCH + timedelta(microseconds=path.stat().st_ctime_ns // 1_000 + 1)
        metadata["file_sha256_computed_at"] = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if line.marker == "no":
        metadata.pop("file_sha256_computed_at", None)
    text = json.dumps(metadata)
    database.sql("UPDATE artifacts SET metadata = %s WHERE id = %s", text, row_id)


def found_by(database: Database, run_id: int) -> dict[int, str]:
    """The drifts of a run, as the table has them."""
    words = {"overwritten": "overwritten", "open": "held"}
    return {
        int(d["row_id"]): f"**{d['kind']}**, {words[d['resolution']]}"
        for d in drifts(database, "--run", str(run_id))
    }


def markers(database: Database) -> dict[int, str | None]:
    """The marker of each row."""
    rows = database.sql(
        "SELECT id, metadata ->> 'file_sha256_computed_at' AS marker FROM artifacts"
    )
    return {row["id"]: row["marker"] for row in rows}


def test_the_table_is_true(database: Database) -> None:
    lines = list(table())
    assert len(lines) > 60, "the table is not read"
    paths = fill(database, len(lines))
    database.run()
    for row_id, (path, line) in enumerate(zip(paths, lines, strict=True)):
        change(path, line)
        remember(database, row_id, path, line)
        store(database, row_id, path, line)
    for command, column in (("scrub", "by_scrub"), ("run", "by_run")):
        before = {n: database.metadata(n) for n in range(len(lines))}
        summary = database.run(command=command, status=1)
        drifted, after = found_by(database, summary["run_id"]), markers(database)
        for row_id, line in enumerate(lines):
            said, about = getattr(line, column), f"{column} of {line}"
            is_read = said in ("confirmed", "hashed")
            assert drifted.get(row_id, said) == said, about
            assert is_read or said == "not read" or row_id in drifted, about
            kept = database.metadata(row_id)
            if "held" in said or said == "not read":
                assert kept == before[row_id], about
            else:
                assert kept["file_sha256"] == sha256(paths[row_id]), about
                assert after[row_id] != before[row_id].get("file_sha256_computed_at"), about
