"""The worker: its verdicts, its parts, and the real process spoken to over its pipes."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fasthash import child, files, parts, wire, worker
from fasthash.alone import REREADS
from fasthash.errors import ConfigError
from fasthash.files import FileState, Reader
from fasthash.fixity import Part, Result, RootGone, Task, Unit, Verdict
from fasthash.gate import Gate
from fasthash.inspector import Inspector, WorkerSetup
from fasthash.resolver import load_resolver
from fasthash.roots import RootMissingError, find_root
from fasthash.slot import Activity, Slot
from fasthash.small import SmallFiles
from fasthash.watching import Stopped
from fasthash.worker import GROUP_FILES, process

GATE = Gate.create()  # open
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying again takes no time, and no file is too new."""
    monkeypatch.setattr(files, "BACKOFF_S", (0, 0, 0))
    monkeypatch.setattr(files, "RACY_NS", 0)  # every file here is new


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty root, with room outside of it."""
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The package's log, whatever other tests have made of it."""
    logger = logging.getLogger("fasthash")
    before = logger.propagate
    logger.propagate = True
    with caplog.at_level(logging.INFO, "fasthash"):
        yield caplog
    logger.propagate = before


def setup_of(root: Path, **changes: Any) -> WorkerSetup:
    plain = WorkerSetup((find_root(str(root)),), None, 64 * 1024, False, None, "text")
    return replace(plain, **changes)


@pytest.fixture
def inspector(root: Path) -> Iterator[Inspector]:
    """An inspector over the root."""
    slot = Slot.create()
    yield Inspector(setup_of(root), slot)
    slot.close()


def task(path: str, **changes: Any) -> Task:
    return Task(f"id {path}", path, None, None)._replace(**changes)


def inspect(inspector: Inspector, *tasks: Task) -> list[Result]:
    """The results of all, however many calls they take."""
    found: list[Result] = []
    while len(found) < len(tasks):
        new = inspector.inspect(1, tasks[len(found) :], len(found))
        assert new, "each call says something"
        found += new
    return found


def unit_of(*tasks: Task, unit_no: int = 5) -> Unit:
    return Unit(unit_no, 2, 3, "before", tasks)


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


# -- verdicts


def test_a_result_names_its_row_and_carries_path_and_marker(
    root: Path, inspector: Inspector
) -> None:
    (root / "f").write_text("f")
    asked = [
        task("f", marker="m1"),
        task("none", marker="m2"),
        task("../x", marker="m3"),
        task("f", marker="m4", preset="fresh"),
        task("f", marker="m5", preset="bad_metadata", detail="an array"),
    ]
    found = inspect(inspector, *asked)
    assert [(r.row_id, r.path, r.marker) for r in found] == [
        (t.row_id, t.path, t.marker) for t in asked
    ]
    assert [r.verdict for r in found] == [
        "hashed", "no_file", "outside_root", "fresh", "bad_metadata",
    ]  # fmt: skip
    assert found[4].detail == "an array"
    assert all((r.sha256 is None) == (r.verdict != "hashed") for r in found)


def test_a_preset_file_is_not_even_opened(root: Path, inspector: Inspector) -> None:
    os.mkfifo(root / "f")
    (found,) = inspect(inspector, task("f", preset="unreadable", detail="killed two"))
    assert (found.verdict, found.detail) == ("unreadable", "killed two")


def test_a_careful_file_is_read_with_readinto(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(files.WHOLE_FILE_BYTES + 1)
    (root / "f").write_bytes(content)

    def forbidden(*args: object) -> int:
        raise AssertionError("mapped")

    monkeypatch.setattr(Reader, "_feed_mapped", forbidden)
    slot = Slot.create()
    one = Inspector(setup_of(root, use_mmap=True), slot)
    (found,) = inspect(one, task("f", careful=True))
    assert found.sha256 == sha256(content)
    (found,) = inspect(one, task("f", careful=True, stored_sha256="00"))
    assert found.sha256 == sha256(content)
    with pytest.raises(AssertionError, match="mapped"):
        inspect(one, task("f"))
    slot.close()


@pytest.mark.parametrize("seconds", [-(10**10), 10**10])
def test_a_time_that_postgresql_cannot_hold_is_cut(
    root: Path, inspector: Inspector, seconds: int
) -> None:
    (root / "f").write_text("f")
    os.utime(root / "f", (0, seconds))
    (found,) = inspect(inspector, task("f"))
    assert found.verdict == "hashed"
    assert -(2**63) <= found.mtime_ns < 2**63


@pytest.mark.parametrize("size", [10, files.WHOLE_FILE_BYTES + 10, files.LONG_READ_BYTES + 10])
def test_a_differing_hash_is_confirmed_by_a_second_read(
    root: Path, inspector: Inspector, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    content = os.urandom(size)
    (root / "f").write_bytes(content)
    past_cache: list[bool] = []
    digest = Reader.digest

    def watched(self: Reader, *args: Any, **kwargs: Any) -> FileState:
        past_cache.append(kwargs.get("past_cache", False))
        return digest(self, *args, **kwargs)

    monkeypatch.setattr(Reader, "digest", watched)
    (found,) = inspect(inspector, task("f", stored_sha256="00" * 32))
    assert found.compared == "00" * 32
    assert found.sha256 == sha256(content)
    assert past_cache[-1], "the second read is past the page cache"
    assert past_cache.count(True) == 1
    past_cache.clear()
    for stored in (None, sha256(content).hex(), sha256(content).hex().upper()):
        (found,) = inspect(inspector, task("f", stored_sha256=stored))
        assert found.compared is None
        assert True not in past_cache, "and only where the hashes differ"


def lying(monkeypatch: pytest.MonkeyPatch, *lies: bytes | None) -> None:
    """Each read gives the next of these digests; None (and every later one) is the truth."""
    waiting = list(lies)
    digest, read = Reader.digest, SmallFiles.read

    def lie(true: bytes) -> bytes:
        return (waiting.pop(0) if waiting else None) or true

    def digest_lying(self: Reader, *args: Any, **kwargs: Any) -> FileState:
        state = digest(self, *args, **kwargs)
        return state._replace(digests=state.digests._replace(sha256=lie(state.sha256)))

    monkeypatch.setattr(Reader, "digest", digest_lying)
    monkeypatch.setattr(
        SmallFiles,
        "read",
        lambda *args: [s and (lie(s[0]), *s[1:]) for s in read(*args) or ()],
    )


BAD, WORSE = b"\x01" * 32, b"\x02" * 32


@pytest.mark.parametrize("size", [10, files.WHOLE_FILE_BYTES + 10])
def test_a_first_read_that_went_wrong_is_no_drift(
    root: Path,
    inspector: Inspector,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
    size: int,
) -> None:
    content = os.urandom(size)
    (root / "f").write_bytes(content)
    lying(monkeypatch, BAD)
    (found,) = inspect(inspector, task("f", stored_sha256=sha256(content).hex()))
    assert found.verdict == "hashed"
    assert found.sha256 == sha256(content)
    (said,) = log.messages
    assert BAD.hex() in said
    assert sha256(content).hex() in said


def test_two_wrong_reads_that_differ_are_no_drift_either(
    root: Path,
    inspector: Inspector,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
) -> None:
    (root / "f").write_bytes(b"content")
    lying(monkeypatch, BAD, WORSE)
    (found,) = inspect(inspector, task("f", stored_sha256=sha256(b"content").hex()))
    assert found.sha256 == sha256(b"content")
    assert len(log.messages) == 2


def test_a_drift_needs_two_reads_in_a_row_that_agree(
    root: Path, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "f").write_bytes(b"content")
    lying(monkeypatch, BAD, None, None)
    (found,) = inspect(inspector, task("f", stored_sha256="ff" * 32))
    assert found.compared == "ff" * 32
    assert found.sha256 == sha256(b"content")


def test_reads_that_never_agree_are_no_hash(
    root: Path, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "f").write_bytes(b"content")
    lies = [bytes([n]) * 32 for n in range(1, REREADS + 2)]
    lying(monkeypatch, *lies)
    (found,) = inspect(inspector, task("f", stored_sha256="ff" * 32))
    assert (found.verdict, found.sha256) == (Verdict.UNSTABLE, None)
    assert all(lie.hex() in (found.detail or "") for lie in lies)


def test_a_file_that_goes_between_the_two_reads_has_no_hash(
    root: Path, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "f"
    path.write_bytes(b"content")
    read = SmallFiles.read

    def and_gone(*args: Any) -> Any:
        found = read(*args)
        path.unlink()
        return found

    monkeypatch.setattr(SmallFiles, "read", and_gone)
    (found,) = inspect(inspector, task("f", stored_sha256="ff" * 32))
    assert (found.verdict, found.sha256) == (Verdict.NO_FILE, None)


# -- missing files and missing roots


def on_check(
    monkeypatch: pytest.MonkeyPatch, inspector: Inspector, *actions: Callable[[], object]
) -> None:
    """Does something right after each look at the roots."""
    check, waiting = inspector._check_roots, list(actions)

    def checked() -> None:
        check()
        if waiting:
            waiting.pop(0)()

    monkeypatch.setattr(inspector, "_check_roots", checked)


def test_a_missing_file_is_looked_for_twice(
    root: Path, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_check(monkeypatch, inspector, lambda: (root / "late").write_text("late"))
    late, never = inspect(inspector, task("late"), task("never"))
    assert late.sha256 == sha256(b"late")
    assert never.verdict == Verdict.NO_FILE
    assert "ENOENT" in (never.detail or "")


def test_a_root_that_goes_after_the_first_look_gives_no_verdict(
    root: Path, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_check(monkeypatch, inspector, lambda: root.rename(root.with_name("away")))
    with pytest.raises(RootMissingError) as caught:
        inspect(inspector, task("f"))
    assert caught.value.root.path == os.fsencode(root)


def test_an_unreadable_file_in_a_root_that_is_gone_gives_no_verdict(
    root: Path, inspector: Inspector
) -> None:
    (root / "loop").symlink_to("loop")
    inspector.resolver = lambda text: (root.rename(root.with_name("away")), 1 / 0)[0]  # type: ignore[func-returns-value]
    with pytest.raises(RootMissingError):
        inspect(inspector, task("loop"))


def test_a_missing_sentinel_gives_no_verdict(root: Path) -> None:
    (root / ".mounted").touch()
    slot = Slot.create()
    one = Inspector(setup_of(root, root_sentinel=".mounted"), slot)
    (found,) = inspect(one, task("none"))
    assert found.verdict == Verdict.NO_FILE
    (root / ".mounted").unlink()
    with pytest.raises(RootMissingError):
        inspect(one, task("none"))
    slot.close()


def test_a_root_that_is_a_link_and_leads_elsewhere_now_gives_no_verdict(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "f").write_text(version)
    link = tmp_path / "current"
    link.symlink_to("v1")
    slot = Slot.create()
    one = Inspector(setup_of(link), slot)
    assert inspect(one, task("f"))[0].verdict == "hashed"
    link.unlink()
    link.symlink_to("v2")
    try:
        with pytest.raises(RootMissingError):
            inspect(one, task("f"))
    finally:
        slot.close()


def test_the_slot_names_the_file_in_the_second_look_too(
    root: Path, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_check(monkeypatch, inspector, lambda: (root / "late").write_text("late"))
    seen: list[Activity | None] = []
    monkeypatch.setattr(files, "between_looks", lambda _: seen.append(inspector.slot.activity()))
    inspect(inspector, task("late"))
    assert len(seen) == 1
    assert seen[0] is not None


@pytest.mark.parametrize(
    ("cataloged", "on_disk", "form"), [("\u00e9", "e\u0301", "NFD"), ("e\u0301", "\u00e9", "NFC")]
)
def test_the_detail_names_the_other_normal_form(
    root: Path, inspector: Inspector, cataloged: str, on_disk: str, form: str
) -> None:
    (root / on_disk).write_text("f")
    (found, plain) = inspect(inspector, task(cataloged), task("plain"))
    assert found.verdict == Verdict.NO_FILE
    assert form in (found.detail or "")
    assert "Unicode" not in (plain.detail or "")


# -- parts


KINDS = ["small", "big", "long", "missing", "folder", "outside", "preset", "careful", "drift"]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a file of each kind."""
    root = tmp_path_factory.mktemp("zoo")
    (root / "folder").mkdir()
    for name, size in (("small", 10), ("big", 300_000), ("long", 400_000)):
        (root / name).write_bytes(name.encode() * (size // len(name)))
    for name in ("careful", "drift"):
        (root / name).write_text(name)
    return root


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kinds=st.lists(st.sampled_from(["small", *KINDS]), min_size=1, max_size=80),
    flush_every_s=st.sampled_from([0.0, 60.0]),
)
def test_parts_follow_each_other_and_answer_every_row_in_order(
    zoo: Path, monkeypatch: pytest.MonkeyPatch, kinds: list[str], flush_every_s: float
) -> None:
    monkeypatch.setattr(files, "LONG_READ_BYTES", 350_000)
    monkeypatch.setattr(worker, "FLUSH_EVERY_S", flush_every_s)
    tasks = []
    for n, kind in enumerate(kinds):
        path = {"outside": "../x", "preset": "small"}.get(kind, kind)
        changes = {
            "preset": {"preset": "fresh"},
            "careful": {"careful": True},
            "drift": {"stored_sha256": "00"},
        }.get(kind, {})
        tasks.append(task(path, row_id=f"{n:03d}", **changes))
    slot = Slot.create()
    found = list(process(unit_of(*tasks), Inspector(setup_of(zoo), slot)))
    after: str | None = "before"
    results: list[Result] = []
    for part in found:
        assert isinstance(part, Part)
        assert (part.unit_no, part.range_no, part.term, part.sweep) == (5, 2, 3, False)
        assert part.after_id == after
        mine = parts.results(part)
        assert part.rows == len(mine) > 0
        assert part.through_id == mine[-1].row_id
        after = part.through_id
        results += mine
    assert [r.row_id for r in results] == [t.row_id for t in tasks]
    expected = {
        "missing": "no_file", "folder": "not_regular", "outside": "outside_root", "preset": "fresh",
    }  # fmt: skip
    for kind, result in zip(kinds, results, strict=True):
        assert result.verdict == expected.get(kind, "hashed"), kind
        if result.verdict == "hashed":
            assert result.sha256 == sha256((zoo / kind).read_bytes())
            assert result.size_bytes == (zoo / kind).stat().st_size
        assert (result.compared is not None) == (kind == "drift")
    assert slot.activity() is None
    slot.close()


def test_what_is_known_is_sent_before_a_long_read_begins(
    root: Path, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LONG_READ_BYTES", 350_000)
    (root / "a").write_text("a")
    (root / "long").write_bytes(bytes(400_000))
    looks: list[int] = []
    monkeypatch.setattr(files, "between_looks", lambda _: looks.append(os.fstat(_).st_size))
    messages = process(unit_of(task("a"), task("long"), task("a")), inspector)
    first = next(messages)
    assert isinstance(first, Part)
    assert (first.rows, 400_000 in looks) == (1, False)
    assert sum(m.rows for m in messages if isinstance(m, Part)) == 2


def test_a_stop_sends_what_is_known_and_then_ends(
    root: Path, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [task(f"f{n:03d}") for n in range(3 * GROUP_FILES)]
    for one in tasks:
        (root / one.path).write_text("x")
    groups: list[int] = []
    read = SmallFiles.read

    def stop_in_the_second(*args: Any) -> Any:
        groups.append(len(args[2]))
        if len(groups) == 2:
            inspector.slot.stop()
        return read(*args)

    monkeypatch.setattr(SmallFiles, "read", stop_in_the_second)
    found: list[Part] = []
    with pytest.raises(Stopped):
        for message in process(unit_of(*tasks), inspector):
            assert isinstance(message, Part)
            found.append(message)
    results = [r for part in found for r in parts.results(part)]
    assert [r.row_id for r in results] == [t.row_id for t in tasks[: len(results)]]
    assert GROUP_FILES <= len(results) < len(tasks)


def test_a_gone_root_ends_the_unit_after_what_was_known_before(
    root: Path, inspector: Inspector
) -> None:
    tasks = [task(f"f{n:03d}") for n in range(GROUP_FILES + 5)]
    for one in tasks[:GROUP_FILES]:
        (root / one.path).write_text("x")
    seen: list[str] = []

    def resolver(text: str) -> str:
        if text == tasks[GROUP_FILES].path and text not in seen:
            root.rename(root.with_name("away"))
        seen.append(text)
        return text

    inspector.resolver = resolver
    part, gone = process(unit_of(*tasks), inspector)
    assert isinstance(part, Part)
    assert part.rows == GROUP_FILES
    assert all(r.verdict == "hashed" for r in parts.results(part))
    assert isinstance(gone, RootGone)
    assert (gone.unit_no, gone.root) == (5, str(root))
    assert gone.detail


def test_the_slot_names_each_file_while_it_is_read(
    root: Path, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [10, 300_000, 10, 300_000]
    for n, size in enumerate(sizes):
        (root / f"f{n}").write_bytes(bytes(size))
    # A drift each, so that every file is read by the long way too.
    tasks = [task(f"f{n}", stored_sha256="00") for n in range(len(sizes))]
    names = {os.stat(root / f"f{n}").st_ino: n for n in range(len(sizes))}

    def look(descriptor: int) -> None:
        activity = inspector.slot.activity()
        assert activity is not None
        assert (activity.unit_no, activity.index) == (5, names[os.fstat(descriptor).st_ino])

    monkeypatch.setattr(files, "between_looks", look)
    (part,) = process(unit_of(*tasks), inspector)
    assert isinstance(part, Part)
    assert all(r.verdict == "hashed" for r in parts.results(part))


# -- resolvers


def test_a_resolver_says_where_the_file_is(root: Path, inspector: Inspector) -> None:
    for name in ("f", "\udcff"):
        (root / name).write_text("f")
    answers: dict[str, object] = {
        "text": "f",
        "absolute": str(root / "f"),
        "path": root / "f",
        "bytes": b"f",
        "not utf-8": b"\xff",
        "unknown": None,
        "outside": "/etc/passwd",
        "climbing": "../f",
        "empty": "",
        "nul": "a\0b",
    }
    inspector.resolver = inspector.alone._resolver = answers.__getitem__  # type: ignore[assignment]
    found = inspect(inspector, *(task(name) for name in [*answers, "raises"]))
    verdicts = {r.path: str(r.verdict) for r in found}
    assert verdicts == {
        "text": "hashed", "absolute": "hashed", "path": "hashed", "bytes": "hashed",
        "not utf-8": "hashed", "unknown": "no_file", "outside": "outside_root",
        "climbing": "outside_root", "empty": "no_file", "nul": "no_file", "raises": "unreadable",
    }  # fmt: skip
    assert found[-1].detail == "the resolver raised KeyError: 'raises'"


@pytest.mark.parametrize("answer", [42, ["f"], "\ud800", b"file:///\xff"])
def test_a_resolver_that_returns_no_path_is_a_problem_of_the_row(
    root: Path, inspector: Inspector, answer: object
) -> None:
    inspector.resolver = lambda text: answer  # type: ignore[assignment,return-value]
    (found,) = inspect(inspector, task("f"))
    assert found.sha256 is None


@pytest.mark.parametrize(
    "name",
    ["", ":", "os", "os:", ":f", "no.such.module:f", "os:no_such_function", "os:sep", "os.path"],
)
def test_a_resolver_that_cannot_be_had_is_a_configuration_error(name: str) -> None:
    with pytest.raises(ConfigError, match="--resolver"):
        load_resolver(name)


def test_a_resolver_is_named_by_module_and_function() -> None:
    assert load_resolver("os.path:abspath") is os.path.abspath


# -- the process

RESOLVERS = '''
import os, subprocess, sys, time

def spying(text):
    """Tells what is in the process, by way of the detail of an error."""
    if text == "modules":
        raise RuntimeError(" ".join(sorted(sys.modules)))
    if text == "environment":
        raise RuntimeError(" ".join(sorted(os.environ)))
    if text == "descriptors":
        here = "/proc/self/fd/"
        raise RuntimeError(" ".join(f"{n}={os.readlink(here + n)}" for n in ("0", "1")))
    if text == "noisy":
        print("to stdout", flush=True)
        os.write(1, b"by its number")
        subprocess.run(["echo", "from a child"], check=True)
        sys.stdout.write("x" * 100_000)
        input_text = sys.stdin.read()
        return "f" if input_text == "" else None
    if text == "stuck":
        time.sleep(60)
    if text == "ended":
        sys.exit(3)
    return text
'''


class Live:
    """A worker process, and what the coordinator does with one."""

    def __init__(self, tmp_path: Path, setup: WorkerSetup | None, **environment: str) -> None:
        (tmp_path / "worker_resolvers.py").write_text(RESOLVERS)
        self.slot = Slot.create()
        self.stderr = tmp_path / "stderr"
        given = {**os.environ, **environment, "PYTHONPATH": str(tmp_path)}
        blocked = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        try:
            with open(self.stderr, "wb") as stderr:
                self.process = subprocess.Popen(
                    child.command(
                        "fasthash.worker", str(self.slot.descriptor), str(GATE.descriptor)
                    ),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env=child.environment(given, with_secrets=False),
                    pass_fds=[self.slot.descriptor, GATE.descriptor],
                )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.source, self.sink = self.process.stdout, self.process.stdin
        if setup is not None:
            self.send(setup)

    def send(self, message: object) -> None:
        """Sends a message."""
        wire.write(self.sink, message)

    def receive(self) -> Any:
        """The next message, None at the end; an error where there is none in good time."""
        ready, _, _ = select.select([self.source], [], [], 20)
        assert ready, "the worker says nothing"
        return wire.read(self.source)

    def ask(self, *tasks: Task) -> list[Result]:
        """Sends the tasks as a unit; the results of all."""
        self.send(unit_of(*tasks))
        found: list[Result] = []
        while len(found) < len(tasks):
            part = self.receive()
            assert isinstance(part, Part), self.stderr.read_text()
            found += parts.results(part)
        return found

    def ended(self, within_s: float = 10) -> int:
        """Its exit status."""
        return self.process.wait(within_s)

    def wait_for(self, condition: Callable[[Activity], bool]) -> Activity:
        """Waits until it is in a file."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            activity = self.slot.activity()
            if activity is not None and condition(activity):
                return activity
            time.sleep(0.002)
        raise AssertionError("it never came to the file")

    def close(self) -> None:
        """Ends it."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(10)
        for pipe in (self.source, self.sink):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self.slot.close()


@pytest.fixture
def live(tmp_path: Path, root: Path) -> Iterator[Callable[..., Live]]:
    """Starts workers over the root."""
    started: list[Live] = []

    def start(*, environment: dict[str, str] | None = None, **changes: Any) -> Live:
        changes.setdefault("resolver", "worker_resolvers:spying")
        one = Live(tmp_path, setup_of(root, **changes), **(environment or {}))
        started.append(one)
        return one

    yield start
    for one in started:
        one.close()


def test_a_worker_answers_and_ends_with_its_input(root: Path, live: Callable[..., Live]) -> None:
    (root / "f").write_text("f")
    one = live()
    hashed, missing = one.ask(task("f"), task("none"))
    assert (hashed.sha256, missing.verdict) == (sha256(b"f"), "no_file")
    (again,) = one.ask(task("f"))
    assert again.sha256 == sha256(b"f")
    assert one.slot.activity() is None
    one.sink.close()
    assert one.receive() is None
    assert one.ended() == 0
    assert one.stderr.read_bytes() == b""


def test_a_worker_that_is_told_nothing_ends(tmp_path: Path) -> None:
    one = Live(tmp_path, None)
    one.sink.close()
    assert one.ended() == 0
    one.close()


def test_a_worker_imports_nothing_of_the_database_and_the_command_line_and_gets_no_secret(
    live: Callable[..., Live],
) -> None:
    secrets = {"PGPASSWORD": "x", "PGSERVICE": "x", "FASTHASH_DSN": "x", "SITE_SETTING": "x"}
    one = live(environment=secrets)
    modules, environment, descriptors = one.ask(
        task("modules"), task("environment"), task("descriptors")
    )
    assert modules.verdict == environment.verdict == descriptors.verdict == "unreadable"
    loaded = (modules.detail or "").split()
    assert "fasthash.worker" in loaded
    for name in ("psycopg", "click", "tqdm", "asyncio", "fasthash.store", "fasthash.cli"):
        assert not [m for m in loaded if m == name or m.startswith(f"{name}.")], name
    names = (environment.detail or "").split()
    assert "SITE_SETTING" in names
    assert not [n for n in names if n.startswith("PG") or n == "FASTHASH_DSN"]
    assert "0=/dev/null" in (descriptors.detail or "")
    assert "pipe" not in (descriptors.detail or "")


def test_a_resolver_that_prints_does_not_reach_the_channel(
    root: Path, live: Callable[..., Live]
) -> None:
    (root / "f").write_text("f")
    one = live()
    found = one.ask(task("noisy"), task("f"), task("noisy"))
    assert [r.sha256 for r in found] == [sha256(b"f")] * 3
    said = one.stderr.read_text()
    for text in ("to stdout", "by its number", "from a child"):
        assert text in said


def test_interrupts_and_ends_are_not_for_the_worker(root: Path, live: Callable[..., Live]) -> None:
    (root / "f").write_text("f")
    one = live()
    for _ in range(3):  # from the start on: they are blocked until they are ignored
        one.process.send_signal(signal.SIGINT)
        one.process.send_signal(signal.SIGTERM)
    assert one.ask(task("f"))[0].sha256 == sha256(b"f")
    one.process.send_signal(signal.SIGINT)
    one.process.send_signal(signal.SIGTERM)
    assert one.ask(task("f"))[0].sha256 == sha256(b"f")
    assert one.stderr.read_bytes() == b""


def test_the_slot_names_the_file_a_killed_worker_was_in(
    root: Path, live: Callable[..., Live]
) -> None:
    (root / "f").write_text("f")
    one = live()
    one.send(unit_of(task("f"), task("f"), task("stuck"), task("f"), unit_no=77))
    one.wait_for(lambda a: a.index == 2)
    one.process.kill()
    assert one.ended() == -signal.SIGKILL
    activity = one.slot.activity()
    assert activity is not None
    assert (activity.unit_no, activity.index) == (77, 2)


def test_a_resolver_that_ends_the_process_is_found_by_the_slot_too(
    root: Path, live: Callable[..., Live]
) -> None:
    (root / "f").write_text("f")
    one = live()
    one.send(unit_of(task("f"), task("ended"), unit_no=78))
    assert one.receive() is None
    assert one.ended() == 3
    activity = one.slot.activity()
    assert activity is not None
    assert (activity.unit_no, activity.index) == (78, 1)


@pytest.mark.parametrize("use_mmap", [False, True])
def test_a_stop_is_heard_in_the_middle_of_a_file_of_a_terabyte(
    root: Path, live: Callable[..., Live], use_mmap: bool
) -> None:
    (root / "f").write_text("f")
    with open(root / "huge", "wb") as file:
        file.truncate(1 << 40)
    one = live(use_mmap=use_mmap)
    one.send(unit_of(task("f"), task("huge"), task("f")))
    first = one.receive()
    assert isinstance(first, Part)
    assert [r.sha256 for r in parts.results(first)] == [sha256(b"f")]
    one.wait_for(lambda a: a.index == 1 and a.read_bytes > 0)
    one.slot.stop()
    began = time.monotonic()
    assert one.receive() is None
    assert one.ended() == 0
    assert time.monotonic() - began < 3


def test_a_mapped_file_that_shrinks_kills_and_is_named(
    root: Path, live: Callable[..., Live]
) -> None:
    with open(root / "huge", "wb") as file:
        file.truncate(1 << 36)
    one = live(use_mmap=True)
    one.send(unit_of(task("huge"), unit_no=79))
    one.wait_for(lambda a: a.read_bytes > 0)
    os.truncate(root / "huge", 0)
    assert one.receive() is None
    assert one.ended() == -signal.SIGBUS
    activity = one.slot.activity()
    assert activity is not None
    assert (activity.unit_no, activity.index) == (79, 0)
    again = live(use_mmap=True)
    assert again.ask(task("huge", careful=True))[0].sha256 == sha256(b"")


def test_a_worker_whose_results_nobody_reads_ends(root: Path, live: Callable[..., Live]) -> None:
    (root / "f").write_text("f")
    one = live()
    one.ask(task("f"))
    one.source.close()
    one.send(unit_of(task("f")))
    assert one.ended() == 0


COORDINATOR = """
import subprocess, sys, time
from fasthash import child
slot, gate = sys.argv[1:]
command = child.command("fasthash.worker", slot, gate)
worker = subprocess.Popen(command, pass_fds=[int(slot), int(gate)])
sys.stderr.write(f"{worker.pid}\\n")
sys.stderr.flush()
time.sleep(60)
"""


def test_a_worker_dies_with_its_coordinator(tmp_path: Path, root: Path) -> None:
    (root / "f").write_text("f")
    slot = Slot.create()
    # The pipes' other ends stay open in here: no end of input can be what ends the worker.
    to_read, to_write = os.pipe(), os.pipe()
    coordinator = subprocess.Popen(
        [sys.executable, "-c", COORDINATOR, str(slot.descriptor), str(GATE.descriptor)],
        stdin=to_read[0],
        stdout=to_write[1],
        stderr=subprocess.PIPE,
        env=child.environment(os.environ, with_secrets=False),
        pass_fds=[slot.descriptor, GATE.descriptor],
    )
    os.close(to_read[0])
    os.close(to_write[1])
    with os.fdopen(to_read[1], "wb") as sink, os.fdopen(to_write[0], "rb") as source:
        try:
            wire.write(sink, setup_of(root))
            wire.write(sink, unit_of(task("f")))
            ready, _, _ = select.select([source], [], [], 20)
            assert ready
            assert isinstance(wire.read(source), Part), "it lives and works"
            coordinator.kill()
            coordinator.wait(10)
            ready, _, _ = select.select([source], [], [], 10)
            assert ready, "the worker outlives its coordinator"
            assert source.read(1) == b"", "the last to hold the other end is gone"
        finally:
            coordinator.kill()
            coordinator.wait(10)
            assert coordinator.stderr is not None
            coordinator.stderr.close()
            slot.close()


def test_a_worker_whose_coordinator_died_before_it_began_ends(tmp_path: Path, root: Path) -> None:
    slot = Slot.create()
    command = child.command("fasthash.worker", str(slot.descriptor), str(GATE.descriptor))
    command[command.index(str(os.getpid()))] = "1"  # not its parent
    done = subprocess.run(
        command,
        input=wire.pack(setup_of(root)),
        env=child.environment(os.environ, with_secrets=False),
        pass_fds=[slot.descriptor, GATE.descriptor],
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"")
    slot.close()


def test_only_what_is_no_secret_is_passed_on_and_this_package_is_found() -> None:
    given_environment = {"PGHOST": "h", "PGPASSFILE": "f", "FASTHASH_DSN": "d", "HOME": "/"}
    kept = child.environment(given_environment, with_secrets=False)
    assert kept.keys() == {"HOME", "PYTHONPATH"}
    assert child.environment(given_environment, with_secrets=True).keys() >= {"PGHOST", "HOME"}
    first = kept["PYTHONPATH"].split(os.pathsep)[0]
    assert os.path.samefile(os.path.join(first, "fasthash"), os.path.dirname(worker.__file__))
    both = child.environment({"PYTHONPATH": "/site"}, with_secrets=False)["PYTHONPATH"]
    assert both.split(os.pathsep) == [first, "/site"]
