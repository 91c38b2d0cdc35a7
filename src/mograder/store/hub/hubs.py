"""Several hubs on one database: which are alive, what one of them does for all, and their news.

All times are the database's (:mod:`~mograder.store.database.database_time`), so the clocks of the
hubs' machines do not matter. Synchronous and thread-safe, as :mod:`mograder.store.hub.hub_state`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, insert, or_, select, update

from mograder.core.errors import Conflict
from mograder.store.database.database import reading, writing
from mograder.store.database.database_time import database_now
from mograder.store.hub.hub_tables import HubRow, hub_leases, hub_news, hubs

__all__ = ["HubNews", "HubRow", "Hubs", "may_be_several"]

_DEAD_KEPT = timedelta(hours=1)
_NEWS_KEPT = timedelta(minutes=2)
_NEWS_READ = timedelta(seconds=30)
"""News are read again for this long, because a transaction may end after one with a later time."""


@dataclass(frozen=True, slots=True)
class HubNews:
    """What a hub told the others; ``text`` is JSON."""

    number: int
    hub_id: str
    text: str


class Hubs:
    """The hub processes; every method may raise :class:`~mograder.core.errors.Busy`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def beat(self, hub_id: str, address: str, seconds: float) -> tuple[HubRow, ...]:
        """Keep a hub alive for ``seconds`` from now, and its leases; return all that are alive.

        ``address`` is where nodes connect to it.
        """
        with writing(self._engine, fleeting=True) as connection:
            now = database_now(connection)
            until = now + timedelta(seconds=seconds)
            alive = {"address": address, "alive_until": until}
            own = update(hubs).where(hubs.c.hub_id == hub_id).values(**alive)
            if not connection.execute(own).rowcount:
                row = insert(hubs).values(hub_id=hub_id, started_at=now, **alive)
                connection.execute(row)
                old = delete(hubs).where(hubs.c.alive_until < now - _DEAD_KEPT)
                connection.execute(old)
            held = update(hub_leases).where(hub_leases.c.hub_id == hub_id).values(until=until)
            connection.execute(held)
            return _alive(connection, now)

    def alive(self) -> tuple[HubRow, ...]:
        """Return the hubs that are alive, the oldest first."""
        with reading(self._engine) as connection:
            return _alive(connection, database_now(connection))

    def addresses(self) -> tuple[str, ...]:
        """Return the addresses of the hubs that are alive, for nodes."""
        return tuple(each.address for each in self.alive() if each.address)

    def leave(self, hub_id: str, *, only: bool = False) -> None:
        """Remove a hub that ends, and its leases; with ``only`` all others too.

        ``only`` is for a hub that holds the course's lock alone: the others were killed.
        """
        which = hubs.c.hub_id != hub_id if only else hubs.c.hub_id == hub_id
        held = hub_leases.c.hub_id != hub_id if only else hub_leases.c.hub_id == hub_id
        with writing(self._engine) as connection:
            connection.execute(delete(hub_leases).where(held))
            connection.execute(delete(hubs).where(which))

    def lease(self, name: str, hub_id: str, seconds: float) -> bool:
        """Take over a task that only one hub does at a time; return whether this one may do it.

        The lease is for ``seconds``, and as long as the hub is kept alive by :meth:`beat`.
        """
        c = hub_leases.c
        try:
            with writing(self._engine) as connection:
                now = database_now(connection)
                until = now + timedelta(seconds=seconds)
                free = or_(c.hub_id == hub_id, c.until <= now)
                taken = update(hub_leases).where(c.name == name, free)
                if connection.execute(taken.values(hub_id=hub_id, until=until)).rowcount:
                    return True
                known = select(c.name).where(c.name == name)
                if connection.execute(known).one_or_none() is not None:
                    return False
                row = insert(hub_leases).values(name=name, hub_id=hub_id, until=until)
                connection.execute(row)
                return True
        except Conflict:  # another hub took it at the same moment
            return False

    def release(self, name: str, hub_id: str) -> None:
        """Give a task back that this hub has taken over; does nothing if another hub has it."""
        c = hub_leases.c
        with writing(self._engine) as connection:
            connection.execute(delete(hub_leases).where(c.name == name, c.hub_id == hub_id))

    def tell(self, hub_id: str, text: str) -> None:
        """Add news for the other hubs; remove old ones."""
        c = hub_news.c
        with writing(self._engine, fleeting=True) as connection:
            now = database_now(connection)
            connection.execute(delete(hub_news).where(c.at < now - _NEWS_KEPT))
            connection.execute(insert(hub_news).values(hub_id=hub_id, at=now, text=text))

    def news(self, hub_id: str) -> Sequence[HubNews]:
        """Return the news of the other hubs of the last half minute, the oldest first.

        The caller remembers the numbers of those that it knows.
        """
        c = hub_news.c
        with reading(self._engine) as connection:
            since = database_now(connection) - _NEWS_READ
            wanted = select(c.number, c.hub_id, c.text).where(c.at > since, c.hub_id != hub_id)
            rows = connection.execute(wanted.order_by(c.number))
            return [HubNews(row.number, row.hub_id, row.text) for row in rows]


def may_be_several(url: str) -> bool:
    """Return whether several hubs may use this database at a time: not an SQLite file."""
    return not url.startswith("sqlite")


def _alive(connection: Connection, now: datetime) -> tuple[HubRow, ...]:
    wanted = select(hubs).where(hubs.c.alive_until > now).order_by(hubs.c.started_at, hubs.c.hub_id)
    return tuple(HubRow(**row) for row in connection.execute(wanted).mappings())
