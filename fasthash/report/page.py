"""A report as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from fasthash import __version__
from fasthash.config import NO_TYPE
from fasthash.errors import ConfigError
from fasthash.fixity import Counts
from fasthash.logs import printable
from fasthash.report.charts import pictures
from fasthash.report.facts import Facts, verdict
from fasthash.summary import human_bytes, human_seconds

# Rows that are drawn at a time; so many are in the page itself, for readers without JavaScript.
PAGE_ROWS = 100

# How a column is shown and sorted.
TEXT, TIME, PATH, HASH = "text", "time", "path", "hash"
NUMBER, BYTES = "number", "bytes"


@dataclass(frozen=True, slots=True)
class Table:
    """A table that can be sorted and filtered.

    Args:
        name: of its elements.
        caption: what is in it.
        columns: a heading and a kind each.
        rows: as many cells each; texts are escaped as on a terminal.
        more: how many rows there are that are not in it.
    """

    name: str
    caption: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Any]]
    more: int = 0

    @property
    def first(self) -> list[list[tuple[str, str]]]:
        """The cells that are in the page itself: a kind and a text each."""
        kinds = [kind for _, kind in self.columns]
        return [
            [(kind, shown(cell, kind)) for kind, cell in zip(kinds, row, strict=True)]
            for row in self.rows[:PAGE_ROWS]
        ]

    def as_data(self) -> dict[str, Any]:
        """For the page's program, where there is more than what is drawn."""
        return {"kinds": [kind for _, kind in self.columns], "rows": self.rows}


def render(facts: Facts) -> str:
    """The page.

    Raises:
        ConfigError: jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            "a report needs the extra `report`: pip install 'fasthash[report]'"
        ) from error
    environment = Environment(
        loader=PackageLoader("fasthash.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "bytes": human_bytes,
        "data": _data,
        "picture": _source,
    }
    style, program = _file("page.css"), _file("page.js")
    return environment.get_template("page.html.j2").render(
        title=f"Run {facts.summary.run_id} of {printable(facts.summary.catalog or '')}",
        policy=_policy(style, program),
        style=style,
        program=program,
        version=__version__,
        verdict=verdict(facts),
        made_at=_utc(facts.made_at),
        about=list(_about(facts)),
        facts=facts,
        total=facts.summary.total,
        pictures=pictures(facts),
        tables=list(tables(facts)),
        page_rows=PAGE_ROWS,
    )


def _file(name: str) -> str:
    return resources.files("fasthash.report").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, program: str) -> str:
    """A Content-Security-Policy by which nothing runs or is fetched but what is meant here."""
    one, other = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, program)
    )
    allowed = f"img-src data:; style-src 'sha256-{one}'; script-src 'sha256-{other}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _source(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _data(value: object) -> str:
    """JSON that cannot end the element it stands in."""
    from markupsafe import Markup  # noqa: PLC0415 - comes with jinja2

    text = json.dumps(value, separators=(",", ":"))  # ASCII
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - as just made harmless


def _utc(time: datetime | None) -> str:
    return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _number(value: float) -> str:
    return f"{value:,}"


def shown(cell: Any, kind: str) -> str:
    """A cell as it is read; the page's program does the same."""
    if cell is None:
        return ""
    if kind == BYTES:
        return human_bytes(cell)
    return f"{cell:,}" if kind == NUMBER else str(cell)


def _about(facts: Facts) -> Iterator[tuple[str, str]]:
    """What the run was: a name and a text each."""
    summary, run = facts.summary, facts.run
    yield "Run", f"{summary.run_id}, {summary.kind}"
    yield "Catalog", printable(summary.catalog or "")
    yield "State", summary.state + (" (given up for another run)" if run["superseded"] else "")
    yield "Host", printable(run["host"])
    yield "Began", _utc(summary.started_at)
    if summary.finished_at is not None:
        yield "Ended", _utc(summary.finished_at)
    yield "At work", human_seconds(summary.seconds)
    for name, value in sorted(run["options"].items()):
        if value not in (None, [], "", False):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield name.replace("_", " ").capitalize(), printable(text)
    if run["error"]:
        yield "Error", printable(run["error"])
    if facts.catalog_problem:
        yield "Not told", printable(facts.catalog_problem)
    oldest = (summary.freshness or {}).get("oldest_marker")
    if oldest:
        yield "Oldest verification", printable(oldest)


def tables(facts: Facts) -> Iterator[Table]:
    """The lists of a report; those that are empty are left out."""
    found = (_drifts(facts), _reasons(facts), _residual(facts), _types(facts), _duplicates(facts))
    return (table for table in found if table is not None and table.rows)


def _types(facts: Facts) -> Table:
    def row(name: str, c: Counts) -> list[Any]:
        counts = (c.scanned, c.hashed, c.confirmed, c.drifted, c.fresh, c.no_file, c.failed)
        return [printable(name), *counts, c.bytes_hashed]

    headings = ("Rows", "Hashed", "Confirmed", "Drifted", "Fresh", "Missing", "Failed")
    columns = [("Type", TEXT), *((name, NUMBER) for name in headings), ("Read", BYTES)]
    by_name = sorted(facts.summary.by_name.items(), key=lambda item: -item[1].scanned)
    rows = [row(name, counts) for name, counts in by_name]
    return Table("types", "By type", columns, rows)


def _drifts(facts: Facts) -> Table:
    columns = [
        ("No.", NUMBER), ("Kind", TEXT), ("Decision", TEXT), ("Row", TEXT), ("Type", TEXT),
        ("Path", PATH), ("Size before", BYTES), ("Size", BYTES), ("Modified before", TIME),
        ("Modified", TIME), ("Changed before", TIME), ("Changed", TIME), ("Hash before", HASH),
        ("Hash", HASH), ("Found", TIME), ("Decided by", TEXT), ("Why", TEXT),
    ]  # fmt: skip
    rows = [
        [
            d["drift_id"], d["kind"], d["resolution"], printable(d["row_id"]),
            _type(d["artifact_type"]), printable(d["path"]), d["old_size_bytes"],
            d["new_size_bytes"], _utc(d["old_mtime"]), _utc(d["file_mtime"]), _utc(d["old_ctime"]),
            _utc(d["file_ctime"]), printable(d["old_hash"]), d["new_hash"], _utc(d["found_at"]),
            printable(d["resolved_by"] or ""), printable(d["comment"] or ""),
        ]
        for d in facts.drifts
    ]  # fmt: skip
    caption = "Drift: files whose content is not what was recorded"
    return Table("drifts", caption, columns, rows, facts.drifts_total - len(rows))


def _reasons(facts: Facts) -> Table:
    rows = [[reason, n] for reason, n in facts.summary.residual.items()]
    return Table(
        "reasons", "Files without a verdict, by reason", [("Reason", TEXT), ("Rows", NUMBER)], rows
    )


def _residual(facts: Facts) -> Table:
    columns = [("Row", TEXT), ("Type", TEXT), ("Reason", TEXT), ("Path", PATH), ("Detail", TEXT)]
    rows = [
        [
            printable(r["row_id"]),
            _type(r["artifact_type"]),
            r["reason"],
            printable(r["path"]),
            printable(r["detail"] or ""),
        ]
        for r in facts.residual
    ]
    more = sum(facts.summary.residual.values()) - len(rows)
    return Table("residual", "Files without a verdict", columns, rows, more)


def _duplicates(facts: Facts) -> Table | None:
    if facts.catalog is None:
        return None
    columns = [
        ("Could be saved", BYTES), ("Rows", NUMBER), ("Size", BYTES), ("Type", TEXT),
        ("One of the paths", PATH), ("SHA-256", HASH),
    ]  # fmt: skip
    rows = [
        [
            d["could_be_saved_bytes"], d["copies"], d["size_bytes"], _type(d["artifact_type"]),
            printable(d["example"]), d["digest"],
        ]
        for d in facts.catalog.duplicates
    ]  # fmt: skip
    more = facts.catalog.duplicate_groups - len(rows)
    return Table(
        "duplicates", "Equal contents in several rows (hard links count)", columns, rows, more
    )


def _type(name: str | None) -> str:
    return NO_TYPE if name is None else printable(name)
