"""Connection strings and libpq's variables as they may be shown: without what is secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from psycopg import OperationalError, conninfo, pq

from fasthash.errors import ConfigError

MASK = "***"


def masked(dsn: str) -> str:
    """A connection string, of either form, as `key=value` with its secrets masked.

    Raises:
        ConfigError: libpq cannot parse it; the message does not repeat it.
    """
    try:
        options = pq.Conninfo.parse(dsn.encode())
    except OperationalError as error:
        raise ConfigError("the database connection string (--dsn) is malformed") from error
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
