"""A catalog of real files with something of everything in it, and an independent check."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sysconfig
from dataclasses import dataclass
from datetime import UTC, datetime

from fasthash import config, files, paths, register, roots
from fasthash.config import CatalogNames, Settings
from fasthash.errors import PreflightFailed
from fasthash.problems import FileProblemError
from fasthash.register import Registered
from fasthash.store import registering, session
from fasthash.store.catalog import find_catalog
from fasthash.watching import Unwatched

DATABASE = "fasthash_demo"
# What a package manager or the interpreter itself may write to while the demo runs.
LEFT_OUT = frozenset({b"site-packages", b"dist-packages", b"__pycache__"})
TYPES = {
    b".py": "source",
    b".so": "library",
    b".a": "library",
    b".txt": "text",
    b".rst": "text",
    b".json": "text",
    b".toml": "text",
    b".xml": "text",
    b".gif": "picture",
    b".png": "picture",
    b".ico": "picture",
}
OTHER_TYPE = "other"
# Modules that every Python has, and what their rows are made to look like.
DRIFTED, CONFIRMED, FRESH = "ast.py", "bisect.py", "calendar.py"
MISSING = tuple(f"fasthash_demo_missing_{n}.py" for n in (1, 2, 3))
WORKERS_AT_MOST = 4
_ANSWER_WAIT_S = 60


@dataclass(frozen=True, slots=True)
class Compared:
    """What an independent tool says about recorded hashes."""

    rows: int
    differing: tuple[str, ...]


def plant(dsn: str) -> Registered:
    """Registers the standard library, then makes a few rows special.

    Three rows have no file, one has a wrong hash, one the right hash in upper case but no
    marker, and one was marked by another job.

    Args:
        dsn: an empty database.

    Raises:
        FasthashError: it cannot be done here.
    """
    names = CatalogNames()
    folder = register.find_folder(sysconfig.get_path("stdlib"))
    special = {
        DRIFTED: {"file_sha256": hashlib.sha256(b"what it once was").hexdigest()},
        CONFIRMED: {"file_sha256": _sha256(folder, CONFIRMED).upper()},
        FRESH: {"file_sha256": _sha256(folder, FRESH), "file_sha256_computed_at": _now()},
    }
    done = register.register(dsn, names, folder, _type_of, _is_left_out)
    missing = [(_type_of(name.encode()), _path(done.directory, name)) for name in MISSING]
    with session.connect_once(dsn, "demo") as connection:
        target = registering.prepare(connection, names)
        registering.add_files(connection, target, missing, done.directory, socket.gethostname())
        for name, metadata in special.items():
            path = _path(done.directory, name)
            registering.set_metadata(connection, target.catalog, path, metadata)
    return done


def settings(dsn: str, log_format: str) -> Settings:
    """The settings of the demo's run; its root is the one that `plant` registered."""
    workers = min(WORKERS_AT_MOST, len(os.sched_getaffinity(0)))
    return Settings(dsn, workers=workers, log_format=log_format)


def compare(dsn: str, directory: str, tool: str, rows: int) -> Compared:
    """Compares recorded hashes, the replaced one among them, with what `sha256sum` says.

    Args:
        dsn: the database after the run.
        directory: what was registered.
        tool: where `sha256sum` is.
        rows: the greatest number of them.
    """
    drifted = _path(directory, DRIFTED)
    with session.connect_once(dsn, "demo") as connection:
        catalog = find_catalog(connection, CatalogNames())
        found = registering.sample_hashes(connection, catalog, drifted, rows)
    differing = [path for path, sha256 in found if _ask(tool, paths.decode(path)) != sha256.lower()]
    return Compared(len(found), tuple(differing))


def _path(directory: str, name: str) -> str:
    return paths.encode(paths.decode(directory) + b"/" + name.encode())


def _ask(tool: str, path: bytes) -> str:
    done = subprocess.run(
        [tool, "--", path], capture_output=True, timeout=_ANSWER_WAIT_S, check=False
    )
    # A backslash before the digest says that the name after it is escaped.
    return done.stdout.lstrip(b"\\")[:64].decode("ascii", "replace")


def _type_of(path: bytes) -> str:
    return TYPES.get(os.path.splitext(path)[1], OTHER_TYPE)


def _is_left_out(entry: os.DirEntry[bytes]) -> bool:
    return entry.name in LEFT_OUT


def _sha256(folder: bytes, name: str) -> str:
    reader = files.Reader([roots.find_root(os.fsdecode(folder))], config.DEFAULT_CHUNK_BYTES)
    try:
        found = reader.digest([folder + b"/" + name.encode()], Unwatched())
    except FileProblemError as problem:
        where = paths.encode(folder)
        raise PreflightFailed(
            f"no usual standard library in {where}: {name}: {problem}"
        ) from problem
    return found.sha256.hex()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
