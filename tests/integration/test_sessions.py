"""Sessions with the database: what is left of one whose statement was cancelled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Database
from psycopg.errors import QueryCanceled

from fasthash.store.connection import Connection
from fasthash.store.session import Session, connect

Slow = Callable[[Connection], None]


@pytest.fixture
def slow_begin(monkeypatch: pytest.MonkeyPatch) -> Slow:
    """Has a session's next BEGIN take longer than the role's time limit."""
    begins: list[bytes] = []
    usual = Connection._get_tx_start_command
    monkeypatch.setattr(
        Connection, "_get_tx_start_command", lambda self: begins.pop() if begins else usual(self)
    )

    def slow(connection: Connection) -> None:
        connection.pgconn.exec_(b"SET statement_timeout = 50")
        begins.append(b"SELECT pg_sleep(60)")

    return slow


def test_a_connection_whose_begin_was_cancelled_is_of_no_use(
    database: Database, slow_begin: Slow
) -> None:
    connection, _ = connect(database.dsn, "test")
    slow_begin(connection)
    with pytest.raises(QueryCanceled):
        connection.execute("SELECT 1")
    assert connection.closed


def test_a_session_goes_on_with_another_one(database: Database, slow_begin: Slow) -> None:
    session = Session(database.dsn, "test", 60)
    one = "SELECT 1 AS one"
    assert session.call(lambda c: c.execute(one).fetchone()) == {"one": 1}
    assert session.connection is not None
    slow_begin(session.connection)
    assert session.call(lambda c: c.execute(one).fetchone()) == {"one": 1}
    assert session.reconnects == 1
    session.close()
