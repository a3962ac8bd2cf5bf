"""How a time looks, how wide a text is on a terminal, and how it is made to fit."""

from __future__ import annotations

import unicodedata
from datetime import datetime

ELLIPSIS = "..."


def human_time(time: datetime | None) -> str:
    """`2026-01-31T02:00:00+01:00`: ISO 8601 to the second, local time with its offset.

    As the lines of the log have it; what is for programs (JSON, CSV, markers) is in UTC.
    """
    return "(unknown)" if time is None else time.astimezone().isoformat(timespec="seconds")


def display_width(text: str) -> int:
    """How many columns a terminal takes for a text without control characters."""
    if text.isascii():
        return len(text)
    return sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def shorten(text: str, columns: int) -> str:
    """The text, or its beginning and (for that is where paths differ) more of its end."""
    if display_width(text) <= columns:
        return text
    room = max(1, columns - len(ELLIPSIS))
    head = _beginning(text, room // 3)
    tail = _beginning(text[::-1], room - room // 3)[::-1]
    return f"{head}{ELLIPSIS}{tail}"


def cut(text: str, columns: int) -> str:
    """The text, or its beginning."""
    if display_width(text) <= columns:
        return text
    return f"{_beginning(text, max(1, columns - len(ELLIPSIS)))}{ELLIPSIS}"


def _beginning(text: str, columns: int) -> str:
    """As much of a text as fits."""
    taken = 0
    for n, character in enumerate(text):
        taken += _character_width(character)
        if taken > columns:
            return text[:n]
    return text
