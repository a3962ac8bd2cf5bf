"""How the database's own surroundings bear what it is given to do."""

from __future__ import annotations

from dataclasses import dataclass

from fasthash.errors import PreflightFailed
from fasthash.store.queries import query
from fasthash.store.session import Connection


@dataclass(frozen=True, slots=True)
class Strain:
    """How far the slowest standby is behind, and how many WAL segments wait to be archived."""

    replication_lag_s: float
    wal_backlog: int


def read_strain(connection: Connection) -> Strain:
    """The strain now; what the role may not see counts as none (see `check_visible`)."""
    lag = connection.execute(query("strain", "replication_lag")).fetchone()
    backlog = connection.execute(query("strain", "wal_backlog")).fetchone()
    return Strain(lag["lag_s"] if lag else 0.0, backlog["segments"] if backlog else 0)


def check_visible(connection: Connection) -> None:
    """Checks that the lag of standbys can be seen.

    Raises:
        PreflightFailed: this role may not.
    """
    row = connection.execute(query("strain", "replication_lag")).fetchone()
    if row is not None and row["visible"] < row["standbys"]:
        raise PreflightFailed(
            "--max-replication-lag: this role cannot see how far standbys are behind; "
            "GRANT pg_monitor to it, or leave the option out"
        )
