"""A seeded corpus: the same names, sizes and bytes every time."""

from __future__ import annotations

import json
import math
import os
import random
from pathlib import Path

import psycopg

TYPES = 5
METADATA_BYTES = 400


def make_files(folder: Path, files: int, mean_bytes: int = 8_000, seed: int = 1) -> list[str]:
    """Makes log-normally sized files, where they are not there already.

    Returns:
        Their paths, relative to the folder.
    """
    chance = random.Random(seed)
    sizes = [
        max(1, int(chance.lognormvariate(math.log(mean_bytes) - 0.5, 1.0))) for _ in range(files)
    ]
    names = [f"t{n % TYPES}/{n // TYPES % 200}/f{n}.dat" for n in range(files)]
    done = folder / f".made-{files}-{mean_bytes}-{seed}"
    if not done.exists():
        for name, size in zip(names, sizes, strict=True):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(chance.randbytes(size))
        done.touch()
    return names


def make_sized(folder: Path, files: int, size_bytes: int, seed: int = 2) -> list[str]:
    """Makes files of one size, where they are not there already; their names."""
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"f{n}" for n in range(files)]
    for name in names:
        path = folder / name
        if not path.exists() or path.stat().st_size != size_bytes:
            with path.open("wb") as file:
                for start in range(0, size_bytes, 1 << 24):
                    file.write(chance.randbytes(min(1 << 24, size_bytes - start)))
    return names


def warm(folder: Path) -> None:
    """Reads every file once, so that what follows is measured with a warm page cache."""
    for place, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(place, name), "rb") as file:
                while file.read(1 << 20):
                    pass


def make_catalog(server_dsn: str, database: str, names: list[str], types: int = TYPES) -> str:
    """A database with an `artifacts` table of one row a file, analyzed and checkpointed.

    Returns:
        Its connection string.
    """
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {database}")
    dsn = psycopg.conninfo.make_conninfo(server_dsn, dbname=database)
    filler = "x" * (METADATA_BYTES - 60)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE artifacts (id text PRIMARY KEY, artifact_type text, file_path text, "
            "metadata jsonb, content_hash text)"
        )
        with connection.cursor().copy("COPY artifacts FROM STDIN") as copy:
            for n, name in enumerate(names):
                metadata = json.dumps({"title": filler, "n": n})
                copy.write_row((f"id{n:09d}", f"t{n % types}", name, metadata, "c" * 64))
        connection.execute("CREATE INDEX ON artifacts (artifact_type, id)")
        connection.execute("VACUUM ANALYZE artifacts")
        connection.execute("CHECKPOINT")
    return dsn
