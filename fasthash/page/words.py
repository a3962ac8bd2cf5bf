"""What the facts come to, in plain words: the verdict, and what the run was: pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fasthash.logs import printable
from fasthash.page.buckets import NEVER
from fasthash.page.facts import DriftCount, Facts
from fasthash.summary import ENDINGS, human_bytes, human_seconds
from fasthash.widths import human_time

# With these the file's hash is the recorded one.
SETTLED = ("overwritten", "accepted", "superseded")
GOOD, WAITS, BAD, OPEN = "good", "waits", "bad", "open"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence, what is to be said beside it, and how bad it is."""

    level: str
    sentence: str
    notes: tuple[str, ...] = ()


def files(n: int) -> str:
    """`1 file`, `2,000 files`."""
    return f"{n:,} file{'' if n == 1 else 's'}"


def verdict(facts: Facts) -> Verdict:
    """What somebody who reads one line has to know."""
    waiting = dict(_waiting(facts))
    parts = [words for words, n in waiting.items() if n]
    total = sum(waiting.values())
    notes = tuple(_notes(facts))
    if is_revert(facts):
        of = facts.run.options.get("of")
        return Verdict(OPEN, f"This run put back what run {of} had written.", notes)
    if total:
        verb = "thing waits" if total == 1 else "things wait"
        sentence = f"{total:,} {verb}: {_listed(parts)}."
        bad = facts.known_bad or any(_is_damage(c) for c in facts.drift_counts)
        return Verdict(BAD if bad else WAITS, sentence, (*_verified(facts), *notes))
    if facts.summary.state != "complete":
        return Verdict(OPEN, _so_far(facts), notes)
    if not facts.summary.total.scanned:
        return Verdict(GOOD, "Nothing was due, and nothing waits.", notes)
    sentence = " ".join(_verified(facts)).rstrip(".")
    return Verdict(GOOD, f"{sentence}; nothing waits." if sentence else "Nothing waits.", notes)


def _is_damage(count: DriftCount) -> bool:
    is_open = count.resolution == "open" and count.kind == "corrupt"
    return is_open or (count.resolution == "rejected" and count.is_of_run)


def _waiting(facts: Facts) -> Iterator[tuple[str, int]]:
    """What somebody has to look at, the worst first."""
    still_open = [c for c in facts.drift_counts if c.resolution == "open"]
    damaged = sum(c.n for c in still_open if c.kind == "corrupt")
    changed = sum(c.n for c in still_open if c.kind != "corrupt")
    total = facts.summary.total
    looks = "looks" if damaged == 1 else "look"
    yield f"{files(damaged)} that {looks} damaged", damaged
    restore = sum(c.n for c in facts.drift_counts if c.is_of_run and c.resolution == "rejected")
    yield f"{files(restore)} to restore", restore
    yield f"{changed:,} changed hash{'' if changed == 1 else 'es'} to decide about", changed
    yield f"{total.no_file:,} missing file{'' if total.no_file == 1 else 's'}", total.no_file
    yield f"{files(total.failed)} that could not be checked", total.failed
    never = never_verified(facts)
    yield f"{files(never)} that {'was' if never == 1 else 'were'} never verified", never
    known = facts.known_bad
    yield f"{files(known)} that an earlier scrub found damaged, missing or unreadable", known


def never_verified(facts: Facts) -> int:
    """Rows of the catalog without a marker that the page does not name, nor a backfill will do."""
    summary = facts.summary
    never = sum(bucket.rows for bucket in facts.ages if bucket.name == NEVER[0])
    never -= sum(c.unmarked for c in facts.drift_counts if c.resolution == "open")
    if summary.kind == "scrub":
        return max(0, never)
    if summary.state != "complete":
        return 0
    return max(0, never - summary.total.no_file - summary.total.failed)


def no_drift(facts: Facts) -> str:
    """What can be said of a run without any: it vouches for what it has hashed, for no more."""
    summary = facts.summary
    is_look = facts.run.options.get("missing")
    read_again = summary.total.confirmed - summary.total.prechecked
    if summary.state != "complete" or is_look or is_revert(facts) or read_again <= 0:
        return "None was found."
    return f"None was found: {files(read_again)} read again had the recorded hash."


def part_of_catalog(facts: Facts) -> str:
    """Which rows alone a run was for, in words; empty where it was for all of them."""
    options = facts.run.options
    parts = []
    if options.get("types"):
        parts.append(f"type {', '.join(options['types'])}")
    if options.get("sample"):
        share, _, seed = str(options["sample"]).partition(" of seed ")
        parts.append(f"a sample of {100 * float(share):.4g} % of the rows (seed {seed})")
    if options.get("limit") is not None:
        parts.append(f"at most {options['limit']:,} rows")
    if options.get("since"):
        parts.append(f"rows whose marker is older than {options['since']}")
    return "; ".join(parts)


def is_revert(facts: Facts) -> bool:
    """Whether the run put back what another had written."""
    return facts.summary.kind == "revert"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def verified_rows(facts: Facts) -> int:
    """Rows whose file and hash agree: all that were met but those that wait or are known bad."""
    total = facts.summary.total
    held = sum(c.n for c in facts.drift_counts if c.is_of_run and c.resolution not in SETTLED)
    return max(0, total.scanned - total.no_file - total.failed - held)


def _verified(facts: Facts) -> Iterator[str]:
    done, total = verified_rows(facts), facts.summary.total
    is_look = facts.run.options.get("missing")
    one = "is there with its size" if is_look else "was verified"
    many = "are there with their sizes" if is_look else "were verified"
    if facts.summary.state != "complete":
        yield _so_far(facts)
    elif done:
        which = "The one" if done == total.scanned else "One other"
        all_of = "All" if done == total.scanned else "The other"
        yield f"{which} file {one}." if done == 1 else f"{all_of} {files(done)} {many}."


def _so_far(facts: Facts) -> str:
    done, expected = facts.summary.total.scanned, facts.run.rows_expected
    of = f" of {expected:,}" if expected is not None and expected >= done else ""
    if facts.summary.state == "running":
        return f"The run is under way: {done:,}{of} files so far."
    return f"The run is not finished: {done:,}{of} files so far."


def _notes(facts: Facts) -> Iterator[str]:
    """What is worth saying beside the verdict."""
    total = facts.summary.total
    undone_by = facts.summary.undone_by
    if undone_by is not None:
        yield f"What this run wrote was put back as it was before, by run {undone_by}."
    part = part_of_catalog(facts)
    if part:
        yield f"This run was for a part of the catalog: {part}."
    written = sum(c.n for c in facts.drift_counts if c.is_of_run and c.resolution == "overwritten")
    if written:
        had = "1 file had" if written == 1 else f"{written:,} files had"
        its = "its new hash is" if written == 1 else "their new hashes are"
        yield f"{had} another hash than recorded; {its} in the catalog, the old in the ledger."
    if total.prechecked:
        yield (
            f"{files(total.prechecked)} of these unchanged by the pre-check, which reads no "
            "SHA-256."
        )
    if total.gone:
        yield f"{total.gone:,} row{'' if total.gone == 1 else 's'} deleted meanwhile."


def run_facts(facts: Facts) -> list[tuple[str, str]]:
    """What the run was, as pairs of a name and a value."""
    summary, run = facts.summary, facts.run
    pairs = [
        ("run", f"{summary.run_id} ({summary.kind})"),
        ("catalog", str(summary.catalog)),
        ("state", _state(facts)),
        ("began", human_time(summary.started_at)),
        ("ended", human_time(summary.finished_at) if summary.finished_at else "not yet"),
        ("time at work", human_seconds(summary.seconds)),
        ("started on", run.host),
    ]
    for host in run.hosts:
        sessions = f"{host['sessions']:,} session{'' if host['sessions'] == 1 else 's'}"
        when = f"{human_time(host['first_at'])} to {human_time(host['last_at'])}"
        pairs.append(("worked on by", f"{host['host']}: {sessions}, {when}"))
    pairs += [
        (name.replace("_", " "), _value(v))
        for name, v in sorted(run.options.items())
        if v is not None
    ]
    if run.error:
        pairs.append(("error", run.error))
    pairs.append(("page made", f"{human_time(facts.made_at)} by fasthash {facts.version}"))
    return [(printable(name), printable(value)) for name, value in pairs]


def _state(facts: Facts) -> str:
    summary = facts.summary
    why = ENDINGS.get(summary.ended_for or "")
    parts = [summary.state]
    if why and summary.state != "complete":
        parts.append(why)
    if facts.run.superseded:
        parts.append("given up for another run")
    return ", ".join(parts)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True, slots=True)
class Card:
    """One figure that is shown large."""

    name: str
    figure: str
    beside: str
    level: str = ""


def cards(facts: Facts) -> list[Card]:
    """The totals."""
    total, seconds = facts.summary.total, facts.summary.seconds
    speed = ""
    if seconds > 0 and total.scanned:
        rate = human_bytes(total.bytes_hashed / seconds)
        rows = total.scanned / seconds
        speed = f"{rows:,.{0 if rows >= 10 else 1}f} rows/s, {rate}/s"
    written = f"{total.updated:,} row{'' if total.updated == 1 else 's'} written"
    met = f"of {facts.catalog_rows:,} in the catalog"
    bad = any(_is_damage(c) for c in facts.drift_counts)
    waits = sum(c.n for c in facts.drift_counts if c.resolution == "open")
    return [
        Card("looked at", f"{total.scanned:,}", met),
        Card("verified", f"{verified_rows(facts):,}", written, GOOD if total.scanned else ""),
        Card(
            "differed",
            f"{total.drifted:,}",
            f"{waits:,} to decide about",
            (BAD if bad else WAITS) if waits else "",
        ),
        Card(
            "missing",
            f"{total.no_file:,}",
            "no file there" if total.no_file else "",
            WAITS if total.no_file else "",
        ),
        Card(
            "not checked",
            f"{total.failed:,}",
            "listed below" if total.failed and not facts.summary.unlisted else "",
            WAITS if total.failed else "",
        ),
        Card("read", human_bytes(total.bytes_hashed), "hashed"),
        Card("time", human_seconds(seconds), speed),
    ]
