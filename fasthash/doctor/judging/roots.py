"""What the facts of roots, and of some of the catalog's files, mean."""

from __future__ import annotations

import json
import posixpath
import shlex
from collections.abc import Iterator, Sequence

from fasthash.facts import Finding, Level, RootFacts, SampledFiles, Wishes
from fasthash.paths import is_beneath
from fasthash.summary import human_bytes

FULL_SHARE = 0.98
REGISTER = 'roots = ["/where/the/files/lie"]'


def judge(roots: Sequence[RootFacts], files: SampledFiles, wishes: Wishes) -> list[Finding]:
    """The findings."""
    found: list[Finding] = []
    if not roots:
        text = "no root is configured, and none was registered: where do the files lie?"
        found.append(Finding("roots.given", Level.PROBLEM, text, REGISTER))
    if wishes.resolver_refusal is not None:
        found.append(Finding("roots.resolver", Level.PROBLEM, wishes.resolver_refusal))
    there = [root for root in roots if root.error is None and not root.silent]
    rest = _key([root.path for root in there]) if there else REGISTER
    for root in roots:
        found += _there(root, wishes, rest)
    for root in there:
        found += [*_kind(root, wishes), *_space(root)]
    return [*found, *_nested(there), *_atime(there, files), *_files(files, there)]


def _key(paths: Sequence[str]) -> str:
    """The line of a configuration file; TOML has JSON's lists and texts, but no surrogates."""
    return f"roots = {json.dumps(paths, ensure_ascii=False)}"


def _there(root: RootFacts, wishes: Wishes, rest: str) -> Iterator[Finding]:
    """Whether a root can be used; `rest` is the configuration of those that can."""
    name = root.path
    if root.silent:
        text = f"{name}: {root.file_system} {root.source} does not answer (a dead network mount?)"
        place = shlex.quote(root.mount_point)
        remedy = f"umount -l {place} && mount {place}" if place not in ("''", "/") else ""
        yield Finding("roots.exists", Level.PROBLEM, text, remedy)
    elif root.error is not None and root.blocked_at is not None:
        text = f"{name}: this user may not pass through {root.blocked_at}"
        yield Finding("roots.access", Level.PROBLEM, text, _chmod(root, "x", root.blocked_at))
    elif root.error is not None:
        remedy = f"mount {shlex.quote(name)}" if root.in_fstab else rest
        yield Finding("roots.exists", Level.PROBLEM, f"{name}: {root.error}", remedy)
    elif not root.searchable:
        text = f"{name}: this user may not open anything in it"
        yield Finding("roots.access", Level.PROBLEM, text, _chmod(root, "x", root.real_path))
    elif root.sentinel is not None:
        text = f"{name}: sentinel {wishes.root_sentinel}: {root.sentinel}; is it mounted?"
        yield Finding("roots.sentinel", Level.PROBLEM, text, _mend_sentinel(root, wishes))
    else:
        yield from _readable(root)


def _mend_sentinel(root: RootFacts, wishes: Wishes) -> str:
    if root.in_fstab:
        return f"mount {shlex.quote(root.path)}"
    sentinel = posixpath.join(root.path, wishes.root_sentinel or "")
    return f"touch {shlex.quote(sentinel)}  # only if it is mounted"


def _readable(root: RootFacts) -> Iterator[Finding]:
    where = f"{root.file_system} {root.source}".strip()
    text = f"{root.path}: {where} on {root.mount_point}" if root.mount_point else root.path
    if root.readable:
        yield Finding("roots.exists", Level.OK, text)
    else:
        text = f"{root.path}: this user may not list it; a run can do without, `register` cannot"
        yield Finding("roots.access", Level.NOTE, text, _chmod(root, "r", root.real_path))


def _chmod(root: RootFacts, right: str, place: str) -> str:
    return f"chmod {root.rights}+{right} {shlex.quote(place)}"


def _kind(root: RootFacts, wishes: Wishes) -> Iterator[Finding]:
    check = "roots.disk"
    if root.is_network and wishes.reader == "mmap":
        text = f"{root.path}: with --reader mmap a file that shrinks on {root.file_system} kills"
        yield Finding(check, Level.WARNING, f"{text} its worker", 'reader = "readinto"')
    elif root.is_network:
        text = f"{root.path}: a network file system ({root.file_system}); never use --reader mmap"
        yield Finding(check, Level.NOTE, text)
    elif wishes.disk == "rotational" or (wishes.disk == "auto" and root.is_rotational):
        text = f"{root.path}: a rotational disk, read by one worker along the disk"
        if wishes.workers is not None and wishes.workers > 1:
            text = f"{root.path}: {wishes.workers} workers on a rotational disk make it seek"
            yield Finding(check, Level.WARNING, text, "workers = 1")
        else:
            yield Finding(check, Level.NOTE, text)
    elif wishes.disk == "auto" and root.claims_rotational:
        text = f"{root.path}: a virtual machine's disk says that it is rotational, as most of them"
        text += " do; it is not believed. If it is:"
        yield Finding(check, Level.NOTE, text, 'disk = "rotational"')
    if (root.is_network or root.mount_point == root.real_path != "/") and not wishes.root_sentinel:
        text = f"{root.path} is a mount: a sentinel in it tells when it is not there"
        sentinel = shlex.quote(posixpath.join(root.path, ".mounted"))
        remedy = (f"touch {sentinel}", 'root_sentinel = ".mounted"')
        yield Finding("roots.sentinel", Level.NOTE, text, remedy)


def _space(root: RootFacts) -> Iterator[Finding]:
    if root.size_bytes and 1 - root.free_bytes / root.size_bytes >= FULL_SHARE:
        text = f"{root.path}: nearly full, {human_bytes(root.free_bytes)} free; nothing is written"
        yield Finding("roots.space", Level.NOTE, f"{text} there by fasthash")


def _nested(roots: Sequence[RootFacts]) -> Iterator[Finding]:
    inner = set()
    for number, root in enumerate(roots):
        for other_number, other in enumerate(roots):
            same = root.real_path == other.real_path
            beneath = is_beneath(_bytes(root.real_path), _bytes(other.real_path))
            if number == other_number or not beneath or (same and number < other_number):
                continue
            inner.add(number)
            kept = [r.path for n, r in enumerate(roots) if n not in inner]
            how = "is the same directory as" if same else "lies beneath"
            text = f"{root.path} {how} {other.path}: a relative path may be found in either"
            yield Finding("roots.nested", Level.NOTE, text, _key(kept))
            break


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _atime(roots: Sequence[RootFacts], files: SampledFiles) -> Iterator[Finding]:
    """Only owners and root may read without setting access times."""
    if files.no_atime is not False:
        return
    for point in dict.fromkeys(root.mount_point for root in roots if root.mount_point):
        options = next(root.options for root in roots if root.mount_point == point)
        if {"noatime", "ro"} & set(options):
            continue
        how = "once a day" if "relatime" in options else "every time"
        text = f"{point}: files of other users: reading them sets their access times {how}"
        remedy = f"mount -o remount,noatime {shlex.quote(point)}"
        yield Finding("roots.atime", Level.NOTE, text, remedy)


def _files(files: SampledFiles, roots: Sequence[RootFacts]) -> Iterator[Finding]:
    check = "roots.files"
    if files.silent:
        text = "the file system does not answer while catalog files are looked for"
        yield Finding(check, Level.PROBLEM, text)
        return
    if not files.looked_at:
        return
    good = files.verdicts.get("ok", 0)
    text = f"{good} of {files.looked_at} sampled rows name a file that can be opened"
    yield Finding(check, Level.OK if good else Level.WARNING, text, "" if good else REGISTER)
    for verdict, (path, detail) in files.examples.items():
        if verdict == "ok":
            continue
        count = f"{files.verdicts[verdict]} of {files.looked_at} sampled rows"
        text, remedy = _verdict(verdict, path, roots)
        level = Level.NOTE if verdict == "no_file" else Level.WARNING
        why = f" ({detail})" if verdict in ("unreadable", "not_regular") else ""
        yield Finding(f"{check}.{verdict}", level, f"{count} {text}: {path}{why}", remedy)


def _verdict(verdict: str, path: str, roots: Sequence[RootFacts]) -> tuple[str, str]:
    if verdict == "outside_root":
        return "lie outside the roots, or lead out of them", _beside(path, roots)
    if verdict == "unreadable":
        return "cannot be opened", f"namei -l {shlex.quote(path)}  # whose rights are too few?"
    if verdict == "no_file":
        return "name no file", ""
    return "name no regular file", ""


def _beside(path: str, roots: Sequence[RootFacts]) -> str:
    """A root for a file outside of those there are; not for a link that leads out, nor `/`."""
    folder = posixpath.normpath(posixpath.dirname(path))
    at_home = any(is_beneath(_bytes(path), _bytes(p)) for r in roots for p in (r.path, r.real_path))
    if path[:1] != "/" or folder in ("/", "//") or at_home:
        return ""
    return f"{_key([folder])}  # beside those there are"
