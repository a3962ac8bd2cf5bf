"""Questions to a helper process that may never answer: a dead mount holds whoever touches it."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from typing import Any

from fasthash import child, wire
from fasthash.errors import PreflightFailed


class Helper:
    """A process that answers one question; it starts while the asker does other things.

    Not even a thread of ours may wait for a file system: one in an uninterruptible call keeps the
    process from ending. The helper is left to it.

    Args:
        module: whose `main` calls `child.answer`.
    """

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            child.command(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # one that cannot even die must not keep ours open
            env=child.environment(os.environ, with_secrets=False),
        )

    def ask(self, question: object, within_s: float) -> list[Any]:
        """Its answers; those that it has in time.

        Args:
            question: anything that can be pickled.
            within_s: the seconds for all of them.

        Raises:
            PreflightFailed: it died.
        """
        try:
            said, complaint = self._process.communicate(wire.pack(question), within_s)
        except subprocess.TimeoutExpired as late:
            return _messages(late.output or b"")
        if self._process.returncode != 0:
            last = complaint.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise PreflightFailed(f"the process that looks at roots and files died: {last[-1]}")
        return _messages(said)

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *_error: object) -> None:
        process = self._process
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)  # in an uninterruptible call it does not even die
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _messages(data: bytes) -> list[Any]:
    """Those that are whole."""
    source = io.BytesIO(data)
    return list(iter(lambda: wire.read(source), None))
