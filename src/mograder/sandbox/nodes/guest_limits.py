"""Limits on connections that have not said yet what they are for, before and during TLS.

A handshake takes one or two milliseconds of the hub's processor time, so their rate is limited,
too. A connection that sends nothing takes none: it gives its place to a newer one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Container

from mograder.core.rate_limit import Rate, TokenBucket

_MOST = 256
_MOST_OF_ADDRESS = 64
_ARRIVALS = Rate(burst=512, per_second=256)
"""Connections of strangers, most of which may send nothing: each takes 0.1 ms."""
_STRANGERS = Rate(burst=128, per_second=32)
"""Handshakes with strangers, too few to take all places in the time that each has."""
_NODE = Rate(burst=512, per_second=128)
"""Far more than a class of 300 makes that comes to one node within a minute."""
_SECONDS, _STRANGER_SECONDS = 10.0, 3.0


class Guest:
    """One such connection. Set ``end`` to what closes it if its place is needed."""

    def __init__(self, limits: GuestLimits, address: str, *, stranger: bool) -> None:
        self._limits = limits
        self.address = address
        self.stranger = stranger
        self.end: Callable[[], object] = lambda: None
        self.spoken = False
        """Whether it has sent anything."""
        self._inside = True

    @property
    def seconds(self) -> float:
        """How long it may take until the end of its first line."""
        return _STRANGER_SECONDS if self.stranger else _SECONDS

    def speaks(self) -> bool:
        """Note that it has sent something; return whether there may be a handshake with it."""
        self.spoken = True
        return self._limits.may_speak(self)

    def leave(self) -> None:
        """Count it no more; a second call changes nothing."""
        if self._inside:
            self._inside = False
            self._limits.leave(self)


class GuestLimits:
    """Counts such connections by address.

    A node's own connections must not wait for strangers. So addresses in ``known``, those of nodes
    that are or were connected, have a rate of their own each; all others share their rates and one
    total.

    Mutable state: ``_guests``, how many there are by address; ``_strangers``, how many of unknown
    addresses; ``_silent``, those that have sent nothing, the oldest first.
    """

    def __init__(self, known: Container[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._known = known
        self._clock = clock
        self._arrivals = TokenBucket(_ARRIVALS, clock())
        self._of_strangers = TokenBucket(_STRANGERS, clock())
        self._of_nodes: dict[str, TokenBucket] = {}
        self._guests: Counter[str] = Counter()
        self._strangers = 0
        self._silent: dict[Guest, None] = {}

    def enter(self, address: str) -> Guest | None:
        """Count a connection, or return None if there are too many; older ones may be ended."""
        stranger = address not in self._known
        if not self._passes(self._arrivals if stranger else self._bucket_of(address)):
            return None
        if self._guests[address] >= _MOST_OF_ADDRESS:
            self._end_oldest(lambda guest: guest.address == address)
        if stranger and self._strangers >= _MOST:
            self._end_oldest(lambda guest: guest.stranger)
        if self._guests[address] >= _MOST_OF_ADDRESS or (stranger and self._strangers >= _MOST):
            return None
        guest = Guest(self, address, stranger=stranger)
        self._guests[address] += 1
        self._strangers += stranger
        self._silent[guest] = None
        return guest

    def may_speak(self, guest: Guest) -> bool:
        """Return whether there may be a handshake now with a guest, which has sent something."""
        self._silent.pop(guest, None)
        return not guest.stranger or self._passes(self._of_strangers)

    def leave(self, guest: Guest) -> None:
        """Count a guest no more."""
        self._silent.pop(guest, None)
        self._guests[guest.address] -= 1
        self._strangers -= guest.stranger
        if not self._guests[guest.address]:
            del self._guests[guest.address]

    def _end_oldest(self, suits: Callable[[Guest], bool]) -> None:
        """End the oldest suitable guest that has sent nothing, if there is one."""
        oldest = next(filter(suits, self._silent), None)
        if oldest is not None:
            oldest.leave()
            oldest.end()

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
