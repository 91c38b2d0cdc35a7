"""The time by which leases are judged: the database server's, which all hubs share."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, text


def database_now(connection: Connection) -> datetime:
    """Return the present time of the database server; of this machine for SQLite.

    On PostgreSQL it is the time of this statement, not of the transaction's begin.
    """
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now.astimezone(UTC)
