"""`hash_files`: the digests of any files, without a database."""

from __future__ import annotations

import itertools
import mmap
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from fasthash import parsing, shortage
from fasthash.config import DEFAULT_CHUNK_BYTES
from fasthash.errors import ConfigError
from fasthash.files import Reader
from fasthash.fixity import Verdict
from fasthash.hashing import Algorithms, Digests
from fasthash.paths import LONGEST_PATH_BYTES
from fasthash.problems import FileProblemError
from fasthash.roots import find_root
from fasthash.small import SmallFiles
from fasthash.watching import Stopped, Unwatched

AnyPath = TypeVar("AnyPath", bound="str | bytes | os.PathLike[str] | os.PathLike[bytes]")

# Files that a thread takes at a time: their reads overlap, and hashing them is one call.
GROUP_FILES = 32
# Groups that wait for a thread, so that none waits for the caller; more would only be memory.
GROUPS_A_WORKER = 2


@dataclass(frozen=True, slots=True)
class FileHash(Generic[AnyPath]):
    """What became of one file: its digests, or why there are none.

    Args:
        path: as it was given.
        sha256: 64 hexadecimal digits; None if there is no digest.
        size_bytes: how many bytes were hashed.
        mtime_ns: when the file was modified, nanoseconds since the epoch.
        read_at_ns: when the reading began, on the same clock.
        blake3: 64 hexadecimal digits, if it was asked for.
        problem: `no_file`, `unreadable`, `unstable` (it changed in each of several reads) or
            `not_regular`; None if there is a digest.
        detail: of the problem, for a person.
    """

    path: AnyPath
    sha256: str | None = None
    size_bytes: int | None = None
    mtime_ns: int | None = None
    read_at_ns: int | None = None
    blake3: str | None = None
    problem: str | None = None
    detail: str | None = None


def hash_files(
    paths: Iterable[AnyPath],
    *,
    workers: int | None = None,
    blake3: bool = False,
    reader: Literal["readinto", "mmap"] = "readinto",
    chunk_bytes: int = DEFAULT_CHUNK_BYTES,
) -> Iterator[FileHash[AnyPath]]:
    """Hashes files and yields what becomes of each, as it comes: not in the order given.

    A file is read as a run reads it: a digest is that of one state of the file, the page cache is
    left as it was, nothing but regular files is opened for long, small files are taken by the
    group. Symbolic links are followed. A file without a digest is yielded with its problem.
    Ending the iteration early ends the reading, in the middle of a file too.

    Args:
        paths: of the files; taken as they are needed, so a generator of millions will do.
        workers: threads; None for as many as there are cores. The hashing itself holds no
            interpreter lock.
        blake3: make that digest as well, in the same read.
        reader: `mmap` is a tenth faster on large warm local files; a file that shrinks while it
            is mapped kills the process.
        chunk_bytes: size of the buffer that large files are read through.

    Raises:
        ConfigError: an argument is out of bounds.
        OutOfResources: for a minute nothing could be opened: too many threads for the limit of
            open files (`ulimit -n`), or the caller has used it up. It says nothing of the files.
    """
    if workers is not None and not 1 <= workers <= 1024:
        raise ConfigError(f"workers={workers}: 1 to 1024, or None")
    if reader not in ("readinto", "mmap"):
        raise ConfigError(f"reader={reader!r}: readinto or mmap")
    parsing.parse_chunk_size(str(chunk_bytes))
    engines = Engines(Algorithms(blake3=blake3), chunk_bytes, reader == "mmap")
    return _hash(iter(paths), engines, workers or len(os.sched_getaffinity(0)))


def _hash(paths: Iterator[AnyPath], engines: Engines, workers: int) -> Iterator[FileHash[AnyPath]]:
    working: set[Future[tuple[list[FileHash[AnyPath]], list[AnyPath]]]] = set()
    with ThreadPoolExecutor(workers, "hash_files") as pool, closing(engines):
        while True:
            room = max(0, workers * (1 + GROUPS_A_WORKER) - len(working))
            groups = (list(itertools.islice(paths, GROUP_FILES)) for _ in range(room))
            working |= {pool.submit(engines.take_group, group) for group in groups if group}
            if not working:
                return
            done, working = wait(working, return_when=FIRST_COMPLETED)
            for future in done:
                found, others = future.result()
                working |= {pool.submit(engines.take_one, path) for path in others}
                yield from found


class Engines:
    """What the threads read with: an engine each, for buffers are shared by nobody."""

    def __init__(self, algorithms: Algorithms, chunk_bytes: int, use_mmap: bool) -> None:
        self._make = (algorithms, chunk_bytes, use_mmap)
        self._own = threading.local()
        self._ended = threading.Event()

    @property
    def _engine(self) -> Engine:
        if not hasattr(self._own, "engine"):
            self._own.engine = Engine(*self._make, self._ended)
        engine: Engine = self._own.engine
        return engine

    def take_group(self, paths: Sequence[AnyPath]) -> tuple[list[FileHash[AnyPath]], list[AnyPath]]:
        """The digests of the simple ones of a group, and the paths of the others."""
        if self._ended.is_set():
            return [], []
        return self._engine.read_together(paths)

    def take_one(self, path: AnyPath) -> tuple[list[FileHash[AnyPath]], list[AnyPath]]:
        """The digest of a file that is not simple."""
        try:
            return [self._engine.read_alone(path)], []
        except Stopped:
            return [], []

    def close(self) -> None:
        """Nobody wants any more: whatever is being read is given up."""
        self._ended.set()


class Engine:
    """What one thread reads with; also its own `watching.Watch` and `small.Notes`."""

    slowed = False

    def __init__(
        self, algorithms: Algorithms, chunk_bytes: int, use_mmap: bool, ended: threading.Event
    ) -> None:
        self._root = shortage.waited_out(lambda: find_root("/"), Unwatched())
        self._algorithms = algorithms
        self.memory = mmap.mmap(-1, mmap.PAGESIZE)  # where the native code notes what it is in
        self._small = SmallFiles((self._root,), self)
        self._reader = Reader((self._root,), chunk_bytes, use_mmap, algorithms)
        self._ended = ended

    def note(self, unit_no: int, index: int) -> None:
        """Nobody asks which file it is."""

    def allow(self, most_bytes: int) -> int:
        """Everything."""
        return most_bytes

    def advance(self, read_bytes: int) -> None:
        """Raises Stopped once nobody wants the digest."""
        if self._ended.is_set():
            raise Stopped

    def read_together(
        self, paths: Sequence[AnyPath]
    ) -> tuple[list[FileHash[AnyPath]], list[AnyPath]]:
        """The digests of those that are simple (see `small`), and the paths of the others."""
        names = [_plain_name(path) for path in paths]
        states = self._small.read(self._root, names, 0, 0, self._algorithms) or [None] * len(names)
        found, others = [], []
        for path, state in zip(paths, states, strict=True):
            if state is None:
                others.append(path)
            else:
                sha256, size_bytes, mtime_ns, read_at_ns, _, digests = state
                digests = (digests or Digests())._replace(sha256=sha256)
                found.append(_hashed(path, digests, size_bytes, mtime_ns, read_at_ns))
        return found, others

    def read_alone(self, path: AnyPath) -> FileHash[AnyPath]:
        """The digest of any file, or why it has none.

        Raises:
            Stopped: nobody wants it any more.
        """
        try:
            state = self._reader.digest([_absolute(path)], self)
        except FileProblemError as problem:
            return FileHash(path, problem=str(problem.verdict), detail=problem.detail)
        return _hashed(path, state.digests, state.size_bytes, state.mtime_ns, state.read_at_ns)


def _hashed(
    path: AnyPath, digests: Digests, size_bytes: int, mtime_ns: int, read_at_ns: int
) -> FileHash[AnyPath]:
    sha256 = digests.sha256.hex() if digests.sha256 else None
    blake3 = digests.blake3.hex() if digests.blake3 else None
    return FileHash(path, sha256, size_bytes, mtime_ns, read_at_ns, blake3)


def _absolute(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> bytes:
    """The path from the root directory on; `..` is left to the kernel, which knows the links.

    Raises:
        FileProblemError: no file can be called that.
    """
    raw = os.fsencode(path)
    if not raw or b"\0" in raw:
        raise FileProblemError(Verdict.NO_FILE, "the path is empty, or holds a NUL byte")
    whole = raw if raw.startswith(b"/") else os.getcwdb() + b"/" + raw
    # A relative one may be opened where its absolute form is too long.
    return whole if len(whole) <= LONGEST_PATH_BYTES else raw


def _plain_name(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> bytes | None:
    """The path from the root directory on, where it can be opened without a second thought."""
    try:
        whole = _absolute(path)
    except FileProblemError:
        return None
    return whole.lstrip(b"/") if whole.startswith(b"/") and b".." not in whole else None
