"""Log lines on stderr: text for people, JSON for machines; no control characters in either."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

from fasthash import colour
from fasthash.widths import ELLIPSIS, human_time, shorten

LEVEL_STYLES = {
    "WARNING": colour.Style.WARNING,
    "ERROR": colour.Style.BAD,
    "CRITICAL": colour.Style.BAD,
}
# C0, DEL and C1 controls, bidirectional marks and overrides: a file name must not drive a terminal.
_UNSAFE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    code: f"\\u{code:04x}"
    for code in (
        0x061C,
        0x200E,
        0x200F,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        0x2028,
        0x2029,
    )
}
_SURROGATES = {code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)}
_CLEAN = {**_UNSAFE, **_SURROGATES}

# PIPE_BUF: what a pipe takes whole, so that the lines of several processes do not mix in it.
JSON_LINE_BYTES = 4096
_CUT_MESSAGE = 200
# Of one text on a screen: no path that one meets is longer. An error has several.
LONGEST_SHOWN = 500
LONGEST_ERROR = 4_000
_bound: dict[str, object] = {}


def printable(text: str) -> str:
    """The text with control characters escaped, so that it is one harmless line."""
    return text.translate(_CLEAN)


def shown(text: str, most: int = LONGEST_SHOWN) -> str:
    """The same, shortened in the middle to what somebody may still want to read."""
    # So much of it at the most is looked at: a type of 300 kB takes no time.
    if len(text) > 2 * most:
        text = f"{text[:most]}{ELLIPSIS}{text[-most:]}"
    return shorten(printable(text), most)


class TextFormatter(logging.Formatter):
    """`2026-01-31T02:00:00+01:00 WARNING drift: ...`: local time, with its offset."""

    def __init__(self, *, in_colour: bool = False) -> None:
        super().__init__()
        self._styles = LEVEL_STYLES if in_colour else {}

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        stamp = human_time(datetime.fromtimestamp(record.created, UTC))
        style = self._styles.get(record.levelname)
        level = record.levelname if style is None else colour.paint(record.levelname, style)
        return f"{stamp} {level} {printable(_message(record))}"


def _message(record: logging.LogRecord) -> str:
    """The message, whose parts may be of any length: those that are texts are shortened."""
    if not isinstance(record.args, tuple):
        return record.getMessage()
    parts = (shown(part) if isinstance(part, str) else part for part in record.args)
    return str(record.msg) % tuple(parts) if record.args else str(record.msg)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `event`, `message`, what is bound, its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return _line(
            {
                "time": f"{stamp}.{int(record.msecs):03d}Z",
                "level": record.levelname,
                "event": getattr(record, "event", "message"),
                "message": record.getMessage(),
                **_bound,
                **fields,
            }
        )


def _line(facts: dict[str, Any]) -> str:
    """The facts as JSON, the longest of them shortened and named in `cut` if it is too long."""
    line = json.dumps(facts, default=str)
    if len(line) < JSON_LINE_BYTES:
        return line
    facts = dict(facts)
    cut: list[str] = []
    facts["message"] = _shortened(facts["message"], _CUT_MESSAGE)
    while len(line := json.dumps({**facts, "cut": cut}, default=str)) >= JSON_LINE_BYTES:
        longest = max(facts, key=lambda name: len(json.dumps(facts[name], default=str)))
        value = facts[longest] if isinstance(facts[longest], str) else str(facts[longest])
        facts[longest] = _shortened(value, len(value) // 2)
        if longest not in cut:
            cut.append(longest)
    return line


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


class LineHandler(logging.StreamHandler[Any]):
    """Writes whole lines; on a terminal it clears the progress bar's line first."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record by one write call, so that lines of several processes do not mix."""
        try:
            lead = "\r\x1b[K" if sys.stderr.isatty() else ""
            sys.stderr.write(f"{lead}{self.format(record)}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # nobody reads any more, or its disk is full; the ledger has it all the same


def set_up(log_format: str, level: int = logging.INFO) -> None:
    """Sends the package's log to stderr.

    Args:
        log_format: `text` or `json`.
        level: the least level shown.
    """
    handler = LineHandler()
    as_text = TextFormatter(in_colour=colour.is_wanted(sys.stderr))
    handler.setFormatter(JsonFormatter() if log_format == "json" else as_text)
    logger = logging.getLogger("fasthash")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


def level() -> int:
    """The least level shown."""
    return logging.getLogger("fasthash").level


def is_json() -> bool:
    """Whether the package's log is set up to be JSON."""
    handlers = logging.getLogger("fasthash").handlers
    return any(isinstance(handler.formatter, JsonFormatter) for handler in handlers)


def bind(**fields: object) -> None:
    """Fields that every JSON line of this process has from now on."""
    _bound.update(fields)


def unbind() -> None:
    """The lines of this process have none of those any more."""
    _bound.clear()


def event(name: str, **fields: object) -> dict[str, object]:
    """The `extra` of a log call: a stable event name and its fields, for the JSON format."""
    return {"event": name, "fields": fields}
