"""The facts of roots, and whether files are where the catalog says: asked of a helper process.

A dead network mount holds whoever touches it, for ever perhaps: the helper is left to it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fasthash import asking, child, disks, files, paths, roots
from fasthash.doctor.mounts import find_mount, plain, read_mounts
from fasthash.facts import RootFacts, SampledFiles
from fasthash.fixity import Root
from fasthash.paths import PathRefusedError
from fasthash.problems import FileProblemError
from fasthash.resolver import load_resolver, resolve
from fasthash.shortage import ShortageError

FSTAB = "/etc/fstab"
# A disk that has gone to sleep takes this long to wake up.
ANSWER_S = 10.0
# Opening a file of a busy disk takes 20 ms; what is not reached in time is left out.
FILES_S = 5.0


def look_at_root(name: str, sentinel: str | None) -> RootFacts:
    """The facts of a root; `silent` where its file system does not answer."""
    found = _ask(("root", name, sentinel), ANSWER_S)
    if isinstance(found, RootFacts):
        return found
    path = os.path.abspath(os.fsdecode(paths.decode(name)))
    mount = find_mount(path, read_mounts())  # by its name alone, without touching it
    where = (mount.point, mount.file_system, mount.source) if mount is not None else ("", "", "")
    return RootFacts(
        name, path, mount_point=where[0], file_system=where[1], source=where[2], silent=True
    )


def look_at_files(
    texts: Sequence[str], found: Sequence[RootFacts], resolver: str | None
) -> SampledFiles:
    """What becomes of catalog paths beneath the roots, as far as there is time for them."""
    beneath = [
        Root(os.fsencode(r.path), os.fsencode(r.real_path), r.device, r.inode) for r in found
    ]
    answer = _ask(("files", list(texts), beneath, resolver), FILES_S + ANSWER_S)
    return answer if isinstance(answer, SampledFiles) else SampledFiles(silent=True)


def is_there(path: str) -> bool | None:
    """Whether there is anything of that name; None where the file system does not answer."""
    answer = _ask(("there", path), ANSWER_S)
    return answer if isinstance(answer, bool) else None


def _ask(question: tuple[Any, ...], within_s: float) -> object | None:
    """The helper's answer; None where it has none in time."""
    with asking.Helper("fasthash.doctor.places") as helper:
        answers = helper.ask(question, within_s)
    return answers[0] if answers else None


def main() -> None:
    """Answers one question."""
    child.answer(_look)


def _look(question: tuple[Any, ...]) -> list[object]:
    kind, *rest = question
    looks: dict[str, Callable[..., object]] = {
        "root": root_facts,
        "files": sample_files,
        "there": os.path.lexists,
    }
    return [looks[kind](*rest)]


def root_facts(name: str, sentinel: str | None) -> RootFacts:
    """The facts of a root, at once."""
    path = os.path.abspath(os.fsdecode(paths.decode(name)))
    bare = RootFacts(name, path)
    try:
        root = roots.find_root(path)
    except (OSError, ValueError) as error:
        return _no_root(bare, error)
    except ShortageError as short:
        return _no_root(bare, short.error)
    real_path = os.fsdecode(root.real_path)
    facts = replace(
        bare,
        readable=os.access(real_path, os.R_OK, effective_ids=True),
        searchable=os.access(real_path, os.X_OK, effective_ids=True),
        rights=_rights(real_path),
        in_fstab=_in_fstab(path),
        real_path=real_path,
        device=root.device,
        inode=root.inode,
        claims_rotational=disks.claims_rotational(root.device),
        is_rotational=disks.is_rotational(root.device),
    )
    if sentinel is not None:
        try:
            roots.find_root(path, sentinel)
        except (OSError, ShortageError) as error:
            cause = error.error if isinstance(error, ShortageError) else error
            facts = replace(facts, sentinel=os.strerror(cause.errno or 0))
    return _with_file_system(facts)


def _no_root(bare: RootFacts, error: OSError | ValueError) -> RootFacts:
    why = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
    blocked = _blocked_at(bare.path) if isinstance(error, PermissionError) else None
    rights, listed = _rights(blocked or bare.path), _in_fstab(bare.path)
    return replace(bare, error=why, blocked_at=blocked, rights=rights, in_fstab=listed)


def _with_file_system(facts: RootFacts) -> RootFacts:
    with contextlib.suppress(OSError):  # not every file system has it
        space = os.statvfs(facts.real_path)
        size, free = space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize
        facts = replace(facts, size_bytes=size, free_bytes=free)
    mount = find_mount(facts.real_path, read_mounts())
    if mount is None:
        return facts
    return replace(
        facts,
        mount_point=mount.point,
        file_system=mount.file_system,
        source=mount.source,
        options=tuple(dict.fromkeys((*mount.options, *mount.super_options))),
        is_network=mount.is_network,
    )


def _in_fstab(path: str) -> bool:
    """Whether `mount PATH` would know what to do."""
    try:
        with open(FSTAB, encoding="utf-8", errors="surrogateescape") as file:
            fields = [line.split() for line in file if not line.lstrip().startswith("#")]
    except OSError:
        return False
    return any(len(words) > 1 and plain(words[1]) == path for words in fields)


def _blocked_at(path: str) -> str | None:
    """The directory on the way that does not let us through."""
    place = "/"
    for part in os.path.realpath(path).split("/")[1:]:
        if not os.access(place, os.X_OK, effective_ids=True):
            return place
        place = os.path.join(place, part)
    return None


def _rights(place: str) -> str:
    """Whose permissions count for us: the owner's, the group's or those of others."""
    try:
        facts = os.stat(place)
    except (OSError, ValueError):
        return "o"
    if facts.st_uid == os.geteuid():
        return "u"
    return "g" if facts.st_gid in (os.getegid(), *os.getgroups()) else "o"


def sample_files(
    texts: Sequence[str], beneath: Sequence[Root], resolver_name: str | None
) -> SampledFiles:
    """What becomes of catalog paths, at once: opened, not read."""
    resolver = load_resolver(resolver_name) if resolver_name else None
    reader = files.Reader(beneath, chunk_bytes=4096)
    verdicts: Counter[str] = Counter()
    examples: dict[str, tuple[str, str]] = {}
    until_s = time.monotonic() + FILES_S
    for text in texts:
        if time.monotonic() > until_s:
            break
        try:
            path = resolve(resolver, text) if resolver is not None else text
            os.close(reader.open(paths.candidates(path, beneath)).descriptor)
        except ShortageError:
            break  # it says nothing of the file
        except (FileProblemError, PathRefusedError) as problem:
            verdict, detail = str(problem.verdict), problem.detail
        else:
            verdict, detail = "ok", ""
        verdicts[verdict] += 1
        examples.setdefault(verdict, (text, detail))
    no_atime = reader.spares_atime if verdicts["ok"] else None
    return SampledFiles(verdicts.total(), dict(verdicts), examples, no_atime)
