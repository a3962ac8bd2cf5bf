"""Rates that change while a run goes on."""

from __future__ import annotations

import logging

from fasthash import logs
from fasthash.summary import describe_rates

log = logging.getLogger("fasthash")


def note_rates(bytes_per_s: float, files_per_s: float) -> None:
    """Says which rates all coordinators of a run on this host keep; 0 is for no limit."""
    log.info(
        "the rate is %s now, for the whole run on this host",
        describe_rates(bytes_per_s, files_per_s),
        extra=logs.event("rate", bytes_per_s=bytes_per_s, files_per_s=files_per_s),
    )
