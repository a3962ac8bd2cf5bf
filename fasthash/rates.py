"""Rates that change while a run goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fasthash import logs
from fasthash.errors import FasthashError
from fasthash.gate import HostRate
from fasthash.summary import describe_rates

log = logging.getLogger("fasthash")

# The rates (bytes and files a second) that the configuration has now.
Reload = Callable[[], tuple[float, float]]


def reload(host_rate: HostRate | None, read: Reload | None) -> None:
    """SIGHUP: the rates as the configuration has them now; without one there is nothing to read."""
    if read is None or host_rate is None:
        return
    try:
        found = read()
    except FasthashError as error:
        event = logs.event("reload_failed", reason=str(error))
        log.error("the configuration is left as it was: %s", error, extra=event)  # noqa: TRY400
        return
    host_rate.set_rates(*found)
    note_rates(*found)


def note_rates(bytes_per_s: float, files_per_s: float) -> None:
    """Says that the rates were changed; 0 is for no limit."""
    log.info(
        "the rate is %s now",
        describe_rates(bytes_per_s, files_per_s),
        extra=logs.event("rate", bytes_per_s=bytes_per_s, files_per_s=files_per_s),
    )
