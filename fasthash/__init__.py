"""fasthash puts file hashes into a PostgreSQL catalog and keeps them true.

In the order the data flows:

- `cli`           commands; the only place with click and tqdm
- `config`        settings from flags, environment and file
- `coordinator`   a run from beginning to end
- `opening`       which run to work on
- `supply`        leased ranges into units
- `pool`          worker processes
- `worker`        units in, verdicts out
- `files`         the only place that opens files
- `hashing`       bytes to digests
- `commits`       results to the writer, until they are settled
- `writer`        results into one fenced transaction a batch
- `store`         the only place that talks to PostgreSQL; its text lies in `sql/`
- `lease`, `units`, `paths`, `drift`, `summary`  pure decisions
- `fixity`        the vocabulary
- `errors`        what ends a command, and with which exit status
"""

__version__ = "0.1.0"
