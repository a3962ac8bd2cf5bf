"""Questions to a helper process that may never answer: a dead mount holds whoever touches it."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import threading
import time
from typing import Any

from fasthash import child, wire
from fasthash.errors import PreflightFailed

LOOK_EVERY_S = 0.05


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

    def ask(
        self, question: object, within_s: float, needed: int | None = None, more_s: float = 0.0
    ) -> list[Any]:
        """Its answers; those that it has in time.

        Args:
            question: anything that can be pickled.
            within_s: the seconds for all of them, or for those that are needed.
            needed: this many answers are enough, and it may die over the others; None for all.
            more_s: the seconds for the others, from when there are those that are needed.

        Raises:
            PreflightFailed: it died.
        """
        until_s, wanted = time.monotonic() + within_s, needed
        self._give(wire.pack(question))
        while True:
            try:
                said, complaint = self._process.communicate(timeout=LOOK_EVERY_S)
                break
            except subprocess.TimeoutExpired as late:
                now_s, answers = time.monotonic(), _messages(late.output or b"")
                if needed is not None and len(answers) >= needed:
                    until_s, needed = min(until_s, now_s + more_s), None
                if now_s >= until_s:
                    return answers
        answers = _messages(said)
        if self._process.returncode != 0 and (wanted is None or len(answers) < wanted):
            last = complaint.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise PreflightFailed(f"the process that looks at roots and files died: {last[-1]}")
        return answers

    def _give(self, question: bytes) -> None:
        """Writes while its answers are read.

        Not by `communicate`: called again after a timeout, that writes no more of its input, and
        on a busy machine it may have written nothing by then.
        """
        pipe, self._process.stdin = self._process.stdin, None
        assert pipe is not None  # noqa: S101

        def write() -> None:
            with contextlib.suppress(BrokenPipeError), pipe:
                pipe.write(question)

        threading.Thread(target=write, daemon=True).start()

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
