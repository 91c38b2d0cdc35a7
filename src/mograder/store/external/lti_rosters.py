"""The members of platforms' courses, as they were read last, and where they are read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Engine, RowMapping, Table, delete, insert, select, update

from mograder.core.errors import Conflict
from mograder.store.database.database import reading, writing
from mograder.store.external.external_tables import lti_members, lti_rosters
from mograder.store.external.lti_scores import PlatformKey
from mograder.store.hub.hub_state import bounded

_NAME, _TEXT = 200, 1000
_ROLE, _MOST_ROLES = re.compile(r"[!-~]{1,90}"), 10


@dataclass(frozen=True, slots=True)
class Course:
    """A course of a platform; ``context`` is the course's id there."""

    platform: PlatformKey
    context: str


@dataclass(frozen=True, slots=True)
class Roster:
    """Where a course's members are read, and how it went.

    ``read_at`` is the begin of the last complete reading, ``error`` why a later one failed.
    """

    course: Course
    memberships_url: str
    read_at: datetime | None = None
    tried_at: datetime | None = None
    error: str = ""


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
        c, which = lti_rosters.c, _of(lti_rosters, course)
        changed = update(lti_rosters).where(which, c.memberships_url != memberships_url)
        row = _values(course) | {"memberships_url": memberships_url}
        with reading(self._engine) as connection:
            known = connection.execute(select(c.memberships_url).where(which)).scalar_one_or_none()
        if known == memberships_url:
            return
        try:
            with writing(self._engine) as connection:
                if known is None:
                    connection.execute(insert(lti_rosters).values(row))
                else:
                    connection.execute(
                        changed.values(memberships_url=memberships_url, tried_at=None)
                    )
        except Conflict:
            return  # another launch has done the same

    def all(self) -> tuple[Roster, ...]:
        with reading(self._engine) as connection:
            return tuple(map(_roster, connection.execute(select(lti_rosters)).mappings()))

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
        rows = [_values(course) | _member_values(each) for each in members]
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

    def members(self, course: Course) -> tuple[RosterMember, ...]:
        """Return the members of the last complete reading."""
        c = lti_members.c
        wanted = (
            select(lti_members).where(_of(lti_members, course)).order_by(c.display_name, c.subject)
        )
        with reading(self._engine) as connection:
            return tuple(map(_member, connection.execute(wanted).mappings()))


def _of(table: Table, course: Course) -> ColumnElement[bool]:
    issuer, client_id = course.platform
    c = table.c
    return (c.issuer == issuer) & (c.client_id == client_id) & (c.context == course.context)


def _values(course: Course) -> dict[str, object]:
    issuer, client_id = course.platform
    return {"issuer": issuer, "client_id": client_id, "context": course.context}


def _member_values(member: RosterMember) -> dict[str, object]:
    return {
        "subject": member.subject,
        "username": member.username,
        "display_name": bounded(member.display_name, _NAME),
        "roles": " ".join(filter(_ROLE.fullmatch, member.roles[:_MOST_ROLES])),
    }


def _roster(row: RowMapping) -> Roster:
    return Roster(
        Course((row["issuer"], row["client_id"]), row["context"]),
        row["memberships_url"],
        row["read_at"],
        row["tried_at"],
        row["error"],
    )


def _member(row: RowMapping) -> RosterMember:
    roles = tuple(row["roles"].split())
    return RosterMember(row["subject"], row["username"], row["display_name"], roles)
