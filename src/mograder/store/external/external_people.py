"""All SQL of signing in by other systems: linked people, values for one use, their logins."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    Column,
    Engine,
    Index,
    Table,
    UniqueConstraint,
    delete,
    insert,
    select,
    update,
)

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, InvalidInput
from mograder.store.database.database import (
    HASH,
    Name,
    Tables,
    UtcDateTime,
    table_of,
    values_of,
    writing,
)
from mograder.store.external.external_tables import ADDRESS, ID, Address, Id
from mograder.store.hub.hub_state import bounded
from mograder.store.hub.hub_tables import metadata

_NAME_LENGTH = 200
_LONGEST_SUBJECT = 255


@dataclass(frozen=True, slots=True)
class ExternalPerson:
    """A subject of an issuer and its user here; ``linked_by`` is empty if a sign-in linked them."""

    issuer: Address
    subject: Id
    username: Name
    display_name: Name
    linked_at: datetime
    linked_by: Name


external_people = table_of(
    "external_people",
    metadata,
    ExternalPerson,
    ("issuer", "subject"),
    UniqueConstraint("issuer", "username"),
    display_name="",
)

used_states = Table(
    "used_states",
    metadata,
    Column("hash", HASH, primary_key=True),
    Column("until", UtcDateTime(), nullable=False),
)
"""Values that may be used once: states, nonces, ids of tokens, handles; rows expire."""

provider_logins = Table(
    "provider_logins",
    metadata,
    Column("login_id", HASH, primary_key=True),
    Column("issuer", ADDRESS, nullable=False),
    Column("subject", ID, nullable=False),
    Column("sid", ID, nullable=False),
    Column("until", UtcDateTime(), nullable=False),
    Index(None, "issuer", "subject"),
)
"""The logins of this hub that a provider's session began; ``sid`` may be empty."""


def parsed_subject(text: str) -> str:
    """Return a person's id at a platform or provider, stripped. Raises: InvalidInput."""
    subject = text.strip()
    if not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
        raise InvalidInput("Give the person's id there: in Moodle the number of the profile.")
    return subject


class ExternalPeople(Tables):
    """The links of subjects to users; a subject has one user, a user one subject of an issuer."""

    def username_of(self, issuer: str, subject: str) -> str:
        wanted = select(external_people.c.username).filter_by(issuer=issuer, subject=subject)
        return self._value(wanted) or ""

    def link(
        self,
        issuer: str,
        subject: str,
        username: str,
        display_name: str,
        by: str,
        now: datetime,
    ) -> None:
        """``by``: an instructor, "" for a sign-in. Raises: Conflict if either has a link there."""
        shown = bounded(display_name, _NAME_LENGTH)
        row = ExternalPerson(issuer, subject, username, shown, now, by)
        try:
            self._change(insert(external_people), values_of(row))
        except Conflict as error:
            raise Conflict(
                f"The person there or the user {username} has a link with {issuer} already.",
                hint="Unlink it first.",
            ) from error

    def unlink(self, issuer: str, username: str) -> bool:
        return self._change(delete(external_people).filter_by(issuer=issuer, username=username)) > 0

    def people(self, issuer: str = "") -> tuple[ExternalPerson, ...]:
        c = external_people.c
        wanted = select(external_people).order_by(c.issuer, c.username)
        if issuer:
            wanted = wanted.where(c.issuer == issuer)
        return self._rows(ExternalPerson, wanted)

    def issuers_of(self, username: str) -> frozenset[str]:
        wanted = select(external_people.c.issuer).where(external_people.c.username == username)
        return frozenset(self._values(wanted))


class UsedStates(Tables):
    """Values that count once: states, ids of tokens, handles. Of two processes one wins."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        super().__init__(engine)
        self._clock = clock

    def use(self, value: str, until: datetime) -> bool:
        """Use a value up; False if it was before. Its hash is remembered ``until`` then."""
        try:
            with writing(self._engine) as connection:
                ended = used_states.c.until <= self._clock.now()
                connection.execute(delete(used_states).where(ended))
                connection.execute(insert(used_states), {"hash": _digest(value), "until": until})
        except Conflict:
            return False
        return True

    def is_used(self, value: str) -> bool:
        return self._value(select(used_states.c.hash).filter_by(hash=_digest(value))) is not None


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()


class ProviderLogins(Tables):
    """The logins of this hub that began with a session at a provider, for its sign-out."""

    def add(
        self, login_id: str, issuer: str, subject: str, sid: str, *, until: datetime, now: datetime
    ) -> None:
        """Store a login until the last page that it opened has ended; remove those before."""
        row = insert(provider_logins).values(
            login_id=login_id, issuer=issuer, subject=subject, sid=sid, until=until
        )
        with writing(self._engine) as connection:
            connection.execute(delete(provider_logins).where(provider_logins.c.until <= now))
            connection.execute(row)

    def pass_on(self, old: str, login_id: str) -> None:
        """Let a login's sign-out end the one that has its open pages now.

        One that began with a session at a provider itself ends with that session only.
        """
        passed = update(provider_logins).where(provider_logins.c.login_id == old)
        with contextlib.suppress(Conflict):
            self._change(passed.values(login_id=login_id))

    def logins(self, issuer: str, *, sid: str = "", subject: str = "") -> tuple[str, ...]:
        """Return the ids of the logins of a provider's session, or of all of a subject's.

        With both, also those of the subject whose session the provider did not tell.

        Raises: ``ValueError`` if neither is given.
        """
        c = provider_logins.c
        if not sid and not subject:
            raise ValueError("logins needs a session or a subject")
        wanted = select(c.login_id).where(c.issuer == issuer)
        if subject:
            wanted = wanted.where(c.subject == subject)
        if sid:
            wanted = wanted.where(c.sid.in_((sid, "")) if subject else c.sid == sid)
        return tuple(self._values(wanted))
