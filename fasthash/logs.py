"""Log lines on stderr: text for people, JSON for machines; no control characters in either."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from fasthash import colour

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


def printable(text: str) -> str:
    """The text with control characters escaped, so that it is one harmless line."""
    return text.translate(_CLEAN)


class TextFormatter(logging.Formatter):
    """`2026-01-31 02:00:00 WARNING drift: ...`"""

    def __init__(self, *, in_colour: bool = False) -> None:
        super().__init__()
        self._styles = LEVEL_STYLES if in_colour else {}

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        style = self._styles.get(record.levelname)
        level = record.levelname if style is None else colour.paint(record.levelname, style)
        return f"{stamp} {level} {printable(record.getMessage())}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `event`, `message` and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return json.dumps(
            {
                "time": f"{stamp}.{int(record.msecs):03d}Z",
                "level": record.levelname,
                "event": getattr(record, "event", "message"),
                "message": record.getMessage(),
                **fields,
            },
            default=str,
        )


class LineHandler(logging.StreamHandler[Any]):
    """Writes whole lines; on a terminal it clears the progress bar's line first."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record by one write call, so that lines of several processes do not mix."""
        try:
            lead = "\r\x1b[K" if sys.stderr.isatty() else ""
            sys.stderr.write(f"{lead}{self.format(record)}\n")
            sys.stderr.flush()
        except (BrokenPipeError, ValueError):
            pass  # nobody reads any more; the ledger has it all the same


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


def event(name: str, **fields: object) -> dict[str, object]:
    """The `extra` of a log call: a stable event name and its fields, for the JSON format."""
    return {"event": name, "fields": fields}
