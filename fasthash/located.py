"""Where the files of some rows lie: found once a row, and noted before, for it may never come back.

A site's resolver may take long or end the process, and a look at a dead mount never returns; what
the worker was at then has to be known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from fasthash.files import Reader
from fasthash.fixity import Root, Task
from fasthash.paths import PathRefusedError, candidates
from fasthash.resolver import Resolver, resolve


class Located:
    """The paths and facts of a group of tasks, by their index in it.

    Args:
        tasks: the rows.
        roots: where files must lie.
        resolver: the site's own, or None.
        reader: looks at files.
        note: told the index of a task before anything that may take long.
        texts: what the resolver has said before, by row, and is not asked again.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        roots: Sequence[Root],
        resolver: Resolver | None,
        reader: Reader,
        note: Callable[[int], None],
        texts: dict[str, str | PathRefusedError],
    ) -> None:
        self._tasks = tasks
        self._roots = roots
        self._resolver = resolver
        self._reader = reader
        self._note = note
        self._texts = texts
        self._facts: dict[int, os.stat_result | None] = {}

    def text(self, index: int) -> str:
        """What stands for the task's path: the catalog's text, or what the resolver makes of it.

        Raises:
            PathRefusedError: the resolver knows none.
        """
        task = self._tasks[index]
        if self._resolver is None:
            return task.path
        found = self._texts.get(task.row_id)
        if found is None:
            self._note(index)
            try:
                found = resolve(self._resolver, task.path)
            except PathRefusedError as refused:
                found = refused
            self._texts[task.row_id] = found
        if isinstance(found, PathRefusedError):
            raise found
        return found

    def paths(self, index: int) -> list[bytes]:
        """The paths to try for a task.

        Raises:
            PathRefusedError: there is none.
        """
        return candidates(self.text(index), self._roots)

    def facts(self, index: int) -> os.stat_result | None:
        """The facts of a task's file, by name; None where there is none."""
        if index not in self._facts:
            try:
                paths = self.paths(index)
                self._note(index)
                self._facts[index] = self._reader.facts(paths)
            except PathRefusedError:
                self._facts[index] = None
        return self._facts[index]

    def size_bytes(self, index: int) -> int:
        """The size of a task's file; 0 where there is none."""
        facts = self.facts(index)
        return 0 if facts is None else facts.st_size
