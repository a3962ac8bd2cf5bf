"""A run in numbers: the keys of the summary, and the same for a person to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fasthash.config import NO_TYPE
from fasthash.fixity import Counts, Outcome


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The figures of one run; all but the residual come from its checkpoint rows."""

    run_id: int | None
    kind: str
    state: str
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float
    by_type: Mapping[str | None, Counts]
    residual: Mapping[str, int]
    dry_run: bool = False

    @property
    def total(self) -> Counts:
        """All types together."""
        return sum(self.by_type.values(), Counts())

    @property
    def by_name(self) -> dict[str, Counts]:
        """By the name shown: rows without a type go with a type that is called `(none)`."""
        found: dict[str, Counts] = {}
        for artifact_type, counts in self.by_type.items():
            name = NO_TYPE if artifact_type is None else artifact_type
            found[name] = found.get(name, Counts()) + counts
        return found

    @property
    def exit_status(self) -> int:
        """0: nothing to look at; 1: drift was found or rows failed."""
        total = self.total
        return 1 if total.drifted or total.failed else 0

    def as_json(self) -> dict[str, Any]:
        """The summary's stable keys."""
        return {
            "run_id": self.run_id,
            "kind": self.kind,
            "state": self.state,
            "started_at": _iso(self.started_at),
            "finished_at": _iso(self.finished_at),
            "seconds": round(self.seconds, 3),
            **_counts_json(self.total),
            "by_type": {t: _counts_json(c) for t, c in self.by_name.items()},
            "residual": dict(self.residual),
            "dry_run": self.dry_run,
        }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat().replace("+00:00", "Z")


def _counts_json(counts: Counts) -> dict[str, Any]:
    return {
        "rows_scanned": counts.scanned,
        "rows_updated": counts.updated,
        "drift_events": counts.drifted,
        "rows_skipped_no_file": counts.no_file,
        "outcomes": {str(o): getattr(counts, o) for o in Outcome},
        "rows_gone": counts.gone,
        "bytes_hashed": counts.bytes_hashed,
    }


def human_bytes(count: float) -> str:
    """`12.3 GB`: powers of 1000, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit takes all")


def human_seconds(seconds: float) -> str:
    """`3.2 s`, `4 min 05 s`, `2 h 03 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


_COLUMNS = ("rows", "hashed", "confirmed", "drifted", "fresh", "no file", "failed", "bytes")


def as_text(summary: RunSummary) -> str:
    """The summary for a person: a table by type, the total, the residual, what to do next."""
    total = summary.total
    speed = ""
    if summary.seconds > 0 and total.scanned:
        speed = (
            f" ({total.scanned / summary.seconds:,.0f} rows/s,"
            f" {human_bytes(total.bytes_hashed / summary.seconds)}/s)"
        )
    what = "dry run" if summary.dry_run else f"run {summary.run_id} ({summary.kind})"
    lines = [f"{what}: {summary.state} in {human_seconds(summary.seconds)}{speed}", ""]
    rows: list[tuple[str, ...]] = [("type", *_COLUMNS)]
    rows += [(t, *_cells(c)) for t, c in summary.by_name.items()]
    rows.append(("total", *_cells(total)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for n, row in enumerate(rows):
        if n in (1, len(rows) - 1):
            lines.append("  " + "  ".join("-" * w for w in widths))
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  " + "  ".join(cells).rstrip())
    lines.append("")
    verb = "would be written" if summary.dry_run else "written"
    lines.append(f"  {total.updated:,} rows {verb}; the hash of {total.drifted:,} differed")
    if total.gone:
        lines.append(f"  {total.gone:,} rows were deleted meanwhile")
    if summary.residual:
        parts = ", ".join(f"{n:,} {reason}" for reason, n in summary.residual.items())
        lines.append(f"  no verdict: {parts}")
    if summary.state in ("interrupted", "failed") and not summary.dry_run:
        lines.append("  `fasthash run` goes on from here")
    return "\n".join(lines)


def _cells(c: Counts) -> tuple[str, ...]:
    numbers = (c.scanned, c.hashed, c.confirmed, c.drifted, c.fresh, c.no_file, c.failed)
    return (*(f"{n:,}" for n in numbers), human_bytes(c.bytes_hashed))
