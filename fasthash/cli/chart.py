"""Small charts of characters: a bar for how far something is, a line of bars over time."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.:-=+*#"


def bar(done: int, expected: int, columns: int) -> str:
    """`####....`: rounded down, so that nothing looks done that is not."""
    filled = min(columns, done * columns // expected) if expected > 0 else columns
    return "#" * filled + "." * (columns - filled)


def percent(done: int, expected: int) -> str:
    """`66.6%`: rounded down as well."""
    return f"{min(1000, done * 1000 // expected) / 10}%" if expected > 0 else "100.0%"


def spark(values: Sequence[float], columns: int, *, ascii_only: bool) -> str:
    """A character a value, the last ones where there are too many; the highest is a full block.

    Args:
        values: none of them negative.
        columns: the most characters.
        ascii_only: for a terminal that has no blocks.
    """
    marks = _ASCII if ascii_only else _BLOCKS
    shown = values[-columns:]
    most = max(shown, default=0)
    if most <= 0:
        return marks[0] * len(shown)
    # Anything above nothing shows: the lowest mark is for nothing alone.
    steps = len(marks) - 1
    return "".join(marks[0 if v <= 0 else max(1, round(v / most * steps))] for v in shown)
