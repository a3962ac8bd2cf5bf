"""Which database is meant: one that is named, libpq's own, or the embedded server's."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

# libpq's own variables that say where a database is; any of them means "not the embedded one".
LIBPQ_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE", "PGSERVICEFILE")
# `embedded:NAME`, of the embedded server's.
EMBEDDED = "embedded:"


@dataclass(frozen=True, slots=True)
class Database:
    """A connection string for libpq, and what to call when it is not needed any more."""

    dsn: str
    release: Callable[[], None] = lambda: None
    is_embedded: bool = False


def locate(dsn: str | None, *, make: bool) -> Database:
    """The database to use: as given, libpq's own, or the embedded server's.

    Args:
        dsn: a libpq connection string, `embedded:NAME` for a database of the embedded server,
            or None for libpq's own variables, or where they are not set the embedded server.
        make: whether the embedded server and the database are made where they are missing: not
            by a command that could do nothing with an empty one.

    Raises:
        ConfigError: it is malformed, or the embedded server cannot be had.
        PreflightFailed: the embedded server does not start, or is missing and not to be made.
    """
    name = "fasthash"
    if dsn and dsn.startswith(EMBEDDED):
        name = dsn.removeprefix(EMBEDDED) or name
    elif dsn:
        from fasthash.store.session import check_dsn  # noqa: PLC0415

        return Database(check_dsn(dsn))
    elif any(os.environ.get(variable) for variable in LIBPQ_VARIABLES):
        return Database("")
    from fasthash import embedded  # noqa: PLC0415

    server = (embedded.ensure if make else embedded.find)(embedded.data_home(), name)
    from fasthash.store.conninfo import shut  # noqa: PLC0415

    return Database(shut(server.dsn), server.release, is_embedded=True)
