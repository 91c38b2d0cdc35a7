"""The agent's part of a node's lease: when each status was sent, and until when the lease is held.

The supervisor ends the sessions at the end of the lease. The agent closes its connections then, so
that nothing a hub has sent under the lease that is over is carried out later.
"""

from __future__ import annotations

from collections.abc import Callable

from mograder.core.errors import InvalidInput
from mograder.sandbox.supervisor.lease import boot_time

MARGIN_SECONDS = 3.0
"""How much earlier than the hub's the node's lease ends: the time to kill all sessions."""

_SILENT_SECONDS = 4.0
"""How long a hub that is well may take for the answer to a status."""
_KEPT = 200


class NodeLease:
    """The lease as the agent knows it; times are of :func:`boot_time`."""

    def __init__(self, clock: Callable[[], float] = boot_time) -> None:
        self._clock = clock
        self._sent: dict[int, float] = {}
        self._number = 0
        self._until = 0.0
        self._held = False
        self._span = 0.0
        self._answered = clock()

    def next_number(self) -> int:
        """Return the number of a status that is sent now."""
        self._number += 1
        self._sent[self._number] = self._clock()
        while len(self._sent) > _KEPT:
            del self._sent[next(iter(self._sent))]
        return self._number

    def end_of(self, number: int, seconds: float) -> float:
        """Return the end of the lease of ``seconds`` that answers the status of this number.

        The hub has granted it after that status was sent, so its own count ends later.

        Raises: :class:`InvalidInput` for a status that was not sent lately.
        """
        sent = self._sent.get(number)
        if sent is None:
            raise InvalidInput(f"This node has not sent a status of the number {number} lately.")
        return sent + seconds - MARGIN_SECONDS

    def held_until(self, until: float) -> None:
        """Note that the supervisor holds a lease until then."""
        now = self._answered = self._clock()
        self._span = until - now
        self._until = max(self._until, until)
        self._held = self._held or until > now

    def expect(self) -> None:
        """Note that a conversation with a hub begins, which has to grant a lease."""
        self._answered = self._clock()

    def is_overdue(self) -> bool:
        """Return whether the hub has granted none for half of the time of a lease.

        It hangs, or its machine is gone, which a front before it does not tell.
        """
        longest = max(_SILENT_SECONDS, self._span / 2)
        return self._held and self._clock() - self._answered > longest

    def seconds_left(self) -> float:
        """Return the seconds until the end, 0 if there is no lease."""
        return max(0.0, self._until - self._clock()) if self._held else 0.0

    def has_lapsed(self) -> bool:
        """Return whether the lease has ended since this was last asked."""
        lapsed = self._held and self._clock() >= self._until
        self._held = self._held and not lapsed
        return lapsed
