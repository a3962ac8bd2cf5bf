"""Colour for terminals: which streams get any, and the three styles there are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol


class Style(StrEnum):
    """What is said by it, with the codes of ISO 6429."""

    BAD = "1;31"
    WARNING = "33"
    STRONG = "1"


class Stream(Protocol):
    """What may be a terminal."""

    def isatty(self) -> bool: ...


def is_wanted(stream: Stream, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether text for this stream is coloured.

    NO_COLOR forbids it, FORCE_COLOR and CLICOLOR_FORCE demand it (but with 0), and else terminals
    get it that are not dumb.
    """
    if environment.get("NO_COLOR"):
        return False
    if any(
        environment.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")
    ):
        return True
    return stream.isatty() and environment.get("TERM", "dumb") != "dumb"


def paint(text: str, style: Style) -> str:
    """The text in a style. It is as wide as before, but longer: measure first."""
    return f"\x1b[{style}m{text}\x1b[0m"
