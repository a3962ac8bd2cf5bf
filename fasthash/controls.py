"""How a run hears from outside what is wanted of it: by signals, or from another thread."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from fasthash import logs
from fasthash.errors import FasthashError

log = logging.getLogger("fasthash")

# Bytes and files a second that the configuration has now, None for what it does not say; raises
# FasthashError.
Reload = Callable[[], tuple[float | None, float | None]]


class Steered(Protocol):
    """What can be wanted of a run. All is called in its own loop."""

    def stop(self, number: int) -> None:
        """For a signal. Once: no new units, what is in hand is flushed. Twice: at once."""

    def tell(self) -> None:
        """Logs what every worker is doing."""

    def set_rates(self, bytes_per_s: float | None, files_per_s: float | None) -> None:
        """Reads at these rates from now on; 0 is for none, None for what it is."""


class Controls(Protocol):
    """Somebody who may want something of a run."""

    def attach(self, run: Steered) -> None:
        """The run has begun; called in its loop."""

    def detach(self) -> None:
        """The run has ended, or did not begin; called in its loop."""


class Signals:
    """A process that is a run: it has the signals, and a configuration to be read again."""

    def __init__(self, reload: Reload | None = None) -> None:
        self._reload = reload
        self._run: Steered | None = None

    def attach(self, run: Steered) -> None:
        """SIGINT and SIGTERM stop it, SIGUSR1 has it tell, SIGHUP read its rates again."""
        self._run = run
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, run.stop, number)
        loop.add_signal_handler(signal.SIGUSR1, self._tell)
        loop.add_signal_handler(signal.SIGHUP, self._read_again)

    def detach(self) -> None:
        """There is nothing to tell any more; a signal that comes late does not end us either."""
        self._run = None  # a signal may be waiting in the loop
        loop = asyncio.get_running_loop()
        for number in (signal.SIGUSR1, signal.SIGHUP):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _tell(self) -> None:
        if self._run is not None:
            self._run.tell()

    def _read_again(self) -> None:
        run = self._run
        if run is None:
            return
        if self._reload is None:
            log.info(
                "SIGHUP: there is no configuration file to read again",
                extra=logs.event("reload_ignored"),
            )
            return
        try:
            rates = self._reload()
        except FasthashError as error:
            event = logs.event("reload_failed", reason=str(error))
            log.error("the configuration is left as it was: %s", error, extra=event)  # noqa: TRY400
        else:
            run.set_rates(*rates)


class Remote:
    """Another thread of the process, whose signals are not the run's business."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._run: tuple[asyncio.AbstractEventLoop, Steered] | None = None

    def attach(self, run: Steered) -> None:
        """From here on it can be stopped; perhaps it is to stop already."""
        with self._lock:
            self._run = asyncio.get_running_loop(), run
            if self._stopped:
                run.stop(signal.SIGINT)

    def detach(self) -> None:
        """From here on there is nothing to stop."""
        with self._lock:
            self._run = None

    def stop(self) -> None:
        """Has the run flush what is in hand and end; may be called at any time, by any thread."""
        with self._lock:
            if self._run is not None and not self._stopped:
                loop, run = self._run
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(run.stop, signal.SIGINT)
            self._stopped = True
