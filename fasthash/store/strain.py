"""How the database's own surroundings bear what it is given to do."""

from __future__ import annotations

from dataclasses import dataclass

from fasthash.errors import PreflightFailed
from fasthash.store.queries import query
from fasthash.store.session import Connection


@dataclass(frozen=True, slots=True)
class Strain:
    """Where WAL is, in bytes, and how many segments wait to be archived.

    `replayed` is where the slowest standby is, None without one; `lag_s` what the server says of
    it, which stands still when the standby does.
    """

    written: int
    replayed: int | None
    lag_s: float
    wal_backlog: int


def read_strain(connection: Connection) -> Strain:
    """The strain now; what the role may not see counts as none (see `check_visible`)."""
    found = connection.execute(query("strain", "replication")).fetchone() or {}
    backlog = connection.execute(query("strain", "wal_backlog")).fetchone()
    return Strain(
        found["written"], found["replayed"], found["lag_s"], backlog["segments"] if backlog else 0
    )


def check_visible(connection: Connection) -> None:
    """Checks that the lag of standbys can be seen.

    Raises:
        PreflightFailed: this role may not.
    """
    row = connection.execute(query("strain", "replication")).fetchone()
    if row is not None and row["visible"] < row["standbys"]:
        raise PreflightFailed(
            "--max-replication-lag: this role cannot see how far standbys are behind; "
            "GRANT pg_monitor to it, or leave the option out"
        )
