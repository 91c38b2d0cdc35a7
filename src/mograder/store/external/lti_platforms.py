"""What the hub's database holds of learning platforms: registrations, activities, keys and members.

A platform may register itself at a one-time address, which is kept by the hash of its code. The row
of an address has the platform's own, and the settings that the platform does not tell about itself.
Links are the activities that were launched. The members of a course are those of the last complete
reading. ``lti_scores`` has the marks for platforms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError
from sqlalchemy import (
    ColumnElement,
    Engine,
    Row,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from mograder.auth.jose import PrivateKey
from mograder.core.errors import InvalidInput
from mograder.core.log import get_logger
from mograder.core.sections.settings_model import LtiPlatform, LtiSettings
from mograder.store.database.database import Tables, columns_of, reading, values_of, writing
from mograder.store.external.external_tables import (
    Course,
    Link,
    Roster,
    lti_keys,
    lti_links,
    lti_members,
    lti_platforms,
    lti_registrations,
    lti_rosters,
)
from mograder.store.hub.hub_state import bounded
from mograder.store.hub.hub_tables import audit

KEPT = timedelta(days=30)
"""The time for which a retired key is still published."""

LONGEST_USE = timedelta(days=365)
"""The age at which a key is replaced by a new one."""

_SEEN_AGAIN = timedelta(hours=1)
"""The time after which a launch of an unchanged activity is written again."""

_TITLE = 1000
_NAME, _TEXT = 200, 1000
_ROLE, _MOST_ROLES = re.compile(r"[!-~]{1,90}"), 10

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Registration:
    platform: LtiPlatform
    registered_at: datetime


class Platforms(Tables):
    """The platforms of the settings and those in the database, in this order; thread-safe.

    The database is read for every question, so that a registration by another process counts at
    once. A platform of the settings hides the one in the database with the same issuer and client.
    """

    def __init__(self, engine: Engine, settings: LtiSettings) -> None:
        super().__init__(engine)
        self._configured = settings.platform

    def all(self) -> tuple[LtiPlatform, ...]:
        known = {each.key for each in self._configured}
        stored = [each.platform for each in self.registered() if each.platform.key not in known]
        return (*self._configured, *stored)

    def find(self, issuer: str, client_id: str = "") -> LtiPlatform | None:
        """Return a platform, without ``client_id`` the issuer's only one; else None."""
        found = [
            each
            for each in self.all()
            if each.issuer == issuer and (not client_id or each.client_id == client_id)
        ]
        return found[0] if len(found) == 1 else None

    def issuers(self, provider: str) -> tuple[str, ...]:
        """Return the issuers of the platforms and the provider, which is "" for none; sorted."""
        return tuple(sorted({provider, *(each.issuer for each in self.all())} - {""}))

    def registered(self) -> tuple[Registration, ...]:
        found = ((row, _platform(row)) for row in self._stored())
        return tuple(Registration(each, row.registered_at) for row, each in found if each)

    def stored(self) -> tuple[tuple[str, str], ...]:
        """Return issuer and client id of all in the database, also of what cannot be read."""
        return tuple((row.issuer, row.client_id) for row in self._stored())

    def decide(self) -> bool:
        """Return whether the members of platforms' courses decide who may enter.

        A registration that this program cannot read may say so: then they do, since admitting
        everybody would be the worse error.
        """
        known = {each.key for each in self._configured}
        stored = [
            _platform(row) for row in self._stored() if (row.issuer, row.client_id) not in known
        ]
        return any(each is None or each.roster == "allow" for each in (*self._configured, *stored))

    def _stored(self) -> Sequence[Row[tuple[object, ...]]]:
        with reading(self._engine) as connection:
            return connection.execute(_REGISTERED).all()

    def put(self, platform: LtiPlatform, now: datetime) -> None:
        """Store a platform, in place of an earlier registration of the same client."""
        key = {"issuer": platform.issuer, "client_id": platform.client_id}
        row = {**key, "settings": platform.model_dump_json(), "registered_at": now}
        self._put(lti_platforms, row)

    def remove(self, issuer: str, client_id: str) -> bool:
        gone = delete(lti_platforms).filter_by(issuer=issuer, client_id=client_id)
        return self._change(gone) > 0


_REGISTERED = select(lti_platforms).order_by(
    lti_platforms.c.registered_at, lti_platforms.c.issuer, lti_platforms.c.client_id
)


def _platform(row: Row[tuple[object, ...]]) -> LtiPlatform | None:
    """Return the platform of a row; None for one that this program cannot read."""
    try:
        return LtiPlatform.model_validate_json(row.settings)
    except ValueError:
        _log.error(
            "The registration of %s in the database cannot be read: students may enter by another"
            " platform's course or allowed_users.txt only. If a newer mograder made it, install"
            " that; else remove it: mograder hub lti platforms --remove %s",
            row.issuer,
            row.client_id,
        )
        return None


class Links(Tables):
    """The activities that were launched; thread-safe."""

    def saw(self, link: Link) -> None:
        """Store an activity that was launched; nothing is written if it is unchanged and recent."""
        link = replace(link, title=bounded(link.title, _TITLE))
        known = self._row(Link, select(lti_links).where(_same(link)))
        if known is not None:
            if known.item == link.item:  # a launch may name no grade item where one was found
                link = replace(link, lineitem=link.lineitem or known.lineitem)
            is_same = replace(known, seen_at=link.seen_at) == link
            if is_same and link.seen_at - known.seen_at < _SEEN_AGAIN:
                return
        self._put(lti_links, values_of(link))

    def found_grade_item(self, link: Link, lineitem: str) -> Link:
        """Store the grade item of an activity whose launches name none; return the activity."""
        self._change(update(lti_links).where(_same(link)).values(lineitem=lineitem))
        return replace(link, lineitem=lineitem)

    def all(self) -> tuple[Link, ...]:
        """Return the activities, the last launched first."""
        latest = (lti_links.c.seen_at.desc(), lti_links.c.resource_link)
        return self._rows(Link, select(lti_links).order_by(*latest))


def _same(link: Link) -> ColumnElement[bool]:
    return and_(*(each == getattr(link, each.name) for each in lti_links.primary_key))


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A key of the hub, for display: its id, and when it was made and retired."""

    kid: str
    created_at: datetime
    retired_at: datetime | None


class Keys(Tables):
    """The hub's own keys: one that signs, and retired ones, which stay published for 30 days.

    Several hubs may share the database; each signs with the newest key there. Mutable state:
    ``_opened``, the last decrypted key.
    """

    def __init__(self, engine: Engine, secret: str) -> None:
        super().__init__(engine)
        self._secret = secret
        self._opened: PrivateKey | None = None

    def current(self, now: datetime) -> PrivateKey:
        """Return the key that signs; make one if there is no readable one, or it is a year old."""
        row = self._newest()
        if row is None or now - row.created_at >= LONGEST_USE:
            return self.rotate(now)
        opened = self._opened
        if opened is None or opened.kid != row.kid:
            opened = self._open(row.private_key)
            if opened is None:
                _log.error("The hub's key for platforms cannot be decrypted: a new one is made")
                return self.rotate(now)
            self._opened = opened
        return opened

    def held(self) -> PrivateKey | None:
        """Return the key that signs, without ever making one; None if it cannot be decrypted."""
        row = self._newest()
        return None if row is None else self._open(row.private_key)

    def public_set(self, now: datetime) -> dict[str, list[dict[str, object]]]:
        """Return the JWKS document: the key that signs, and those retired in the last 30 days."""
        self.current(now)
        published = or_(lti_keys.c.retired_at.is_(None), lti_keys.c.retired_at > now - KEPT)
        wanted = select(lti_keys.c.private_key).where(published).order_by(*_NEWEST)
        opened = map(self._open, self._values(wanted))
        return {"keys": [key.public() for key in opened if key is not None]}

    def rotate(self, now: datetime) -> PrivateKey:
        """Make a new key, which signs from now on; retire the others, remove long retired ones."""
        key = PrivateKey.new()
        row = {"kid": key.kid, "private_key": key.sealed(self._secret), "created_at": now}
        with writing(self._engine) as connection:
            connection.execute(delete(lti_keys).where(lti_keys.c.retired_at <= now - KEPT))
            signing = lti_keys.c.retired_at.is_(None)
            connection.execute(update(lti_keys).where(signing).values(retired_at=now))
            connection.execute(insert(lti_keys).values(**row))
        self._opened = key
        return key

    def facts(self) -> tuple[KeyFacts, ...]:
        wanted = select(lti_keys.c.kid, lti_keys.c.created_at, lti_keys.c.retired_at)
        return self._rows(KeyFacts, wanted.order_by(*_NEWEST))

    def _newest(self) -> Row[tuple[object, ...]] | None:
        newest = select(lti_keys).where(lti_keys.c.retired_at.is_(None)).order_by(*_NEWEST).limit(1)
        with reading(self._engine) as connection:
            return connection.execute(newest).one_or_none()

    def _open(self, sealed: str) -> PrivateKey | None:
        try:
            return PrivateKey.unsealed(sealed, self._secret)
        except InvalidInput:
            return None  # made with another secret of the hub


_NEWEST = (lti_keys.c.created_at.desc(), lti_keys.c.kid)

REGISTRATION_LIFE: Final = timedelta(hours=1)
"""The lifetime of an unused address."""

UNREGISTERED: Final = "(not registered yet)"
"""The client id in the settings of a platform that has not registered."""


class Registrations(Tables):
    """The addresses that wait for a platform."""

    def add(self, code_hash: str, platform: LtiPlatform, now: datetime) -> datetime:
        """Store an address; return its end. Remove those that have expired. Raises: Conflict."""
        table, expires = lti_registrations, now + REGISTRATION_LIFE
        row = insert(table).values(
            code_hash=code_hash, settings=platform.model_dump_json(), expires=expires
        )
        with writing(self._engine) as connection:
            connection.execute(delete(table).where(table.c.expires <= now))
            connection.execute(row)
        return expires

    def find(self, code_hash: str, now: datetime) -> LtiPlatform | None:
        """Return an address's platform, None if it is unknown, used or expired.

        Raises: InvalidInput if a newer mograder stored it.
        """
        table = lti_registrations
        wanted = select(table.c.settings).where(table.c.code_hash == code_hash)
        text = self._value(wanted.where(table.c.expires > now))
        return None if text is None else _parsed(text)

    def use(self, code_hash: str, now: datetime) -> LtiPlatform | None:
        """Remove an address; of several callers one gets its platform. Raises: as :meth:`find`."""
        table = lti_registrations
        used = (
            delete(table)
            .where(table.c.code_hash == code_hash)
            .returning(table.c.settings, table.c.expires)
        )
        with writing(self._engine) as connection:
            row = connection.execute(used).one_or_none()
        return None if row is None or row.expires <= now else _parsed(row.settings)


def _parsed(text: str) -> LtiPlatform:
    try:
        return LtiPlatform.model_validate_json(text)
    except ValidationError as error:
        raise InvalidInput(
            "A registration in the hub's database cannot be read.",
            hint="Make a new address with mograder hub lti register.",
        ) from error


@dataclass(frozen=True, slots=True)
class RosterMember:
    subject: str
    username: str = ""
    display_name: str = ""
    roles: tuple[str, ...] = ()


class LtiRosters(Tables):
    def remember(self, course: Course, memberships_url: str) -> None:
        if len(memberships_url) > _TEXT:
            return
        url = select(lti_rosters.c.memberships_url).filter_by(**values_of(course))
        if self._value(url) != memberships_url:
            row = {**values_of(course), "memberships_url": memberships_url, "tried_at": None}
            self._put(lti_rosters, row)

    def all(self) -> tuple[Roster, ...]:
        return self._rows(Roster, select(lti_rosters))

    def take(self, roster: Roster, now: datetime, every: timedelta) -> bool:
        """Take the reading of a roster if the last try was ``every`` ago; false if it is not due.

        Of several processes one gets it. A try in the future does not count: the clock was ahead.
        """
        if roster.tried_at is not None and timedelta() <= now - roster.tried_at < every:
            return False
        c = lti_rosters.c
        last = c.tried_at.is_(None) if roster.tried_at is None else c.tried_at == roster.tried_at
        taken = update(lti_rosters).filter_by(**values_of(roster.course)).where(last)
        return self._change(taken.values(tried_at=now)) > 0

    def replace(self, course: Course, members: Iterable[RosterMember], at: datetime) -> None:
        """Replace a course's members by those of a complete reading that began ``at`` a time."""
        rows = [
            values_of(course)
            | values_of(each)
            | {
                "display_name": bounded(each.display_name, _NAME),
                "roles": tuple(filter(_ROLE.fullmatch, each.roles[:_MOST_ROLES])),
            }
            for each in members
        ]
        read = update(lti_rosters).filter_by(**values_of(course)).values(read_at=at, error="")
        with writing(self._engine) as connection:
            connection.execute(delete(lti_members).filter_by(**values_of(course)))
            if rows:
                connection.execute(insert(lti_members), rows)
            connection.execute(read)

    def failed(self, course: Course, error: str) -> None:
        noted = update(lti_rosters).filter_by(**values_of(course))
        self._change(noted.values(error=bounded(error, _TEXT)))

    def launches(self, issuer: str, since: datetime) -> tuple[tuple[str, datetime], ...]:
        """Return the users that a platform has sent since then, and when last, by the audit log."""
        c = audit.c
        came = (c.action == "sign in", c.outcome == "ok", c.what == f"lti {issuer}", c.at >= since)
        wanted = select(c.who, func.max(c.at)).where(*came).group_by(c.who)
        return self._rows(lambda who, at: (who, at), wanted)

    def members(self, course: Course) -> tuple[RosterMember, ...]:
        c = lti_members.c
        wanted = select(*columns_of(lti_members, RosterMember)).filter_by(**values_of(course))
        return self._rows(RosterMember, wanted.order_by(c.display_name, c.subject))
