"""Limits on connections that have not said yet what they are for, before and during TLS.

A handshake takes one or two milliseconds of the hub's processor time, so their rate is limited,
too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Container

from mograder.core.rate_limit import Rate, TokenBucket

_MOST = 256
_MOST_OF_ADDRESS = 64
_STRANGERS = Rate(burst=128, per_second=32)
_NODE = Rate(burst=512, per_second=128)
"""Far more than a class of 300 makes that comes to one node within a minute."""


class GuestLimits:
    """Counts such connections by address.

    A node's own connections must not wait for strangers. So addresses in ``known``, those of nodes
    that are connected, have a rate of their own each; all others share one rate and one total.
    """

    def __init__(self, known: Container[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._known = known
        self._clock = clock
        self._of_strangers = TokenBucket(_STRANGERS, clock())
        self._of_nodes: dict[str, TokenBucket] = {}
        self._guests: Counter[str] = Counter()
        self._strangers = 0

    def enter(self, address: str) -> Callable[[], None] | None:
        """Count a connection; return the function that ends this, or None if there are too many."""
        stranger = address not in self._known
        if self._guests[address] >= _MOST_OF_ADDRESS or (stranger and self._strangers >= _MOST):
            return None
        if not self._passes(self._of_strangers if stranger else self._bucket_of(address)):
            return None
        self._guests[address] += 1
        self._strangers += stranger

        def leave() -> None:
            self._guests[address] -= 1
            self._strangers -= stranger
            if not self._guests[address]:
                del self._guests[address]

        return leave

    def _bucket_of(self, address: str) -> TokenBucket:
        found = self._of_nodes.get(address)
        if found is None:
            kept = {each: rate for each, rate in self._of_nodes.items() if each in self._known}
            found = TokenBucket(_NODE, self._clock())
            self._of_nodes = {**kept, address: found}
        return found

    def _passes(self, rate: TokenBucket) -> bool:
        now = self._clock()
        if rate.take(1, now) > 0:
            rate.take(-1, now)
            return False
        return True
