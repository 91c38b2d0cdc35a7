"""All SQL of the hub's own state, which must survive a restart of the hub.

Synchronous, thread-safe, one short transaction per call. A power cut ends sessions and their
capabilities, so their rows are written without waiting for the disk (``fleeting``). Revoked tokens
and logins, which every request checks, are held in memory too.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import (
    Connection,
    Engine,
    bindparam,
    delete,
    insert,
    select,
    text,
    update,
)

from mograder.auth.credentials import Role
from mograder.core.clock import Clock, SystemClock
from mograder.core.errors import Conflict, NotFound
from mograder.core.names import INSTRUCTOR
from mograder.core.settings import LoadedSettings
from mograder.store.course.allowlist import Allowlist
from mograder.store.database.database import (
    Tables,
    columns_of,
    database_url,
    open_engine,
    reading,
    sqlite_file,
    upsert,
    values_of,
    writing,
)
from mograder.store.database.upgrades import schema_version
from mograder.store.hub.hub_tables import (
    AuditRow,
    CapabilityRow,
    EndingRow,
    LinkRow,
    SessionRow,
    SessionState,
    audit,
    capabilities,
    counters,
    endings,
    links,
    revoked_logins,
    sessions,
    users,
)
from mograder.store.hub.letters import INVITED, LetterState, letters

__all__ = [
    "AuditRow",
    "CachedRevocations",
    "CapabilityRow",
    "EndingRow",
    "HubState",
    "LinkRow",
    "SessionRow",
    "SessionState",
]

_SLOTS, _CALENDAR = "slots", "calendar/"
_NAME_LENGTH = 200
_TEXT_LENGTH = 1000


class HubState(Tables):
    @property
    def engine(self) -> Engine:
        """The database, for modules with further tables in it."""
        return self._engine

    def slot_of(self, username: str) -> int:
        """Return the user's number, from 1 on; assign one if there is none. Never reused.

        A sandbox's uid is derived from it, so two users with one number would share their files.
        """
        with reading(self._engine) as connection:
            slot = _slot(connection, username)
        if slot is not None:
            return slot
        last = select(counters.c.value).where(counters.c.name == _SLOTS)
        with writing(self._engine) as connection:
            # The counter's row is locked first: another writer may have given this user a number.
            following: int = connection.execute(last.with_for_update()).scalar_one() + 1
            slot = _slot(connection, username)
            if slot is not None:
                return slot
            changed = update(counters).where(counters.c.name == _SLOTS).values(value=following)
            connection.execute(changed)
            values = {"username": username, "slot": following}
            connection.execute(upsert(connection, users, values), values)
        return following

    def knows(self, username: str) -> bool:
        """Return whether the user has had a session, or credentials that were revoked."""
        return self._value(select(users.c.username).filter_by(username=username)) is not None

    def records(self, username: str, besides: str | None = None) -> bool:
        """Return whether the user is known, or named by an action in the audit log.

        A user with a token or a link that was not used yet is in that log only. ``besides``: not
        if these are the words of all the actions that name the user.
        """
        told = (audit.c.who == username) | (audit.c.what == username)
        told &= audit.c.outcome == "ok"  # a refusal may have any name
        if besides is not None:
            told &= audit.c.what != besides
        found = self._value(select(audit.c.number).where(told).limit(1))
        return found is not None or self.knows(username)

    def epoch(self, username: str) -> int:
        """Return how often the user's tokens were revoked; 0 for an unknown user."""
        return self._value(select(users.c.epoch).where(users.c.username == username)) or 0

    def epochs(self) -> dict[str, int]:
        wanted = select(users.c.username, users.c.epoch).where(users.c.epoch > 0)
        with reading(self._engine) as connection:
            return {row.username: row.epoch for row in connection.execute(wanted)}

    def bump_epoch(self, username: str) -> int:
        """Revoke all tokens, logins, unused links and open pages of a user; return the new epoch.

        Letters with links are not sent any more. A hub that starts later does not learn what was
        revoked before, so no page's row stays.
        """
        with writing(self._engine) as connection:
            _end_links(connection, [username])
            connection.execute(delete(capabilities).filter_by(username=username))
            values = {"username": username, "epoch": 1}
            bumped = upsert(connection, users, values, epoch=users.c.epoch + 1)
            epoch: int = connection.execute(bumped.returning(users.c.epoch), values).scalar_one()
            return epoch

    def calendar_turn(self, username: str) -> int:
        """Return how often a user's calendar address was made or ended; it is valid if odd."""
        return self._value(select(counters.c.value).filter_by(name=f"{_CALENDAR}{username}")) or 0

    def turn_calendar(self, username: str, *, valid: bool) -> int:
        """End a user's calendar address, and make another one if ``valid``; return the turn."""
        name = f"{_CALENDAR}{username}"
        with writing(self._engine) as connection:
            one = counters.c.value + 1 + (counters.c.value + 1 + int(valid)) % 2
            values = {"name": name, "value": int(valid)}
            turned = upsert(connection, counters, values, value=one).returning(counters.c.value)
            turn: int = connection.execute(turned, values).scalar_one()
            return turn

    def revoke_login(self, login_id: str, until: datetime) -> None:
        """Revoke a login; the row is kept ``until`` the login's cookie expires."""
        # Revoking twice is not an error: a user may sign out in two tabs at once.
        with contextlib.suppress(Conflict):
            self._change(insert(revoked_logins), {"login_id": login_id, "until": until})

    def revoked_logins(self, now: datetime) -> frozenset[str]:
        wanted = select(revoked_logins.c.login_id).where(revoked_logins.c.until > now)
        return frozenset(self._values(wanted))

    def forget_expired(self, now: datetime) -> None:
        """Remove revoked logins and one-time links that expired before ``now``."""
        with writing(self._engine) as connection:
            connection.execute(delete(revoked_logins).where(revoked_logins.c.until <= now))
            connection.execute(delete(links).where(links.c.expires <= now))

    def add_link(self, code_hash: str, username: str, role: Role, expires: datetime) -> None:
        """Store a one-time link. Raises: Conflict when a link with this hash exists."""
        self._change(insert(links), values_of(LinkRow(code_hash, username, role, expires)))

    def invite(self, codes: Mapping[str, str], role: Role, expires: datetime) -> None:
        """Store one-time links of several people, by the hashes of their codes; all or none.

        They replace all links of these people that were not used, and letters with those are not
        sent any more.
        """
        rows = [values_of(LinkRow(code, user, role, expires)) for code, user in codes.items()]
        with writing(self._engine) as connection:
            _end_links(connection, codes.values())
            connection.execute(insert(links), rows)

    def use_link(self, code_hash: str, now: datetime, only: str = "") -> LinkRow | None:
        """Remove a link and return its user; None if it is unknown, already used or expired.

        ``only``: a link of anybody else is left, and counts as unknown.
        """
        used = delete(links).where(links.c.code_hash == code_hash).returning(*links.c)
        if only:
            used = used.where(links.c.username == only)
        with writing(self._engine) as connection:
            row = connection.execute(used).one_or_none()
        return None if row is None or row.expires <= now else LinkRow(*row)

    def add_session(self, row: SessionRow) -> None:
        """Raise :class:`Conflict` when the user has a session of this item and mode."""
        self._change(_ADD_SESSION, values_of(row), fleeting=True)

    def session_runs(self, session_id: str, socket: str) -> None:
        running = {"which": session_id, "state": SessionState.RUNNING, "socket": socket}
        self._change(_CHANGE_SESSION, running, fleeting=True)

    def place_session(self, session_id: str, node: str) -> bool:
        """Store the node on which a session starts; return False if it is not starting any more."""
        placed = _CHANGE_SESSION.where(sessions.c.state == SessionState.STARTING)
        return self._change(placed.values(node=node), {"which": session_id}, fleeting=True) > 0

    def place_of(self, session_id: str) -> str:
        return self._value(select(sessions.c.node).where(sessions.c.session_id == session_id)) or ""

    def remove_session(self, session_id: str) -> bool:
        """Remove a session and its capabilities; return False if there is no such session."""
        return self._change(_REMOVE_SESSION, {"which": session_id}, fleeting=True) > 0

    def sessions(self) -> tuple[SessionRow, ...]:
        wanted = _SESSIONS.order_by(sessions.c.started_at, sessions.c.session_id)
        return self._rows(SessionRow, wanted)

    def save_ending(self, row: EndingRow, *, forget_before: datetime) -> None:
        values = values_of(row) | {"detail": bounded(row.detail, _TEXT_LENGTH)}
        with writing(self._engine) as connection:
            connection.execute(upsert(connection, endings, values), values)
            connection.execute(delete(endings).where(endings.c.ended_at < forget_before))

    def forget_ending(self, username: str, item: str, mode: str) -> None:
        """Remove the ending of this user, item and mode, since a new session has started."""
        gone = delete(endings).filter_by(username=username, item=item, mode=mode)
        self._change(gone, fleeting=True)

    def endings(self, since: datetime) -> tuple[EndingRow, ...]:
        wanted = select(endings).where(endings.c.ended_at >= since).order_by(endings.c.ended_at)
        return self._rows(EndingRow, wanted)

    def add_capability(self, row: CapabilityRow) -> None:
        """Raise :class:`NotFound` when its session has ended."""
        try:
            self._change(_ADD_CAPABILITY, values_of(row), fleeting=True)
        except Conflict as error:
            raise NotFound("The session has ended.", hint="Open the item again.") from error

    def pass_on_capabilities(self, hashes: Collection[str], login_id: str, role: Role) -> None:
        """Store that these capabilities, if they are left, are of another login and its role."""
        passed = update(capabilities).where(capabilities.c.cap_hash.in_(hashes))
        self._change(passed.values(login_id=login_id, role=role), fleeting=True)

    def remove_capabilities(
        self, *, login_id: str | None = None, username: str | None = None
    ) -> int:
        """Remove those of a login, a user or both; return how many. Raises: ``ValueError``."""
        wanted = {"login_id": login_id, "username": username}
        given = {name: value for name, value in wanted.items() if value}
        if not given:
            # All bearer clients have an empty login_id: it would match all of them.
            raise ValueError("remove_capabilities needs a login or a person")
        return self._change(delete(capabilities).filter_by(**given))

    def capabilities(self) -> tuple[CapabilityRow, ...]:
        return self._rows(CapabilityRow, select(capabilities))

    def record(
        self, at: datetime, who: str, action: str, what: str, where: str, outcome: str, *also: str
    ) -> None:
        """Add a line to the audit log, one for each of ``also``; clients' texts are truncated."""
        values = {
            "at": at,
            "who": bounded(who, _NAME_LENGTH),
            "action": bounded(action, _NAME_LENGTH),
            "origin": bounded(where, _NAME_LENGTH),
            "outcome": bounded(outcome, _NAME_LENGTH),
        }
        lines = [values | {"what": bounded(each, _TEXT_LENGTH)} for each in (what, *also)]
        self._change(insert(audit), lines)

    def recent_audit(
        self, limit: int, *, before: int | None = None, refused: str = ""
    ) -> tuple[AuditRow, ...]:
        """Return up to ``limit`` lines, the newest first, with numbers below ``before``.

        ``refused``: only the refusals of this action.
        """
        wanted = select(audit).order_by(audit.c.number.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(audit.c.number < before)
        if refused:
            wanted = wanted.where(audit.c.action == refused, audit.c.outcome == "refused")
        return self._rows(AuditRow, wanted)


# Built once: building a statement takes as long as executing it.
_ADD_SESSION = insert(sessions)
_SESSIONS = select(*columns_of(sessions, SessionRow))
_CHANGE_SESSION = update(sessions).where(sessions.c.session_id == bindparam("which"))
_REMOVE_SESSION = delete(sessions).where(sessions.c.session_id == bindparam("which"))
_ADD_CAPABILITY = insert(capabilities)
_SLOT_OF = select(users.c.slot).where(users.c.username == bindparam("which"))


def _slot(connection: Connection, username: str) -> int | None:
    return connection.execute(_SLOT_OF, {"which": username}).scalar_one_or_none()


def _end_links(connection: Connection, people: Collection[str]) -> None:
    """Remove the unused links of people, and the letters that wait to bring them."""
    connection.execute(delete(links).where(links.c.username.in_(people)))
    c = letters.c
    waits = c.kind == INVITED, c.state == LetterState.WAITING, c.username.in_(people)
    connection.execute(delete(letters).where(*waits))


def bounded(text: str, length: int) -> str:
    """Return a text without lone surrogates and NUL (PostgreSQL refuses both), truncated."""
    clean = text.encode("utf-8", "replace").decode().replace("\0", "�")
    return clean if len(clean) <= length else clean[: length - 1] + "…"


@contextlib.contextmanager
def existing_state(loaded: LoadedSettings) -> Iterator[HubState | None]:
    """Open a hub's database; None if none has run: made here, it would have another owner."""
    url = database_url(loaded.settings.database.url, loaded.course_dir)
    file = sqlite_file(url)
    if file is not None and not file.exists():
        yield None
        return
    engine = open_engine(url)
    try:
        yield None if schema_version(engine) is None else HubState(engine)
    finally:
        engine.dispose()


def is_recorded(loaded: LoadedSettings, state: HubState, username: str) -> bool:
    """Return whether the hub's database, the access list or the settings have a name.

    A command and a route tell a misspelt one by it.
    """
    settings = loaded.settings
    listed = Allowlist(loaded.course_dir / "allowed_users.txt").listed() or ()
    named = (INSTRUCTOR, *settings.hub.instructors, *settings.marking.markers, *listed)
    return username in named or state.records(username)


_ROTATED_AT_ONCE = 10_000


def rotate_audit(
    engine: Engine, before: datetime, keep: Callable[[Sequence[AuditRow]], None]
) -> int:
    """Pass lines older than ``before`` to ``keep``, then remove them; return their number.

    A call handles at most 10,000 lines: call again until it returns 0. If ``keep`` raises, all
    lines stay.
    """
    old = audit.c.at < before
    wanted = select(audit).where(old).order_by(audit.c.number).limit(_ROTATED_AT_ONCE)
    with reading(engine) as connection:
        rows = [AuditRow(*row) for row in connection.execute(wanted)]
    if not rows:
        return 0
    keep(rows)  # in no transaction: a slow disk would let a server end it
    gone = old & audit.c.number.between(rows[0].number, rows[-1].number)
    with writing(engine) as connection, _unguarded(connection):
        connection.execute(delete(audit).where(gone))
    return len(rows)


@contextlib.contextmanager
def _unguarded(connection: Connection) -> Iterator[None]:
    """Disable the triggers of the audit log in this transaction; others never see them missing."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE audit DISABLE TRIGGER audit_only_grows"))
        yield
        connection.execute(text("ALTER TABLE audit ENABLE TRIGGER audit_only_grows"))
        return
    wanted = text(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'"
    )
    guards = connection.execute(wanted).all()
    for name, _ in guards:
        connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
    yield
    for _, statement in guards:
        connection.exec_driver_sql(statement)


class CachedRevocations:
    """The :class:`mograder.auth.identity.Revocations` in memory: every request checks them.

    Mutable state: ``_epochs`` and ``_logins``, each replaced as a whole after the database has
    the change, so that readers need no lock and a crash loses no change.
    """

    def __init__(self, state: HubState, clock: Clock | None = None) -> None:
        self._state = state
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._epochs: dict[str, int] = {}
        self._logins: frozenset[str] = frozenset()
        self.reload()

    def epoch(self, username: str) -> int:
        return self._epochs.get(username, 0)

    def login_revoked(self, login_id: str) -> bool:
        return login_id in self._logins

    def revoke_login(self, login_id: str, until: datetime) -> None:
        """Revoke a login, here and in the database; ``until`` is when its cookie expires."""
        with self._lock:
            self._state.revoke_login(login_id, until)
            self._logins = self._state.revoked_logins(self._clock.now()) | {login_id}

    def bump_epoch(self, username: str) -> int:
        """Revoke all tokens and logins of a user, here and in the database; return the epoch."""
        with self._lock:
            epoch = self._state.bump_epoch(username)
            self._epochs = {**self._epochs, username: epoch}
            return epoch

    def refresh(self) -> tuple[str, ...]:
        """Load revocations by other processes (commands, hubs); return the affected users."""
        with self._lock:
            epochs, logins = self._state.epochs(), self._state.revoked_logins(self._clock.now())
            # Both were read: of a change that is taken over here, no later call tells.
            known, self._epochs, self._logins = self._epochs, epochs, logins
            return tuple(name for name, epoch in epochs.items() if known.get(name) != epoch)

    def reload(self) -> None:
        """Load all revocations again, and remove expired ones from the database."""
        self._state.forget_expired(self._clock.now())
        self.refresh()
