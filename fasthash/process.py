"""A helper process as its coordinator sees it: started, written to, read from, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Sequence

from fasthash import child, wire

MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024


class _SignalsBlocked(threading.local):
    """Blocks what ends a process while this thread starts others, several at a time perhaps.

    Afterwards all is as before: a program that has us as a library may block them for good.
    """

    depth = 0
    before: frozenset[int] = frozenset()

    def __enter__(self) -> None:
        if self.depth == 0:
            held = (signal.SIGINT, signal.SIGTERM)
            self.before = frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, held))
        self.depth += 1

    def __exit__(self, *_error: object) -> None:
        self.depth -= 1
        if self.depth == 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, self.before)


_signals_blocked = _SignalsBlocked()


class _Pipes(asyncio.subprocess.SubprocessStreamProtocol):
    """asyncio's own, for which a process that dies with a full pipe has closed it, and no more.

    Else the pipe's error goes to a future that nobody has to ask, and what it says when it is
    collected is a traceback on the terminal (Python 3.11.2; not 3.11.7).
    """

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """One of the three pipes is closed, with an error where there was one."""
        super().pipe_connection_lost(fd, None if isinstance(exc, ConnectionError) else exc)


class Child:
    """A helper process with a message pipe in each direction and nothing shared with others."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(
        cls, module: str, *arguments: str, with_secrets: bool, descriptors: Sequence[int] = ()
    ) -> Child:
        """Starts `python -m module`; signals are blocked in it until it ignores them."""
        loop = asyncio.get_running_loop()
        with _signals_blocked:
            transport, pipes = await loop.subprocess_exec(
                lambda: _Pipes(limit=MESSAGE_LIMIT_BYTES, loop=loop),
                *child.command(module, *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=None,
                env=child.environment(os.environ, with_secrets=with_secrets),
                pass_fds=descriptors,
            )
        return cls(asyncio.subprocess.Process(transport, pipes, loop))

    async def send(self, message: object) -> None:
        """Sends a message; waits while the pipe is full. A dead process swallows it."""
        pipe = self.process.stdin
        if pipe is not None and not pipe.is_closing():
            try:
                pipe.write(wire.pack(message))
                await pipe.drain()
            except ConnectionError:
                pass  # its death shows at the other pipe, where it is handled

    async def receive(self) -> object | None:
        """The next message; None when the process is gone."""
        stdout = self.process.stdout
        if stdout is None:
            return None
        try:
            head = await stdout.readexactly(wire.LENGTH.size)
            body = await stdout.readexactly(wire.LENGTH.unpack(head)[0])
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        message: object = wire.unpack(body)
        return message

    def close_input(self) -> None:
        """Tells the process that nothing more comes: it finishes and exits."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    def kill(self) -> None:
        """Ends the process at once."""
        if self.process.returncode is None:
            # Not asyncio's kill: it looks first whether the process is dead, and so takes its exit
            # status from whoever waits for it ("Unknown child process", status 255).
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """The exit status, when it is gone."""
        return await self.process.wait()

    async def end(self, within_s: float) -> int:
        """The exit status of a process that has to end, and is killed if it does not.

        Args:
            within_s: for each of the two. A process in an uninterruptible read does not even die
                when it is killed: it is left to the kernel.
        """
        for _ in range(2):
            try:  # not by wait_for, which may swallow a cancellation
                async with asyncio.timeout(within_s):
                    return await self.process.wait()
            except TimeoutError:
                self.kill()
        return -signal.SIGKILL
