"""What a run is doing, for a person: the text of `fasthash status`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from fasthash.cli.chart import bar, percent, spark
from fasthash.logs import printable
from fasthash.summary import describe_rates, human_bytes, human_seconds
from fasthash.widths import display_width, human_time, shorten

# A live coordinator reports every 5 seconds; one that has been silent for longer is stuck.
SILENT_AFTER_S = 20.0
BAR_COLUMNS = 40
TYPE_BAR_COLUMNS = 20
TYPES_AT_MOST = 12


def status_text(status: dict[str, Any], columns: int, *, ascii_only: bool = False) -> str:
    """The status as lines of a number of columns at most (errors wrap, paths are shortened).

    Args:
        status: from `store.status`.
        columns: the screen's.
        ascii_only: for a screen without block characters.
    """
    lines = [
        *_heading(status, columns),
        "",
        *_progress(status),
        *_chart(status, columns, ascii_only),
    ]
    lines += [*_types(status, columns), "", *_holders(status, columns)]
    if status["error"]:
        lines += ["", *_wrapped(f"error: {status['error']}", "  ", columns)]
    lines += _what_next(status)
    while not lines[-1]:
        lines.pop()
    return "\n".join(lines)


def _heading(status: dict[str, Any], columns: int) -> Iterator[str]:
    took = human_seconds(status["seconds"])
    how = {"running": f"running for {took}", "complete": f"complete in {took}"}
    state = how.get(status["state"], f"{status['state']} after {took}")
    what = f"run {status['run_id']} ({status['kind']}) of {status['catalog']}: {state}"
    yield from _wrapped(what, "", columns)
    finished = status["finished_at"]
    ended = f", ended {human_time(finished)}" if finished is not None else ""
    yield f"began {human_time(status['started_at'])}{ended}"
    if status.get("unreachable"):
        yield from _wrapped(f"NOT REACHED, looking again: {status['unreachable']}", "", columns)


def _progress(status: dict[str, Any]) -> Iterator[str]:
    state, scanned, expected = status["state"], status["rows_scanned"], status["rows_expected"]
    of = ""
    if state != "complete" and expected is not None:
        of = f" of {expected:,}"
        if 0 < scanned <= expected:
            yield f"  [{bar(scanned, expected, BAR_COLUMNS)}] {percent(scanned, expected)}"
    elif state == "running":
        of = " (how many there are is still being counted)"
    yield f"  rows    {scanned:,}{of}, {human_bytes(status['bytes_hashed'])} hashed"
    if state == "running":
        yield f"  speed   {_speed(status)}"
    if status["eta_s"] is not None:
        yield f"  to go   about {human_seconds(status['eta_s'])}"
    counts = (status["drift_events"], status["rows_skipped_no_file"], status["rows_failed"])
    yield "  found   drift {:,}, missing {:,}, failed {:,}".format(*counts)
    ranges = status["ranges"]
    parts = [f"{ranges[s]:,} {s}" for s in ("done", "leased", "pending") if s in ranges]
    yield f"  ranges  {', '.join(parts) or 'none yet'}"


def _speed(status: dict[str, Any]) -> str:
    if status["rows_per_s"] is None:
        return "not known yet"
    rates = f"{status['rows_per_s']:,.0f} rows/s, {human_bytes(status['bytes_per_s'])}/s"
    return f"{rates} in the last minute"


def _chart(status: dict[str, Any], columns: int, ascii_only: bool) -> Iterator[str]:
    """The last minutes, if there is something to see yet."""
    history = status["history"][-max(10, columns - 50) :]
    if status["state"] != "running" or len(history) < 3:
        return
    minutes = human_seconds((history[-1]["since"] - history[0]["since"]).total_seconds())
    rows, read = ([h[key] for h in history] for key in ("rows_per_s", "bytes_per_s"))
    for values, most in (
        (rows, f"{max(rows):,.0f} rows/s"),
        (read, f"{human_bytes(max(read))}/s in {minutes}"),
    ):
        yield f"          {spark(values, columns, ascii_only=ascii_only)}  at most {most}"


def _types(status: dict[str, Any], columns: int) -> Iterator[str]:
    """A bar a type, the largest first; nothing where there is only one."""
    types = status["by_type"]
    if status["state"] == "complete" or len(types) < 2:
        return
    shown = sorted(types, key=lambda t: -(types[t]["rows_expected"] or types[t]["rows_scanned"]))
    name_columns = min(columns // 3, max(len(printable(name)) for name in shown[:TYPES_AT_MOST]))
    yield ""
    for name in shown[:TYPES_AT_MOST]:
        found = types[name]
        done, expected = found["rows_scanned"], found["rows_expected"]
        label = shorten(printable(name), name_columns)
        lead = f"  {label}{' ' * (name_columns - display_width(label))}  "
        if expected is None:
            yield f"{lead}{done:,} rows"
        else:
            how = f"{percent(done, expected):>6}  {done:,} of {expected:,}"
            yield f"{lead}[{bar(done, expected, TYPE_BAR_COLUMNS)}] {how}"
    if len(types) > TYPES_AT_MOST:
        yield f"  and {len(types) - TYPES_AT_MOST:,} more types"


def _holders(status: dict[str, Any], columns: int) -> Iterator[str]:
    """Who works on the run; of those who are gone only the ones that left something behind."""
    gone = []
    for holder in status["holders"]:
        if holder["alive"] or holder["leases"]:
            yield from _holder(holder, columns)
        else:
            gone.append(holder)
    if gone:
        last = max(gone, key=lambda h: h["seen_at"])
        others = f" and {len(gone) - 1:,} before it" if len(gone) > 1 else ""
        how = "ended" if status["state"] == "complete" else "gone"
        seen = f"{how}, last heard of {human_time(last['seen_at'])}{others}"
        yield from _wrapped(f"{last['host']}, pid {last['pid']}: {seen}", "  ", columns)


def _holder(holder: dict[str, Any], columns: int) -> Iterator[str]:
    alive, report, ago_s = holder["alive"], holder["report"], holder["seen_ago_s"]
    leases = f"{holder['leases']:,} lease{'' if holder['leases'] == 1 else 's'}"
    # A time in the future: the database's clock was set back since.
    ago = f"at {human_time(holder['seen_at'])}" if ago_s is None else f"{human_seconds(ago_s)} ago"
    if not alive:
        state = f"DEAD, last heard of {ago}, holds {leases}"
    elif ago_s is not None and ago_s > SILENT_AFTER_S:
        state = f"alive but SILENT for {human_seconds(ago_s)}, {leases}"
    else:
        state = f"alive, {leases}, reported {ago}"
    yield from _wrapped(f"{holder['host']}, pid {holder['pid']}: {state}", "  ", columns)
    if any(report.get("rates") or ()):
        yield f"    kept to {describe_rates(*report['rates'])}"
    if report.get("held"):
        yield from _wrapped(f"HELD: {report['held']}", "    ", columns)
    if report.get("stuck"):
        lead = "    WAITING for the first byte of "
        yield lead + shorten(printable(report["stuck"]), columns - len(lead))
    yield from _workers(report.get("workers", ()), columns)


def _workers(workers: Sequence[dict[str, Any]], columns: int) -> Iterator[str]:
    """A line a worker: the file it is (or was, when its coordinator died) in."""
    if workers:
        yield "    worker           for      read       speed  file"
    for worker in workers:
        if worker.get("path") is None:
            yield f"    {worker['pid']:>7}  idle"
            continue
        seconds, read = worker.get("seconds", 0.0), worker.get("read_bytes", 0)
        # What a file's first moments say of the speed is chance.
        speed = f"{human_bytes(read / seconds)}/s" if seconds >= 1 else ""
        lead = (
            f"    {worker['pid']:>7}  {human_seconds(seconds):>11}  {human_bytes(read):>8}"
            f"  {speed:>10}  "
        )
        yield lead + shorten(printable(worker["path"]), max(12, columns - len(lead)))


def _wrapped(text: str, indent: str, columns: int) -> list[str]:
    return textwrap.wrap(
        printable(text),
        columns,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
    )


def _what_next(status: dict[str, Any]) -> list[str]:
    """Commands, each in one line however long: to be copied."""
    run_id, state = status["run_id"], status["state"]
    lines = []
    if status["superseded"]:
        lines.append("given up: `fasthash run --restart` began another run")
    elif state in ("interrupted", "failed"):
        lines.append(f"`{status['goes_on_by']}` goes on from here")
    if status["drift_events"]:
        lines.append(f"`fasthash drift list --run {run_id}` shows the drift")
    if status["rows_skipped_no_file"] or status["rows_failed"]:
        lines.append(f"`fasthash residual {run_id}` lists the rows without a verdict")
    return ["", *(f"  {printable(line)}" for line in lines)] if lines else []
