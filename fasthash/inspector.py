"""From tasks to results: which file a row names, what it holds, and what to believe."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from fasthash import disks, logs
from fasthash.files import FileState, Reader
from fasthash.fixity import Result, Root, Task, Verdict
from fasthash.pairs import Pairs
from fasthash.paths import PathRefusedError, candidates, plain_name
from fasthash.problems import FileProblemError, other_form
from fasthash.resolver import load_resolver, resolve
from fasthash.roots import missing_root
from fasthash.slot import Slot
from fasthash.small import Small, SmallFiles
from fasthash.units import MOST_ROWS

log = logging.getLogger("fasthash")

# Files that are open at a time: their reads can overlap and their hashing comes in one call.
GROUP_FILES = 32
# Reads of a file whose hash is not the stored one, until two in a row agree.
REREADS = 3

# What a root that is gone, or another one, makes of good files.
_DOUBTFUL = frozenset({Verdict.NO_FILE, Verdict.UNREADABLE, Verdict.OUTSIDE_ROOT})

BIGINT_MAX = 2**63 - 1  # what PostgreSQL stores


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker has to know: the first message it gets."""

    roots: tuple[Root, ...]
    root_sentinel: str | None
    chunk_bytes: int
    use_mmap: bool
    resolver: str | None
    log_format: str
    seek_order: bool = False


class RootMissingError(Exception):
    """A root is not what it was at the start."""

    def __init__(self, root: Root, detail: str) -> None:
        super().__init__(detail)
        self.root = root
        self.detail = detail


class Inspector:
    """Finds the verdicts of tasks."""

    def __init__(self, setup: WorkerSetup, slot: Slot) -> None:
        self.setup = setup
        self.slot = slot
        self.resolver = load_resolver(setup.resolver) if setup.resolver else None
        self.careful = Reader(setup.roots, setup.chunk_bytes)
        self.reader = Reader(setup.roots, setup.chunk_bytes, setup.use_mmap)
        self.small = SmallFiles(setup.roots, slot)
        self.pairs = Pairs(self.reader, self.small.native)
        self.read_bytes = 0
        # Where heads have to move a whole unit is put in order.
        self.group_files = MOST_ROWS if setup.seek_order else GROUP_FILES

    def inspect(self, unit_no: int, tasks: Sequence[Task], first: int) -> list[Result]:
        """The results of a small group of tasks, in their order.

        The small files are read and hashed together; whatever is not as simple as that (a large
        file, one that is missing or moves, a hash to be confirmed) follows one by one. At a file
        that takes long the results end; it is the first of the next call.

        Raises:
            RootMissingError: a root is gone, so that no verdict can be had.
            Stopped: the run stops.
        """
        results: list[Result | None] = [None] * len(tasks)
        later = self._read_together(unit_no, tasks, first, results)
        if later:
            self._check_roots()
        for i, j in itertools.zip_longest(later, later[1:]):
            self.slot.note(unit_no, first + i)
            if i > 0 and results[i] is None and self._takes_long(tasks[i]):
                tasks = tasks[:i]
                break
            if j is not None and results[i] is results[j] is None:
                self._read_two(unit_no, tasks, first, results, (i, j))
            results[i] = self._inspect_alone(tasks[i], results[i])
        if later:
            self._check_roots()  # what was read meanwhile was read beneath them
        found = [r for r in results[: len(tasks)] if r is not None]
        self._look_twice(unit_no, tasks, first, found)
        self.slot.idle()
        return found

    def _read_together(
        self, unit_no: int, tasks: Sequence[Task], first: int, results: list[Result | None]
    ) -> list[int]:
        """Fills in what is simple; returns the indices of what is not, in order."""
        later: list[int] = []
        names: dict[int, list[bytes | None]] = {}  # by root
        for i, task in enumerate(tasks):
            if task.preset is not None:
                results[i] = _without_hash(task, task.preset, task.detail)
                continue
            text = task.path
            if self.resolver is not None:
                self.slot.note(unit_no, first + i)  # it may take long, or the process with it
                try:
                    text = resolve(self.resolver, text)
                except PathRefusedError as refused:
                    results[i] = _without_hash(task, refused.verdict, refused.detail)
                    continue
            plain = None if task.careful else plain_name(text, self.setup.roots)
            if plain is None:
                later.append(i)
            else:
                names.setdefault(plain[0], [None] * len(tasks))[i] = plain[1]
        for root_no, wanted in names.items():
            states = self._read_small(self.setup.roots[root_no], wanted, unit_no, first)
            if states is None:
                self._check_roots()
                states = [None] * len(tasks)
            for i, state in enumerate(states):
                if state is not None:
                    self.read_bytes += state[1]
                    results[i] = _hashed(tasks[i], *state)
                if wanted[i] is not None and (state is None or _differs(tasks[i], state[0])):
                    later.append(i)
        return sorted(later)

    def _read_small(
        self, root: Root, wanted: Sequence[bytes | None], unit_no: int, first: int
    ) -> Sequence[Small | None] | None:
        """As `SmallFiles.read`; one by one along the disk, where its heads have to move."""
        if not self.setup.seek_order:
            return self.small.read(root, wanted, unit_no, first)
        places = [
            (disks.position(root.path + b"/" + name), i, name)
            for i, name in enumerate(wanted)
            if name is not None
        ]
        states: list[Small | None] = [None] * len(wanted)
        for _, i, name in sorted(places):
            self.slot.advance(0)  # raises Stopped
            found = self.small.read(root, [name], unit_no, first + i)
            if found is None:
                return None
            states[i] = found[0]
        return states

    def _read_two(
        self,
        unit_no: int,
        tasks: Sequence[Task],
        first: int,
        results: list[Result | None],
        places: tuple[int, int],
    ) -> None:
        """Fills in what two large files come to, if both are simple."""
        if any(tasks[i].careful for i in places):
            return
        try:
            one, other = (self._paths(tasks[i]) for i in places)
        except PathRefusedError:
            return

        def note(which: int, since_ns: int, read_bytes: int) -> None:
            self.slot.switch(unit_no, first + places[which], since_ns, read_bytes)

        for i, state in zip(places, self.pairs.digest(one, other, note), strict=True):
            if state is not None:
                self.read_bytes += state.read_bytes
                results[i] = _from_state(tasks[i], state)
        self.slot.note(unit_no, first + places[0])

    def _takes_long(self, task: Task) -> bool:
        try:
            return self.reader.takes_long(self._paths(task))
        except PathRefusedError:
            return False

    def _paths(self, task: Task) -> list[bytes]:
        text = task.path if self.resolver is None else resolve(self.resolver, task.path)
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

    def _look_twice(
        self, unit_no: int, tasks: Sequence[Task], first: int, results: list[Result]
    ) -> None:
        """A file is missing only if its root was there before and after a second look."""
        doubtful = [
            i
            for i, result in enumerate(results)
            if result.verdict in _DOUBTFUL and tasks[i].preset is None
        ]
        if doubtful:
            self._check_roots()
            for i in doubtful:
                if results[i].verdict == Verdict.NO_FILE:
                    self.slot.note(unit_no, first + i)
                    results[i] = self._second_look(tasks[i])
            self._check_roots()

    def _second_look(self, task: Task) -> Result:
        result = self._inspect_alone(task, None)
        if result.verdict == Verdict.NO_FILE and not task.path.isascii():
            try:
                other = other_form(self._paths(task))
            except PathRefusedError:
                return result
            if other is not None:
                return result._replace(detail=f"{result.detail}; {other}")
        return result

    def _check_roots(self) -> None:
        found = missing_root(self.setup.roots, self.setup.root_sentinel)
        if found is not None:
            raise RootMissingError(found[0], found[1])


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
