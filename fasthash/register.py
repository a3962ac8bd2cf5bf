"""From a directory to catalog rows, for somebody who has files and no catalog yet."""

from __future__ import annotations

import logging
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fasthash import logs, paths
from fasthash.config import CatalogNames
from fasthash.embedded import data_home
from fasthash.errors import ConfigError, PreflightFailed
from fasthash.excluding import Excluded
from fasthash.store import registering, session

log = logging.getLogger("fasthash")

# So many levels are read as they come, with a descriptor each; below them a directory is read
# whole, for a process may not have more than 1,024 files open.
STREAMED_LEVELS = 200
NOTE_EVERY_S = 5.0

TypeOf = Callable[[bytes], str | None]
LeaveOut = Callable[[os.DirEntry[bytes]], bool]


@dataclass(frozen=True, slots=True)
class Registered:
    """What came of a directory; every file is either added or was there before."""

    directory: str
    files: int
    added: int
    links: int
    special_files: int
    unreadable_directories: int
    table_created: bool
    excluded: int = 0

    @property
    def already_there(self) -> int:
        """Files whose path the catalog had."""
        return self.files - self.added


class Walk:
    """The regular files below a directory, as they are found; counts what it meets meanwhile.

    Symbolic links are not followed. Memory grows neither with the number of files nor with that
    of directories.

    Args:
        folder: an absolute path.
        leave_out: whether a directory below it is not looked into.
        excluded: what files and directories are passed over; the latter are not looked into.
    """

    def __init__(
        self, folder: bytes, leave_out: LeaveOut, excluded: Excluded | None = None
    ) -> None:
        self.folder = folder
        self.leave_out = leave_out
        self._excluded = excluded
        self._start = len(folder.rstrip(b"/")) + 1
        self.files = 0
        self.excluded = 0
        self.links = 0
        self.special_files = 0
        self.unreadable = 0

    def __iter__(self) -> Iterator[bytes]:
        levels = [self._entries(self.folder, streamed=True)]
        while levels:
            for entry in levels[-1]:
                kind = _kind(entry)
                if self._excluded and self._excluded(
                    entry.path[self._start :], kind == stat.S_IFDIR
                ):
                    self.excluded += 1
                elif kind == stat.S_IFREG:
                    self.files += 1
                    yield entry.path
                elif kind == stat.S_IFLNK:
                    self.links += 1
                elif kind != stat.S_IFDIR:
                    self.special_files += 1
                elif not self.leave_out(entry):
                    streamed = len(levels) < STREAMED_LEVELS
                    levels.append(self._entries(entry.path, streamed=streamed))
                    break
            else:
                levels.pop()

    def _entries(self, folder: bytes, *, streamed: bool) -> Iterator[os.DirEntry[bytes]]:
        try:
            with os.scandir(folder) as entries:
                yield from entries if streamed else list(entries)
        except OSError as error:
            self.unreadable += 1
            name, reason = paths.encode(folder), os.strerror(error.errno or 0)
            log.warning(
                "cannot read directory %s: %s; its files are not added",
                name,
                reason,
                extra=logs.event("unreadable_directory", directory=name, reason=reason),
            )


def _kind(entry: os.DirEntry[bytes]) -> int:
    """Its type as in `st_mode`; 0 for what is neither file, link nor directory."""
    try:
        if entry.is_symlink():
            return stat.S_IFLNK
        if entry.is_file(follow_symlinks=False):
            return stat.S_IFREG
        return stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else 0
    except OSError:
        return 0  # a file system that lists no types, and now does not tell


def absolute(name: str) -> bytes:
    """The absolute path of a directory, which need not be there, as paths of the catalog begin."""
    # Two slashes at the beginning would be kept, and name the same file twice.
    return b"/" + os.path.abspath(os.fsencode(name)).lstrip(b"/")


def find_folder(name: str) -> bytes:
    """The absolute path of a directory, as it will begin the paths of the catalog.

    Raises:
        PreflightFailed: it is no directory, or cannot be read.
    """
    folder = absolute(name)
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise PreflightFailed(
            f"cannot read directory {paths.encode(folder)}: {os.strerror(error.errno or 0)}"
        ) from error
    return folder


def first_folder(folder: bytes) -> TypeOf:
    """A file's type: the first folder below `folder` that it lies in, none directly in it."""
    start = len(folder.rstrip(b"/")) + 1

    def type_of(path: bytes) -> str | None:
        name, slash, _ = path[start:].partition(b"/")
        # A type is a word for people: bytes that are not UTF-8 are shown by their numbers.
        return name.decode("utf-8", "backslashreplace") if slash else None

    return type_of


def embedded_data() -> LeaveOut:
    """Leaves out the embedded server's directory, by whatever path it is reached, if it is there.

    Its own files change all the time, and are nobody's artifacts.
    """
    try:
        facts = os.stat(data_home())
    except (OSError, ConfigError):
        return lambda _: False

    def leave_out(entry: os.DirEntry[bytes]) -> bool:
        if entry.inode() != facts.st_ino:
            return False
        return entry.stat(follow_symlinks=False).st_dev == facts.st_dev

    return leave_out


def register(
    dsn: str,
    names: CatalogNames,
    folder: bytes,
    type_of: TypeOf,
    leave_out: LeaveOut,
    excluded: Excluded | None = None,
    when_found: Callable[[int], None] = lambda _: None,
) -> Registered:
    """Adds the files below a directory that the catalog lacks.

    Args:
        dsn: the database; ledger and table are made where they are missing.
        names: the catalog.
        folder: from `find_folder`.
        type_of: a file's type by its path.
        leave_out: see `Walk`, as for `excluded`.
        when_found: called with the number of files found, before any is added.

    Raises:
        FasthashError: nothing was added.
    """
    walk = Walk(folder, leave_out, excluded)
    with session.connect_once(dsn, "register") as connection:
        target = registering.prepare(connection, names)
        files = ((type_of(path), paths.encode(path)) for path in noted(walk, when_found))
        root = paths.encode(folder)
        added = registering.add_files(connection, target, files, root, socket.gethostname())
    return Registered(
        root,
        walk.files,
        added,
        walk.links,
        walk.special_files,
        walk.unreadable,
        target.created,
        walk.excluded,
    )


def noted(walk: Walk, when_found: Callable[[int], None] = lambda _: None) -> Iterator[bytes]:
    """The files, with a log line now and then: a walk may take long.

    Args:
        walk: goes through them.
        when_found: called with their number at the end.
    """
    next_s = time.monotonic() + NOTE_EVERY_S
    for path in walk:
        if walk.files % 1000 == 0 and time.monotonic() > next_s:
            next_s = time.monotonic() + NOTE_EVERY_S
            log.info(
                "%s files so far", f"{walk.files:,}", extra=logs.event("walk", files=walk.files)
            )
        yield path
    when_found(walk.files)
