"""What `fasthash register --dry-run` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from fasthash.cli import tables
from fasthash.config import NO_TYPE, CatalogNames
from fasthash.logs import printable

if TYPE_CHECKING:
    from fasthash.preview import Preview
    from fasthash.register import Registered

# Types and folders on a screen, and folders in `--json`.
SHOWN, JSON_FOLDERS = 10, 100

TYPES = tables.Layout(("type", "files"), steps=((0, 10),))
FOLDERS = tables.Layout(("largest folders", "files", "for example"), steps=((2, 20), (0, 15)))


def skipped_lines(found: Registered | Preview) -> list[str]:
    """What was left out, where anything was."""
    skipped = [
        counted(n, one, many)
        for n, one, many in (
            (found.links, "symbolic link", "symbolic links"),
            (found.special_files, "special file", "special files"),
            (found.unreadable_directories, "unreadable directory", "unreadable directories"),
        )
        if n
    ]
    lines = [f"skipped: {', '.join(skipped)}"] if skipped else []
    if found.excluded:
        lines.append(f"excluded: {counted(found.excluded, 'file or folder', 'files and folders')}")
    return lines


def counted(n: int, one: str, many: str) -> str:
    """A number and what is counted."""
    return f"{n:,} {one if n == 1 else many}"


def write_preview(found: Preview, table: CatalogNames, *, as_json: bool) -> None:
    """Prints what would be added.

    Args:
        found: what was counted.
        table: the catalog.
        as_json: for scripts.
    """
    with tables.standard_output() as out:
        if as_json:
            print(tables.to_json(_as_json(found), indent=2), file=out)
            return
        lines = [f"table {table} would be made"] if found.table_missing else []
        files = counted(found.files, "file", "files")
        lines.append(
            f"{found.directory}: {files}, {found.would_add:,} would be added to {table}, "
            f"{found.already_there:,} already there"
        )
        print("\n".join(printable(line) for line in [*lines, *skipped_lines(found)]), file=out)
        if found.would_add:
            _write_shares(out, found)
        print("nothing was written: the same command without --dry-run adds them", file=out)


def _write_shares(out: TextIO, found: Preview) -> None:
    """Tables of types and folders, the largest first."""
    types = [(NO_TYPE if t is None else t, n) for t, n in found.by_type.most_common(SHOWN + 1)]
    rows = [(name, f"{n:,}") for name, n in types[:SHOWN]]
    if len(found.by_type) > SHOWN:
        rest = found.by_type.total() - sum(n for _, n in types[:SHOWN])
        rows.append((f"{len(found.by_type) - SHOWN:,} more", f"{rest:,}"))
    print(file=out)
    tables.write_table(out, TYPES, rows, tables.list_columns())
    print(file=out)
    largest = [(name, f"{s.files:,}", s.example) for name, s in found.largest(SHOWN)]
    tables.write_table(out, FOLDERS, largest, tables.list_columns())
    if len(found.by_folder) > SHOWN:
        print(f"and {len(found.by_folder) - SHOWN:,} more folders", file=out)
    print(file=out)


def _as_json(found: Preview) -> dict[str, Any]:
    return {
        "directory": found.directory,
        "dry_run": True,
        "files": found.files,
        "would_add": found.would_add,
        "already_there": found.already_there,
        "skipped": found.links + found.special_files,
        "excluded": found.excluded,
        "unreadable_directories": found.unreadable_directories,
        "table_missing": found.table_missing,
        "by_type": {NO_TYPE if t is None else t: n for t, n in found.by_type.most_common()},
        "folders": [
            {"folder": name, "files": share.files, "example": share.example}
            for name, share in found.largest(JSON_FOLDERS)
        ],
    }
