"""The helper that looks at roots, and for the files of some rows, before a run begins.

It is a process of its own: a dead mount holds whoever touches it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from fasthash import child, paths
from fasthash.evidence import Look
from fasthash.files import Reader
from fasthash.fixity import Root, Verdict
from fasthash.paths import PathRefusedError
from fasthash.problems import FileProblemError
from fasthash.roots import find_roots
from fasthash.shortage import ShortageError

MODULE = "fasthash.probe"
# Of these a file is known not to be where the catalog says.
ABSENT = (Verdict.NO_FILE, Verdict.OUTSIDE_ROOT)


@dataclass(frozen=True, slots=True)
class Question:
    """Roots, and rows whose files should be beneath them.

    Args:
        roots: names of directories.
        sentinel: a name that has to exist beneath each, or None.
        rows: ids and paths.
    """

    roots: tuple[str, ...]
    sentinel: str | None
    rows: tuple[tuple[str, str], ...] = ()


def main() -> None:
    """The helper process."""
    child.answer(_answer)


def _answer(question: Question) -> Iterator[Root | str | Look]:
    """The roots, or what is wrong with each; then the rows."""
    found = []
    for root in find_roots(question.roots, question.sentinel):
        found.append(root)
        yield root
    beneath = [root for root in found if isinstance(root, Root)]
    if len(beneath) == len(question.roots):
        yield from _look_for(question, beneath)


def _look_for(question: Question, beneath: Sequence[Root]) -> Iterable[Look]:
    reader = Reader(beneath, chunk_bytes=4096)
    for row_id, text in question.rows:
        look = Look(row_id, text, None)
        try:
            opened = reader.open(paths.candidates(text, beneath))
        except (FileProblemError, PathRefusedError) as problem:
            absent = problem.verdict in ABSENT
            yield replace(look, is_there=False if absent else None, detail=problem.detail)
        except ShortageError:
            yield look
        else:
            os.close(opened.descriptor)
            facts = opened.facts
            yield replace(look, is_there=True, size_bytes=facts.st_size, mtime_ns=facts.st_mtime_ns)
