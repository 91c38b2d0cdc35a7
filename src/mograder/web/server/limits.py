"""Limits on guessing the enrollment code, and on registering names in bulk.

A campus is often one address: a wrong code counts for its name there, so that one name locks out
no other, for the address, and for all addresses together, which takes many of them.
"""

from __future__ import annotations

from collections import deque

from mograder.core.clock import Clock
from mograder.web.error_responses import TooManyAttempts

_SECONDS = 60.0
_FAILURES = 20
_FAILURES_OF_ADDRESS = 200
_FAILURES_OF_ALL = 2000
_NAMES = 600
_MOST_ADDRESSES = 10_000


class RegistrationLimits:
    """Counts registrations by address; a class behind one address may all register at once.

    Mutable state: ``_failed``, the times of the last minute by address, and by name and address;
    ``_made``, those by address, and ``_failed_in_all``; for one event loop.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed: dict[str, deque[float]] = {}
        self._made: dict[str, deque[float]] = {}
        self._failed_in_all: deque[float] = deque(maxlen=_FAILURES_OF_ALL)

    def check(self, address: str, user: str) -> None:
        """Refuse an attempt after too many in the last minute.

        Counted are the failures of the name at the address, of the address and of all addresses,
        and the names that the address has registered. Raises: :class:`TooManyAttempts`.
        """
        failures = (
            (self._recent(self._failed.get(f"{user} {address}", deque())), _FAILURES),
            (self._recent(self._failed.get(address, deque())), _FAILURES_OF_ADDRESS),
            (self._recent(self._failed_in_all), _FAILURES_OF_ALL),
            (self._recent(self._made.get(address, deque())), _NAMES),
        )
        for times, allowed in failures:
            if len(times) >= allowed:
                wait = _SECONDS - (self._clock.steady() - times[0])
                raise TooManyAttempts(
                    "Too many attempts.",
                    hint="Wait a minute, then try again.",
                    retry_after=max(1, round(wait)),
                )

    def failed(self, address: str, user: str) -> None:
        self._note(self._failed, f"{user} {address}")
        self._note(self._failed, address)
        self._failed_in_all.append(self._clock.steady())

    def made(self, address: str) -> None:
        self._note(self._made, address)

    def _note(self, counted: dict[str, deque[float]], key: str) -> None:
        """Count an attempt, and drop the keys without one in the last minute.

        The keys are in the order of their last attempts. Where there are too many, the one whose
        last attempt is the oldest is dropped.
        """
        times = counted.pop(key, deque())
        times.append(self._clock.steady())
        counted[key] = times
        while True:
            oldest = next(iter(counted))
            if len(counted) <= _MOST_ADDRESSES and self._recent(counted[oldest]):
                return
            del counted[oldest]

    def _recent(self, times: deque[float]) -> deque[float]:
        while times and self._clock.steady() - times[0] >= _SECONDS:
            times.popleft()
        return times
