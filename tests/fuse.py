"""A file system whose faults come on cue: the kernel's FUSE protocol, spoken by a thread.

No library and no package is needed, but the right to mount: elsewhere its tests are skipped.
One flat folder. What is wrong with a file is said by a `Fault`, looked up by its name at every
request; a request that hangs is answered when it is released, and until then not even SIGKILL
ends who waits for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT = 1, 2, 3, 14, 15, 18, 25, 26
OPENDIR, RELEASEDIR, ACCESS, INTERRUPT, DESTROY, BATCH_FORGET = 27, 29, 34, 36, 38, 42
NAMES = {LOOKUP: "lookup", GETATTR: "getattr", OPEN: "open", READ: "read"}
UNANSWERED = {FORGET, BATCH_FORGET, INTERRUPT}

ROOT = 1
DIRECT_IO = 1  # every read comes to us, and none is answered from the page cache
MNT_DETACH = 2
REQUEST_BYTES = 1 << 20
REQUEST = struct.Struct("<IIQQIIII")  # length, opcode, unique, node, uid, gid, pid, padding
REPLY = struct.Struct("<IiQ")  # length, error, unique
ATTRIBUTES = struct.Struct("<6Q10I")

libc = ctypes.CDLL(None, use_errno=True)

Answer = bytes | int  # what is asked for, or an error number


@dataclass
class Served:
    """A file: its content, and what becomes of requests for it.

    `faults` has for a kind of request (`lookup`, `getattr`, `open`, `read`) a function from the
    number of such requests before and the true answer to the answer given; None hangs.
    """

    content: bytes
    mtime_s: int = 1_600_000_000
    faults: dict[str, Callable[[int, Answer], Answer | None]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)


class FaultyFiles:
    """The file system, mounted for as long as the context lasts."""

    def __init__(self, mountpoint: Path) -> None:
        self.mountpoint = mountpoint
        self.files: dict[bytes, Served] = {}
        self.root_faults: dict[str, Callable[[int, Answer], Answer | None]] = {}
        self.hanging = threading.Event()  # set when a request begins to hang
        self._nodes: list[bytes] = [b"", b""]  # by number; the root is 1
        self._waiting: list[tuple[int, Answer]] = []
        self._lock = threading.Lock()
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._device},rootmode=40755,user_id=0,group_id=0,allow_other".encode()
        if libc.mount(b"faulty", os.fsencode(mountpoint), b"fuse", 6, options):  # nosuid, nodev
            number = ctypes.get_errno()
            os.close(self._device)
            raise OSError(number, os.strerror(number))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def add(
        self, name: str, content: bytes, **faults: Callable[[int, Answer], Answer | None]
    ) -> Served:
        """A new file."""
        served = Served(content, faults=faults)
        self.files[os.fsencode(name)] = served
        return served

    def release(self) -> None:
        """Answers what hangs (with the truth), and hangs no more."""
        with self._lock:
            for served in self.files.values():
                served.faults = {}
            self.root_faults = {}
            waiting, self._waiting = self._waiting, []
        self.hanging.clear()
        for unique, answer in waiting:
            self._reply(unique, answer)

    def close(self) -> None:
        """Lets go of everybody and unmounts."""
        self.release()
        libc.umount2(os.fsencode(self.mountpoint), MNT_DETACH)
        self._thread.join(10)
        os.close(self._device)

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, REQUEST_BYTES + 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue  # ENOENT: whoever asked has been interrupted
                return  # ENODEV: unmounted
            _, opcode, unique, node = REQUEST.unpack_from(request)[:4]
            if opcode in UNANSWERED:
                continue
            self._answer(opcode, unique, node, request[REQUEST.size :])
            if opcode == DESTROY:
                return

    def _answer(self, opcode: int, unique: int, node: int, body: bytes) -> None:
        kind = NAMES.get(opcode)
        name = body.rstrip(b"\0") if opcode == LOOKUP else self._nodes[node]
        given: Answer | None = self._truth(opcode, name, body)
        with self._lock:
            served = self.files.get(name)
            faults = self.root_faults if name == b"" else served.faults if served else {}
            if kind is not None and served is not None:
                served.requests[kind] += 1
            if kind in faults and given is not None:
                count = served.requests[kind] - 1 if served else 0
                truth, given = given, faults[kind](count, given)
                if given is None:
                    self._waiting.append((unique, truth))
        if given is None:
            self.hanging.set()
        else:
            self._reply(unique, given)

    def _truth(self, opcode: int, name: bytes, body: bytes) -> Answer:
        if opcode == INIT:
            return struct.pack(
                "<IIIIHHIIHHI7I", 7, 31, 1 << 17, 0, 16, 12, 1 << 17, 1, 32, 0, *[0] * 8
            )
        if opcode == GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self._attributes(name)
        if opcode == LOOKUP:
            if name not in self.files:
                return errno.ENOENT
            return struct.pack("<QQQQII", self._node(name), 0, 0, 0, 0, 0) + self._attributes(name)
        if opcode in (OPEN, OPENDIR):
            return struct.pack("<QII", 1, DIRECT_IO if opcode == OPEN else 0, 0)
        if opcode == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return self.files[name].content[offset : offset + size]
        return b"" if opcode in (RELEASE, RELEASEDIR, FLUSH, ACCESS, DESTROY) else errno.ENOSYS

    def _node(self, name: bytes) -> int:
        if name not in self._nodes:
            self._nodes.append(name)
        return self._nodes.index(name, ROOT)

    def _attributes(self, name: bytes) -> bytes:
        if name == b"":
            return ATTRIBUTES.pack(ROOT, *[0] * 8, stat.S_IFDIR | 0o755, 2, 0, 0, 0, 4096, 0)
        served = self.files[name]
        times = [served.mtime_s] * 3 + [0] * 3
        mode = stat.S_IFREG | 0o644
        size = len(served.content)
        return ATTRIBUTES.pack(self._node(name), size, 0, *times, mode, 1, 0, 0, 0, 4096, 0)

    def _reply(self, unique: int, answer: Answer) -> None:
        failed = isinstance(answer, int)
        body = b"" if isinstance(answer, int) else answer
        head = REPLY.pack(REPLY.size + len(body), -answer if failed else 0, unique)
        with contextlib.suppress(OSError):  # ENOENT: nobody waits for it any more
            os.write(self._device, head + body)


@contextlib.contextmanager
def mounted(mountpoint: Path) -> Iterator[FaultyFiles]:
    """A file system with no files yet.

    Raises:
        OSError: this user may not mount, or the kernel has no FUSE.
    """
    file_system = FaultyFiles(mountpoint)
    try:
        yield file_system
    finally:
        file_system.close()
