"""So many workers with such settings at work on a sample, by the product's own inner loop."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO, cast

from fasthash import child, wire
from fasthash.bench.sample import Sample
from fasthash.errors import WorkersFailed
from fasthash.fixity import Task
from fasthash.inspector import GROUP_FILES, Inspector, WorkerSetup
from fasthash.slot import Slot
from fasthash.watching import Stopped

READERS = ("readinto", "mmap")
_DIGEST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Trial:
    """The settings of one trial; no reader: only the digest, in memory."""

    workers: int
    chunk_bytes: int = 256 * 1024
    reader: str | None = "readinto"


@dataclass(frozen=True, slots=True)
class Rate:
    """What a trial came to, all its workers together."""

    files_per_s: float
    bytes_per_s: float
    processor_share: float  # of its workers' time; the rest they waited


def run(trial: Trial, sample: Sample, seconds: float) -> Rate:
    """Starts the workers, has them begin together, and adds up what they did.

    Args:
        trial: the settings.
        sample: each worker reads a part of it, again and again.
        seconds: how long they are at it.

    Raises:
        WorkersFailed: one of them died.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(_start()) for _ in range(trial.workers)]
        for number, worker in enumerate(workers):
            names = [name for name, _ in sample.files[number :: trial.workers]]
            names = names or [name for name, _ in sample.files]
            setup = WorkerSetup(
                (sample.root,), None, trial.chunk_bytes, trial.reader == "mmap", None, "text"
            )
            _tell(worker, (trial.reader is not None, setup, names, seconds))
        for worker in workers:
            _hear(worker)  # it is ready
        for worker in workers:
            _tell(worker, "go")
        found = [_hear(worker) for worker in workers]
    return Rate(
        sum(files / took_s for files, _, took_s, _ in found),
        sum(size / took_s for _, size, took_s, _ in found),
        sum(used_s / took_s for _, _, took_s, used_s in found) / trial.workers,
    )


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        child.command("fasthash.bench.trial"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child.environment(os.environ, with_secrets=False),
    )


def _tell(worker: subprocess.Popen[bytes], message: object) -> None:
    if worker.stdin is not None:
        wire.write(cast("BinaryIO", worker.stdin), message)


def _hear(worker: subprocess.Popen[bytes]) -> tuple[float, float, float, float]:
    answer: tuple[float, float, float, float] | None = None
    if worker.stdout is not None:
        answer = wire.read(cast("BinaryIO", worker.stdout))
    if answer is None:
        raise WorkersFailed("a worker of the trial died")
    return answer


def main() -> None:
    """One worker; the argument is the pid of the process that started it."""
    child.become_child(int(sys.argv[1]))
    source, sink = child.take_pipes()
    order: tuple[bool, WorkerSetup, Sequence[str], float] | None = wire.read(source)
    if order is None:
        return
    reads, setup, names, seconds = order
    slot = Slot.create()
    inspector = Inspector(setup, slot)
    content = b"" if reads else os.urandom(_DIGEST_BYTES)
    wire.write(sink, "ready")
    wire.read(source)
    timer = threading.Timer(seconds, slot.stop)
    timer.daemon = True
    began_s, used_s = time.monotonic(), time.process_time()
    timer.start()
    work = _read(inspector, names) if reads else _digest(slot, content)
    files = size = 0
    for more_files, more_bytes in work:
        files += more_files
        size += more_bytes
    took_s = time.monotonic() - began_s
    wire.write(sink, (files, size, took_s, time.process_time() - used_s))


def _read(inspector: Inspector, names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Groups of files as a worker takes them, until told to stop, in the middle of one too."""
    slot, number = inspector.slot, 0
    tasks = [Task(str(n), name, None, None) for n, name in enumerate(names)]
    while not slot.stopping:
        for first in range(0, len(tasks), GROUP_FILES):
            group = tasks[first : first + GROUP_FILES]
            number += 1
            try:
                inspector.inspect(number, group, 0)
            except Stopped:
                activity = slot.activity()
                yield 0, activity.read_bytes if activity is not None else 0
                return
            yield len(group), inspector.take_read_bytes()
            if slot.stopping:
                return


def _digest(slot: Slot, content: bytes) -> Iterator[tuple[int, int]]:
    while not slot.stopping:
        hashlib.sha256(content).digest()
        yield 1, len(content)
