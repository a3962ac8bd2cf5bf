"""What `register` would add: counted, by type and folder, and nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from fasthash import paths
from fasthash.config import CatalogNames
from fasthash.register import TypeOf, Walk, noted
from fasthash.store import previewing, session

# Files whose paths are looked up at once: about 5 MB.
LOT_FILES = 50_000
# Folders are told apart this many levels below the directory.
FOLDER_LEVELS = 2


@dataclass(slots=True)
class Share:
    """What would be added of a folder and those below it: how many files, and one of them."""

    files: int
    example: str


@dataclass(slots=True)
class Preview:
    """What would come of a directory.

    Args:
        directory: as a catalog text.
        files: below it, except the excluded ones.
        would_add: those of them that the catalog lacks, as by `by_type` and `by_folder`: the latter
            are given from the directory on, "." for what lies in it.
        table_missing: the catalog is not there yet.
    """

    directory: str
    files: int = 0
    would_add: int = 0
    links: int = 0
    special_files: int = 0
    unreadable_directories: int = 0
    excluded: int = 0
    table_missing: bool = True
    by_type: Counter[str | None] = field(default_factory=Counter)
    by_folder: dict[str, Share] = field(default_factory=dict)

    @property
    def already_there(self) -> int:
        """Files whose path the catalog has."""
        return self.files - self.would_add

    def largest(self, n: int) -> list[tuple[str, Share]]:
        """The folders with the most files, those first."""
        return sorted(self.by_folder.items(), key=lambda item: (-item[1].files, item[0]))[:n]


def preview(dsn: str | None, names: CatalogNames, walk: Walk, type_of: TypeOf) -> Preview:
    """Counts what `register.register` would add; memory grows with the folders of two levels.

    Args:
        dsn: the database; None where there is none yet.
        names: the catalog.
        walk: through the directory.
        type_of: a file's type by its path.

    Raises:
        FasthashError: the database cannot be reached, or the table is of no use.
    """
    found = Preview(paths.encode(walk.folder))
    if dsn is None:
        _count(found, walk, type_of, lambda lot: range(len(lot)))
    else:
        with session.connect_once(dsn, "register --dry-run") as connection:
            look = previewing.find(connection, names)
            found.table_missing = look is None
            _count(found, walk, type_of, look or (lambda lot: range(len(lot))))
    found.files, found.excluded = walk.files, walk.excluded
    found.links, found.special_files = walk.links, walk.special_files
    found.unreadable_directories = walk.unreadable
    return found


def _count(
    found: Preview, walk: Walk, type_of: TypeOf, lacks: Callable[[list[str]], Iterable[int]]
) -> None:
    start = len(walk.folder.rstrip(b"/")) + 1
    for lot in _lots(noted(walk)):
        texts = [paths.encode(path) for path in lot]
        for n in lacks(texts):
            found.would_add += 1
            found.by_type[type_of(lot[n])] += 1
            folder = b"/".join(lot[n][start:].split(b"/")[:-1][:FOLDER_LEVELS])
            name = folder.decode("utf-8", "backslashreplace") or "."
            share = found.by_folder.get(name)
            if share is None:
                found.by_folder[name] = Share(1, texts[n])
            else:
                share.files += 1


def _lots(files: Iterator[bytes]) -> Iterator[list[bytes]]:
    while lot := list(islice(files, LOT_FILES)):
        yield lot
