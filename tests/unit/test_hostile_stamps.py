"""Times and sizes at the edge of what numbers hold: both readers say the same of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fuse
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fasthash import files, hash_files, small, verdicts
from fasthash.files import WHOLE_FILE_BYTES, Reader
from fasthash.roots import find_root
from fasthash.slot import Slot
from fasthash.small import SmallFiles
from fasthash.verdicts import BIGINT_MAX, STAMPS, bounded
from fasthash.watching import Unwatched

SECOND = 1_000_000_000
EDGES = [
    0, -1, 1, SECOND - 1, -SECOND - 1, 2**31 * SECOND, -(2**31) * SECOND, BIGINT_MAX, -BIGINT_MAX,
    BIGINT_MAX + 1, -BIGINT_MAX - 1, -BIGINT_MAX - 2, BIGINT_MAX + SECOND, 2**64, 2**65 + 5,
    -(2**64), 2**40 * SECOND, -(2**40) * SECOND + 7,
]  # fmt: skip
SIZES = [0, 1, 55, 56, 63, 64, 65, WHOLE_FILE_BYTES - 1, WHOLE_FILE_BYTES, WHOLE_FILE_BYTES + 1]


@pytest.fixture(scope="module", params=["/dev/shm", None], ids=["memory", "disk"])
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder in memory, where any time is taken as it is, and one on the disk."""
    if request.param is not None and not os.path.isdir(request.param):
        pytest.skip("there is no /dev/shm")
    path = Path(tempfile.mkdtemp(dir=request.param))
    yield path
    shutil.rmtree(path)


def compare(folder: Path, name: str) -> int:
    """What both readers and `hash_files` say of a file's mtime, once they agree in everything."""
    here, slot = find_root(str(folder)), Slot.create()
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "RACY_NS", 0)
        for native in ("on", "off"):
            patch.setenv(small.VARIABLE, native)
            (state,) = SmallFiles([here], slot).read(here, [os.fsencode(name)], 1, 0) or [None]
            found.append(None if state is None else (*state[:3], state[4]))
            (public,) = hash_files([folder / name], workers=1)
            found.append(state and (bytes.fromhex(public.sha256 or ""), public.size_bytes,
                                    public.mtime_ns, state[4]))  # fmt: skip
        whole = Reader((here,), 65_536).digest([os.fsencode(folder / name)], Unwatched())
    slot.close()
    stamps = verdicts.stamps_of(whole.facts)
    alone = (whole.sha256, whole.size_bytes, whole.mtime_ns, stamps)
    assert {f for f in found if f is not None} <= {alone}
    assert len({f is None for f in found}) == 1, "one reads it, the other does not"
    assert whole.mtime_ns == STAMPS.unpack(stamps)[0] == bounded(whole.facts.st_mtime_ns)
    assert whole.sha256 == hashlib.sha256((folder / name).read_bytes()).digest()
    return whole.mtime_ns


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    mtime_ns=st.one_of(st.sampled_from(EDGES), st.integers(-(2**70), 2**70)),
    size_bytes=st.sampled_from(SIZES),
)
def test_both_readers_agree_on_any_time_and_size(
    folder: Path, mtime_ns: int, size_bytes: int
) -> None:
    with open(folder / "f", "wb") as file:
        file.truncate(size_bytes)
    os.utime(folder / "f", ns=(0, mtime_ns))
    told = compare(folder, "f")
    if os.stat(folder / "f").st_mtime_ns == mtime_ns:  # disks have narrower bounds of their own
        assert told == max(-BIGINT_MAX, min(mtime_ns, BIGINT_MAX))


@pytest.mark.parametrize("seconds", [0, 2**34, 2**62, 2**63 - 1, 2**63, 2**64 - 2**34, 2**64 - 1])
def test_whatever_a_file_system_says_of_its_times(tmp_path: Path, seconds: int) -> None:
    """A ctime, too, and seconds that no nanoseconds can hold."""
    try:
        with fuse.mounted(tmp_path) as storage:
            storage.add("f", b"content").mtime_s = seconds
            compare(tmp_path, "f")
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")


def make(path: bytes, kind: str, mode: int) -> None:
    """Something of a kind, empty or with a few bytes in it."""
    if kind in ("file", "empty"):
        with open(path, "wb") as file:
            file.write(b"" if kind == "empty" else path)
    elif kind == "link":
        os.symlink(b"target", path)
    elif kind == "dangling":
        os.symlink(b"nothing there", path)
    elif kind == "folder":
        os.mkdir(path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    elif kind == "hard link":
        os.link(os.path.join(os.path.dirname(path), b"target"), path)
    if kind in ("file", "empty", "folder", "fifo"):
        os.chmod(path, mode)


KINDS = ("file", "empty", "link", "dangling", "folder", "fifo", "socket", "hard link", "none")
any_name = (
    st.binary(min_size=1, max_size=255)
    .map(lambda name: name.replace(b"\0", b"0").replace(b"/", b"|"))
    .filter(lambda name: name not in (b".", b"..", b"target"))
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        any_name, st.tuples(st.sampled_from(KINDS), st.integers(0, 0o7777)), min_size=1, max_size=8
    )
)
def test_both_readers_agree_on_any_name_kind_and_mode(
    tmp_path: Path, things: dict[bytes, tuple[str, int]]
) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    (folder / "target").write_bytes(b"target")
    for name, (kind, mode) in things.items():
        make(os.fsencode(folder) + b"/" + name, kind, mode)
    here, slot = find_root(str(folder)), Slot.create()
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "RACY_NS", 0)
        for native in ("on", "off"):
            patch.setenv(small.VARIABLE, native)
            states = SmallFiles([here], slot).read(here, list(things), 1, 0)
            assert states is not None
            found.append([state and (*state[:3], state[4]) for state in states])
    slot.close()
    by_native, by_python = found
    for name, native, python in zip(things, by_native, by_python, strict=True):
        kind, mode = things[name]
        if kind == "link":  # only Python follows links
            assert native is None
            continue
        assert native == python, (name, kind, oct(mode))
        if kind not in ("file", "empty"):
            assert native is None or kind == "hard link", (name, kind)
        elif os.geteuid() == 0 or mode & 0o400:
            assert native is not None
            content = b"" if kind == "empty" else os.fsencode(folder) + b"/" + name
            assert native[:2] == (hashlib.sha256(content).digest(), len(content))
    for name, (kind, _) in things.items():
        if kind == "folder":
            (folder / os.fsdecode(name)).chmod(0o700)
