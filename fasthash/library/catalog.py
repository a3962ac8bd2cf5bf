"""`Catalog`: where a catalog is, and what its ledger knows."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from fasthash import parsing
from fasthash.config import CatalogNames, Settings
from fasthash.database import Database, locate
from fasthash.errors import ConfigError
from fasthash.summary import RunSummary

if TYPE_CHECKING:
    from fasthash.store.session import Connection

Row = dict[str, Any]


class Catalog:
    """A catalog: where it is, where its files are, and what the ledger knows of them.

    It keeps no connection open, but, where the embedded server is meant, a claim on that:
    `close()` it, or use it in a `with` statement. All methods may be used from several threads.

    Args:
        dsn: libpq connection string, or `embedded:NAME`; None for libpq's own variables (PGHOST,
            PGSERVICE ..), or where they are not set the embedded server. FASTHASH_* variables and
            configuration files are the command line's and are not read here.
        table: the catalog table, `schema.table` where needed.
        id_column: its key.
        type_column: its type.
        path_column: the file's path.
        metadata_column: the jsonb (or json) to write to.
        roots: directories that files lie in; those that were registered where none is given.
        root_sentinel: a name that must exist beneath every root.
        resolver: `package.module:function` from path text to path, or None.
        update_function: the site's own, to write through.

    Raises:
        ConfigError: `table` is no table's name.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        table: str = "artifacts",
        id_column: str = "id",
        type_column: str = "artifact_type",
        path_column: str = "file_path",
        metadata_column: str = "metadata",
        roots: Iterable[str | os.PathLike[str]] = (),
        root_sentinel: str | None = None,
        resolver: str | None = None,
        update_function: str | None = None,
    ) -> None:
        if isinstance(roots, str):
            raise ConfigError("roots is a list of directories, not one text")
        schema, name = parsing.parse_table(table)
        self._table = table
        self._names = CatalogNames(
            name, schema, id_column, type_column, path_column, metadata_column
        )
        self._settings = Settings(
            dsn="",
            catalog=self._names,
            roots=tuple(os.fspath(root) for root in roots),
            root_sentinel=root_sentinel,
            resolver=resolver,
            update_function=update_function,
        )
        self._asked = dsn
        self._database: Database | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives up the claim on the embedded server, if there is one."""
        with self._lock:
            database, self._database = self._database, None
        if database is not None:
            database.release()

    def dsn(self, *, make: bool = False) -> str:
        """The connection string for libpq, for as long as this is not closed.

        Args:
            make: make the embedded server and its database where they are missing.

        Raises:
            FasthashError: there is no such database.
        """
        with self._lock:
            if self._database is None:
                self._database = locate(self._asked, make=make)
            return self._database.dsn

    def settings(self) -> Settings:
        """What this says of a run's settings."""
        return replace(self._settings, dsn=self.dsn())

    def init(self) -> int:
        """Creates or upgrades the ledger, as `fasthash init`; returns its version."""
        from fasthash.store import preflight, schema, session  # noqa: PLC0415

        with session.connect_once(self.dsn(make=True), "init") as connection:
            preflight.check_server(connection)
            schema.migrate(connection)
        return schema.VERSION

    def register(self, directory: str | os.PathLike[str], type_name: str | None = None) -> int:
        """Adds the files below a directory, as `fasthash register`; returns how many were new.

        Args:
            directory: a root of later runs as well.
            type_name: of all files; None for the first folder each lies in.
        """
        from fasthash import register  # noqa: PLC0415

        folder = register.find_folder(os.fspath(directory))
        type_of = register.first_folder(folder) if type_name is None else lambda _: type_name
        not_ours = register.embedded_data()
        dsn = self.dsn(make=True)
        return register.register(dsn, self._names, folder, type_of, not_ours).added

    def summary(self, run_id: int | None = None) -> RunSummary:
        """What a run came to: the latest, or that of a number.

        Raises:
            ConfigError: there is no such run.
        """
        from fasthash.store import reports  # noqa: PLC0415

        with self._ledger() as connection:
            found = reports.resolve_run(connection, run_id, self._table)
            return reports.read_summary(connection, found)

    def status(self, run_id: int | None = None) -> Row:
        """What a run is doing: the keys of `fasthash status --json`, times as datetimes.

        Raises:
            ConfigError: there is no such run.
        """
        from fasthash.store import reports, status  # noqa: PLC0415

        with self._ledger() as connection:
            found = reports.resolve_run(connection, run_id, self._table)
            return status.read_status(connection, found)

    def residual(self, run_id: int | None = None, reason: str | None = None) -> Iterator[Row]:
        """The rows that a run could not check, as in `fasthash residual --json`, streamed."""
        from fasthash.store import reports  # noqa: PLC0415

        with self._ledger() as connection:
            found = reports.resolve_run(connection, run_id, self._table)
            with closing(reports.iterate_residual(connection, found, reason)) as rows:
                yield from rows

    def drifts(
        self, run_id: int | None = None, *, kind: str | None = None, only_open: bool = False
    ) -> Iterator[Row]:
        """Drifts, of one run or of all, as in `fasthash drift list --json`, streamed."""
        from fasthash.store import reports  # noqa: PLC0415

        with self._ledger() as connection:
            found = reports.iterate_drift(
                connection, run_id, kind, self._table, only_open=only_open
            )
            with closing(found) as rows:
                yield from rows

    def hashes(
        self, algorithm: Literal["sha256", "blake3"] = "sha256", types: Iterable[str] = ()
    ) -> Iterator[Row]:
        """The recorded digests, streamed in the order of type and id.

        Each has the keys `row_id, artifact_type, path, digest, size_bytes, computed_at`.

        Raises:
            FasthashError: there is no such type, or no such catalog.
        """
        from fasthash.store import listing, preflight, session  # noqa: PLC0415

        if isinstance(types, str):
            raise ConfigError("types is a list, not one text")
        types = tuple(types)
        with session.connect_once(self.dsn(), "hashes") as connection:
            catalog = preflight.check_catalog(
                connection, self._names, writing=False, update_function=None
            )
            preflight.check_types(connection, catalog, types)
            found = listing.iterate_files(connection, catalog, algorithm, types, only_hashed=True)
            with closing(found) as rows:
                for row in rows:
                    del row["is_hashed"]
                    yield row

    @contextmanager
    def _ledger(self) -> Iterator[Connection]:
        from fasthash.store import schema, session  # noqa: PLC0415

        with session.connect_once(self.dsn(), "library") as connection:
            schema.require_ledger(connection)
            yield connection
