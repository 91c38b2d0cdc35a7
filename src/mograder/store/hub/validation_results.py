"""The newest validation result of each copy, in the hub's database (B55).

A student can change the report in their folder, so the hub does not read it back; it stores its own
results here, to have them after a restart.
"""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Delete, Engine, delete, select

from mograder.store.database.database import reading, upsert, writing
from mograder.store.hub.hub_tables import ResultRow, results

__all__ = ["KeptResults", "ResultRow"]


class KeptResults:
    """The table of results; every method may raise :class:`~mograder.core.errors.Busy`.

    A lost result can be recomputed, so writes do not wait for the disk (``fleeting``).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def save(self, row: ResultRow) -> None:
        """Store a result in place of the copy's last one."""
        values = asdict(row)
        with writing(self._engine, fleeting=True) as connection:
            connection.execute(upsert(connection, results, values), values)

    def remove(self, username: str, item: str) -> None:
        """Remove a copy's result."""
        with writing(self._engine, fleeting=True) as connection:
            connection.execute(_of(username, item))

    def newest(self, limit: int) -> tuple[ResultRow, ...]:
        """Return the newest ``limit`` results, the oldest of them first; delete older ones."""
        wanted = select(results).order_by(results.c.at.desc()).limit(limit)
        with reading(self._engine) as connection:
            rows = [ResultRow(**row) for row in connection.execute(wanted).mappings()]
        if len(rows) == limit:
            with writing(self._engine, fleeting=True) as connection:
                connection.execute(delete(results).where(results.c.at < rows[-1].at))
        return tuple(reversed(rows))


def _of(username: str, item: str) -> Delete:
    return delete(results).where(results.c.username == username, results.c.item == item)
