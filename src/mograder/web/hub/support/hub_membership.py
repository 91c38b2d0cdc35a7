"""This hub as one of several on a database: it says that it lives, and takes tasks for all.

The heartbeat is a thread, so that a busy event loop does not make the hub look dead.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from contextlib import suppress
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.store.filesystem.files import remove_tree
from mograder.store.hub.hubs import HubRow, Hubs

ALIVE_SECONDS = 10.0
"""How long a hub counts as alive after its last heartbeat. What a dead one was at is taken over."""

_BEAT_SECONDS = 2.0
_log = get_logger(__name__)


class HubMembership:
    """The membership. Call :meth:`open` first and :meth:`close` last; both block.

    ``hub_id`` is new for each process. ``alone`` is whether no other hub was alive at the start.
    Mutable state, replaced as a whole by the heartbeat: ``_alive``.
    """

    def __init__(
        self,
        hubs: Hubs,
        address: str,
        *,
        only: bool,
        alive_seconds: float = ALIVE_SECONDS,
        beat_seconds: float = _BEAT_SECONDS,
    ) -> None:
        """``address`` is where nodes connect. ``only``: no other hub can be alive."""
        self.hubs = hubs
        self.hub_id = secrets.token_hex(8)
        self.alone = only
        self._address = address
        self._only = only
        self._alive_seconds = alive_seconds
        self._beat_seconds = beat_seconds
        self._alive: tuple[HubRow, ...] = ()
        self._ends = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="hub heartbeat", daemon=True)

    def open(self) -> None:
        """Become a member. Raises: the errors of the database."""
        if self._only:
            self.hubs.leave(self.hub_id, only=True)
        self._alive = self.hubs.beat(self.hub_id, self._address, self._alive_seconds)
        self.alone = len(self._alive) == 1
        self._beating.start()

    def close(self) -> None:
        """Leave; the other hubs take over at once."""
        self._ends.set()
        self._beating.join()
        with suppress(MograderError):
            self.hubs.leave(self.hub_id)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of all hubs that are alive, for nodes; as of the last heartbeat."""
        return tuple(each.address for each in self._alive if each.address)

    @property
    def others(self) -> frozenset[str]:
        """The ids of the other hubs that are alive; as of the last heartbeat."""
        return frozenset(each.hub_id for each in self._alive) - {self.hub_id}

    async def lease(self, name: str) -> bool:
        """Return whether this hub is the one that does a task for all; it is while it lives."""
        return await asyncio.to_thread(self.hubs.lease, name, self.hub_id, self._alive_seconds)

    async def release(self, name: str) -> None:
        """Give a task back, so that another hub may do it."""
        await asyncio.to_thread(self.hubs.release, name, self.hub_id)

    def _beat(self) -> None:
        while not self._ends.wait(self._beat_seconds):
            try:
                self._alive = self.hubs.beat(self.hub_id, self._address, self._alive_seconds)
            except MograderError as error:
                _log.warning("the other hubs cannot be told that this one lives: %s", error)
            except Exception:  # noqa: BLE001 - without a heartbeat the others take all over
                _log.exception("the heartbeat of this hub failed; it is tried again")


def own_directory(root: Path, membership: HubMembership) -> Path:
    """Return the directory below ``root`` for this hub's copies; remove what dead hubs left.

    Blocks.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = list(root.iterdir())
    # Asked after the listing: a hub is a member before it makes its directory.
    alive = {each.hub_id for each in membership.hubs.alive()}
    for each in found:
        if each.name not in alive:
            remove_tree(each)
    return root / membership.hub_id
