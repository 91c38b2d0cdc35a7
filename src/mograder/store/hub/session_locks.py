"""The rows of ``sessions`` as locks over several hubs.

There is at most one row per user, item and mode. A row that is not ``running`` belongs to the hub
in it, which starts or ends the session or replaces the copy's files; another hub may take such a
row over once that one is dead by the database's time. A row that is ``running`` belongs to none.

Synchronous and thread-safe, as :mod:`mograder.store.hub.hub_state`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, Select, bindparam, delete, exists, insert, select, update

from mograder.store.database.database import reading, writing
from mograder.store.database.database_time import database_now
from mograder.store.hub.hub_tables import (
    EndingRow,
    SessionRow,
    SessionState,
    endings,
    hubs,
    sessions,
)

__all__ = ["HeldRow", "SessionLocks"]


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A row, and whether the hub that it belongs to is alive."""

    row: SessionRow
    held: bool

    @property
    def running(self) -> bool:
        """Whether the session runs, and so belongs to no hub."""
        return self.row.state is SessionState.RUNNING


@dataclass(frozen=True, slots=True)
class StateOf:
    """The state of a session, and whether the hub that its row belongs to is alive."""

    state: SessionState
    hub: str
    held: bool


class SessionLocks:
    """The rows as one hub, ``hub_id``, uses them.

    Every method may raise :class:`~mograder.core.errors.Busy`.
    """

    def __init__(self, engine: Engine, hub_id: str) -> None:
        self._engine = engine
        self.hub_id = hub_id

    def add(self, row: SessionRow) -> None:
        """Add a row of this hub, of a session that is starting or of a copy that is changed.

        Raises: :class:`~mograder.core.errors.Conflict` when there is one of this key.
        """
        with writing(self._engine, fleeting=True) as connection:
            connection.execute(_ADD, asdict(row) | {"hub": self.hub_id})

    def find(self, username: str, item: str, mode: str) -> HeldRow | None:
        given = {"user": username, "item": item, "mode": mode}
        with reading(self._engine) as connection:
            return next(iter(_held(connection, _OF_KEY, given)), None)

    def by_id(self, session_ids: Collection[str]) -> tuple[HeldRow, ...]:
        """Return the rows of these sessions, as far as there are any."""
        wanted = _ALL.where(sessions.c.session_id.in_(session_ids))
        with reading(self._engine) as connection:
            return _held(connection, wanted)

    def all(self) -> tuple[HeldRow, ...]:
        """Return all rows, the oldest first."""
        with reading(self._engine) as connection:
            return _held(connection, _ALL.order_by(sessions.c.started_at, sessions.c.session_id))

    def states(self) -> Mapping[str, StateOf]:
        """Return the states of all sessions by id; cheap enough to be called every second."""
        with reading(self._engine) as connection:
            now = {"now": database_now(connection)}
            rows = connection.execute(_STATES, now)
            return {row[0]: StateOf(row[1], row[2], bool(row[3])) for row in rows}

    def run(self, session_id: str, socket: str, node: str) -> bool:
        """Set a session that this hub starts to running; return False if it was taken over."""
        values = {"state": SessionState.RUNNING, "socket": socket, "node": node, "hub": ""}
        return self._change(session_id, SessionState.STARTING, self.hub_id, **values)

    def end(self, session_id: str) -> bool:
        """Take over a running session to end it; return False if another hub does, or it ended."""
        values = {"state": SessionState.ENDING, "hub": self.hub_id}
        return self._change(session_id, SessionState.RUNNING, "", **values)

    def give_up(self, session_id: str) -> bool:
        """Set a session that this hub starts to ending; return False if it was taken over."""
        return self._change(
            session_id, SessionState.STARTING, self.hub_id, state=SessionState.ENDING
        )

    def take_over(self, session_id: str, dead: str) -> bool:
        """Take over a row of a dead hub; return False if that lives, or the row is another's.

        A session that the hub was starting is to be stopped before :meth:`remove`, since the start
        may be under way still.
        """
        with writing(self._engine, fleeting=True) as connection:
            lives = exists().where(
                hubs.c.hub_id == dead, hubs.c.alive_until > database_now(connection)
            )
            c = sessions.c
            row = update(sessions).where(c.session_id == session_id, c.hub == dead, ~lives)
            row = row.where(c.state != SessionState.RUNNING)
            values = {"hub": self.hub_id, "state": SessionState.ENDING}
            return connection.execute(row.values(**values)).rowcount > 0

    def remove(
        self, session_id: str, ending: EndingRow | None = None, *, forget_before: datetime | None
    ) -> bool:
        """Remove a session that has ended, and store its ending with it.

        Return False, and store nothing, if there is no such row or it is another hub's.
        """
        c = sessions.c
        mine = c.hub.in_(("", self.hub_id))
        with writing(self._engine, fleeting=True) as connection:
            gone = delete(sessions).where(c.session_id == session_id, mine)
            if not connection.execute(gone).rowcount:
                return False
            if ending is not None:
                of = (endings.c.username, endings.c.item, endings.c.mode)
                key = (ending.username, ending.item, ending.mode)
                same = [column == value for column, value in zip(of, key, strict=True)]
                connection.execute(delete(endings).where(*same))
                connection.execute(insert(endings).values(**asdict(ending)))
            if forget_before is not None:
                connection.execute(delete(endings).where(endings.c.ended_at < forget_before))
            return True

    def saw(self, seen: Mapping[str, datetime]) -> None:
        """Store times of last activity, unless another hub stored a later one."""
        if seen:
            rows = [{"which": session_id, "seen": at} for session_id, at in seen.items()]
            with writing(self._engine, fleeting=True) as connection:
                connection.execute(_SAW, rows)

    def last_seen(self, session_ids: Collection[str]) -> Mapping[str, datetime]:
        """Return the times of last activity that all hubs stored, by session id."""
        c = sessions.c
        wanted = select(c.session_id, c.last_seen).where(c.session_id.in_(session_ids))
        with reading(self._engine) as connection:
            return {row.session_id: row.last_seen for row in connection.execute(wanted)}

    def ending(self, username: str, item: str, mode: str) -> EndingRow | None:
        """Return the ending of the last session of a key."""
        c = endings.c
        wanted = select(endings).where(c.username == username, c.item == item, c.mode == mode)
        with reading(self._engine) as connection:
            row = connection.execute(wanted).mappings().one_or_none()
            return None if row is None else EndingRow(**row)

    def _change(self, session_id: str, before: SessionState, holder: str, **values: object) -> bool:
        c = sessions.c
        row = update(sessions).where(c.session_id == session_id, c.state == before, c.hub == holder)
        with writing(self._engine, fleeting=True) as connection:
            return connection.execute(row.values(**values)).rowcount > 0


_ADD = insert(sessions)
_LIVES = exists().where(hubs.c.hub_id == sessions.c.hub, hubs.c.alive_until > bindparam("now"))
_ALL = select(sessions, _LIVES.label("held"))
_OF_KEY = _ALL.where(
    sessions.c.username == bindparam("user"),
    sessions.c.item == bindparam("item"),
    sessions.c.mode == bindparam("mode"),
)
_STATES = select(sessions.c.session_id, sessions.c.state, sessions.c.hub, _LIVES)
_SAW = (
    update(sessions)
    .where(sessions.c.session_id == bindparam("which"), sessions.c.last_seen < bindparam("seen"))
    .values(last_seen=bindparam("seen"))
)


def _held(
    connection: Connection, wanted: Select[tuple[object, ...]], given: Mapping[str, str] = {}
) -> tuple[HeldRow, ...]:
    now = {"now": database_now(connection)}
    found = []
    for row in connection.execute(wanted, {**given, **now}).mappings():
        values = dict(row)
        held = bool(values.pop("held"))
        found.append(HeldRow(SessionRow(**values), held))
    return tuple(found)
