"""What workers may read now: in memory shared with the coordinator and, for rates, the host.

A process that is killed leaves nothing locked: the kernel gives up its file locks. One that is
stopped in the few microseconds of a lock holds the others up for no longer than LOCK_S.

Nor does it leave a file for good. Whoever uses a file of rates holds it by a shared `flock`, which
goes with the last process that has it open; whoever gets it exclusively is alone with it and may
remove it. That is done by the last one at its end, and for those that were killed by the next run.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import stat
import struct
import time
from collections.abc import Iterator

from fasthash import clock, limits

# Where the rates of a run are kept: in memory, and gone after a reboot; else in the only place that
# all processes of a user know and may write to.
FOLDERS = ("/dev/shm", "/tmp")  # noqa: S108
LOCK_S = 0.5
SLEEP_S = 0.1
_SIZE_BYTES = 4096
_RATES = struct.Struct("<dd")  # bytes a second, files a second; 0 for no limit
_PAID_AT = 16  # two doubles: until when what was reserved lasts
_CONTROL = struct.Struct("<qdqq")  # paused, closes at (s since the epoch), budget, spent (bytes)
_SPENT_AT = 24


class _Shared:
    """A page of memory with a lock, for processes that may die at any time."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.memory = mmap.mmap(descriptor, _SIZE_BYTES)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        until_s = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):  # POSIX allows either
                if time.monotonic() > until_s:
                    break
                time.sleep(0.0002)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        self.memory.close()
        os.close(self.descriptor)


class HostRate(_Shared):
    """The rates of one run on one host, shared by its coordinators and all their workers.

    Args:
        descriptor: of the memory; workers inherit the coordinator's.
        path: the file that others of the run find it by, if there is one.
    """

    def __init__(self, descriptor: int, path: str | None = None) -> None:
        super().__init__(descriptor)
        self.path = path

    @classmethod
    def share(cls, run_key: str) -> HostRate:
        """The one that all coordinators of a run on this host have, from the first that comes.

        Removes what runs have left that were killed.

        Args:
            run_key: what tells the run from all others, of other databases, too.

        Raises:
            OSError: there is no place for it.
        """
        name, refused = _file_name(run_key), OSError("no folder")
        for folder in FOLDERS:
            try:
                _sweep(folder)
                return cls.open(os.path.join(folder, name))
            except OSError as error:
                refused = error
        raise refused

    @classmethod
    def open(cls, path: str) -> HostRate:
        """The one in a file, which is made if there is none.

        Raises:
            OSError: it cannot be, or is not a file of our own.
        """
        until_s = time.monotonic() + LOCK_S
        while True:
            descriptor = _open_own(path, os.O_CREAT)
            try:
                # Held by one who removes it: the next look finds no file, or another.
                if _holds(descriptor, fcntl.LOCK_SH) and _is_at(descriptor, path):
                    if os.fstat(descriptor).st_size < _SIZE_BYTES:
                        os.ftruncate(descriptor, _SIZE_BYTES)
                    return cls(descriptor, path)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            if time.monotonic() > until_s:
                raise PermissionError(f"{path} is held by another process")
            time.sleep(0.0002)

    @classmethod
    def private(cls) -> HostRate:
        """One that only the workers of this process share."""
        descriptor = os.memfd_create("fasthash-rate", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _SIZE_BYTES)
        return cls(descriptor)

    def close(self) -> None:
        """Lets go of it; the last one to do so removes the file."""
        if self.path is not None:
            _remove_unused(self.descriptor, self.path)
        super().close()

    @property
    def rates(self) -> tuple[float, float]:
        """Bytes and files a second; 0 for no limit."""
        bytes_per_s, files_per_s = _RATES.unpack_from(self.memory, 0)
        return bytes_per_s, files_per_s

    def set_rates(self, bytes_per_s: float | None, files_per_s: float | None) -> None:
        """Sets new limits; whoever waits computes its time again.

        Args:
            bytes_per_s: 0 for none, None to leave it as it is.
            files_per_s: likewise.
        """
        with self.locked():
            old = self.rates
            bytes_per_s = old[0] if bytes_per_s is None else bytes_per_s
            files_per_s = old[1] if files_per_s is None else files_per_s
            now_s = time.monotonic()
            struct.pack_into("<dd", self.memory, _PAID_AT, now_s, now_s)
            _RATES.pack_into(self.memory, 0, bytes_per_s, files_per_s)

    def reserve(self, which: int, amount: float) -> float:
        """When a number of bytes (0) or files (1) may be read; 0.0 for at once."""
        at = _PAID_AT + 8 * which
        with self.locked():
            per_second = self.rates[which]
            if not per_second:
                return 0.0
            (paid_until_s,) = struct.unpack_from("<d", self.memory, at)
            begins_s, paid_until_s = limits.reserve(
                paid_until_s, time.monotonic(), amount, per_second
            )
            struct.pack_into("<d", self.memory, at, paid_until_s)
        return begins_s


def _file_name(run_key: str) -> str:
    digest = hashlib.sha256(run_key.encode(), usedforsecurity=False).hexdigest()
    return f"{_prefix()}{digest[:16]}"


def _prefix() -> str:
    return f"fasthash-rate-{os.geteuid()}-"


def _open_own(path: str, flags: int = 0) -> int:
    """Opens a file of our own, and nothing else that lies in a folder that all may write to.

    Raises:
        OSError: it is none.
    """
    flags |= os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_nlink > 1:
        os.close(descriptor)
        raise PermissionError(f"{path} is not a file of our own")
    return descriptor


def _holds(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: str) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _remove_unused(descriptor: int, path: str) -> None:
    """Removes a file that nobody else has open; who opens it meanwhile sees that it is gone."""
    if _holds(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, path):
        os.unlink(path)


def _sweep(folder: str) -> None:
    """Removes the files of our own that nobody uses any more.

    Raises:
        OSError: the folder cannot be looked into.
    """
    for name in os.listdir(folder):
        if not name.startswith(_prefix()):
            continue
        path = os.path.join(folder, name)
        try:
            descriptor = _open_own(path)
        except OSError:
            continue  # another was quicker, or it is not ours
        try:
            _remove_unused(descriptor, path)
        except FileNotFoundError:
            pass  # likewise
        finally:
            os.close(descriptor)


class Gate(_Shared):
    """What one coordinator tells its workers: to pause, when to, and what they may spend."""

    @classmethod
    def create(cls, budget_bytes: int = 0) -> Gate:
        """A new one, open.

        Args:
            budget_bytes: what may be read in all; 0 for no limit.
        """
        descriptor = os.memfd_create("fasthash-gate", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _SIZE_BYTES)
        gate = cls(descriptor)
        _CONTROL.pack_into(gate.memory, 0, 0, 0.0, budget_bytes, 0)
        return gate

    @classmethod
    def inherit(cls, descriptor: int) -> Gate:
        """The coordinator's, in a worker: opened anew, for locks belong to an open file."""
        return cls(os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC))

    def set(self, *, paused: bool, closes_at_s: float = 0.0) -> None:
        """Pauses or opens.

        Args:
            paused: nothing is read until it is lifted.
            closes_at_s: nor from this time on, seconds since the epoch; 0 for never.
        """
        struct.pack_into("<qd", self.memory, 0, paused, closes_at_s)

    def end(self) -> None:
        """No further file is begun; those in hand may be finished."""
        with self.locked():
            struct.pack_into("<qq", self.memory, _SPENT_AT - 8, 1, 2)

    @property
    def closed(self) -> bool:
        """Whether nothing may be read now."""
        paused, closes_at_s = struct.unpack_from("<qd", self.memory, 0)
        return bool(paused) or bool(closes_at_s and clock.now_s() >= closes_at_s)

    @property
    def budget_bytes(self) -> int:
        """What may be read in all; 0 for no limit."""
        budget: int = _CONTROL.unpack_from(self.memory, 0)[2]
        return budget

    @property
    def spent_bytes(self) -> int:
        """What was read of it."""
        spent: int = struct.unpack_from("<q", self.memory, _SPENT_AT)[0]
        return spent

    def spend(self, size_bytes: int) -> bool:
        """Takes a file's size out of the budget; False if it does not fit any more."""
        if not self.budget_bytes:
            return True
        with self.locked():
            spent = self.spent_bytes
            if not limits.fits(spent, size_bytes, self.budget_bytes):
                return False
            struct.pack_into("<q", self.memory, _SPENT_AT, spent + size_bytes)
        return True
