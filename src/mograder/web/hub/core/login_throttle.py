"""Limits failed sign-ins."""

from __future__ import annotations

from mograder.core.clock import Clock


class LoginThrottle:
    """Counts failed sign-ins by address, so that guessing does not flood the audit log.

    A token has 256 bits, so guessing needs no limit, and a valid one always works: behind one proxy
    a whole class shares an address and must not be locked out.
    """

    def __init__(self, clock: Clock, allowed: int = 20, seconds: float = 60.0) -> None:
        self._clock = clock
        self._allowed = allowed
        self._seconds = seconds
        self._failures: dict[str, list[float]] = {}

    def failed(self, client: str) -> bool:
        """Count a failure; return False when there were too many lately."""
        now = self._clock.steady()
        recent = [at for at in self._failures.pop(client, []) if now - at < self._seconds]
        if len(self._failures) > 1000:
            self._failures.clear()
        within = len(recent) < self._allowed
        self._failures[client] = [*recent, now] if within else recent
        return within
