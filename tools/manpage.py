"""The manual page, docs/fasthash.1, in the macros of man(7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from markdown import LATER_VARIABLES, exit_statuses
from surface import Command, Entry, Key, common

from fasthash import __version__
from fasthash.cli import cli
from fasthash.cli.keys import OTHER_VARIABLES

DESCRIPTION = (
    "fasthash computes the SHA-256 of the files that the rows of a PostgreSQL table name, and "
    "writes it, the size and the time into three keys of each row's metadata; it changes nothing "
    "else. It survives whatever kills it, and goes on where the last commit was. Hashes that "
    "differ from what was recorded are logged and kept before they are overwritten.",
    "Settings come from flags, else from the environment, else from the configuration file. Where "
    "no database is configured, fasthash starts one of its own.",
    "Results go to standard output, with `--json` for machines; progress and log go to standard "
    "error.",
)
EXAMPLES = (
    (
        "Files without a catalog: make one, and hash them.",
        ("fasthash register data", "fasthash run"),
    ),
    (
        "Every night: what is new, then what was not read for the longest time.",
        ("fasthash run --quiet --for 2h", "fasthash scrub --quiet --older-than 90d --for 5h"),
    ),
    ("What does a run do, and with which settings?", ("fasthash status", "fasthash config show")),
)


def manual(found: list[Command], keys: list[Key]) -> str:
    """The page as a whole. It has no date, so that it is the same whenever it is made."""
    shared = common(found)
    lines = [
        '.\\" Made by `make docs` from the program itself: change it there.',
        f'.TH FASTHASH 1 "" "fasthash {__version__}" "User Commands"',
        ".nh",
        ".ad l",
        ".SH NAME",
        rf"fasthash \- {_roff((cli.help or '').rstrip('.')).replace('Put', 'put')}",
        ".SH SYNOPSIS",
        ".B fasthash",
        r"\fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]",
        ".SH DESCRIPTION",
        *_paragraphs(DESCRIPTION),
        ".SH COMMANDS",
    ]
    for command in found:
        lines += _command(command, shared)
    lines += [".SH COMMON OPTIONS", *_entries(shared), *_configuration(keys)]
    lines += [".SH ENVIRONMENT"]
    lines += _terms([*OTHER_VARIABLES.items(), *LATER_VARIABLES])
    lines += [".SH FILES"]
    lines += _terms(
        [
            ("fasthash.toml", "The configuration, in the directory one is in."),
            ("~/.config/fasthash/fasthash.toml", "The configuration, where that is missing."),
            ("~/.local/share/fasthash", "The embedded PostgreSQL, where it is used."),
        ]
    )
    lines += [".SH EXIT STATUS", *_terms(exit_statuses()), ".SH EXAMPLES"]
    for n, (text, typed) in enumerate(EXAMPLES):
        lines += [".PP"] if n else []
        lines += [_roff(text), ".PP", ".RS", ".nf", *map(_roff, typed), ".fi", ".RE"]
    lines += [".SH SEE ALSO", r"\fBsha256sum\fR(1), \fBpsql\fR(1)"]
    return "\n".join(lines) + "\n"


def _roff(text: str) -> str:
    """Text as roff has to have it; what stands in backticks becomes bold."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("^", r"\(ha")
    text = text.replace("~", r"\(ti")
    text = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in text)
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    return f"\\&{text}" if text.startswith(".") else text


def _paragraphs(paragraphs: Sequence[str]) -> Iterator[str]:
    for n, paragraph in enumerate(paragraphs):
        if n:
            yield ".PP"
        if paragraph.startswith("\b"):
            yield from (".nf", *map(_roff, paragraph.splitlines()[1:]), ".fi")
        else:
            yield _roff(" ".join(paragraph.split()))


def _command(command: Command, shared: list[Entry]) -> Iterator[str]:
    yield f".SS {_roff(command.usage)}"
    yield from _paragraphs(command.paragraphs)
    yield from _entries([e for e in command.entries if e not in shared])
    others = ", ".join(f"`{e.flag}`" for e in command.entries if e in shared)
    if others:
        yield from (".PP", _roff(f"Common options: {others}"))


def _entries(entries: list[Entry]) -> Iterator[str]:
    yield from _terms((entry.names, entry.text) for entry in entries)


def _terms(terms: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, text in terms:
        yield from (".TP", rf"\fB{_roff(term.replace('`', ''))}\fR", _roff(text) or r"\&")


def _configuration(keys: list[Key]) -> Iterator[str]:
    yield ".SH CONFIGURATION"
    yield _roff(
        "The keys of the configuration file, which is flat TOML, their environment variables and "
        "flags."
    )
    for key in keys:
        yield ".TP"
        yield rf"\fB{_roff(key.name)}\fR (\fB{key.variable}\fR, \fB{_roff(key.flag)}\fR)"
        yield _roff(key.meaning)
        accepts = key.accepts[0].upper() + key.accepts[1:]
        yield _roff(f"{accepts}. Default: {key.default}.")
