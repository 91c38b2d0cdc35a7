"""Revoked tokens and logins, cached in memory: every request checks them, without SQL.

Implements :class:`mograder.auth.identity.Revocations` over the hub's state.
"""

from __future__ import annotations

import threading
from datetime import datetime

from mograder.core.clock import Clock, SystemClock
from mograder.store.hub.hub_state import HubState


class CachedRevocations:
    """Epochs and revoked logins; thread-safe, loaded by the constructor.

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
        """Return how often the user's tokens were revoked; from memory."""
        return self._epochs.get(username, 0)

    def login_revoked(self, login_id: str) -> bool:
        """Return whether this login was revoked; from memory."""
        return login_id in self._logins

    def revoked_logins(self) -> frozenset[str]:
        """Return the ids of all revoked logins; from memory."""
        return self._logins

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
            known = self._epochs
            self._epochs = self._state.epochs()
            self._logins = self._state.revoked_logins(self._clock.now())
            return tuple(name for name, epoch in self._epochs.items() if known.get(name) != epoch)

    def reload(self) -> None:
        """Load all revocations again, and remove expired ones from the database."""
        self._state.forget_expired(self._clock.now())
        self.refresh()
