"""Writing rows with known hashes: batch size, shape of the journal, mode of commit.

    .venv/bin/python benchmarks/bench_writer.py [--short]

The database alone, 400 bytes of jsonb a row, one connection. This is what the writer's settings
were chosen by.
"""

from __future__ import annotations

import statistics
import tempfile
from functools import partial
from pathlib import Path

import measure
from corpus import make_catalog
from pure_sql import Shape, write_known

from fasthash import embedded

SHAPES = {
    "1,000 rows, typed journal, asynchronous": Shape(),
    "100 rows": Shape(batch_rows=100),
    "500 rows": Shape(batch_rows=500),
    "2,000 rows": Shape(batch_rows=2_000),
    "5,000 rows": Shape(batch_rows=5_000),
    "journal as jsonb": Shape(journal="jsonb"),
    "no journal": Shape(journal="none"),
    "commits waited for": Shape(synchronous_commit="on"),
    "100 rows, commits waited for": Shape(batch_rows=100, synchronous_commit="on"),
}


def main() -> None:
    """A rate for each shape."""
    options = measure.options(__doc__)
    rows = 20_000 if options.short else 100_000
    names = [f"f{n}" for n in range(rows)]
    with (
        tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as home,
        embedded.ensure(Path(home), "postgres") as server,
    ):

        def fresh(shape: Shape) -> float:
            return write_known(make_catalog(server.dsn, "bench", names), shape)

        found = measure.in_turn(
            options.rounds, {name: partial(fresh, shape) for name, shape in SHAPES.items()}
        )
    rates = {name: rows / statistics.median(times) for name, times in found.items()}
    measure.save("writer", f"{rows:,} rows with known hashes", "rows/s", rates)


if __name__ == "__main__":
    main()
