"""Limits on connections that have not said yet what they are for, before and during TLS."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Container

from mograder.core.rate_limit import Rate, TokenBucket

_MOST = 256
_MOST_OF_ADDRESS = 64
_NEW = Rate(burst=128, per_second=32)
"""New connections from addresses without a node; a handshake takes about a millisecond."""


class GuestLimits:
    """Counts such connections, by address. A node's own connections must not wait for strangers.

    So the total and the rate count only addresses that are not in ``known``, those of nodes that
    are connected.
    """

    def __init__(self, known: Container[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._known = known
        self._clock = clock
        self._rate = TokenBucket(_NEW, clock())
        self._guests: Counter[str] = Counter()
        self._strangers = 0

    def enter(self, address: str) -> Callable[[], None] | None:
        """Count a connection; return the function that ends this, or None if there are too many."""
        stranger = address not in self._known
        if self._guests[address] >= _MOST_OF_ADDRESS or (stranger and not self._admits_stranger()):
            return None
        self._guests[address] += 1
        self._strangers += stranger

        def leave() -> None:
            self._guests[address] -= 1
            self._strangers -= stranger
            if not self._guests[address]:
                del self._guests[address]

        return leave

    def _admits_stranger(self) -> bool:
        if self._strangers >= _MOST:
            return False
        now = self._clock()
        if self._rate.take(1, now) > 0:
            self._rate.take(-1, now)
            return False
        return True
