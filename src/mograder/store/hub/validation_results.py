"""The newest validation result of each copy, in the hub's database (B55).

A student can change the report in their folder, so the hub does not read it back; it stores its own
results here, to have them after a restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, Index, delete, select

from mograder.store.database.database import reading, upsert, writing
from mograder.store.database.row_tables import Name, table_of, values_of
from mograder.store.hub.hub_tables import metadata


@dataclass(frozen=True, slots=True)
class ResultRow:
    """The result of the last validation of a copy; ``answer`` is the hub's own JSON."""

    username: Name
    item: Name
    at: datetime
    answer: str


results = table_of("results", metadata, ResultRow, ("username", "item"), Index(None, "at"))


class KeptResults:
    """The table of results; every method may raise :class:`~mograder.core.errors.Busy`.

    A lost result can be recomputed, so writes do not wait for the disk (``fleeting``).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def save(self, row: ResultRow) -> None:
        """Store a result in place of the copy's last one."""
        values = values_of(row)
        with writing(self._engine, fleeting=True) as connection:
            connection.execute(upsert(connection, results, values), values)

    def remove(self, username: str, item: str) -> None:
        """Remove a copy's result."""
        c = results.c
        with writing(self._engine, fleeting=True) as connection:
            connection.execute(delete(results).where(c.username == username, c.item == item))

    def newest(self, most: int) -> tuple[ResultRow, ...]:
        """Return the newest results, the oldest of them first; delete older ones.

        Their answers have at most ``most`` characters together.
        """
        wanted = select(results).order_by(results.c.at.desc())
        rows: list[ResultRow] = []
        with reading(self._engine) as connection:
            for each in connection.execute(wanted):
                most -= len(each.answer)
                if most < 0:
                    break
                rows.append(ResultRow(*each))
        if most < 0 and rows:
            with writing(self._engine, fleeting=True) as connection:
                connection.execute(delete(results).where(results.c.at < rows[-1].at))
        return tuple(reversed(rows))
