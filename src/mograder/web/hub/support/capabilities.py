"""Capabilities: unguessable path names under which session pages load all their files.

A session's page has an opaque origin, so it has no cookie; it is authorised by the path
``/s/<capability>/`` (security.md, "The page is theirs as well"). There is one per viewer, login and
session. Capabilities are resolved in memory, since every request of a page does it; the database
holds only SHA-256 hashes, so that pages survive a restart of the hub and a stolen database gives no
access.

Of several hubs each may be asked for a capability that another one issued, and then looks it up.
There a capability carries a seal by the hubs' secret, so that made-up ones cost no look-up.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mograder.auth.identity import Identity
from mograder.auth.roles import Role
from mograder.core.clock import Clock
from mograder.sessions.session import LiveSession
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.hub_tables import CapabilityRow

_RANDOM_BYTES = 24  # 192 bits; 32 url-safe characters
_LONGEST = 64
_PLAIN = 32  # the characters before the seal
_SEAL_BYTES = 9  # 12 url-safe characters
_MOST_ENDED = 10_000


@dataclass(frozen=True, slots=True)
class Capability:
    """The meaning of a capability: this viewer, by this login, in this session."""

    hash: str
    session_id: str
    username: str
    role: Role
    login_id: str


@dataclass(frozen=True, slots=True)
class _Viewer:
    session_id: str
    username: str
    login_id: str


class Capabilities:
    """Issues, resolves and revokes capabilities; may be called from any thread.

    Mutable state: ``_by_hash`` (all valid ones), ``_issued`` (the plain text, known only to the
    process that issued it), ``_watchers`` (callbacks for the revocation of each), ``_ended``
    (hashes of sealed ones that have ended, the newest), ``_drops``, which counts revocations.
    """

    def __init__(self, state: HubState, clock: Clock, seal: bytes | None = None) -> None:
        """``seal`` is the key of the seals where there may be several hubs, else None."""
        self._state = state
        self._clock = clock
        self._seal = seal
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._drops = 0
        self._lock = threading.Lock()  # memory only: the event loop takes it too
        self._issuing = threading.Lock()  # held over a write to the database
        self._by_hash: dict[str, Capability] = {}
        self._issued: dict[_Viewer, str] = {}
        self._watchers: defaultdict[str, dict[object, Callable[[], None]]] = defaultdict(dict)

    def load(self) -> None:
        """Read the capabilities that an earlier hub issued, so that open pages go on working."""
        rows = {row.cap_hash: _capability(row) for row in self._state.capabilities()}
        with self._lock:
            self._by_hash.update(rows)

    def end_with(self, sessions: Iterable[LiveSession]) -> None:
        """End an earlier hub's capabilities with their sessions; at once where a session has ended.

        The proxy registers this for each session that is visited; an adopted one may end without a
        visit.
        """
        live = {session.id: session for session in sessions}
        self._drop(lambda capability: capability.session_id not in live)
        for session in live.values():
            self.forget_with(session)

    def forget_with(self, session: LiveSession) -> None:
        """End a session's capabilities in memory when it ends, also if it is never visited."""
        session.on_stop.append(functools.partial(self.forget_session, session.id))

    def known(self, session_id: str, identity: Identity) -> str | None:
        """Return the viewer's capability if this process has issued it, else None; no I/O."""
        return self._issued.get(_Viewer(session_id, identity.username, identity.login_id))

    def issue(self, session_id: str, identity: Identity) -> str:
        """Return the viewer's capability for a session, a new one the first time (writes)."""
        viewer = _Viewer(session_id, identity.username, identity.login_id)
        with self._issuing:
            if viewer in self._issued:
                return self._issued[viewer]
            cap = secrets.token_urlsafe(_RANDOM_BYTES)
            if self._seal is not None:
                cap += _seal_of(cap, self._seal)
            row = CapabilityRow(
                cap_hash=_hash(cap),
                session_id=session_id,
                username=identity.username,
                # A marker has a student's rights here, and an earlier hub knows no other word.
                role=Role.STUDENT if identity.role is Role.MARKER else identity.role,
                login_id=identity.login_id,
                created=self._clock.now(),
            )
            # Stored before it is returned: a page that uses it must survive a restart.
            self._state.add_capability(row)
            with self._lock:
                self._by_hash[row.cap_hash] = _capability(row)
                self._issued[viewer] = cap
            return cap

    def resolve(self, cap: str) -> Capability | None:
        """Return a capability's record, from memory only; None if it never existed or has ended."""
        if len(cap) > _LONGEST:
            return None
        # Looking up the hash, not the text, makes timing attacks useless.
        return self._by_hash.get(_hash(cap))

    def may_be_elsewhere(self, cap: str) -> bool:
        """Return whether another hub may have issued a capability that is unknown here; no I/O."""
        if self._seal is None or len(cap) > _LONGEST:
            return False
        text, seal = cap[:_PLAIN], cap[_PLAIN:]
        if not hmac.compare_digest(seal.encode(), _seal_of(text, self._seal).encode()):
            return False
        digest = _hash(cap)
        return digest not in self._by_hash and digest not in self._ended

    def look_up(self, cap: str) -> Capability | None:
        """Read a capability that another hub issued; blocks. None, and remembered, if it ended."""
        digest, drops = _hash(cap), self._drops
        row = self._state.capability(digest)
        with self._lock:
            if drops != self._drops:  # it may have been revoked after it was read
                return None
            if row is None:
                self._ended[digest] = None
                if len(self._ended) > _MOST_ENDED:
                    self._ended.popitem(last=False)
                return None
            return self._by_hash.setdefault(digest, _capability(row))

    def forget_session(self, session_id: str) -> None:
        """End every capability of a session, in memory only: the session's row deletes theirs."""
        self._drop(lambda capability: capability.session_id == session_id)

    def forget_visitor(self, session_id: str, username: str) -> None:
        """End, in memory, a person's capabilities of one session; another visit issues a new one.

        A marker's are refused from then on (``web/hub/proxy/session_proxy.py``), also by a hub
        that has started anew.
        """
        self._drop(lambda each: (each.session_id, each.username) == (session_id, username))

    def revoke_login(self, login_id: str) -> None:
        """End every capability of a login that signed out, and the connections under it."""
        if not login_id:
            return
        self._drop(lambda capability: capability.login_id == login_id)
        self._state.remove_capabilities(login_id=login_id)
        if self._seal is not None:  # it may have been looked up meanwhile
            self._drop(lambda capability: capability.login_id == login_id)

    def forget_login(self, login_id: str) -> None:
        """End, in memory, the capabilities of a login that signed out at another hub."""
        self._drop(lambda capability: capability.login_id == login_id)

    def revoke_user(self, username: str) -> None:
        """End every capability of a person whose tokens were revoked (writes)."""
        self._drop(lambda capability: capability.username == username)
        self._state.remove_capabilities(username=username)
        if self._seal is not None:
            self._drop(lambda capability: capability.username == username)

    def instructed(self) -> frozenset[str]:
        """Return the ids of the sessions that an instructor has a page of.

        From memory; where there may be several hubs, from the database.
        """
        if self._seal is not None:
            rows = self._state.capabilities()
            return frozenset(row.session_id for row in rows if row.role is Role.INSTRUCTOR)
        with self._lock:
            found = self._by_hash.values()
            return frozenset(each.session_id for each in found if each.role is Role.INSTRUCTOR)

    def on_revoke(self, capability: Capability, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back on the event loop when the capability ends; return a function to undo it.

        If the capability ended between its resolution and this call, the callback runs at once.
        """
        loop = asyncio.get_running_loop()
        key = object()

        def on_loop() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(callback)

        with self._lock:
            if capability.hash in self._by_hash:
                self._watchers[capability.hash][key] = on_loop
                return lambda: self._forget(capability.hash, key)
        on_loop()
        return _nothing

    def _forget(self, cap_hash: str, key: object) -> None:
        with self._lock:
            watchers = self._watchers.get(cap_hash)
            if watchers is None:
                return
            watchers.pop(key, None)
            if not watchers:
                del self._watchers[cap_hash]

    def _drop(self, ends: Callable[[Capability], bool]) -> None:
        with self._lock:
            self._drops += 1
            gone = {cap_hash for cap_hash, each in self._by_hash.items() if ends(each)}
            for cap_hash in gone:
                del self._by_hash[cap_hash]
            for viewer, cap in list(self._issued.items()):
                if _hash(cap) in gone:
                    del self._issued[viewer]
            callbacks = [
                callback
                for cap_hash in gone
                for callback in self._watchers.pop(cap_hash, {}).values()
            ]
        for callback in callbacks:
            callback()


def label_of(capability: Capability) -> str:
    """Return a capability's label: as random as the capability, but not usable to derive it.

    Name servers and the network see it, so it gives no access by itself.
    """
    digest = hashlib.sha256(b"label of " + capability.hash.encode()).digest()
    return base64.b32encode(digest[:20]).decode().lower()


def seal_key(secret: str) -> bytes:
    """Return the key of seals; all hubs of a course have the same secret."""
    return hmac.digest(secret.encode(), b"seals of capabilities", "sha256")


def _seal_of(text: str, key: bytes) -> str:
    mac = hmac.digest(key, text.encode("utf-8", "replace"), "sha256")
    return base64.urlsafe_b64encode(mac[:_SEAL_BYTES]).decode()


def _capability(row: CapabilityRow) -> Capability:
    return Capability(row.cap_hash, row.session_id, row.username, row.role, row.login_id)


def _hash(cap: str) -> str:
    return hashlib.sha256(cap.encode("utf-8", "replace")).hexdigest()


def _nothing() -> None:
    return None
