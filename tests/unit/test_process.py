"""A helper process that dies at the wrong moment."""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import Any

from fasthash.process import Child


def test_a_process_that_dies_with_a_full_pipe_leaves_no_word() -> None:
    complaints: list[dict[str, Any]] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        child = await Child.start("fasthash.roots", with_secrets=False)
        pipe = child.process.stdin
        assert pipe is not None
        child.process.send_signal(signal.SIGSTOP)  # it reads no more
        sending = asyncio.create_task(child.send(b"x" * 4_000_000))
        while not pipe.transport.get_write_buffer_size():
            await asyncio.sleep(0)
        child.kill()
        await sending
        assert await child.wait() == -signal.SIGKILL
        assert await child.receive() is None

    asyncio.run(work())
    gc.collect()
    assert complaints == []
