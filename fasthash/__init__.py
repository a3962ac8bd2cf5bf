"""fasthash puts file hashes into a PostgreSQL catalog and keeps them true.

In the order the data flows:

- `cli`           commands; the only place with click and tqdm (`keys` are those of fasthash.toml,
                  `colour` what of a finished text stands out)
- `library`       the same for scripts (`Catalog`, `run`, `scrub`); `hashfiles` without a database
- `config`        settings from flags, environment and file (`parsing`, `windows`)
- `database`      which one is meant
- `embedded`      the PostgreSQL that is used when none is configured, and its keeper process
- `review`        decisions about drifts
- `page`          a run and its catalog for a browser: `facts`, in `words`, `charts`, `listings`
                  (sorted into `buckets`), drawn by `render`
- `register`      a directory into catalog rows, except what is left out (`excluding`); `preview`
                  only counts them; `demo` a catalog with something of everything
- `bench`         what machine and storage can do, and the settings that suit them
- `doctor`        looks at machine, roots and database before anybody runs anything (`facts`)
- `main_job`      preflight, then a run or a dry run (`dryrun`)
- `coordinator`   a run from beginning to end; `controls` are signals, or another thread
- `seat`          who this coordinator is, and its connections (`desk`); `opening` finds the run
- `leasing`       keeps the supply filled from the checkpoint table, finishes ranges
- `heartbeat`     renews leases, reports, holds the run when it has to; `manners` says when, for
                  the sake of others (`clock`); `survey` looks at the catalog as a whole
- `metrics`       what a run tells whoever watches it: `exposition` has it as samples, `exporter`
                  serves and writes them; `logs` lines of text or JSON
- `supply`        leased ranges into units
- `pool`          worker processes (`crew`, `process`, `child`); their state is in shared memory
                  (`slot`)
- `worker`        units in, parts out; `inspector` tasks to verdicts (`verdicts`), `located` where
                  their files lie, `resolver` the site's own way (who could write it: `trust`)
- `pace`          how fast a worker may go: `gate` is what it shares with coordinator and host,
                  `limits` the arithmetic, `watching` what readers see of it, `rates` changes while
                  it runs; `neighbourly` its priorities
- `small`         small files by the group (natively: `_native.c`); `alone` one by one (`files`),
                  two large ones together (`pairs`); `cautious` looks first, `problems` why one has
                  no digest, `shortage` when nothing can be opened
- `pagecache`     left as it was; `disks` the order of reading; `roots` still what they were (what
                  that means is `sameness`) and hold the catalog's files (`probe` looks for some,
                  `evidence` says what that means); `asking` a process that a dead mount may hold
- `hashing`       bytes to digests
- `parts`         results packed by columns, sent as messages (`wire`)
- `commits`       results to the writer, until they are settled
- `writer`        results into one fenced transaction a batch
- `store`         the only place that talks to PostgreSQL; its text lies in `sql/`
- `lease`, `units`, `paths`, `drift`, `sameness`, `freshness`, `retention`, `summary`, `widths`
                  pure decisions
- `colour`        which streams get any, and the styles; `streams` what becomes of text that a
                  full disk, a closed descriptor or a reader who has gone does not take
- `fixity`        the vocabulary
- `errors`        what ends a command, and with which exit status
"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasthash.errors import FasthashError
    from fasthash.hashfiles import FileHash, hash_files
    from fasthash.library.catalog import Catalog
    from fasthash.library.work import WorkOptions, run, scrub
    from fasthash.progress import Position
    from fasthash.summary import RunSummary

__all__ = [
    "Catalog",
    "FasthashError",
    "FileHash",
    "Position",
    "RunSummary",
    "WorkOptions",
    "hash_files",
    "run",
    "scrub",
]

_PUBLIC = {
    "Catalog": "library.catalog",
    "FasthashError": "errors",
    "FileHash": "hashfiles",
    "Position": "progress",
    "RunSummary": "summary",
    "WorkOptions": "library.work",
    "hash_files": "hashfiles",
    "run": "library.work",
    "scrub": "library.work",
}


def __getattr__(name: str) -> object:
    """The public names, imported when they are used: a worker imports this package, too."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
