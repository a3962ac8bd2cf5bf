"""`fasthash doctor`: what is wrong, before anybody runs anything, and what mends it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from fasthash.cli import tables
from fasthash.cli.options import (
    CONFIG_USED,
    catalog_names,
    catalog_options,
    database_options,
    find_dsn,
    json_option,
)
from fasthash.cli.work_options import (
    algorithm_option,
    disk_option,
    pause_option,
    place_options,
    rate_options,
    reader_option,
    strain_options,
    type_option,
    window_options,
)
from fasthash.errors import ConfigError, NotInitialized, PreflightFailed
from fasthash.logs import printable
from fasthash.summary import describe_rates
from fasthash.widths import display_width

if TYPE_CHECKING:
    from fasthash.doctor.examine import Patient
    from fasthash.facts import Finding, Wishes

EXIT_STATUS_HELP = """\b
Exit status:
  0  nothing worse than notes
  1  warnings
  2  usage or configuration
  3  the configured database cannot be reached
  4  a run would not begin, or come to nothing
"""
# Which groups of checks are shown together, and under which heading.
HEADINGS = {
    "machine": "this machine",
    "roots": "roots",
    "database": "database",
    "catalog": "database",
    "ledger": "database",
    "run": "the next run",
}
# Words, names and texts in quotes: a line break between two of them means nothing.
_SQL_WORD = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*')+""")
# Text is set no wider than this: longer lines are hard to read.
TEXT_COLUMNS = 110


@click.command(epilog=EXIT_STATUS_HELP)
@database_options
@catalog_options
@place_options
@disk_option
@reader_option
@type_option
@algorithm_option
@rate_options
@window_options
@pause_option
@strain_options
@json_option
def doctor_command(**values: Any) -> None:
    """Look at machine, roots and database, and say what to mend.

    Takes the options and the configuration of `fasthash run`, changes nothing, and works without
    a database, too. What is found is a problem (a run would not begin), a warning (it would run
    badly) or a note, each with the command, statement or configuration line that mends it. All
    checks are listed in docs/doctor.md.
    """
    from fasthash.doctor.examine import examine  # noqa: PLC0415
    from fasthash.doctor.judging import exit_status, judge  # noqa: PLC0415

    facts = examine(_patient(values))
    findings = judge(facts)
    with tables.standard_output() as out:
        if values["as_json"]:
            found = {"findings": [asdict(f) for f in findings], "facts": asdict(facts)}
            print(tables.to_json(found, indent=2), file=out)
        else:
            print("\n".join(as_text(findings, tables.screen_columns())), file=out)
    click.get_current_context().exit(exit_status(findings))


def _patient(values: dict[str, Any]) -> Patient:
    from fasthash.config import Courtesy  # noqa: PLC0415
    from fasthash.doctor.examine import Patient  # noqa: PLC0415
    from fasthash.doctor.work import Plan  # noqa: PLC0415
    from fasthash.windows import check, find_zone  # noqa: PLC0415

    check(values["windows"])
    find_zone(values["timezone"])
    dsn, absent = _find_database(values["dsn"])
    return Patient(
        dsn=dsn,
        absent=absent,
        names=catalog_names(values),
        roots=tuple(values["roots"]),
        plan=Plan(tuple(values["types"]), values["algorithm"], values["resolver"]),
        update_function=values["update_function"],
        courtesy=Courtesy(
            windows=tuple(values["windows"]),
            timezone=values["timezone"],
            pause_file=values["pause_file"],
            most_io_pressure=values["max_io_pressure"],
            most_replication_lag_s=values["max_replication_lag"],
            most_wal_backlog=values["max_wal_backlog"],
        ),
        wishes=_wishes(values),
    )


def _wishes(values: dict[str, Any]) -> Wishes:
    from fasthash.facts import Wishes  # noqa: PLC0415

    rates = (values["rate"], values["files_rate"])
    columns = ("id_column", "type_column", "path_column", "metadata_column")
    return Wishes(
        table=values["table"],
        columns={f"--{c.replace('_', '-')}": values[c] for c in columns},
        workers=values["workers"],
        disk=values["disk"],
        reader=values["reader"],
        root_sentinel=values["root_sentinel"],
        resolver_refusal=None,
        pause_file=values["pause_file"],
        rate=describe_rates(*rates) if any(rates) else None,
        config_file=click.get_current_context().meta.get(CONFIG_USED),
    )


def _find_database(dsn: str | None) -> tuple[str | None, str | None]:
    """The connection string, or why there is no database to look at."""
    try:
        return find_dsn(dsn, make=False), None
    except NotInitialized as error:
        return None, str(error)
    except (ConfigError, PreflightFailed) as error:
        if dsn:
            raise
        return None, str(error)


def as_text(findings: Sequence[Finding], columns: int) -> list[str]:
    """The findings as lines: by group, in each the worst first; then how many there are."""
    lines: list[str] = []
    shown = None
    for finding in findings:
        heading = HEADINGS[finding.check.partition(".")[0]]
        if heading != shown:
            lines += ["", heading] if lines else [heading]
            shown = heading
        lines += _lines(finding, min(columns, TEXT_COLUMNS))
    return [*lines, "", *textwrap.wrap(_total(findings), columns, subsequent_indent="  ")]


def _lines(finding: Finding, columns: int) -> Iterator[str]:
    """One finding, and what mends it, to be copied."""
    marks = {"problem": "PROBLEM", "warning": "WARNING", "note": "note", "ok": "ok"}
    lead = f"  {marks[finding.level]:<8}"
    where = "" if finding.level == "ok" else f" [{finding.check}]"
    yield from textwrap.wrap(
        printable(finding.text) + where,
        columns,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_on_hyphens=False,
    )
    for line in finding.remedy.splitlines():
        yield from _remedy(printable(line), " " * (len(lead) + 2), columns)


def _remedy(line: str, indent: str, columns: int) -> list[str]:
    """A line of a remedy, broken only where that changes nothing: between the words of SQL."""
    words = _SQL_WORD.findall(line)
    is_sql = line.endswith(";") or line.startswith("-- ")
    if not is_sql or " ".join(words) != line:
        return [indent + line]
    more = "  -- " if line.startswith("-- ") else "  "
    lines = [indent]
    for word in words:
        joined = f"{lines[-1]} {word}" if lines[-1].strip() else lines[-1] + word
        if display_width(joined) > columns and lines[-1].strip(" -"):
            lines.append(f"{indent}{more}{word}")
        else:
            lines[-1] = joined
    return lines


def _total(findings: Sequence[Finding]) -> str:
    counts = [
        (sum(f.level == level for f in findings), level) for level in ("problem", "warning", "note")
    ]
    parts = [f"{n} {level}{'' if n == 1 else 's'}" for n, level in counts if n]
    if counts[0][0]:
        end = ": a run would not begin, or come to nothing"
    elif counts[1][0]:
        end = ": a run would work, but not as well as it could"
    else:
        end = ": nothing stands in the way of a run"
    return (", ".join(parts) or "no findings") + end
