"""What validations found, in the hub's database: the newest of each copy (B55).

The report in a student's folder is the student's to change, so the hub never reads it back; what
it found itself outlives a restart here.
"""

from __future__ import annotations

from sqlalchemy import Delete, Engine, delete, insert, select

from mograder.store.database import reading, writing
from mograder.store.hub_tables import ResultRow, results

__all__ = ["KeptResults", "ResultRow"]


class KeptResults:
    """The table of results; every method may raise :class:`~mograder.core.errors.Busy`.

    A result is told again by one more validation, so the disk is not waited for (``fleeting``).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def save(self, row: ResultRow) -> None:
        """Keep a result in place of the copy's last one."""
        values = {
            "username": row.username,
            "item": row.item,
            "at": row.at,
            "answer": row.answer,
        }
        with writing(self._engine, fleeting=True) as connection:
            connection.execute(_of(row.username, row.item))
            connection.execute(insert(results).values(**values))

    def remove(self, username: str, item: str) -> None:
        """Forget a copy's result."""
        with writing(self._engine, fleeting=True) as connection:
            connection.execute(_of(username, item))

    def newest(self, limit: int) -> tuple[ResultRow, ...]:
        """Return so many results, the oldest of them first; what is older is forgotten."""
        wanted = select(results).order_by(results.c.at.desc()).limit(limit)
        with reading(self._engine) as connection:
            rows = [ResultRow(**row) for row in connection.execute(wanted).mappings()]
        if len(rows) == limit:
            with writing(self._engine, fleeting=True) as connection:
                connection.execute(delete(results).where(results.c.at < rows[-1].at))
        return tuple(reversed(rows))


def _of(username: str, item: str) -> Delete:
    return delete(results).where(results.c.username == username, results.c.item == item)
