"""News between hubs: what one has changed and others hold in memory or show on open pages.

Each hub collects its news for a second and writes them as one row; the others read the rows that
they do not know. News only say *that* something has changed, so one that is lost with a dying hub
costs a reload of a page.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from anyio import to_thread

from mograder.core.clock import Clock
from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.core.tasks.periodic import repeat
from mograder.web.hub.support.hub_membership import HubMembership
from mograder.web.hub.support.notifier import Notifier, Part

_SECONDS = 1.0
_LEAST_SECONDS = 0.2
_KNOWN = 1000
_MOST_IN_A_ROW = 5000
_RESULT, _PART, _LAUNCH = "result", "part", "launch"
_log = get_logger(__name__)

Item = tuple[str, str | None, str]
"""What has changed: ``part``, a user or none, and the part; ``result``, a user and an item; or
``launch``, a user and the course of a learning platform."""


class HubNewsExchange:
    """Tells and hears; for one event loop.

    ``on_result`` is called with the user and the item of a validation's new or removed result,
    ``on_launch`` with a user whom a learning platform has sent, and the course.

    Mutable state: ``_told``, the news that are not written yet, ``_known``, the numbers read, and
    ``_read_at``, the steady time of the last reading; ``_turn`` guards the database.
    """

    def __init__(
        self,
        membership: HubMembership,
        clock: Clock,
        notifier: Notifier,
        on_result: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._hubs = membership.hubs
        self._hub_id = membership.hub_id
        self._clock = clock
        self._notifier = notifier
        self._on_result = on_result
        self.on_launch: Callable[[str, str], None] = lambda _user, _course: None
        self._turn = asyncio.Lock()
        self._read_at = float("-inf")
        self._told: dict[Item, None] = {}
        self._known: OrderedDict[int, None] = OrderedDict()
        notifier.forward = self.tell_part

    def tell_part(self, user: str | None, part: Part) -> None:
        """Tell the other hubs what their pages show that has changed."""
        if part is not Part.SESSIONS:  # each hub follows the sessions itself
            self._told[_PART, user, part] = None

    def tell_result(self, user: str, item: str) -> None:
        """Tell the other hubs that the result of a copy's validation has changed."""
        self._told[_RESULT, user, item] = None

    async def tell_launch(self, user: str, course: str) -> None:
        """Tell, before this returns, that a person is a member: any hub may be asked next."""
        self._told[_LAUNCH, user, course] = None
        await self._tell()

    async def catch_up(self) -> None:
        """Read the news now, at most five times a second for all callers together."""
        asked = self._clock.steady()
        async with self._turn:
            if self._read_at >= asked:
                return
            await asyncio.sleep(max(0.0, self._read_at + _LEAST_SECONDS - asked))
            with contextlib.suppress(MograderError):
                await self._read(act=True)

    async def run(self, stop: asyncio.Event, seconds: float = _SECONDS) -> None:
        """Exchange news until ``stop`` is set; what is told before then is written."""
        with contextlib.suppress(MograderError):
            async with self._turn:
                await self._read(act=False)
        await repeat("news of other hubs", self.exchange, seconds, stop, at_once=False)
        await self._tell()

    async def exchange(self) -> None:
        """Write the news of this hub, and act on those of the others."""
        async with self._turn:
            await self._write()
            await self._read(act=True)

    async def _tell(self) -> None:
        """Write the news of this hub; what cannot be written now is written with the next."""
        try:
            async with self._turn:
                await self._write()
        except MograderError as error:
            _log.warning("the news could not be told to the other hubs: %s", error)

    async def _write(self) -> None:
        told, self._told = list(self._told)[:_MOST_IN_A_ROW], {}
        if not told:
            return
        try:
            await to_thread.run_sync(self._hubs.tell, self._hub_id, json.dumps(told))
        except MograderError:
            self._told = {**dict.fromkeys(told), **self._told}
            raise

    async def _read(self, *, act: bool) -> None:
        self._read_at = self._clock.steady()
        for each in await to_thread.run_sync(self._hubs.news, self._hub_id):
            if each.number in self._known:
                continue
            self._known[each.number] = None
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)
            if act:
                await self._heed(each.text)

    async def _heed(self, text: str) -> None:
        for kind, user, word in json.loads(text):
            if kind == _RESULT and user is not None:
                await self._on_result(user, word)
            elif kind == _LAUNCH and user is not None:
                self.on_launch(user, word)
            elif kind == _PART and word in set(Part):  # a newer hub may know other parts
                self._notifier.notify_here(user, Part(word))
