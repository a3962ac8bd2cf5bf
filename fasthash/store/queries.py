"""Loads the named blocks of SQL and fills in configurable identifiers."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from psycopg import sql


@cache
def _blocks(module: str) -> dict[str, str]:
    """The blocks of one file: `-- name: x`, a comment that describes it, the text."""
    text = (files("fasthash") / "sql" / f"{module}.sql").read_text(encoding="utf-8")
    blocks: dict[str, str] = {}
    for chunk in text.split("-- name: ")[1:]:
        name, _, body = chunk.partition("\n")
        lines = body.splitlines()
        while lines and lines[0].startswith("--"):
            lines.pop(0)
        blocks[name.strip()] = "\n".join(lines).strip()
    return blocks


def script(module: str, name: str) -> str:
    """The text of one block as it stands, for scripts that have no placeholders."""
    return _blocks(module)[name]


def query(module: str, name: str, **parts: sql.Composable) -> sql.Composed:
    """One block with its `{placeholders}` replaced.

    Args:
        module: the file under `fasthash/sql`, without its ending.
        name: the block's name.
        parts: identifiers and fragments by placeholder name.
    """
    return sql.SQL(_blocks(module)[name]).format(**parts)


EMPTY = sql.SQL("")
_STAMPS = ("mtime_ns", "ctime_ns", "device", "inode")


def stamps(column: sql.Composable) -> dict[str, sql.Composable]:
    """The fragments that take packed stamps apart, by name."""
    return {
        name: query("result", "stamp", stamps=column, first=sql.SQL(str(1 + 8 * n)))
        for n, name in enumerate(_STAMPS)
    }


def identifier(*names: str) -> sql.Identifier:
    """An identifier for a statement with parameters, where a percent sign has to be doubled."""
    return sql.Identifier(*(name.replace("%", "%%") for name in names))
