"""One state of a file or none, whatever the file is and whatever others do to it meanwhile.

What test_reading.py checks through the worker is not repeated here.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fasthash import files, paths
from fasthash.files import (
    TRIES,
    WHOLE_FILE_BYTES,
    FileState,
    Reader,
)
from fasthash.fixity import Verdict
from fasthash.problems import FileProblemError, other_form
from fasthash.roots import find_root, find_roots, missing_root
from fasthash.slot import Slot
from fasthash.small import SmallFiles
from fasthash.watching import Stopped

CHUNK = 64 * 1024
WINDOW = files.MMAP_WINDOW_BYTES
LONG_AGO = (1_600_000_000, 1_600_000_000)

pytestmark = pytest.mark.timeout(30)  # nothing here may block


class Watch:
    """Counts what was read; calls something after each piece."""

    def __init__(self, then: Callable[[int], None] | None = None) -> None:
        self.read_bytes = 0
        self.calls = 0
        self.then = then

    slowed = False

    def allow(self, most_bytes: int) -> int:
        """All."""
        return most_bytes

    def advance(self, read_bytes: int) -> None:
        """So many more."""
        self.read_bytes += read_bytes
        self.calls += 1
        if self.then is not None:
            self.then(self.calls)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying again takes no time, and no file is too new."""
    monkeypatch.setattr(files, "BACKOFF_S", (0, 0, 0))
    monkeypatch.setattr(files, "RACY_NS", 0)  # every file here is new


@pytest.fixture(autouse=True)
def no_descriptor_stays_open() -> Iterator[None]:
    """Whatever a test does, every file it opened is closed at its end."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty root, with room outside of it."""
    path = tmp_path / "root"
    path.mkdir()
    return path


def reader(root: Path, *, use_mmap: bool = False, chunk_bytes: int = CHUNK) -> Reader:
    return Reader((find_root(str(root)),), chunk_bytes, use_mmap)


def digest(root: Path, name: str | bytes, **kwargs: bool | int) -> FileState:
    path = os.path.join(os.fsencode(root), os.fsencode(name))
    return reader(root, **kwargs).digest([path], Watch())  # type: ignore[arg-type]


class Small(NamedTuple):
    """The fields of one state of a small file."""

    sha256: bytes
    size_bytes: int
    mtime_ns: int
    read_at_ns: int
    stamps: bytes


def read_small(root: Path, name: str | bytes, *, in_python: bool = False) -> Small | None:
    """The quick way: natively and in Python, where both have to see the same.

    Only Python follows links, and only Python has hooks.
    """
    one, slot = find_root(str(root)), Slot.create()
    found = []
    for switch in ["off"] if in_python or files.between_looks is not None else ["off", "on"]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FASTHASH_NATIVE", switch)
            small = SmallFiles([one], slot)
        (state,) = small.read(one, [os.fsencode(name)], 1, 0) or [None]
        found.append(None if state is None else Small(*state[:-1]))
    slot.close()
    path = os.path.join(os.fsencode(root), os.fsencode(name))
    if found[-1] is not None or os.path.realpath(path) == os.path.normpath(path):
        assert (found[0] and found[0][:3]) == (found[-1] and found[-1][:3])
    return found[0]


def verdict(root: Path, name: str | bytes) -> tuple[Verdict, str]:
    """The problem of a file that has one, both ways of reading agreeing that it has."""
    assert read_small(root, name) is None
    with pytest.raises(FileProblemError) as caught:
        digest(root, name)
    return caught.value.verdict, caught.value.detail


def write_old(path: Path, content: bytes) -> Path:
    """Writes a file that was, by its stamp, written long ago: any later write shows in it."""
    path.write_bytes(content)
    os.utime(path, LONG_AGO)
    return path


def between_looks(monkeypatch: pytest.MonkeyPatch, *changes: Callable[[], object]) -> list[int]:
    """One change at each first look; returns the (growing) list of looks."""
    looks: list[int] = []
    waiting = list(changes)

    def hook(descriptor: int) -> None:
        looks.append(descriptor)
        if waiting:
            waiting.pop(0)()

    monkeypatch.setattr(files, "between_looks", hook)
    return looks


SIZES = sorted(
    {
        0, 1, 2, 55, 56, 63, 64, 65, 4095, 4096, 4097,
        CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK + 17,
        WHOLE_FILE_BYTES - 1, WHOLE_FILE_BYTES, WHOLE_FILE_BYTES + 1,
        4 * CHUNK * 3, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 12345,
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def sized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, str]]:
    """A file of each size, and its digest by sha256sum."""
    folder = tmp_path_factory.mktemp("sized")
    content = os.urandom(SIZES[-1])
    for size in SIZES:
        (folder / str(size)).write_bytes(content[:size])
    out = subprocess.run(
        ["sha256sum", "--zero", "--", *map(str, SIZES)], cwd=folder, capture_output=True, check=True
    ).stdout
    lines = out.decode().split("\0")[:-1]
    return folder, {int(line[66:]): line[:64] for line in lines}


@pytest.mark.parametrize("use_mmap", [False, True])
@pytest.mark.parametrize("chunk_bytes", [4096, CHUNK, 1024 * 1024 + 1])
def test_every_way_of_reading_gives_the_digest_of_sha256sum(
    sized: tuple[Path, dict[int, str]], use_mmap: bool, chunk_bytes: int
) -> None:
    folder, digests = sized
    one = reader(folder, use_mmap=use_mmap, chunk_bytes=chunk_bytes)
    for size, expected in digests.items():
        path = os.fsencode(folder / str(size))
        watch = Watch()
        state = one.digest([path], watch)
        assert state.sha256.hex() == expected, size
        assert state.size_bytes == state.read_bytes == watch.read_bytes == size


def test_small_files_are_read_whole(sized: tuple[Path, dict[int, str]]) -> None:
    folder, digests = sized
    for size, expected in digests.items():
        small = read_small(folder, str(size))
        if size > WHOLE_FILE_BYTES:
            assert small is None
        else:
            assert small is not None
            assert small.sha256.hex() == expected
            assert small.size_bytes == size


def test_past_the_cache_is_the_same_digest(sized: tuple[Path, dict[int, str]]) -> None:
    folder, digests = sized
    one = reader(folder)
    for size in (0, 65, WINDOW):
        state = one.digest([os.fsencode(folder / str(size))], Watch(), past_cache=True)
        assert state.sha256.hex() == digests[size]


@pytest.mark.parametrize("use_mmap", [False, True])
def test_a_sparse_file_is_read_as_zeros(root: Path, use_mmap: bool) -> None:
    size = 300 * 1024 * 1024
    with open(root / "f", "wb") as file:
        file.truncate(size - 3)
        file.seek(size - 3)
        file.write(b"end")
    assert os.stat(root / "f").st_blocks * 512 < size // 10
    expected = hashlib.sha256()
    for _ in range(299):
        expected.update(bytes(1024 * 1024))
    expected.update(bytes(1024 * 1024 - 3) + b"end")
    state = digest(root, "f", use_mmap=use_mmap)
    assert state.sha256 == expected.digest()
    assert state.size_bytes == size


def test_the_stamp_is_that_of_the_file_and_the_time_that_before_the_read(root: Path) -> None:
    write_old(root / "f", b"content")
    os.utime(root / "f", ns=(1, 1_599_999_999_123_456_789))
    before = time.time_ns()
    state = digest(root, "f")
    small = read_small(root, "f")
    after = time.time_ns()
    assert small is not None
    for mtime_ns, read_at_ns in ((state.mtime_ns, state.read_at_ns), small[2:4]):
        assert mtime_ns == 1_599_999_999_123_456_789
        assert before <= read_at_ns <= after


@pytest.mark.parametrize("small", [True, False])
def test_the_marker_is_never_younger_than_a_change_of_the_file(
    root: Path, monkeypatch: pytest.MonkeyPatch, small: bool
) -> None:
    # A marker made from a time after the read would hide a change between read and marker.
    write_old(root / "f", b"content")
    at: list[int] = []
    monkeypatch.setattr(files, "between_looks", lambda _: at.append(time.time_ns()))
    if small:
        found = read_small(root, "f")
        assert found is not None
        read_at_ns = found[3]
    else:
        read_at_ns = digest(root, "f").read_at_ns
    assert read_at_ns <= at[0]


# -- what is no file, or none of ours


def test_special_files_are_not_regular_and_never_block(root: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "folder").mkdir()
    (root / "fifo link").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
        server.listen()
        for name, kind in (
            ("fifo", "FIFO"),
            ("fifo link", "FIFO"),
            ("folder", "directory"),
            ("", "directory"),
            ("socket", "socket"),
        ):
            found, detail = verdict(root, name)
            assert found == Verdict.NOT_REGULAR, name
            assert kind in detail


def test_a_fifo_that_is_being_written_loses_nothing(root: Path) -> None:
    os.mkfifo(root / "fifo")
    ours = os.open(root / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(root / "fifo", os.O_WRONLY)
    try:
        os.write(writer, b"for somebody else")
        assert verdict(root, "fifo")[0] == Verdict.NOT_REGULAR
        assert os.read(ours, 100) == b"for somebody else"
    finally:
        os.close(ours)
        os.close(writer)


def test_a_device_in_the_root_is_not_regular(root: Path) -> None:
    try:
        os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(root / "none", stat.S_IFCHR | 0o666, os.makedev(0, 4711))
        os.close(os.open(root / "null", os.O_RDONLY))
    except OSError as error:
        pytest.skip(f"wants to make devices: {error.strerror}")
    found, detail = verdict(root, "null")
    assert (found, "character device" in detail) == (Verdict.NOT_REGULAR, True)
    assert verdict(root, "none")[0] == Verdict.NOT_REGULAR


def test_a_link_to_a_device_leads_outside(root: Path) -> None:
    for name, target in (("null", "/dev/null"), ("zero", "/dev/zero"), ("stat", "/proc/self/stat")):
        (root / name).symlink_to(target)
        assert verdict(root, name)[0] == Verdict.OUTSIDE_ROOT, name


def test_links_count_by_where_they_lead(root: Path) -> None:
    (root / "f").write_text("f")
    (root / "d").mkdir()
    (root.parent / "root2").mkdir()
    (root.parent / "root2" / "secret").write_text("secret")
    links = {
        "in": "f",
        "absolute": root / "f",
        "through": "d/../in",
        "out and in": "../root/f",
        "out": "../root2/secret",
        "chain": "out",
        "neighbour": root.parent / "root2",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    for name in ("in", "absolute", "through", "out and in"):
        assert digest(root, name).sha256 == hashlib.sha256(b"f").digest(), name
    for name in ("out", "chain", "neighbour", "neighbour/secret"):
        assert verdict(root, name)[0] == Verdict.OUTSIDE_ROOT, name


@pytest.mark.parametrize(
    ("path", "held"),
    [
        ("/proc/version", "0 bytes, and has more"),
        ("/proc/sys/kernel/ostype", "0 bytes, and has more"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "4,096 bytes, and has "),
    ],
)
def test_a_size_that_is_not_the_content_s_is_called_that(path: str, held: str) -> None:
    """What the kernel makes up when it is read has no size, and has not changed."""
    if not os.path.exists(path):
        pytest.skip(f"wants {path}")
    folder, name = os.path.split(path)
    found, detail = verdict(Path(folder), name)
    assert found == Verdict.UNREADABLE
    assert f"its size and its content disagree: it is said to have {held}" in detail


def test_what_leads_nowhere_has_no_digest(root: Path) -> None:
    (root / "f").write_text("f")
    links = {"dangling": "none", "loop": "loop", "ping": "pong", "pong": "ping"}
    for name, target in links.items():
        (root / name).symlink_to(target)
    for name in ("none", "none/x", "dangling", "f/", "f/x", "x" * 256):
        assert verdict(root, name)[0] == Verdict.NO_FILE, name
    for name in ("loop", "ping"):
        found, detail = verdict(root, name)
        assert found == Verdict.UNREADABLE
        assert "ELOOP" in detail


def test_the_first_path_that_exists_is_read(root: Path) -> None:
    (root / "second").write_text("second")
    (root / "third").write_text("third")
    wanted = [os.fsencode(root / n) for n in ("first", "second", "third")]
    state = reader(root).digest(wanted, Watch())
    assert state.sha256 == hashlib.sha256(b"second").digest()
    with pytest.raises(FileProblemError) as caught:
        reader(root).digest([], Watch())
    assert caught.value.verdict == Verdict.NO_FILE


def test_a_path_that_exists_and_is_no_file_of_ours_hides_the_next(root: Path) -> None:
    (root / "folder").mkdir()
    (root / "f").write_text("f")
    with pytest.raises(FileProblemError) as caught:
        reader(root).digest([os.fsencode(root / n) for n in ("folder", "f")], Watch())
    assert caught.value.verdict == Verdict.NOT_REGULAR


def test_a_root_may_be_a_link_itself(tmp_path: Path, root: Path) -> None:
    (root / "f").write_text("f")
    link = tmp_path / "link"
    link.symlink_to(root)
    one = find_root(str(link))
    assert one.path == os.fsencode(link)
    assert one.real_path == os.path.realpath(os.fsencode(root))
    for path in (link / "f", root / "f"):
        (candidate,) = paths.candidates(str(path), [one])
        assert Reader((one,), CHUNK).digest([candidate], Watch()).size_bytes == 1


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.dat", b"new\nline", b"\x1b[2J", b"a" * 255, b"\\", b" "]
)
def test_any_name_the_kernel_takes(root: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(root), name)
    with open(path, "wb") as file:
        file.write(name)
    (candidate,) = paths.candidates(paths.encode(path), [find_root(str(root))])
    assert candidate == path
    assert digest(root, name).sha256 == hashlib.sha256(name).digest()


def test_a_path_of_the_longest_length(root: Path) -> None:
    base = os.fsencode(root)
    path = base
    while len(path) < paths.LONGEST_PATH_BYTES - 300:
        path += b"/" + b"d" * 200
    os.makedirs(path)
    path += b"/" + b"f" * (paths.LONGEST_PATH_BYTES - len(path) - 1)
    with open(path, "wb") as file:
        file.write(b"far")
    assert len(path) == paths.LONGEST_PATH_BYTES
    (candidate,) = paths.candidates(path.decode(), [find_root(str(root))])
    assert reader(root).digest([candidate], Watch()).size_bytes == 3


def test_an_error_on_an_open_file_never_says_that_it_is_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "f").write_text("f")

    def none(path: bytes) -> bytes:
        raise FileNotFoundError(errno.ENOENT, "there is no /proc", path)

    monkeypatch.setattr(files.os, "readlink", none)
    with pytest.raises(FileProblemError) as caught:
        digest(root, "f")
    assert caught.value.verdict == Verdict.UNREADABLE


def test_a_file_system_that_maps_no_files_is_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(WHOLE_FILE_BYTES + 1)
    write_old(root / "f", content)

    def none(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENODEV, "no such device")

    monkeypatch.setattr(files.mmap, "mmap", none)
    assert digest(root, "f", use_mmap=True).sha256 == hashlib.sha256(content).digest()


def far_behind_a_link(root: Path) -> bytes:
    """The short path of a file whose real path is longer than the kernel can tell."""
    half = "/".join(["d" * 200] * 15)
    os.makedirs(root / half)
    (root / "link").symlink_to(half)
    os.makedirs(root / "link" / half)
    path = root / "link" / half / "f"
    path.write_text("far")
    return os.fsencode(path)


def test_a_real_path_longer_than_the_kernel_can_tell_is_a_problem_of_the_file(root: Path) -> None:
    path = far_behind_a_link(root)
    with contextlib.suppress(FileProblemError):
        reader(root).digest([path], Watch())


NAMES = ["a", "b", "..", ".", "d", "in", "out", "up", "far", "secret", "f", "root", "", "loop"]


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with links in all directions, and secrets around it."""
    outside = tmp_path_factory.mktemp("maze")
    root = outside / "root"
    (root / "d" / "b").mkdir(parents=True)
    for folder in (root, root / "d", root / "d" / "b"):
        (folder / "f").write_text("ours")
        (folder / "a").symlink_to("f")
        (folder / "up").symlink_to("..")
        (folder / "far").symlink_to(outside)
        (folder / "in").symlink_to(root / "d")
        (folder / "out").symlink_to("../../secret")
        (folder / "loop").symlink_to("loop")
    for folder in (outside, outside.parent):
        (folder / "secret").write_text("secret")
    yield root
    (outside.parent / "secret").unlink()


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=9),
    start=st.sampled_from(["", "ROOT/", "file://ROOT/", "ROOT/../", "/"]),
)
def test_no_path_through_any_links_reads_a_file_outside(
    maze: Path, names: list[str], start: str
) -> None:
    roots = (find_root(str(maze)),)
    text = start.replace("ROOT", str(maze)) + "/".join(names)
    try:
        candidates = paths.candidates(text, roots)
    except paths.PathRefusedError:
        return
    one = Reader(roots, CHUNK)
    plain = paths.plain_name(text, roots)
    small = None if plain is None else read_small(maze, plain[1])
    assert small is None or small.sha256 == hashlib.sha256(b"ours").digest()
    try:
        state = one.digest(candidates, Watch())
    except FileProblemError:
        assert small is None
        return
    assert state.sha256 == hashlib.sha256(b"ours").digest()
    assert os.path.realpath(candidates[0]).startswith(os.fsencode(maze) + b"/")


# -- errors


@contextlib.contextmanager
def somebody_else() -> Iterator[None]:
    """Not root for a moment; a user without files who may not read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A root that everybody can enter (pytest's own folders are private)."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_a_file_that_may_not_be_read_is_unreadable(public: Path) -> None:
    (public / "f").write_text("f")
    (public / "d").mkdir()
    (public / "d" / "f").write_text("f")
    (public / "f").chmod(0)
    (public / "d").chmod(0)
    with somebody_else():
        for name in ("f", "d/f"):
            found, detail = verdict(public, name)
            assert (found, "EACCES" in detail) == (Verdict.UNREADABLE, True), name
    (public / "d").chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="wants root")
def test_a_file_of_another_user_is_read_without_noatime(public: Path) -> None:
    (public / "f").write_text("f")
    (public / "f").chmod(0o644)
    with somebody_else():
        one = reader(public)
        for _ in range(2):
            state = one.digest([os.fsencode(public / "f")], Watch())
            assert state.sha256 == hashlib.sha256(b"f").digest()
        assert read_small(public, "f") is not None


def test_reading_leaves_the_access_time_alone(root: Path) -> None:
    write_old(root / "f", b"f")
    digest(root, "f")
    read_small(root, "f")
    assert os.stat(root / "f").st_atime == LONG_AGO[0]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """Errors that calls will have: by name of the function of `os`, the next first."""
    errors: dict[str, list[int]] = {"open": [], "readv": [], "read": []}
    calls = {name: getattr(os, name) for name in errors}

    def with_errors(name: str) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            of_root = name == "open" and int(str(args[1])) & os.O_DIRECTORY
            if errors[name] and not of_root:
                number = errors[name].pop(0)
                if number:
                    raise OSError(number, os.strerror(number))
            return calls[name](*args, **kwargs)

        return call

    for name in errors:
        monkeypatch.setattr(files.os, name, with_errors(name))
    return errors


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
@pytest.mark.parametrize("call", ["open", "readv"])
def test_errors_that_pass_are_tried_again(
    root: Path, failing: dict[str, list[int]], number: int, call: str
) -> None:
    (root / "f").write_text("f")
    failing[call] += [number] * (TRIES - 1)
    assert digest(root, "f").sha256 == hashlib.sha256(b"f").digest()
    failing[call] += [number] * TRIES
    with pytest.raises(FileProblemError) as caught:
        digest(root, "f")
    assert caught.value.verdict == Verdict.UNREADABLE
    assert errno.errorcode[number] in caught.value.detail
    assert not failing[call]


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT, errno.EPERM, errno.ENOTDIR])
def test_errors_that_stay_are_not(root: Path, failing: dict[str, list[int]], number: int) -> None:
    (root / "f").write_text("f")
    one = reader(root)
    one._no_atime = 0  # with it, EPERM is tried again without
    failing["open"] += [number, errno.EIO]
    with pytest.raises(FileProblemError) as caught:
        one.digest([os.fsencode(root / "f")], Watch())
    missing = number in (errno.ENOENT, errno.ENOTDIR)
    assert caught.value.verdict == (Verdict.NO_FILE if missing else Verdict.UNREADABLE)
    assert failing["open"] == [errno.EIO], "it was opened once"


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_an_error_in_the_quick_way_is_left_to_the_long_one(
    root: Path, failing: dict[str, list[int]], number: int
) -> None:
    (root / "f").write_text("f")
    for call in ("open", "read"):
        failing[call] += [number]
        assert read_small(root, "f", in_python=True) is None


def test_an_error_after_half_a_file_is_no_hash_of_half_a_file(
    root: Path, failing: dict[str, list[int]]
) -> None:
    content = os.urandom(5 * CHUNK)
    (root / "f").write_bytes(content)
    failing["readv"] += [0, 0, errno.EIO]
    assert digest(root, "f").sha256 == hashlib.sha256(content).digest()
    failing["readv"] += [0, 0, errno.EIO] * TRIES
    with pytest.raises(FileProblemError) as caught:
        digest(root, "f")
    assert caught.value.verdict == Verdict.UNREADABLE


def test_short_reads_are_read_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(3 * CHUNK + 5)
    (root / "f").write_bytes(content)
    readv = os.readv
    monkeypatch.setattr(
        files.os, "readv", lambda descriptor, buffers: readv(descriptor, [buffers[0][:1000]])
    )
    assert digest(root, "f").sha256 == hashlib.sha256(content).digest()


def test_fewer_bytes_than_the_file_has_are_no_hash(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "f").write_bytes(os.urandom(2 * CHUNK))
    (root / "small").write_bytes(b"small")
    monkeypatch.setattr(files.os, "readv", lambda descriptor, buffers: 0)
    monkeypatch.setattr(files.os, "read", lambda descriptor, size: b"smal")
    for name in ("f", "small"):
        assert read_small(root, name, in_python=True) is None
        with pytest.raises(FileProblemError) as caught:
            digest(root, name)
        assert caught.value.verdict == Verdict.UNREADABLE
        assert caught.value.detail.endswith("bytes, and has 0")


# -- files that do not hold still


def replaced(path: Path, content: bytes) -> None:
    """Another file under the same name."""
    new = path.with_name("new")
    new.write_bytes(content)
    os.replace(new, path)


def rewritten(path: Path, content: bytes) -> None:
    """Other bytes in the same file."""
    with open(path, "r+b") as file:
        file.write(content)
        file.truncate()


WAYS = {"replaced": replaced, "rewritten": rewritten}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    states=st.lists(
        st.tuples(
            st.sampled_from(sorted(WAYS)),
            st.sampled_from([0, 1, 100, CHUNK, CHUNK + 1, WHOLE_FILE_BYTES + 5]),
        ),
        max_size=TRIES + 2,
    ),
    first=st.sampled_from([0, 100, CHUNK, WHOLE_FILE_BYTES + 5]),
)
def test_a_digest_is_that_of_one_state_the_file_had(
    tmp_path: Path, states: list[tuple[str, int]], first: int
) -> None:
    path = tmp_path / "f"
    path.unlink(missing_ok=True)
    contents = [bytes([n + 1]) * size for n, (_, size) in enumerate(states)]
    write_old(path, b"\0" * first)
    had = {hashlib.sha256(b"\0" * first).digest()}

    waiting = list(zip(states, contents, strict=True))

    def hook(descriptor: int) -> None:
        if waiting:
            (way, _), content = waiting.pop(0)
            WAYS[way](path, content)
            had.add(hashlib.sha256(content).digest())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "between_looks", hook)
        one = reader(tmp_path)
        small = read_small(tmp_path, path.name)
        if small is not None:
            assert small.sha256 in had
        try:
            state = one.digest([os.fsencode(path)], Watch())
        except FileProblemError as problem:
            assert problem.verdict == Verdict.UNSTABLE
        else:
            assert state.sha256 in had


@pytest.mark.parametrize("size", [100, WHOLE_FILE_BYTES + 100])
@pytest.mark.parametrize("new_size", [-50, 0, 50])
@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_change_between_the_looks_is_noticed_and_the_file_read_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, size: int, new_size: int, way: str
) -> None:
    path = write_old(root / "f", b"a" * size)
    content = b"b" * (size + new_size)
    looks = between_looks(monkeypatch, lambda: WAYS[way](path, content))
    state = digest(root, "f")
    assert state.sha256 == hashlib.sha256(content).digest()
    assert state.size_bytes == len(content)
    assert len(looks) == 2
    assert state.mtime_ns == os.stat(path).st_mtime_ns


@pytest.mark.parametrize("size", [100, WHOLE_FILE_BYTES + 100])
def test_a_rewrite_that_puts_the_mtime_back_is_noticed(
    root: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = write_old(root / "f", b"a" * size)

    def change() -> None:
        time.sleep(0.02)  # longer than the kernel's clock tick
        rewritten(path, b"b" * size)
        os.utime(path, LONG_AGO)

    looks = between_looks(monkeypatch, change)
    assert digest(root, "f").sha256 == hashlib.sha256(b"b" * size).digest()
    assert len(looks) == 2


def test_a_file_that_never_holds_still_is_given_up_after_a_few_tries(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (10, WHOLE_FILE_BYTES + 10):
        path = write_old(root / "f", b"a" * size)

        def grow(path: Path = path) -> None:
            with open(path, "ab") as file:
                file.write(b"more")

        looks = between_looks(monkeypatch, *[grow] * 99)
        with pytest.raises(FileProblemError) as caught:
            digest(root, "f")
        assert caught.value.verdict == Verdict.UNSTABLE
        assert len(looks) == TRIES


def test_between_tries_there_is_a_growing_pause(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_old(root / "f", b"a")
    pauses: list[float] = []
    monkeypatch.setattr(files, "BACKOFF_S", (1.0, 2.0, 3.0))
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    watch = Watch()
    grow = [lambda: path.write_bytes(path.read_bytes() + b"a")] * 99
    between_looks(monkeypatch, *grow)
    with pytest.raises(FileProblemError):
        reader(root).digest([os.fsencode(path)], watch)
    assert pauses == [1.0, 2.0, 3.0]
    assert watch.calls >= TRIES - 1, "a stop is heard after each pause"


@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("new_size", [-CHUNK, 0, CHUNK])
def test_a_change_in_the_middle_of_the_read_is_noticed(root: Path, way: str, new_size: int) -> None:
    old = os.urandom(6 * CHUNK)
    new = os.urandom(len(old) + new_size)
    path = write_old(root / "f", old)

    def change(calls: int) -> None:
        if calls == 3:
            WAYS[way](path, new)

    state = reader(root).digest([os.fsencode(path)], Watch(change))
    assert state.sha256 == hashlib.sha256(new).digest()
    assert state.size_bytes == len(new)


def test_a_file_deleted_while_it_is_read_is_no_file_or_was_one(root: Path) -> None:
    path = write_old(root / "f", os.urandom(6 * CHUNK))
    expected = hashlib.sha256(path.read_bytes()).digest()

    def delete(calls: int) -> None:
        if calls == 3:
            path.unlink()

    try:
        state = reader(root).digest([os.fsencode(path)], Watch(delete))
    except FileProblemError as problem:
        assert problem.verdict == Verdict.NO_FILE
    else:
        assert state.sha256 == expected


def test_a_file_that_grows_faster_than_it_is_read_does_not_keep_the_reader(root: Path) -> None:
    path = write_old(root / "f", b"a" * CHUNK * 2)

    def grow(calls: int) -> None:
        with open(path, "ab") as file:
            file.write(b"a" * CHUNK * 2)

    watch = Watch(grow)
    with pytest.raises(FileProblemError) as caught:
        reader(root).digest([os.fsencode(path)], watch)
    assert caught.value.verdict == Verdict.UNSTABLE
    assert watch.calls < 200


@pytest.mark.parametrize("new_size", [0, WHOLE_FILE_BYTES + 1])
def test_a_file_that_shrinks_before_it_is_mapped_is_read_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, new_size: int
) -> None:
    path = write_old(root / "f", b"a" * 2 * WHOLE_FILE_BYTES)
    between_looks(monkeypatch, lambda: os.truncate(path, new_size))
    assert digest(root, "f", use_mmap=True).size_bytes == new_size


@pytest.mark.parametrize("content", [b"b" * 2 * WHOLE_FILE_BYTES, b"b" * 3 * WHOLE_FILE_BYTES])
def test_a_mapped_file_that_is_rewritten_or_grows_is_read_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    path = write_old(root / "f", b"a" * 2 * WHOLE_FILE_BYTES)
    looks = between_looks(monkeypatch, lambda: rewritten(path, content))
    state = digest(root, "f", use_mmap=True)
    assert state.sha256 == hashlib.sha256(content).digest()
    assert len(looks) == 2


def test_what_was_read_in_vain_counts_as_read(root: Path) -> None:
    path = write_old(root / "f", b"a" * 4 * CHUNK)

    def change(calls: int) -> None:
        if calls == 4:
            rewritten(path, b"b" * 4 * CHUNK)

    watch = Watch(change)
    state = reader(root).digest([os.fsencode(path)], watch)
    assert watch.read_bytes == 8 * CHUNK
    assert state.read_bytes == watch.read_bytes


@pytest.mark.parametrize("use_mmap", [False, True])
def test_a_stop_is_heard_within_a_file(root: Path, use_mmap: bool) -> None:
    with open(root / "f", "wb") as file:
        file.truncate(1 << 40)

    def stop(calls: int) -> None:
        if calls == 3:
            raise Stopped

    watch = Watch(stop)
    with pytest.raises(Stopped):
        reader(root, use_mmap=use_mmap).digest([os.fsencode(root / "f")], watch)
    assert watch.read_bytes <= 3 * WINDOW


# -- roots


def test_a_root_has_to_be_a_folder_with_its_sentinel(root: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_root(str(root / "none"))
    (root / "f").write_text("f")
    with pytest.raises(NotADirectoryError):
        find_root(str(root / "f"))
    with pytest.raises(FileNotFoundError):
        find_root(str(root), ".sentinel")
    (root / ".sentinel").touch()
    assert find_root(str(root), ".sentinel").inode == os.stat(root).st_ino


def test_roots_of_bad_names_are_told(root: Path) -> None:
    told = list(find_roots([str(root), str(root / "none"), "a\0b"], None))
    assert told[0] == find_root(str(root))
    assert told[1] == f"root {root / 'none'}: No such file or directory"
    assert "embedded null" in str(told[2])


def test_a_root_that_is_gone_replaced_or_bare_is_missing(tmp_path: Path, root: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (root / ".sentinel").touch()
    (other / ".sentinel").touch()
    roots = (find_root(str(other)), find_root(str(root)))
    assert missing_root(roots, ".sentinel") is None
    (root / ".sentinel").unlink()
    found = missing_root(roots, ".sentinel")
    assert found is not None
    assert found[0] == roots[1]
    assert missing_root(roots) is None
    root.rename(tmp_path / "away")
    found = missing_root(roots)
    assert found is not None
    assert "No such file" in found[1]
    root.write_text("a file now")
    assert missing_root(roots) is not None
    root.unlink()
    root.mkdir()
    found = missing_root(roots)
    assert found is not None
    assert "another" in found[1]
    root.rmdir()
    (tmp_path / "away").rename(root)
    assert missing_root(roots) is None


def test_a_root_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(name)
    one = find_root(os.fsdecode(name))
    assert one.path == name
    assert missing_root([one]) is None


@pytest.mark.parametrize(
    ("cataloged", "on_disk", "form"),
    [("e\u0301.png", "\u00e9.png", "NFC"), ("\u00e9.png", "e\u0301.png", "NFD")],
)
def test_the_other_normal_form_is_found(
    root: Path, cataloged: str, on_disk: str, form: str
) -> None:
    (root / on_disk).write_text("f")
    wanted = os.fsencode(root / cataloged)
    assert form in (other_form([wanted]) or "")
    assert other_form([os.fsencode(root / on_disk)]) is None
    assert other_form([os.fsencode(root / "\u00e8.png")]) is None
    assert other_form([os.fsencode(root / "plain.png")]) is None
    assert other_form([os.fsencode(root) + b"/\xff\xc3\xa9"]) is None
