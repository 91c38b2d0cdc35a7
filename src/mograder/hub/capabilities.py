"""Capabilities: unguessable path names under which session pages load all their files.

A session's page has an opaque origin, so it has no cookie; it is authorised by the path
``/s/<capability>/`` (security.md, "The page is theirs as well"). There is one per viewer, login and
session, and none is valid for more than a day. Capabilities are resolved in memory, since every
request of a page does it; the database holds only SHA-256 hashes, so that pages survive a restart
of the hub and a stolen database gives no access.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from mograder.auth.credentials import LIFETIME, Login, Role
from mograder.auth.identity import Identity
from mograder.core.clock import Clock
from mograder.core.errors import Busy
from mograder.sessions.session import LiveSession
from mograder.store.database.database import turn_of
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.hub_tables import CapabilityRow

_RANDOM_BYTES = 24  # 192 bits; 32 url-safe characters
_LONGEST = 64
_SHARED = timedelta(seconds=LIFETIME // 2)
"""The time for which pages that are opened later get the same capability."""
_MOST_OF_ONE = 1000
"""Capabilities of one person in one session: behind a front that signs people in, a client that
keeps no cookie has a new login with each request."""
_ISSUE_SECONDS = 5.0
"""How long a page waits for others' capabilities to be written, as for the database itself."""


@dataclass(frozen=True, slots=True)
class Capability:
    """The meaning of a capability: this viewer, by this login, in this session.

    ``role`` is the one that the login proves; the lists of the settings count at each use.
    ``hash`` is empty for a visit by the login itself, which is valid without a capability.
    """

    hash: str
    session_id: str
    username: str
    role: Role
    login_id: str
    ends: datetime

    @property
    def viewer(self) -> tuple[str, str, str]:
        return self.session_id, self.username, self.login_id


class Capabilities:
    """Issues, resolves and revokes capabilities; may be called from any thread.

    Mutable state: ``_by_hash`` (all valid ones), ``_issued`` (the plain text, known only to the
    process that issued it), ``_watchers`` (callbacks for the end of visits in progress).
    """

    def __init__(self, state: HubState, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._lock = threading.Lock()  # memory only: the event loop takes it too
        self._issuing = threading.Lock()  # held over a write to the database
        self._by_hash: dict[str, Capability] = {}
        self._issued: dict[tuple[str, str, str], str] = {}
        self._watchers: dict[object, tuple[Capability, Callable[[], None]]] = {}

    def load(self) -> None:
        rows = {row.cap_hash: _capability(row) for row in self._state.capabilities()}
        with self._lock:
            self._by_hash.update(rows)

    def end_with(self, sessions: Iterable[LiveSession]) -> None:
        """End an earlier hub's capabilities with their sessions, which may end without a visit."""
        live = {session.id: session for session in sessions}
        self._drop(lambda capability: capability.session_id not in live)
        for session in live.values():
            session.on_stop.append(functools.partial(self.forget_session, session.id))

    def visit(self, session_id: str, owner: str, viewer: Identity) -> Capability:
        """Return what a visit of a session is, and until when.

        In another person's session it ends with the login. In one's own it lasts a day from its
        beginning: a class that meets at the same time each day signed in a day ago, and its pages
        must not end while people type.
        """
        since = self._clock.now()
        if viewer.since is not None and viewer.username != owner:
            since = datetime.fromtimestamp(viewer.since, UTC)
        ends = since + timedelta(seconds=LIFETIME)
        return Capability("", session_id, viewer.username, viewer.proven, viewer.login_id, ends)

    def known(self, visit: Capability) -> str | None:
        """Return the viewer's capability if this process has issued it, else None; no I/O."""
        cap = self._issued.get(visit.viewer)
        found = None if cap is None else self.resolve(cap)
        return cap if found is not None and visit.ends - found.ends < _SHARED else None

    def issue(self, visit: Capability) -> str:
        """Return the viewer's capability, a new one unless it is known (writes). Raises: Busy."""
        # Without a bound all threads of the hub's pool would wait here for a locked database.
        with turn_of(self._issuing, _ISSUE_SECONDS, "other capabilities are being written"):
            if (known := self.known(visit)) is not None:
                return known
            of_one = (visit.session_id, visit.username)
            with self._lock:
                every = self._by_hash.values()
                own = sum((each.session_id, each.username) == of_one for each in every)
            if own >= _MOST_OF_ONE:
                raise Busy(
                    "This notebook was opened by too many logins of yours.",
                    hint="Stop it, and open it again in a browser that keeps cookies.",
                )
            cap = secrets.token_urlsafe(_RANDOM_BYTES)
            row = CapabilityRow(
                cap_hash=_hash(cap),
                session_id=visit.session_id,
                username=visit.username,
                role=visit.role,
                login_id=visit.login_id,
                created=visit.ends - timedelta(seconds=LIFETIME),
            )
            # Stored before it is returned: a page that uses it must survive a restart.
            self._state.add_capability(row)
            with self._lock:
                self._by_hash[row.cap_hash] = _capability(row)
                self._issued[visit.viewer] = cap
            return cap

    def resolve(self, cap: str) -> Capability | None:
        if len(cap) > _LONGEST:
            return None
        # Looking up the hash, not the text, makes timing attacks useless.
        found = self._by_hash.get(_hash(cap))
        return found if found is not None and self._clock.now() < found.ends else None

    def forget_session(self, session_id: str) -> None:
        """End every capability of a session, in memory only: the session's row deletes theirs."""
        self._drop(lambda capability: capability.session_id == session_id)

    def forget_visitor(self, session_id: str, username: str) -> None:
        """End, in memory, a person's capabilities of one session.

        Their rows stay: the proxy itself refuses a marker's from then on, also after a restart.
        """
        self._drop(lambda each: (each.session_id, each.username) == (session_id, username))

    def revoke_login(self, login_id: str) -> None:
        if not login_id:
            return
        self._drop(lambda capability: capability.login_id == login_id)
        self._state.remove_capabilities(login_id=login_id)

    def pass_on(self, old: str, login: Login, goes_on: Callable[[Capability], bool]) -> bool:
        """Let visits by a login go on by the one that follows it; return whether any did (writes).

        Their addresses and ends stay, and their role is the one that ``login`` proves.

        Raises: :class:`Busy` while the database does not answer. What was passed on by then is
        valid in memory only: the caller ends it by :meth:`revoke_login`.
        """
        if not old:
            return False
        # Not between an issue's row and its entry in memory, which would have different logins.
        with turn_of(self._issuing, _ISSUE_SECONDS, "other capabilities are being written"):
            # Memory first: what ended by then is in none of the rows that are changed.
            passed, any_visit = self._move(old, login, goes_on)
            if passed:
                self._state.pass_on_capabilities(passed, login.login_id, login.role)
        return any_visit

    def _move(
        self, old: str, login: Login, goes_on: Callable[[Capability], bool]
    ) -> tuple[frozenset[str], bool]:
        def goes(visit: Capability) -> bool:
            return visit.login_id == old and goes_on(visit)

        change = functools.partial(replace, login_id=login.login_id, role=login.role)
        with self._lock:
            moved = {key: change(each) for key, each in self._by_hash.items() if goes(each)}
            self._by_hash.update(moved)
            for viewer, cap in list(self._issued.items()):
                if (now := moved.get(_hash(cap))) is not None:
                    del self._issued[viewer]
                    self._issued[now.viewer] = cap
            watched = {
                key: (change(visit), callback)
                for key, (visit, callback) in self._watchers.items()
                if goes(visit)
            }
            self._watchers.update(watched)
        return frozenset(moved), bool(moved or watched)

    def revoke_user(self, username: str) -> None:
        """End every capability of a person whose tokens were revoked (writes)."""
        self.forget_user(username)
        self._state.remove_capabilities(username=username)

    def forget_user(self, username: str) -> None:
        """End, in memory, every visit of a person who was removed from the access list."""
        self._drop(lambda capability: capability.username == username)

    def all(self) -> tuple[Capability, ...]:
        with self._lock:
            visits = (visit for visit, _ in self._watchers.values() if not visit.hash)
            return (*self._by_hash.values(), *visits)

    def on_revoke(self, visit: Capability, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back on the event loop when a visit ends, or has ended; return how to undo it."""
        loop = asyncio.get_running_loop()
        key = object()

        def end() -> None:
            forget()
            callback()

        def on_loop() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(end)

        left = (visit.ends - self._clock.now()).total_seconds()
        timer = loop.call_later(max(left, 0), end)

        def forget() -> None:
            timer.cancel()
            with self._lock:
                self._watchers.pop(key, None)

        with self._lock:
            # As it is now: since its resolution it may have passed on to another login.
            now = self._by_hash.get(visit.hash) if visit.hash else visit
            if now is not None:
                self._watchers[key] = (now, on_loop)
        if now is None:
            on_loop()
        return forget

    def _drop(self, ends: Callable[[Capability], bool]) -> None:
        with self._lock:
            gone = {cap_hash for cap_hash, each in self._by_hash.items() if ends(each)}
            for cap_hash in gone:
                del self._by_hash[cap_hash]
            for viewer, cap in list(self._issued.items()):
                if _hash(cap) in gone:
                    del self._issued[viewer]
            over = [key for key, (visit, _) in self._watchers.items() if ends(visit)]
            callbacks = [self._watchers.pop(key)[1] for key in over]
        for callback in callbacks:
            callback()


def label_of(capability: Capability) -> str:
    """Return a label as random as the capability.

    Name servers and the network see it: it gives no access, and the capability cannot be derived.
    """
    digest = hashlib.sha256(b"label of " + capability.hash.encode()).digest()
    return base64.b32encode(digest[:20]).decode().lower()


def _capability(row: CapabilityRow) -> Capability:
    ends = row.created + timedelta(seconds=LIFETIME)
    return Capability(row.cap_hash, row.session_id, row.username, row.role, row.login_id, ends)


def _hash(cap: str) -> str:
    return hashlib.sha256(cap.encode("utf-8", "replace")).hexdigest()
