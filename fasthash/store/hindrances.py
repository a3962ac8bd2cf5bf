"""What holds a server back: old snapshots, forgotten transactions, slots that nobody reads from."""

from __future__ import annotations

from collections.abc import Iterator

from fasthash.facts import HeldBack
from fasthash.store.queries import query
from fasthash.store.session import Connection

# A slot that holds back less is of a subscriber that restarts.
SLOT_BYTES = 64 * 1024 * 1024
DEAD_ROWS = "dead rows from vacuum"


def held_back(connection: Connection) -> tuple[HeldBack, ...]:
    """Transactions (of any age) and slots that keep dead rows or WAL."""
    return (*_transactions(connection), *_prepared(connection), *_slots(connection))


def _transactions(connection: Connection) -> Iterator[HeldBack]:
    for row in connection.execute(query("doctor", "transactions")):
        program = f" ({row['application']})" if row["application"] else ""
        yield HeldBack(
            f"session {row['pid']} of {row['who']}{program}, {row['state']}",
            row["age_s"] or 0.0,
            DEAD_ROWS,
            f"SELECT pg_terminate_backend({row['pid']});",
        )


def _prepared(connection: Connection) -> Iterator[HeldBack]:
    for row in connection.execute(query("doctor", "prepared")):
        yield HeldBack(
            f"prepared transaction {row['gid']} of {row['who']}",
            row["age_s"],
            DEAD_ROWS,
            f"ROLLBACK PREPARED {row['quoted']};  -- or COMMIT PREPARED",
        )


def _slots(connection: Connection) -> Iterator[HeldBack]:
    """Before PostgreSQL 17 nobody knows since when a slot is unused."""
    for row in connection.execute(query("doctor", "slots")):
        if row["keeps_rows"] or row["kept_bytes"] > SLOT_BYTES:
            yield HeldBack(
                f"unused replication slot {row['name']} ({row['kept_bytes']:,} bytes of WAL)",
                row["idle_s"],
                "what nobody may ever fetch, and a run writes much",
                f"SELECT pg_drop_replication_slot({row['quoted']});"  # noqa: S608
                "  -- only if nobody will ever read from it again",
            )
