"""One file by the long way: streamed, tried again, a new hash confirmed past the page cache."""

from __future__ import annotations

import logging

from fasthash import logs, verdicts
from fasthash.files import FileState, Reader
from fasthash.fixity import Result, Root, Task, Verdict
from fasthash.hashing import ONLY_XXH3, Algorithms
from fasthash.paths import PathRefusedError, candidates
from fasthash.problems import FileProblemError, other_form
from fasthash.resolver import Resolver, resolve
from fasthash.watching import Watch

log = logging.getLogger("fasthash")

# Reads of a file whose hash is not the stored one, until two in a row agree.
REREADS = 3


class Alone:
    """Inspects files one by one.

    Args:
        roots: where files must lie.
        chunk_bytes: size of the buffer that they are read through.
        use_mmap: map large ones instead.
        algorithms: the digests to make.
        resolver: the site's own, or None.
        pace: how fast to go.
    """

    def __init__(
        self,
        roots: tuple[Root, ...],
        chunk_bytes: int,
        use_mmap: bool,
        algorithms: Algorithms,
        resolver: Resolver | None,
        pace: Watch,
    ) -> None:
        self._roots = roots
        self._resolver = resolver
        self._pace = pace
        self.reader = Reader(roots, chunk_bytes, use_mmap, algorithms)
        self._careful = Reader(roots, chunk_bytes, algorithms=algorithms)
        self._checker = Reader(roots, chunk_bytes, use_mmap, ONLY_XXH3)
        self.read_bytes = 0

    def text(self, task: Task) -> str:
        """What stands for a task's path: its own text, or what the resolver makes of it.

        Raises:
            PathRefusedError: the resolver knows none.
        """
        return task.path if self._resolver is None else resolve(self._resolver, task.path)

    def inspect(self, task: Task, before: Result | None = None, text: str | None = None) -> Result:
        """The result of a task.

        Args:
            task: the row.
            before: what a first read came to, to be confirmed where it is another hash.
            text: what stands for its path, where that is known.

        Raises:
            OutOfResources: nothing can be opened.
            Stopped: the run stops.
        """
        reader = self._careful if task.careful else self.reader
        try:
            paths = candidates(self.text(task) if text is None else text, self._roots)
            if before is None and is_checked(task):
                before = judge_check(task, self._read(task, paths, self._checker))
            if before is None:
                before = self._read(task, paths, reader)
            if before.sha256 is not None and verdicts.differs(task, before.sha256):
                return self._confirm_difference(task, paths, reader, before)
        except (FileProblemError, PathRefusedError) as problem:
            return verdicts.unhashed(task, problem.verdict, problem.detail)
        return before

    def look_again(self, task: Task) -> Result:
        """The result of a task whose file was missing."""
        try:
            text = self.text(task)
            paths = candidates(text, self._roots)
        except PathRefusedError as refused:
            return verdicts.unhashed(task, refused.verdict, refused.detail)
        result = self.inspect(task, text=text)
        other = other_form(paths) if result.verdict == Verdict.NO_FILE else None
        return result if other is None else result._replace(detail=f"{result.detail}; {other}")

    def take_roots(self, roots: tuple[Root, ...]) -> None:
        """The same roots, where their file systems are mounted by now."""
        self._roots = roots
        for reader in (self.reader, self._careful, self._checker):
            reader.roots = roots

    def _read(
        self, task: Task, paths: list[bytes], reader: Reader, *, past_cache: bool = False
    ) -> Result:
        state = reader.digest(paths, self._pace, past_cache=past_cache)
        self.read_bytes += state.read_bytes
        return from_state(task, state)

    def _confirm_difference(
        self, task: Task, paths: list[bytes], reader: Reader, before: Result
    ) -> Result:
        """Reads past the page cache until two reads agree, or one says that nothing drifted."""
        seen = [before.sha256 or b""]
        for _ in range(REREADS):
            again = self._read(task, paths, reader, past_cache=True)
            sha256 = again.sha256 or b""
            agreed = sha256 == seen[-1]
            if not agreed:
                log.warning(
                    "row %s: two reads of one file disagree: %s, then %s: %s",
                    task.row_id,
                    seen[-1].hex(),
                    sha256.hex(),
                    task.path,
                    extra=logs.event(
                        "reads_disagree",
                        row_id=task.row_id,
                        path=task.path,
                        first_hash=seen[-1].hex(),
                        second_hash=sha256.hex(),
                    ),
                )
            if agreed or not verdicts.differs(task, sha256):
                return again._replace(compared=task.stored_sha256)
            seen.append(sha256)
        return verdicts.unhashed(
            task, Verdict.UNSTABLE, "reads disagree: " + ", ".join(s.hex() for s in seen)
        )


def is_checked(task: Task) -> bool:
    """Whether a task's XXH3 is known, so that its SHA-256 need not be made if that is the same."""
    return task.known is not None and task.known.xxh3 is not None


def judge_check(task: Task, found: Result) -> Result | None:
    """The result of reading for the XXH3 alone; None where the file is not what it was."""
    known = task.known
    same = known is not None and (known.size_bytes, known.xxh3) == (found.size_bytes, found.xxh3)
    return verdicts.prechecked(task, found.size_bytes) if same else None


def from_state(task: Task, state: FileState) -> Result:
    """The result of a file as a reader found it."""
    facts, times = state.facts, (state.facts.st_mtime_ns, state.read_at_ns)
    stamps = verdicts.stamps_of(facts)
    return verdicts.hashed(task, state.digests.sha256, facts.st_size, *times, stamps, state.digests)
