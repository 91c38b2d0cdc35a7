"""The members of platforms' courses, as they were read last, and where they are read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Engine,
    Table,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from mograder.store.database.database import reading, upsert, writing
from mograder.store.database.row_tables import columns_of, rows_of, values_of
from mograder.store.external.external_tables import COURSE, Course, Roster, lti_members, lti_rosters
from mograder.store.hub.hub_state import bounded
from mograder.store.hub.hub_tables import audit

_NAME, _TEXT = 200, 1000
_ROLE, _MOST_ROLES = re.compile(r"[!-~]{1,90}"), 10


@dataclass(frozen=True, slots=True)
class RosterMember:
    """A member of a course; ``username`` is what the platform says, "" if it says none."""

    subject: str
    username: str = ""
    display_name: str = ""
    roles: tuple[str, ...] = ()


class LtiRosters:
    """The tables of rosters; every method may raise :class:`~mograder.core.errors.Busy`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def remember(self, course: Course, memberships_url: str) -> None:
        """Keep where a course's members are read, as a launch has told it."""
        if len(memberships_url) > _TEXT:
            return
        url = select(lti_rosters.c.memberships_url).where(_of(lti_rosters, course))
        with reading(self._engine) as connection:
            known = connection.execute(url).scalar_one_or_none()
        if known != memberships_url:
            row = {**values_of(course), "memberships_url": memberships_url, "tried_at": None}
            with writing(self._engine) as connection:
                connection.execute(upsert(connection, lti_rosters, row), row)

    def all(self) -> tuple[Roster, ...]:
        return rows_of(self._engine, Roster, select(lti_rosters))

    def take(self, roster: Roster, now: datetime, every: timedelta) -> bool:
        """Take the reading of a roster if the last try was ``every`` ago; false if it is not due.

        Of several processes one gets it.
        """
        if roster.tried_at is not None and now - roster.tried_at < every:
            return False
        c = lti_rosters.c
        last = c.tried_at.is_(None) if roster.tried_at is None else c.tried_at == roster.tried_at
        taken = (
            update(lti_rosters).where(_of(lti_rosters, roster.course), last).values(tried_at=now)
        )
        with writing(self._engine) as connection:
            return connection.execute(taken).rowcount > 0

    def replace(self, course: Course, members: Iterable[RosterMember], at: datetime) -> None:
        """Replace a course's members by those of a complete reading that began ``at`` a time."""
        rows = [values_of(course) | _member_values(each) for each in members]
        read = update(lti_rosters).where(_of(lti_rosters, course)).values(read_at=at, error="")
        with writing(self._engine) as connection:
            connection.execute(delete(lti_members).where(_of(lti_members, course)))
            if rows:
                connection.execute(insert(lti_members), rows)
            connection.execute(read)

    def failed(self, course: Course, error: str) -> None:
        """Keep why a reading failed; the members of the last complete one stay."""
        noted = update(lti_rosters).where(_of(lti_rosters, course))
        with writing(self._engine) as connection:
            connection.execute(noted.values(error=bounded(error, _TEXT)))

    def launches(self, issuer: str, since: datetime) -> tuple[tuple[str, datetime], ...]:
        """Return the users that a platform has sent since then, and when last, by the audit log."""
        c = audit.c
        came = (c.action == "sign in", c.outcome == "ok", c.what == f"lti {issuer}", c.at >= since)
        wanted = select(c.who, func.max(c.at)).where(*came).group_by(c.who)
        with reading(self._engine) as connection:
            return tuple((who, at) for who, at in connection.execute(wanted))

    def members(self, course: Course) -> tuple[RosterMember, ...]:
        """Return the members of the last complete reading."""
        c = lti_members.c
        wanted = select(*columns_of(lti_members, RosterMember)).where(_of(lti_members, course))
        return rows_of(self._engine, RosterMember, wanted.order_by(c.display_name, c.subject))


def _of(table: Table, course: Course) -> ColumnElement[bool]:
    return and_(*(table.c[name] == getattr(course, name) for name in COURSE))


def _member_values(member: RosterMember) -> dict[str, object]:
    name = bounded(member.display_name, _NAME)
    roles = tuple(filter(_ROLE.fullmatch, member.roles[:_MOST_ROLES]))
    return values_of(member) | {"display_name": name, "roles": roles}
