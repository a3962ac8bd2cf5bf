"""How each situation of a row and its file is judged: docs/verdicts.md."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from fasthash import drift
from fasthash.drift import Stamps
from fasthash.fixity import DriftKind

EITHER, SAME, MOVED = "either", "same", "moved"
# What the ledger has of the hash that is compared.
STAMPS, MARKER, NOTHING = "stamps", "no stamps", "nothing"


class Situation(NamedTuple):
    """A row and its file. What is `either` makes no difference."""

    stored: str  # the row's hash: `the file's`, `another`, `none`, `no hash`
    marker: str  # yes, no, either
    ledger: str  # what it knows
    content: str  # against the hash that is compared: same, other
    size: str = EITHER
    mtime: str = EITHER
    ctime: str = EITHER  # and inode: with a chmod, a link, a rename, a copy, a restore

    def expanded(self) -> Iterator[Situation]:
        """Each of those that it stands for."""
        ways = [
            (SAME, MOVED) if value == EITHER and name in ("size", "mtime", "ctime") else (value,)
            for name, value in self._asdict().items()
        ]
        for values in itertools.product(*ways):
            found = Situation(*values)
            if not (found.content == SAME and found.size == MOVED):
                yield found


def of_another_content() -> Iterator[Situation]:
    """Files whose content is not what the stored or the last known hash is of."""
    for stored, marker, ledger in (
        ("another", "yes", STAMPS),
        ("another", "yes", MARKER),
        ("another", "no", STAMPS),
        ("none", "no", STAMPS),
    ):
        yield Situation(stored, marker, ledger, "other", size=MOVED)
        yield Situation(stored, marker, ledger, "other", size=SAME, mtime=MOVED)
        yield Situation(stored, marker, ledger, "other", size=SAME, mtime=SAME)
    yield Situation("another", "no", NOTHING, "other")
    yield Situation("no hash", "either", NOTHING, "other")


SITUATIONS = (
    Situation("the file's", "yes", EITHER, SAME),
    Situation("the file's", "no", EITHER, SAME),
    Situation("none", "no", STAMPS, SAME),
    Situation("none", "no", NOTHING, EITHER),
    *of_another_content(),
)


def kind_of(situation: Situation) -> DriftKind:
    """The kind of a drift, by the program itself; the same for all that a situation stands for."""
    kinds = {drift.classify(_moved(one)) for one in situation.expanded()}
    if len(kinds) != 1:
        raise AssertionError(f"{situation} is judged in several ways: {kinds}")
    return kinds.pop()


_HASHED_AT_NS = 1_000_000_000_000
_MARKER = "1970-01-01T00:16:40.000000Z"


def _moved(one: Situation) -> tuple[str, ...] | None:
    if one.stored == "no hash" or one.ledger == NOTHING:
        return None
    known = Stamps(7, 5, 6)
    later = {SAME: 0, MOVED: _HASHED_AT_NS}
    found = Stamps(
        8 if one.size == MOVED else 7, 5 + later[one.mtime], 6 + later[one.ctime], inode=0
    )
    return drift.moved(_MARKER, 7, found, known if one.ledger == STAMPS else None)


class Judged(NamedTuple):
    """What a run and a scrub make of a situation."""

    by_run: str
    by_scrub: str


NOT_READ = "not read"


def judged(situation: Situation) -> Judged:
    """What a run and a scrub make of a situation, without `--on-drift`."""
    is_marked = situation.marker == "yes"
    if situation.content != "other":
        by = "confirmed" if situation.stored == "the file's" else "hashed"
        return Judged(NOT_READ, by) if is_marked else Judged(by, NOT_READ)
    kind = kind_of(situation)
    by_run, by_scrub = (
        f"**{kind}**, {'overwritten' if drift.is_overwritten(kind, policy) else 'held'}"
        for policy in ("backfill", "scrub")
    )
    return Judged(NOT_READ, by_scrub) if is_marked else Judged(by_run, NOT_READ)


HEAD = """\
# How files are judged

What a `run` and a `scrub` make of a row and its file, in every combination of what the row holds,
what the ledger knows, and what became of the file. This page is made from the program's own rules
(`make docs`), and a test does each combination with real files.

A **run** reads rows without a marker (`file_sha256_computed_at`), a **scrub** rows with one. A
marker counts only beside a hash, and only if it is a time. The content is compared with the row's
hash, or, where the row has lost it, with the last one that the ledger knows for the row and its
path.

- `hashed`: there was nothing to compare with, or the row had lost the hash of this very content;
  it is written.
- `confirmed`: the hash is the file's, whatever its times say; size and marker are written.
- **modified**: size or mtime are others than when the hash was made, as of a file that somebody
  changed.
- **corrupt**: another content under the same size and mtime. What moves with a `chmod`, a link, a
  rename, a copy, a restore or a new mount (ctime, inode, device) says nothing of the content, and
  excuses nothing.
- **unknown**: nothing tells a changed file from a rotten one.
- *overwritten*: the new hash is written; the old one stays in the ledger, and the log names it.
- *held*: the row keeps its hash, the drift is open, and waits for `fasthash drift accept` or
  `reject`.

Where the ledger has no stamps of the hash (another job wrote it), the marker stands in for them:
a time that is later than the marker has moved.

| row's hash | marker | ledger knows | content | size | mtime | ctime, inode | `run` | `scrub` |
|---|---|---|---|---|---|---|---|---|
"""

FOOT = """
`--on-drift overwrite` overwrites whatever the kind, and `--on-drift hold` holds it.

Files that gave no hash are no drift, and the row keeps what it has:

| the file | verdict, by both |
|---|---|
| is not there, while its root is | `no_file` |
| its root is gone, or another one | the run is held until it is back |
| could not be read, after several tries | `unreadable` |
| gives more or fewer bytes than its size, and stands still (as in /proc) | `unreadable` |
| changed in each of several reads, or two reads disagree | `unstable` |
| leads out of the roots | `outside_root` |
| is a folder, a pipe, a device | `not_regular` |

Whatever differs is read a second time, past the page cache, before it is called so.
"""


def verdicts_page() -> str:
    """docs/verdicts.md."""
    lines = []
    for situation in SITUATIONS:
        cells = [*situation, *judged(situation)]
        lines.append(f"| {' | '.join('' if cell == EITHER else cell for cell in cells)} |\n")
    return f"{HEAD}{''.join(lines)}\nAn empty cell: it makes no difference.\n{FOOT}"
