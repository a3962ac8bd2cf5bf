"""The options of `fasthash run` and `fasthash scrub`, in groups that other commands take, too."""

from __future__ import annotations

import click

from fasthash import config, neighbourly, parsing, windows
from fasthash.cli.metrics import metrics_options
from fasthash.cli.options import (
    Checked,
    Folder,
    Parsed,
    Place,
    combine,
    json_option,
    log_options,
    option,
)

place_options = combine(
    option(
        "--root",
        key="roots",
        multiple=True,
        type=Folder(),
        example=["/data/figures", "/data/archive"],
        help="Directory that files lie in; may be given several times.  "
        "[default: those that `fasthash register` was given]",
    ),
    option(
        "--root-sentinel",
        example=".mounted",
        help="A name that must exist beneath every root: is it mounted?",
    ),
    option(
        "--resolver",
        example="our_site.paths:resolve",
        help="package.module:function from path text to path, or None.",
    ),
    option(
        "--update-function",
        example="atlas.set_metadata",
        help="schema.function(ids, jsonb patches) to write through.",
    ),
    option(
        "--workers",
        type=click.IntRange(1, 1024),
        example=8,
        help="Worker processes.  [default: as many as cores; one a rotational disk]",
    ),
)
reader_option = option(
    "--reader",
    type=click.Choice(["readinto", "mmap"]),
    default="readinto",
    help="mmap is faster on warm large local files; never for network file systems.",
)
disk_option = option(
    "--disk",
    type=click.Choice(["auto", "rotational", "solid"]),
    default="auto",
    help="Rotational disks are read by one worker each, along the disk.",
)
type_option = click.option(
    "--type",
    "types",
    multiple=True,
    help=f"Only rows of this type; may be repeated, {config.NO_TYPE} for none.",
)
algorithm_option = option(
    "--algorithm",
    type=click.Choice(["sha256", "sha256,blake3"]),
    example="sha256,blake3",
    default="sha256",
    help="blake3 goes to metadata.file_blake3, made in the same read.",
)

work_options = combine(
    place_options,
    option(
        "--range-rows",
        type=click.IntRange(1, 1_000_000),
        default=config.DEFAULT_RANGE_ROWS,
        help="Rows per leased range.",
    ),
    option(
        "--chunk-size",
        type=Parsed("SIZE", parsing.parse_chunk_size),
        default="256KiB",
        help="Read buffer for large files.",
    ),
    reader_option,
    disk_option,
    option(
        "--on-drift",
        type=click.Choice(["overwrite", "hold"]),
        example="hold",
        help="hold keeps the old hash and records the drift as open.  [default: overwrite all but "
        "what is corrupt; a scrub only overwrites what was modified]",
    ),
    option(
        "--db-timeout",
        type=Parsed("TIME", parsing.parse_duration),
        default="5min",
        help="How long the database may be away.",
    ),
    option(
        "--lease-ttl",
        type=Parsed("TIME", parsing.parse_lease_ttl),
        default="60s",
        help="Life of a lease; it is renewed five times in it.",
    ),
    type_option,
    click.option("--limit", type=click.IntRange(min=1), help="Stop after this many rows."),
    algorithm_option,
    option(
        "--precheck",
        type=click.Choice(["off", "stat", "xxh3"]),
        example="stat",
        default="off",
        help="What spares hashing again: the same size, times and inode; or the same XXH3-128 of "
        "all bytes.",
    ),
)

rate_options = combine(
    option(
        "--rate",
        type=Parsed("RATE", parsing.parse_rate),
        example="50MB/s",
        default="off",
        help="Bytes a second that are read on this host, 50MB/s.",
    ),
    option(
        "--files-rate",
        type=Parsed("NUMBER", parsing.parse_files_rate),
        example="200",
        default="off",
        help="Files a second, for disks that have to seek.",
    ),
)
window_options = combine(
    option(
        "--window",
        key="windows",
        multiple=True,
        type=Parsed("HH:MM-HH:MM", windows.parse_window),
        example=["22:00-06:00"],
        help="Read only at these times of day; may be repeated, may pass midnight.",
    ),
    option(
        "--timezone",
        type=Checked("ZONE", windows.find_zone),
        example="Europe/Berlin",
        help="The time zone of the windows, Europe/Berlin.  [default: this host's]",
    ),
)
pause_option = option(
    "--pause-file",
    example="/run/fasthash.pause",
    type=Place(),
    help="Nothing is read while this file exists.",
)
strain_options = combine(
    option(
        "--max-io-pressure",
        type=click.FloatRange(0, 100),
        example=40,
        default=0,
        help="Pause while I/O pressure is above this (percent); 0 is off.",
    ),
    option(
        "--max-replication-lag",
        type=Parsed("TIME", parsing.parse_duration),
        example="1min",
        default="0s",
        help="Pause while a standby is further behind than this; 0s is off.",
    ),
    option(
        "--max-wal-backlog",
        type=click.IntRange(min=0),
        default=config.DEFAULT_WAL_BACKLOG,
        help="Pause while more WAL segments than this wait for the archiver; 0 is off.",
    ),
)

courtesy_options = combine(
    rate_options,
    window_options,
    option(
        "--wait/--no-wait",
        key="wait",
        default=True,
        help="Outside the windows: wait, or end; the next call goes on.",
    ),
    option(
        "--budget",
        type=Parsed("SIZE", parsing.parse_budget),
        example="500GB",
        help="End before more than this is read, but not before one file is.",
    ),
    option(
        "--for",
        key="for_time",
        type=Parsed("TIME", parsing.parse_duration),
        example="2h",
        help="End after this time; files in hand are finished.",
    ),
    pause_option,
    option(
        "--nice", example=10, type=click.IntRange(0, 19), default=0, help="Niceness of the workers."
    ),
    option(
        "--ionice",
        type=Checked("CLASS", neighbourly.parse_ionice),
        example="idle",
        help="idle, best-effort or best-effort:0..7, for the workers.",
    ),
    strain_options,
)

how_options = combine(
    click.option("--dry-run", is_flag=True, help="Hash and report; write nothing."),
    click.option("--restart", is_flag=True, help="Give an unfinished run up and begin a new one."),
    option(
        "--missing-ok",
        is_flag=True,
        example=True,
        help="Missing files do not make the exit status 1; begin even if none can be found.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="No progress, no notes: warnings only."),
    json_option,
    log_options,
    metrics_options,
)
