"""Remembers how sessions ended: in memory for the pages, in the database for the next hub."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Protocol

from mograder.core.clock import Clock
from mograder.core.errors import MograderError
from mograder.sandbox.protocol import Mode
from mograder.sessions.end_reasons import Ending, EndReason
from mograder.sessions.session import LiveSession, SessionKey
from mograder.store.hub_state import EndingRow

_log = logging.getLogger(__name__)

_KEPT = timedelta(days=30)
_KEPT_IN_MEMORY = 5000
"""Sessions, the newest ones: a page that was open asks for its own soon."""


class EndingRows(Protocol):
    """The rows of endings; :class:`~mograder.store.hub_state.HubState` keeps them."""

    def save_ending(self, row: EndingRow, *, forget_before: datetime) -> None: ...

    def forget_ending(self, username: str, item: str, mode: str) -> None: ...

    def endings(self, since: datetime) -> tuple[EndingRow, ...]: ...


class History:
    """Endings by session and by key. Only what may be lost fails here: that never is an error."""

    def __init__(self, rows: EndingRows, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock
        self._by_id: OrderedDict[str, Ending] = OrderedDict()
        self._by_key: OrderedDict[SessionKey, Ending] = OrderedDict()

    async def load(self) -> None:
        """Read what the hub before knew."""
        for row in await asyncio.to_thread(self._rows.endings, self._clock.now() - _KEPT):
            self._remember(_ending(row))

    def note(self, live: LiveSession, reason: EndReason, detail: str = "") -> Ending:
        """Remember an ending; :meth:`save` writes it down."""
        ending = Ending(live.key, live.id, reason, self._clock.now(), detail, live.limits)
        self._remember(ending)
        return ending

    async def save(self, ending: Ending) -> None:
        """Write an ending down, unless its key has had another fate since."""
        if self._by_key.get(ending.key) is not ending:
            return
        before = self._clock.now() - _KEPT
        try:
            await asyncio.to_thread(self._rows.save_ending, _row(ending), forget_before=before)
        except MograderError as error:
            _log.warning("why session %s ended is not written down: %s", ending.session_id, error)

    async def forget(self, key: SessionKey) -> None:
        """Forget how the last session of a key ended, since a new one runs.

        A page of the old one, open somewhere, may still ask for its own.
        """
        if self._by_key.pop(key, None) is None:
            return
        try:
            await asyncio.to_thread(self._rows.forget_ending, key.user, key.item, key.mode.value)
        except MograderError as error:
            _log.warning("an ending of %s stays written down: %s", key.url, error)

    def of_session(self, session_id: str) -> Ending | None:
        """Return how a session ended, if it did and not too many have since."""
        return self._by_id.get(session_id)

    def of_key(self, key: SessionKey) -> Ending | None:
        """Return how the last session ended, unless another was started since."""
        return self._by_key.get(key)

    def of_user(self, user: str) -> list[Ending]:
        """Return how the last session of each item and mode ended, the newest first."""
        return [each for each in reversed(self._by_key.values()) if each.key.user == user]

    def _remember(self, ending: Ending) -> None:
        self._by_id[ending.session_id] = ending
        self._by_key.pop(ending.key, None)
        self._by_key[ending.key] = ending
        for kept in (self._by_id, self._by_key):
            if len(kept) > _KEPT_IN_MEMORY:
                kept.popitem(last=False)


def _ending(row: EndingRow) -> Ending:
    key = SessionKey(row.username, row.item, Mode(row.mode))
    # A newer mograder may have known reasons that this one does not.
    known = row.reason in set(EndReason)
    reason = EndReason(row.reason) if known else EndReason.CRASHED
    return Ending(key, row.session_id, reason, row.ended_at, row.detail)


def _row(ending: Ending) -> EndingRow:
    key = ending.key
    return EndingRow(
        username=key.user,
        item=key.item,
        mode=key.mode.value,
        session_id=ending.session_id,
        reason=ending.reason.value,
        ended_at=ending.at,
        detail=ending.detail,
    )
