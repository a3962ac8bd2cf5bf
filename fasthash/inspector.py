"""From tasks to results: which file a row names, what it holds, and what to believe."""

from __future__ import annotations

import itertools
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fasthash import files, verdicts
from fasthash.alone import Alone, from_state, is_checked, judge_check
from fasthash.files import WHOLE_FILE_BYTES
from fasthash.fixity import Result, Root, Task, Verdict
from fasthash.hashing import ONLY_SHA256, ONLY_XXH3, Algorithms
from fasthash.located import Located
from fasthash.pace import Pace
from fasthash.pairs import Pairs
from fasthash.paths import PathRefusedError, plain_name
from fasthash.resolver import load_resolver
from fasthash.roots import RootMissingError, look_again
from fasthash.shortage import ShortageError, describe, waited_out
from fasthash.slot import Slot
from fasthash.small import Small, SmallFiles
from fasthash.units import MOST_ROWS

# Files that are open at a time: their reads can overlap and their hashing comes in one call.
GROUP_FILES = 32

# What a root that is gone, or another one, makes of good files.
_DOUBTFUL = frozenset({Verdict.NO_FILE, Verdict.UNREADABLE, Verdict.OUTSIDE_ROOT})


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
    algorithms: Algorithms = ONLY_SHA256
    nice: int = 0
    ionice: str | None = None
    run_id: int | None = None
    import_paths: tuple[str, ...] = ()


class Inspector:
    """Finds the verdicts of tasks."""

    def __init__(self, setup: WorkerSetup, slot: Slot, pace: Pace | None = None) -> None:
        self.setup = setup
        self.slot = slot
        self.pace = pace or Pace(slot)
        self.resolver = load_resolver(setup.resolver) if setup.resolver else None
        self.alone = Alone(
            setup.roots,
            setup.chunk_bytes,
            setup.use_mmap,
            setup.algorithms,
            self.resolver,
            self.pace,
        )
        self.small = SmallFiles(setup.roots, slot, along_disk=setup.seek_order)
        self.pairs = Pairs(self.alone.reader, self.small.native, self.pace)
        self.out_of_budget = False
        self._sizes: Sequence[int] = ()  # of the group in hand, where they have to be known
        self._texts: dict[str, str | PathRefusedError] = {}  # of the unit in hand, by row
        self._texts_of = 0
        self._read_bytes = 0

    def take_read_bytes(self) -> int:
        """What was read since the last call."""
        read_bytes = self._read_bytes + self.alone.read_bytes
        self._read_bytes = self.alone.read_bytes = 0
        return read_bytes

    @property
    def group_files(self) -> int:
        """How many files to look at next; where heads have to move, a whole unit in order."""
        return self.pace.group_files(MOST_ROWS if self.setup.seek_order else GROUP_FILES)

    def inspect(self, unit_no: int, tasks: Sequence[Task], first: int) -> list[Result]:
        """The results of a small group of tasks, in their order.

        The small files are read and hashed together; whatever is not as simple as that (a large
        file, one that is missing or moves, a hash to be confirmed) follows one by one. At a file
        that takes long the results end; it is the first of the next call. So they do, perhaps
        before the first, where nothing may be read now or no more of the budget.

        Raises:
            RootMissingError: a root is gone, so that no verdict can be had.
            OutOfResources: nothing can be opened, so that none can be had either.
            Stopped: the run stops.
        """
        if self.pace.closed:
            self.out_of_budget = False
            return []
        located = self._locate(unit_no, tasks, first)
        results = [
            self._unread(located, i, task) if task.preset or task.known else None
            for i, task in enumerate(tasks)
        ]
        tasks = self._affordable(located, tasks, results)
        del results[len(tasks) :]
        later = self._read_together(unit_no, tasks, first, results, located)
        if later:
            self._check_roots()
        for i, j in itertools.zip_longest(later, later[1:]):
            self.slot.note(unit_no, first + i)
            long_one = i > 0 and results[i] is None and self._takes_long(located, i)
            if long_one or (self.pace.closed and results[i] is None):
                tasks = tasks[:i]
                break
            if j is not None and results[i] is results[j] is None:
                self._read_two(unit_no, tasks, first, results, (i, j), located)
            results[i] = self.alone.inspect(tasks[i], results[i], located.text(i))
        if later:
            self._check_roots()  # what was read meanwhile was read beneath them
        found = [r for r in results[: len(tasks)] if r is not None]
        self._look_twice(unit_no, tasks, first, found)
        self.slot.idle()
        return found

    def _locate(self, unit_no: int, tasks: Sequence[Task], first: int) -> Located:
        if unit_no != self._texts_of:
            self._texts_of, self._texts = unit_no, {}

        def note(index: int) -> None:
            self.slot.note(unit_no, first + index)

        roots, reader = self.setup.roots, self.alone.reader
        return Located(tasks, roots, self.resolver, reader, note, self._texts)

    def _unread(self, located: Located, index: int, task: Task) -> Result | None:
        """The result of a task that needs no reading.

        That is one with a verdict, or one whose file has the very stamps that it had when it was
        hashed.
        """
        if task.preset is not None:
            return verdicts.unhashed(task, task.preset, task.detail)
        if task.known is None or task.known.xxh3 is not None:
            return None
        facts = located.facts(index)
        if facts is None or not stat.S_ISREG(facts.st_mode):
            return None
        same = verdicts.same_stamps(task.known, facts)
        return verdicts.prechecked(task, facts.st_size) if same else None

    def _affordable(
        self, located: Located, tasks: Sequence[Task], results: Sequence[Result | None]
    ) -> Sequence[Task]:
        """The first of the tasks, as many as may be begun now; their turn is waited for."""
        if not self.pace.limited:
            return tasks
        self._sizes = [
            located.size_bytes(i) if result is None else 0 for i, result in enumerate(results)
        ]
        self.slot.idle()  # whoever waits for his turn is in no file
        together = self.pace.together(self._sizes, WHOLE_FILE_BYTES)
        taken = self.pace.spend(self._sizes[:together])
        self.out_of_budget = taken == 0
        self.pace.take_files(taken)
        if self.pace.closed:  # by now
            self.out_of_budget = False
            return ()
        return tasks[:taken]

    def _read_together(
        self,
        unit_no: int,
        tasks: Sequence[Task],
        first: int,
        results: list[Result | None],
        located: Located,
    ) -> list[int]:
        """Fills in what is simple; returns the indices of what is not, in order."""
        later: list[int] = []
        names: dict[tuple[int, bool], list[bytes | None]] = {}  # by root and kind of check
        for i, task in enumerate(tasks):
            if results[i] is not None:
                continue
            text = task.path
            if self.resolver is not None:
                try:
                    text = located.text(i)
                except PathRefusedError as refused:
                    results[i] = verdicts.unhashed(task, refused.verdict, refused.detail)
                    continue
            plain = None if task.careful else plain_name(text, self.setup.roots)
            if plain is None:
                later.append(i)
            else:
                checked = is_checked(task)
                names.setdefault((plain[0], checked), [None] * len(tasks))[i] = plain[1]
        for (root_no, checked), wanted in names.items():
            made = ONLY_XXH3 if checked else self.setup.algorithms
            most_bytes = self.pace.piece_bytes(WHOLE_FILE_BYTES)
            states = self._read_small(root_no, wanted, (unit_no, first, made, most_bytes))
            for i, state in enumerate(states):
                if state is not None:
                    self._read_bytes += state[1]
                    found = verdicts.hashed(tasks[i], *state)
                    results[i] = judge_check(tasks[i], found) if checked else found
                elif wanted[i] is not None and self.pace.slowed and self._sizes[i] <= most_bytes:
                    self.pace.give_back(self._sizes[i])
                if wanted[i] is not None and self._is_open(tasks[i], results[i]):
                    later.append(i)
        return sorted(later)

    def _read_small(
        self, root_no: int, wanted: Sequence[bytes | None], wish: tuple[int, int, Algorithms, int]
    ) -> Sequence[Small | None]:
        """What `SmallFiles.read` finds beneath a root, which may have been mounted anew."""
        for _ in range(2):
            states = self.small.read(self.setup.roots[root_no], wanted, *wish)
            if states is not None:
                return states
            self._check_roots()
        return [None] * len(wanted)

    def _is_open(self, task: Task, found: Result | None) -> bool:
        """Whether more has to be done about a task."""
        return found is None or (found.sha256 is not None and verdicts.differs(task, found.sha256))

    def _read_two(
        self,
        unit_no: int,
        tasks: Sequence[Task],
        first: int,
        results: list[Result | None],
        places: tuple[int, int],
        located: Located,
    ) -> None:
        """Fills in what two large files come to, if both are simple."""
        if any(tasks[i].careful or is_checked(tasks[i]) for i in places):
            return
        try:
            one, other = (located.paths(i) for i in places)
        except PathRefusedError:
            return

        def note(which: int, since_ns: int, read_bytes: int) -> None:
            self.slot.switch(unit_no, first + places[which], since_ns, read_bytes)

        for i, state in zip(places, self.pairs.digest(one, other, note), strict=True):
            if state is not None:
                self._read_bytes += state.read_bytes
                results[i] = from_state(tasks[i], state)
        self.slot.note(unit_no, first + places[0])

    def _takes_long(self, located: Located, index: int) -> bool:
        return located.size_bytes(index) >= files.LONG_READ_BYTES

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
                    results[i] = self.alone.look_again(tasks[i])
            self._check_roots()

    def _check_roots(self) -> None:
        """Raises RootMissingError for a root that is gone; one that was mounted anew is taken."""
        setup = self.setup
        try:
            roots = waited_out(lambda: look_again(setup.roots, setup.root_sentinel), self.pace)
        except ShortageError as short:  # its own file system's
            raise RootMissingError(setup.roots[0], describe(short.error)) from short
        if roots != setup.roots:
            self.setup = replace(setup, roots=roots)
            self.alone.take_roots(roots)
            self.small.roots = roots
