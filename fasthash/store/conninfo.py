"""Connection strings and libpq's variables as they may be shown: without what is secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from psycopg import OperationalError, conninfo, pq

from fasthash.config import nearest
from fasthash.errors import ConfigError

MASK = "***"


_OPTION = re.compile(r'invalid connection option "(\w{1,30})"')


def malformed(why: str) -> ConfigError:
    """The error of a connection string that libpq cannot parse.

    Args:
        why: as libpq says. What it repeats may be a part of a password; only the name of an option
            that is nearly one of libpq's is told.
    """
    found = _OPTION.search(why)
    known = [option.keyword.decode() for option in pq.Conninfo.get_defaults()]
    meant = nearest(found[1], known) if found is not None else None
    if found is None or meant is None:
        detail = (
            "write key=value pairs (host=db1 dbname=atlas user=me) or postgresql://me@db1/atlas"
        )
    else:
        detail = f"libpq knows no option {found[1]}; did you mean {meant}?"
    return ConfigError(f"the database connection string (--dsn) is malformed: {detail}")


def masked(dsn: str) -> str:
    """A connection string, of either form, as `key=value` with its secrets masked.

    Raises:
        ConfigError: libpq cannot parse it; the message does not repeat it.
    """
    try:
        options = pq.Conninfo.parse(dsn.encode())
    except OperationalError as error:
        raise malformed(str(error)) from error
    shown = {
        option.keyword.decode(): _shown(option, option.val.decode())
        for option in options
        if option.val is not None
    }
    return conninfo.make_conninfo(**shown) if shown else ""


# What libpq would take from its variables for a server that they are not about, and what it takes
# without them. PGSERVICE alone cannot be overruled by a connection string.
_ITS_OWN = {
    "hostaddr": "",
    "options": "",
    "sslmode": "disable",
    "gssencmode": "disable",
    "channel_binding": "disable",
    "require_auth": "",
    "requirepeer": "",
    "target_session_attrs": "any",
    "load_balance_hosts": "disable",
}


def shut(dsn: str) -> str:
    """A connection string to a socket that none of libpq's variables can make another of."""
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    return conninfo.make_conninfo(dsn, **{k: v for k, v in _ITS_OWN.items() if k in known})


def variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Those of libpq's own variables that are set, with their values; secrets masked."""
    for option in pq.Conninfo.get_defaults():
        name = (option.envvar or b"").decode()
        if environment.get(name):
            yield name, _shown(option, environment[name])


def _shown(option: pq.ConninfoOption, value: str) -> str:
    """A value, unless libpq itself says that it is not to be seen."""
    is_secret = option.dispchar == b"*" or option.keyword.endswith(
        (b"password", b"_key", b"secret")
    )
    return MASK if is_secret and value else value
