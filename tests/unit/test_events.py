"""The documented list of log events against the code that logs them."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import fasthash

PACKAGE = Path(fasthash.__file__).parent
DOCUMENT = PACKAGE.parent / "docs" / "events.md"
SHOWN = {"info", "warning", "error", "critical", "exception", "log"}
# Of every line: an event's own fields may not take their place.
RESERVED = {"time", "level", "event", "message", "run_id", "cut"}


@dataclass
class Event:
    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


def is_logger(node: ast.expr) -> bool:
    return ast.unparse(node) in ("log", "logger", "logging") or "getLogger" in ast.unparse(node)


def scopes(tree: ast.Module) -> Iterator[ast.AST]:
    """Functions, the inner ones before those around them."""
    found = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    yield from reversed(found)
    yield tree


def log_calls() -> Iterator[tuple[str, ast.Call, ast.AST]]:
    """Every call that can show a line, where it stands, and the function around it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        seen: set[ast.Call] = set()
        for scope in scopes(ast.parse(path.read_text())):
            for node in ast.walk(scope):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in SHOWN
                    and is_logger(node.func.value)
                    and node not in seen
                ):
                    seen.add(node)
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node, scope


def event_of(call: ast.Call, scope: ast.AST) -> ast.Call | None:
    """The `logs.event(..)` of a log call, given at once or by way of a variable."""
    extra = next((k.value for k in call.keywords if k.arg == "extra"), None)
    if isinstance(extra, ast.Name):
        extra = next(
            node.value
            for node in ast.walk(scope)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == extra.id
        )
    if isinstance(extra, ast.Call) and ast.unparse(extra.func) == "logs.event":
        return extra
    return None


def levels_of(call: ast.Call, scope: ast.AST) -> set[str]:
    assert isinstance(call.func, ast.Attribute)
    if call.func.attr != "log":
        return {call.func.attr.upper()}
    assigned = next(
        ast.unparse(node.value)
        for node in ast.walk(scope)
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == ast.unparse(call.args[0])
    )
    return set(re.findall(r"logging\.([A-Z]+)", assigned))


def in_code() -> dict[str, Event]:
    found: dict[str, Event] = defaultdict(Event)
    for where, call, scope in log_calls():
        event = event_of(call, scope)
        assert event is not None, f"{where}: a log line without logs.event"
        name = event.args[0]
        assert isinstance(name, ast.Constant), where
        assert all(k.arg is not None for k in event.keywords), f"{where}: fields by **"
        found[name.value].levels |= levels_of(call, scope)
        found[name.value].fields |= {str(k.arg) for k in event.keywords}
    return dict(found)


def documented() -> dict[str, Event]:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len(rows) == len({row[0] for row in rows}), "an event is there twice"
    found = {}
    for name, levels, fields, when, _ in rows:
        assert when, name
        found[name.strip("`")] = Event(set(levels.split(", ")), set(re.findall(r"`(\w+)`", fields)))
    return found


def test_every_line_has_an_event_and_every_event_is_documented() -> None:
    assert in_code() == documented()


def test_there_are_log_calls_at_all() -> None:
    assert len(list(log_calls())) > 30


def test_no_field_takes_the_place_of_what_every_line_has() -> None:
    taken = {name: e.fields & RESERVED for name, e in in_code().items() if e.fields & RESERVED}
    # Before the run is open there is none to be bound: this one says which it found.
    assert taken == {"other_resolver": {"run_id"}}


@pytest.mark.parametrize("name", sorted(documented() if DOCUMENT.exists() else ()))
def test_names_are_words_that_a_query_can_hold(name: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
