"""What `fasthash doctor` looks at and says: facts as they were found, and findings about them."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is, the worst last."""

    OK = "ok"
    NOTE = "note"  # worth knowing
    WARNING = "warning"  # a run works, but badly, or not as one would think
    PROBLEM = "problem"  # a run does not begin, or comes to nothing


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    `check` is a stable name, `group.what`; `remedy` is commands, statements or configuration, one
    a line, that mend it (lines of SQL end with a semicolon or are comments), or empty. It is to be
    copied: where the name of something has a line break or another control character in it, there
    is none, for whoever chose that name would have chosen the command.
    """

    check: str
    level: Level
    text: str
    commands: InitVar[str | tuple[str, ...]] = ""
    remedy: str = field(init=False)

    def __post_init__(self, commands: str | tuple[str, ...]) -> None:
        lines = (commands,) if isinstance(commands, str) else commands
        is_safe = all(line.isprintable() for line in lines)
        object.__setattr__(self, "remedy", "\n".join(lines) if is_safe else "")


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """This host and this interpreter. Sizes in bytes; None where the system does not tell."""

    architecture: str
    processor: str
    sha_in_processor: bool | None
    native: str  # used, off, missing, unsupported or wrong
    openssl: str
    openssl_mask: str | None  # OPENSSL_ia32cap
    digests_bytes_per_s: dict[str, float]
    versions: dict[str, str]
    open_files: int
    open_files_hard: int
    cores_present: int
    cores_allowed: int
    cores_quota: float | None
    memory_bytes: int
    memory_available_bytes: int
    memory_limit_bytes: int | None
    shared_memory: str | None  # what is wrong with /dev/shm
    io_limits: tuple[str, ...]
    interpreter: str
    installed_from: str  # as pip takes it


@dataclass(frozen=True, slots=True)
class RootFacts:
    """A directory that files lie beneath. Sizes in bytes.

    `error` says why it is no root at all; `blocked_at` is the directory that keeps us out, and
    `rights` whose permission bits would have to let us in: u, g or o.
    """

    name: str
    path: str
    error: str | None = None
    blocked_at: str | None = None
    rights: str = "o"
    readable: bool = True
    searchable: bool = True
    sentinel: str | None = None  # what is wrong with it
    real_path: str = ""
    device: int = 0
    inode: int = 0
    mount_point: str = ""
    file_system: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    is_network: bool = False
    claims_rotational: bool | None = None
    is_rotational: bool = False
    size_bytes: int = 0
    free_bytes: int = 0
    in_fstab: bool = False
    silent: bool = False  # it did not answer in time


@dataclass(frozen=True, slots=True)
class SampledFiles:
    """What became of some of the catalog's paths: how many of each verdict, and one example.

    The verdict `ok` is for files that could be opened. `no_atime` says whether they could be
    without touching their access time; None where none was there.
    """

    looked_at: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)  # path, detail
    no_atime: bool | None = None
    silent: bool = False  # the file system did not answer in time


@dataclass(frozen=True, slots=True)
class HeldBack:
    """What keeps VACUUM from removing dead rows, or WAL from being removed, and what ends it."""

    what: str
    age_s: float | None  # of a slot not known before PostgreSQL 17
    keeps: str
    remedy: str


# What a run opens at the most: the coordinator, its heartbeat, its counter, the writer, and one to
# ask what a silent server does.
CONNECTIONS = 5


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The database server, seen through a session of the role that was configured.

    `settings` are those a new session of the role begins with, in the server's base units (ms,
    MB); `fixed` are those that the server's command line has. None where the role may not look.
    """

    version: int
    version_text: str
    is_standby: bool
    is_read_only: bool
    role: str
    quoted_role: str
    quoted_database: str
    settings: dict[str, str]
    fixed: tuple[str, ...]
    connections_used: int
    connections_most: int
    connections_of_role: bool  # it is the role's own limit
    clock_ahead_s: float  # of the server's clock before this host's
    round_trip_s: float
    sessions_hidden: int = 0
    pooling: str = "none"  # the mode of a pooler between here and there: `session`, `transaction`
    held_back: tuple[HeldBack, ...] = ()
    archiver_fails: str | None = None  # the segment that it fails at
    sync_standbys: int | None = None
    wal_backlog: int = 0


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """An index; names are quoted as SQL needs them."""

    quoted: str
    definition: str
    method: str
    columns: tuple[str, ...]
    is_unique: bool
    is_whole: bool  # neither partial nor of expressions
    is_valid: bool
    touches_metadata: bool
    constraint: str | None  # quoted; it can only go with that
    constraint_definition: str | None
    size_bytes: int
    partition: str | None = None  # quoted, where it is of one of them alone


@dataclass(frozen=True, slots=True)
class HeapFacts:
    """A table that holds rows: the catalog itself, or each of its partitions."""

    quoted: str
    estimated_rows: float  # -1: never analyzed
    size_bytes: int
    fillfactor: int
    autovacuum: bool
    dead_rows: int
    dead_rows_due: float  # autovacuum starts at this number


@dataclass(frozen=True, slots=True)
class TriggerFacts:
    """What fires when fasthash updates a row. `switch` is `TRIGGER name` or `RULE name`."""

    switch: str
    says: str
    per_row: bool
    table: str  # quoted: the catalog, or one of its partitions
    is_always: bool  # whatever session_replication_role says


@dataclass(frozen=True, slots=True)
class TableFacts:
    """The catalog table. `columns` are types by name, `unusable` their names without a privilege.

    `kind` is pg_class's: r, p, v, f or m.
    """

    quoted: str
    kind: str
    columns: dict[str, str]
    quoted_columns: dict[str, str]
    indexes: tuple[IndexFacts, ...]
    missing_grants: tuple[str, ...]
    heaps: tuple[HeapFacts, ...]
    triggers: tuple[TriggerFacts, ...] = ()
    generated: tuple[str, ...] = ()
    row_security: bool = False
    publications: tuple[str, ...] = ()
    replica_identity: str = "d"
    has_identity: bool = True
    partition_key: tuple[str, ...] = ()  # columns; an expression has no name

    @property
    def own_indexes(self) -> tuple[IndexFacts, ...]:
        """Those that all its rows are in."""
        return tuple(index for index in self.indexes if index.partition is None)


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """fasthash's own tables: version 0 where there are none."""

    version: int
    needed: int
    missing_grants: tuple[str, ...] = ()
    publications: tuple[str, ...] = ()  # that send whatever tables it has


@dataclass(frozen=True, slots=True)
class RowFacts:
    """How many rows there are to do; estimates where `how` is `sample`, exact where `count`."""

    how: str
    with_path: int
    marked: int
    future: int
    odd_metadata: int
    metadata_bytes: float  # on average, as stored
    unreadable: int = 0  # that the database cannot give
    nameless: int = 0  # without an id


@dataclass(frozen=True, slots=True)
class OpenRunFacts:
    """An unfinished run; `refusal` says why the configured one would not go on with it."""

    run_id: int
    kind: str
    alive: bool
    refusal: str | None = None
    goes_on_by: str | None = None  # the command that would


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """All that was seen of a database.

    `absent` says why there is no database to look at, `unreachable` why one cannot be; `unseen`
    lists what this role may not look at, or what took too long, with the reason.
    """

    where: str = ""
    absent: str | None = None
    unreachable: str | None = None
    unseen: tuple[tuple[str, str], ...] = ()
    server: ServerFacts | None = None
    table: TableFacts | None = None
    no_table: str | None = None
    refusals: tuple[str, ...] = ()  # of options: types, the update function, the lag
    ledger: LedgerFacts | None = None
    rows: RowFacts | None = None
    runs: tuple[OpenRunFacts, ...] = ()
    drifts_open: int = 0
    roots: tuple[str, ...] = ()  # that `fasthash register` was given


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was configured, as far as the doctor judges by it."""

    table: str
    columns: dict[str, str]  # of the options: --id-column..
    workers: int | None
    disk: str
    reader: str
    root_sentinel: str | None
    resolver_refusal: str | None
    pause_file: str | None
    rate: str | None  # in words
    config_file: str | None


@dataclass(frozen=True, slots=True)
class HoldFacts:
    """Why nothing would be read now, and the cause: window, pause_file, pressure or backlog."""

    cause: str
    reason: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything."""

    wishes: Wishes
    machine: MachineFacts
    roots: tuple[RootFacts, ...]
    database: DatabaseFacts
    files: SampledFiles
    workers: int
    hold: HoldFacts | None
