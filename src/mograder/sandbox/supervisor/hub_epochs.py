"""Of several hubs only the one at work may use a supervisor: the one with the highest epoch.

A hub that hung, and whose place another one has taken, may still send calls when it goes on, or
have calls on their way. They are refused here, where sessions are started.
"""

from __future__ import annotations

import asyncio
import logging

from mograder.core.errors import Conflict

_log = logging.getLogger("mograder.supervisor")


class HubEpochs:
    """The epochs of the connected hubs. Mutable state: the highest one, and each connection's."""

    def __init__(self) -> None:
        self._highest = 0
        self._hubs: dict[asyncio.StreamWriter, int] = {}

    def greet(self, hub: asyncio.StreamWriter, epoch: int) -> None:
        """Note a hub's epoch, 0 for a program that is no hub. Raises: as :meth:`see`."""
        self.see(epoch)
        if epoch:
            self._hubs[hub] = epoch

    def see(self, epoch: int) -> None:
        """Note an epoch; if it is a higher one, close the connections of earlier hubs.

        Raises: :class:`Conflict` for a lower one, unless it is 0.
        """
        if not epoch:
            return
        if epoch < self._highest:
            raise _replaced()
        self._highest = epoch
        for hub in [each for each, other in self._hubs.items() if other < epoch]:
            _log.warning("another hub is at work: the connection of an earlier one is closed")
            hub.transport.abort()

    def demand(self, hub: asyncio.StreamWriter) -> None:
        """Refuse a hub that another one has replaced. Raises: :class:`Conflict`."""
        if self._hubs.get(hub, self._highest) < self._highest:
            raise _replaced()

    def forget(self, hub: asyncio.StreamWriter) -> None:
        """Forget a connection that has ended."""
        self._hubs.pop(hub, None)


def _replaced() -> Conflict:
    return Conflict("Another hub is at work on this course.", hint="This one has to start again.")
