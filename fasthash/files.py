"""The only place that opens files: one consistent state of a file, or the reason why not."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fasthash import cautious, shortage
from fasthash.cautious import SeenError
from fasthash.fixity import Root, Verdict
from fasthash.hashing import ONLY_SHA256, Algorithms, Digests, Stream
from fasthash.pagecache import Visit
from fasthash.paths import is_inside
from fasthash.problems import ABSENT, FileProblemError, kind_of, problem_of
from fasthash.shortage import ShortageError
from fasthash.verdicts import bounded
from fasthash.watching import Watch

# Up to here a file is read whole, by one call; above it is streamed.
WHOLE_FILE_BYTES = 256 * 1024
# From here on results that are known already are sent off first.
LONG_READ_BYTES = 16 * 1024 * 1024
# Digests remembered of files with several names; a state and a digest take about 400 bytes.
LINKED_FILES_AT_MOST = 20_000
MMAP_WINDOW_BYTES = 8 * 1024 * 1024
# A file that moves while it is read is read this often before it counts as unstable.
TRIES = 4
BACKOFF_S = (0.05, 0.2, 0.8)
# A file that changed so shortly before it was looked at may be in the middle of a write, whose
# stamp is set at its beginning, or change again within one tick of the clock of stamps: equal
# stamps before and after the read prove nothing then. 2 s is the tick of the coarsest (FAT).
RACY_NS = 2_000_000_000

# Never blocks, is not inherited, becomes no controlling terminal.
OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

# Called between the first look at a file and its reading. Tests put a change of the file here;
# racing threads would only sometimes hit the moment.
between_looks: Callable[[int], None] | None = None


class Opened(NamedTuple):
    """An open regular file inside the roots, with its facts before the read."""

    descriptor: int
    facts: os.stat_result
    read_at_ns: int

    @property
    def racy(self) -> bool:
        """Whether it changed so shortly before that its stamps do not show every change."""
        return self.read_at_ns - self.facts.st_ctime_ns < RACY_NS


class FileState(NamedTuple):
    """One state of a file: digests, facts before the read, and what was read to find it."""

    digests: Digests
    facts: os.stat_result
    read_at_ns: int
    read_bytes: int

    @property
    def sha256(self) -> bytes:
        """Its SHA-256; nothing where it was not made."""
        return self.digests.sha256 or b""

    @property
    def size_bytes(self) -> int:
        """How large it is."""
        return self.facts.st_size

    @property
    def mtime_ns(self) -> int:
        """When it was modified, nanoseconds since the epoch, as far as PostgreSQL can store it."""
        return bounded(self.facts.st_mtime_ns)


@dataclass(slots=True)
class Reader:
    """How files are opened and read.

    Args:
        roots: where files must lie.
        chunk_bytes: size of the buffer that large files are read through.
        use_mmap: map large files instead; a file that shrinks meanwhile kills the process.
        algorithms: the digests to make.
    """

    roots: Sequence[Root]
    chunk_bytes: int
    use_mmap: bool = False
    algorithms: Algorithms = ONLY_SHA256
    _no_atime: int = field(default=getattr(os, "O_NOATIME", 0))
    _buffer: bytearray = field(default_factory=bytearray)
    _read_bytes: int = 0
    _linked: dict[tuple[int, ...], Digests] = field(default_factory=dict)

    @property
    def spares_atime(self) -> bool:
        """Whether the files opened so far could be without changing their access time."""
        return bool(self._no_atime)

    def open(self, paths: Sequence[bytes]) -> Opened:
        """Opens the first of the paths that exists, without ever blocking.

        Raises:
            FileProblemError: none exists, or it is not a regular file inside the roots, which is
                then not opened at all.
            ShortageError: nothing can be opened.
        """
        last = len(paths) - 1
        for i, path in enumerate(paths):
            read_at_ns = time.time_ns()
            try:
                return Opened(*self._open(path), read_at_ns)
            except SeenError as error:
                raise problem_of(error, is_open=True) from error
            except OSError as error:
                if error.errno in ABSENT and i < last:
                    continue
                raise problem_of(error) from error
        raise FileProblemError(Verdict.NO_FILE, "there is no path to try")

    def _open(self, path: bytes) -> tuple[int, os.stat_result]:
        if self._no_atime:
            try:
                return cautious.open_seen(path, OPEN_FLAGS | self._no_atime, self.judge)
            except SeenError as error:
                if error.errno != errno.EPERM:
                    raise
                self._no_atime = 0  # only for owners and root: from here on without
        return cautious.open_seen(path, OPEN_FLAGS, self.judge)

    def judge(self, real_path: bytes, facts: os.stat_result) -> None:
        """Refuses what is not a regular file inside the roots.

        Args:
            real_path: what the kernel calls it: no link can lead elsewhere any more.
            facts: of it.

        Raises:
            FileProblemError: it is not.
        """
        if not real_path:
            detail = "a symbolic link leads to a path that is too long to be told"
            raise FileProblemError(Verdict.UNREADABLE, detail)
        if not is_inside(real_path, self.roots):
            raise FileProblemError(Verdict.OUTSIDE_ROOT, "a symbolic link leads out of the roots")
        if not stat.S_ISREG(facts.st_mode):
            raise FileProblemError(Verdict.NOT_REGULAR, f"it is a {kind_of(facts.st_mode)}")

    def digest(
        self, paths: Sequence[bytes], watch: Watch, *, past_cache: bool = False
    ) -> FileState:
        """The digests of one state of a file of any size, tried a few times.

        Args:
            paths: as for `open`.
            watch: told of every piece read.
            past_cache: drop the file's pages first, so that the storage is read.

        Raises:
            FileProblemError: no state could be had.
            OutOfResources: nothing can be opened.
            Stopped: the run stops.
        """
        self._read_bytes = 0
        for attempt in range(TRIES):
            try:
                return shortage.waited_out(lambda: self._attempt(paths, watch, past_cache), watch)
            except ShortageError as short:
                detail = shortage.describe(short.error)
                raise FileProblemError(Verdict.UNREADABLE, detail) from short
            except FileProblemError as problem:
                if not problem.transient or attempt == TRIES - 1:
                    raise
                time.sleep(BACKOFF_S[attempt])
                watch.advance(0)
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, paths: Sequence[bytes], watch: Watch, past_cache: bool) -> FileState:
        opened = self.open(paths)
        try:
            digests = self._settled(opened, watch, past_cache)
        finally:
            os.close(opened.descriptor)
        return FileState(digests, opened.facts, opened.read_at_ns, self._read_bytes)

    def _settled(self, opened: Opened, watch: Watch, past_cache: bool) -> Digests:
        """The digests; of a file that may be being written, only if it stays as it is."""
        if not opened.racy:
            return self._known_or_read(opened, watch, past_cache)
        if opened.facts.st_size < LONG_READ_BYTES:
            found = self._stream(opened, watch, past_cache)
            os.lseek(opened.descriptor, 0, os.SEEK_SET)
            if self._stream(opened, watch, past_cache) == found:
                return found
        else:  # cheaper to wait than to read twice
            for _ in range(RACY_NS // 100_000_000):
                time.sleep(0.1)
                watch.advance(0)
        raise FileProblemError(Verdict.UNSTABLE, "it is being written", transient=True)

    def _known_or_read(self, opened: Opened, watch: Watch, past_cache: bool) -> Digests:
        """The digests; several names of one file are read once."""
        facts = opened.facts
        if facts.st_nlink == 1 or past_cache:
            return self._stream(opened, watch, past_cache)
        state = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        found = self._linked.get(state)
        if found is None:
            found = self._stream(opened, watch, past_cache)
            if len(self._linked) >= LINKED_FILES_AT_MOST:
                self._linked.clear()
            self._linked[state] = found
        return found

    def _stream(self, opened: Opened, watch: Watch, past_cache: bool) -> Digests:
        descriptor, size_bytes = opened.descriptor, opened.facts.st_size
        if between_looks is not None:
            between_looks(descriptor)
        stream = Stream(self.algorithms)
        try:
            if past_cache:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            visit = Visit(descriptor, size_bytes)
            try:
                if self.use_mmap and size_bytes > WHOLE_FILE_BYTES:
                    count = self._feed_mapped(descriptor, size_bytes, stream, watch, visit)
                else:
                    count = self._feed(descriptor, size_bytes, stream, watch, visit)
            finally:
                visit.end()
            after = os.fstat(descriptor)
        except OSError as error:
            raise problem_of(error, is_open=True) from error
        if moved(opened.facts, after):
            raise FileProblemError(
                Verdict.UNSTABLE, f"it changed in each of {TRIES} reads", transient=True
            )
        if count != size_bytes:
            raise _disagreement(count, size_bytes)
        return stream.digests()

    def _feed(
        self, descriptor: int, size_bytes: int, stream: Stream, watch: Watch, visit: Visit
    ) -> int:
        if len(self._buffer) != self.chunk_bytes:
            self._buffer = bytearray(self.chunk_bytes)
        advise(descriptor, watch)
        view = memoryview(self._buffer)
        count = 0
        # One byte more than there should be: a file that grows is noticed, and not followed.
        while count <= size_bytes:
            most = watch.allow(min(len(view), size_bytes - count + 1))
            got = os.readv(descriptor, [view[:most]])
            if got == 0:
                break
            stream.update(view[:got])
            count += got
            self._advance(got, watch)
            visit.at(count)
        return count

    def _feed_mapped(
        self, descriptor: int, size_bytes: int, stream: Stream, watch: Watch, visit: Visit
    ) -> int:
        try:
            mapping = mmap.mmap(descriptor, size_bytes, prot=mmap.PROT_READ)
        except ValueError:
            return 0  # it has shrunk since it was looked at
        except OSError as error:
            # Of file systems that map no files, and of processes that may map no more.
            if error.errno not in (errno.ENODEV, errno.ENOMEM):
                raise
            return self._feed(descriptor, size_bytes, stream, watch, visit)
        with mapping, memoryview(mapping) as view:
            mapping.madvise(mmap.MADV_RANDOM if watch.slowed else mmap.MADV_SEQUENTIAL)
            start = 0
            while start < size_bytes:
                most = watch.allow(min(MMAP_WINDOW_BYTES, size_bytes - start))
                with view[start : start + most] as piece:
                    stream.update(piece)
                    self._advance(most, watch)
                    # Mapped pages cannot be dropped from the cache.
                    mapping.madvise(mmap.MADV_DONTNEED, start, most)
                visit.at(start)
                start += most
        return size_bytes

    def _advance(self, read_bytes: int, watch: Watch) -> None:
        self._read_bytes += read_bytes
        watch.advance(read_bytes)

    def facts(self, paths: Sequence[bytes]) -> os.stat_result | None:
        """The facts of the file that `open` would open, by name; None where they are not known."""
        for path in paths:
            try:
                return os.stat(path)
            except OSError as error:
                if error.errno not in ABSENT:
                    return None
            except ValueError:
                return None
        return None


def _disagreement(read_bytes: int, size_bytes: int) -> FileProblemError:
    """Of a file whose stamps stand still: as in /proc and /sys, which say 0 or a page of each file.

    It is tried again all the same: a change within one tick of the stamps can look like it.
    """
    held = "more" if read_bytes > size_bytes else f"{read_bytes:,}"
    said = f"it is said to have {size_bytes:,} bytes, and has {held}"
    what = f"its size and its content disagree: {said}"
    return FileProblemError(Verdict.UNREADABLE, what, transient=True)


def advise(descriptor: int, watch: Watch) -> None:
    """Tells the kernel to read ahead; not where a rate is to be kept: it reads many MB at once."""
    advice = os.POSIX_FADV_RANDOM if watch.slowed else os.POSIX_FADV_SEQUENTIAL
    os.posix_fadvise(descriptor, 0, 0, advice)


def moved(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a file changed between two looks at one descriptor."""
    if before == after and before.st_mtime_ns == after.st_mtime_ns:
        # Equal in whole seconds and everything else, and in nanoseconds: nearly always.
        return before.st_ctime_ns != after.st_ctime_ns
    return (
        before.st_mtime_ns != after.st_mtime_ns
        or before.st_size != after.st_size
        or before.st_ctime_ns != after.st_ctime_ns
        or before.st_ino != after.st_ino
    )
