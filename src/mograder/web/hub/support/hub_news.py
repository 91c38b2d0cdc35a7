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

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.store.hubs import Hubs
from mograder.web.hub.support.notifier import Notifier, Part

_SECONDS = 1.0
_KNOWN = 1000
_MOST_IN_A_ROW = 5000
_RESULT = "result"
_PART = "part"
_log = get_logger(__name__)

Item = tuple[str, str | None, str]
"""What has changed: ``part``, a user or none, and the part; or ``result``, a user and an item."""


class HubNewsExchange:
    """Tells and hears; for one event loop.

    ``on_result`` is called with the user and the item of a validation's new or removed result.
    Mutable state: ``_told``, the news that are not written yet, and ``_known``, the numbers read.
    """

    def __init__(
        self,
        hubs: Hubs,
        hub_id: str,
        notifier: Notifier,
        on_result: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._hubs = hubs
        self._hub_id = hub_id
        self._notifier = notifier
        self._on_result = on_result
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

    async def run(self, stop: asyncio.Event, seconds: float = _SECONDS) -> None:
        """Exchange news until ``stop`` is set; what is told before then is written."""
        await self._read(act=False)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds)
            await self.exchange()

    async def exchange(self) -> None:
        """Write the news of this hub, and act on those of the others."""
        try:
            await self._write()
            await self._read(act=True)
        except MograderError as error:
            _log.warning("the news of the other hubs could not be exchanged: %s", error)
        except Exception:  # noqa: BLE001 - the loop must go on after an error
            _log.exception("the news of the other hubs could not be exchanged")

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
            elif kind == _PART and word in set(Part):  # a newer hub may know other parts
                self._notifier.notify_here(user, Part(word))
