"""The worker's loop: units in, verdicts out; it opens, stats, reads and hashes, and no more."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fasthash import child, logs, parts, wire
from fasthash.errors import ConfigError
from fasthash.files import (
    FileProblemError,
    FileState,
    Reader,
    Small,
    Stopped,
    missing_root,
)
from fasthash.fixity import Part, Result, Root, RootGone, Task, Unit, Verdict
from fasthash.hashing import digest_many
from fasthash.paths import PathRefusedError, candidates
from fasthash.slot import Slot

log = logging.getLogger("fasthash")

# Files that are open at a time: their reads can overlap and their hashing comes in one call.
GROUP_FILES = 32
# Results go to the writer at least this often, so that a crash costs little.
FLUSH_EVERY_S = 1.0
# Reads of a file whose hash is not the stored one, until two in a row agree.
REREADS = 3

BIGINT_MAX = 2**63 - 1  # what PostgreSQL stores

Resolver = Callable[[str], "str | bytes | os.PathLike[str] | None"]


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker has to know: the first message it gets."""

    roots: tuple[Root, ...]
    root_sentinel: str | None
    chunk_bytes: int
    use_mmap: bool
    resolver: str | None
    log_format: str


def load_resolver(name: str) -> Resolver:
    """The site's own function from catalog text to path.

    Args:
        name: `package.module:function`.

    Raises:
        ConfigError: it cannot be imported or is no function.
    """
    module_name, colon, function_name = name.partition(":")
    if not (colon and module_name and function_name):
        raise ConfigError(f"--resolver {name!r}: write package.module:function")
    try:
        found = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:
        raise ConfigError(f"--resolver {name}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"--resolver {name}: it is not a function")
    resolver: Resolver = found
    return resolver


class Inspector:
    """Finds the verdicts of tasks."""

    def __init__(self, setup: WorkerSetup, slot: Slot) -> None:
        self.setup = setup
        self.slot = slot
        self.resolver = load_resolver(setup.resolver) if setup.resolver else None
        self.careful = Reader(setup.roots, setup.chunk_bytes)
        self.reader = Reader(setup.roots, setup.chunk_bytes, setup.use_mmap)
        self.read_bytes = 0

    def inspect(self, unit_no: int, tasks: Sequence[Task], first: int) -> list[Result]:
        """The results of a small group of tasks, in their order.

        The small files are read, then hashed by one call; whatever is not as simple as that (a
        large file, one that is missing or moves, a hash to be confirmed) follows one by one. At
        a file that takes long the results end; it is the first of the next call.

        Raises:
            RootMissingError: a root is gone, so that no verdict can be had.
            Stopped: the run stops.
        """
        results: list[Result | None] = [None] * len(tasks)
        later = self._read_and_hash(unit_no, tasks, first, results)
        for i in sorted(later):
            self.slot.note(unit_no, first + i)
            if i > 0 and results[i] is None and self._takes_long(tasks[i]):
                tasks = tasks[:i]
                break
            results[i] = self._inspect_alone(tasks[i], results[i])
        self.slot.idle()
        return self._look_twice(tasks, [r for r in results[: len(tasks)] if r is not None])

    def _read_and_hash(
        self, unit_no: int, tasks: Sequence[Task], first: int, results: list[Result | None]
    ) -> list[int]:
        """Fills in what is simple; returns the indices of what is not."""
        later: list[int] = []
        read: list[int] = []
        found: list[Small] = []
        for i, task in enumerate(tasks):
            if task.preset is not None:
                results[i] = _without_hash(task, task.preset, task.detail)
                continue
            self.slot.note(unit_no, first + i)
            try:
                paths = self._paths(task)
            except PathRefusedError as refused:
                results[i] = _without_hash(task, refused.verdict, refused.detail)
                continue
            small = None if task.careful else self.reader.read_small(paths[0])
            if small is None:
                later.append(i)
            else:
                read.append(i)
                found.append(small)
        digests = digest_many([small[0] for small in found])
        for i, (_, size_bytes, mtime_ns, read_at_ns), sha256 in zip(
            read, found, digests, strict=True
        ):
            task = tasks[i]
            self.read_bytes += size_bytes
            results[i] = _hashed(task, sha256, size_bytes, mtime_ns, read_at_ns)
            if task.stored_sha256 is not None and _differs(task, sha256):
                later.append(i)
        return later

    def _takes_long(self, task: Task) -> bool:
        try:
            return self.reader.takes_long(self._paths(task))
        except PathRefusedError:
            return False

    def _paths(self, task: Task) -> list[bytes]:
        text = task.path
        if self.resolver is not None:
            try:
                found = self.resolver(text)
            except Exception as error:
                detail = f"the resolver raised {type(error).__name__}: {error}"
                raise PathRefusedError(Verdict.UNREADABLE, detail) from error
            if found is None:
                raise PathRefusedError(Verdict.NO_FILE, "the resolver knows no file for it")
            raw = os.fsencode(found)
            text = raw.decode("utf-8", "surrogateescape")
            return candidates(text, self.setup.roots)
        return candidates(text, self.setup.roots)

    def _inspect_alone(self, task: Task, before: Result | None) -> Result:
        """One file by the long way: streamed, tried again, a new hash confirmed."""
        reader = self.careful if task.careful else self.reader
        try:
            paths = self._paths(task)
            if before is None:
                state = reader.digest(paths, self.slot)
                self.read_bytes += state.read_bytes
                before = _from_state(task, state)
            if before.sha256 is not None and _differs(task, before.sha256):
                return self._confirm_difference(task, paths, reader, before)
        except (FileProblemError, PathRefusedError) as problem:
            return _without_hash(task, problem.verdict, problem.detail)
        return before

    def _confirm_difference(
        self, task: Task, paths: list[bytes], reader: Reader, before: Result
    ) -> Result:
        """Reads past the page cache until two reads agree, or one says that nothing drifted."""
        seen = [before.sha256 or b""]
        for _ in range(REREADS):
            state = reader.digest(paths, self.slot, past_cache=True)
            self.read_bytes += state.read_bytes
            again = _from_state(task, state)
            agreed = state.sha256 == seen[-1]
            if not agreed:
                log.warning(
                    "row %s: two reads of one file disagree: %s, then %s: %s",
                    task.row_id,
                    seen[-1].hex(),
                    state.sha256.hex(),
                    task.path,
                    extra=logs.event("reads_disagree", row_id=task.row_id, path=task.path),
                )
            if agreed or not _differs(task, state.sha256):
                return again._replace(reread=True)
            seen.append(state.sha256)
        return _without_hash(
            task, Verdict.UNSTABLE, "reads disagree: " + ", ".join(s.hex() for s in seen)
        )

    def _look_twice(self, tasks: Sequence[Task], results: list[Result]) -> list[Result]:
        """A file is missing only if its root was there before and after a second look."""
        doubtful = [
            i
            for i, result in enumerate(results)
            if tasks[i].preset is None and result.verdict in (Verdict.NO_FILE, Verdict.UNREADABLE)
        ]
        if doubtful:
            self._check_roots()
            for i in doubtful:
                if results[i].verdict == Verdict.NO_FILE:
                    results[i] = self._second_look(tasks[i])
            self._check_roots()
        return results

    def _second_look(self, task: Task) -> Result:
        result = self._inspect_alone(task, None)
        if result.verdict == Verdict.NO_FILE and not task.path.isascii():
            try:
                other = self.reader.other_form(self._paths(task))
            except PathRefusedError:
                return result
            if other is not None:
                return result._replace(detail=f"{result.detail}; {other}")
        return result

    def _check_roots(self) -> None:
        found = missing_root(self.setup.roots, self.setup.root_sentinel)
        if found is not None:
            raise RootMissingError(found[0], found[1])


class RootMissingError(Exception):
    """A root is not what it was at the start."""

    def __init__(self, root: Root, detail: str) -> None:
        super().__init__(detail)
        self.root = root
        self.detail = detail


def _differs(task: Task, sha256: bytes) -> bool:
    return task.stored_sha256 is not None and task.stored_sha256.lower() != sha256.hex()


def _hashed(task: Task, sha256: bytes, size: int, mtime_ns: int, read_at_ns: int) -> Result:
    if not -BIGINT_MAX <= mtime_ns <= BIGINT_MAX:  # a time before 1677 or after 2262
        mtime_ns = BIGINT_MAX if mtime_ns > 0 else -BIGINT_MAX
    return Result(task.row_id, task.path, task.marker, "hashed", sha256, size, mtime_ns, read_at_ns)


def _from_state(task: Task, state: FileState) -> Result:
    return _hashed(task, state.sha256, state.size_bytes, state.mtime_ns, state.read_at_ns)


def _without_hash(task: Task, verdict: str, detail: str | None) -> Result:
    return Result(task.row_id, task.path, task.marker, str(verdict), detail=detail)


def process(unit: Unit, inspector: Inspector) -> Iterator[Part | RootGone]:
    """The unit's parts as they become known, in key order.

    Raises:
        Stopped: the run stops; what was found out until then has been yielded.
    """
    sent = looked_at = 0  # tasks
    pending: list[Result] = []
    sent_at_s = time.monotonic()
    ending: Stopped | RootMissingError | None = None
    while looked_at < len(unit.tasks):
        group = unit.tasks[looked_at : looked_at + GROUP_FILES]
        try:
            inspector.slot.advance(0)  # raises Stopped
            results = inspector.inspect(unit.unit_no, group, looked_at)
        except (Stopped, RootMissingError) as reason:
            ending = reason
            break
        pending += results
        looked_at += len(results)
        long_read_next = len(results) < len(group)
        if long_read_next or time.monotonic() - sent_at_s >= FLUSH_EVERY_S:
            yield _part(unit, sent, pending, inspector)
            sent, pending, sent_at_s = looked_at, [], time.monotonic()
    if pending:
        yield _part(unit, sent, pending, inspector)
    if isinstance(ending, RootMissingError):
        yield RootGone(unit.unit_no, os.fsdecode(ending.root.path), ending.detail)
    elif ending is not None:
        raise ending


def _part(unit: Unit, done: int, results: list[Result], inspector: Inspector) -> Part:
    read_bytes, inspector.read_bytes = inspector.read_bytes, 0
    return Part(
        unit.unit_no,
        unit.range_no,
        unit.term,
        unit.tasks[done - 1].row_id if done else unit.after_id,
        results[-1].row_id,
        len(results),
        parts.pack(results),
        read_bytes,
        sweep=unit.sweep,
    )


def main() -> None:
    """Runs until its input ends: arguments are the coordinator's pid and the slot's descriptor."""
    child.become_child(int(sys.argv[1]))
    source, sink = child.take_pipes()
    setup = wire.read(source)
    if setup is None:
        return
    logs.set_up(setup.log_format)
    inspector = Inspector(setup, Slot(int(sys.argv[2])))
    try:
        while (unit := wire.read(source)) is not None:
            for message in process(unit, inspector):
                wire.write(sink, message)
    except (Stopped, BrokenPipeError):
        pass
    os._exit(0)  # nothing is buffered that anybody still reads
