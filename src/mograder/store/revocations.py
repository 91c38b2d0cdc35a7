"""What was revoked, in memory: every request asks, so no request may wait for SQL.

Implements :class:`mograder.auth.identity.Revocations` over the hub's state.
"""

from __future__ import annotations

import threading
from datetime import datetime

from mograder.core.clock import Clock, SystemClock
from mograder.store.hub_state import HubState


class CachedRevocations:
    """Epochs and revoked logins; asked from any thread, loaded when made.

    Mutable state: ``_epochs`` and ``_logins``, each replaced as a whole after the database has
    the change, so that readers need no lock and nothing is forgotten by a crash.
    """

    def __init__(self, state: HubState, clock: Clock | None = None) -> None:
        self._state = state
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._epochs: dict[str, int] = {}
        self._logins: frozenset[str] = frozenset()
        self.reload()

    def epoch(self, username: str) -> int:
        """Return how often the user's tokens were revoked; from memory."""
        return self._epochs.get(username, 0)

    def login_revoked(self, login_id: str) -> bool:
        """Whether somebody signed out of this login; from memory."""
        return login_id in self._logins

    def revoke_login(self, login_id: str, until: datetime) -> None:
        """End a login, here and in the database; ``until`` is when its cookie expires anyway."""
        with self._lock:
            self._state.revoke_login(login_id, until)
            self._logins = self._state.revoked_logins(self._clock.now()) | {login_id}

    def bump_epoch(self, username: str) -> int:
        """End all tokens and logins of a user, here and in the database."""
        with self._lock:
            epoch = self._state.bump_epoch(username)
            self._epochs = {**self._epochs, username: epoch}
            return epoch

    def refresh(self) -> tuple[str, ...]:
        """Look what another process revoked (the command line); return whose tokens."""
        with self._lock:
            known = self._epochs
            self._epochs = {row.username: row.epoch for row in self._state.epochs()}
            self._logins = self._state.revoked_logins(self._clock.now())
            return tuple(name for name, epoch in self._epochs.items() if known.get(name) != epoch)

    def reload(self) -> None:
        """Read everything again, as when another process revoked something; prune the expired."""
        with self._lock:
            now = self._clock.now()
            self._state.forget_expired(now)
            self._epochs = {row.username: row.epoch for row in self._state.epochs()}
            self._logins = self._state.revoked_logins(now)
