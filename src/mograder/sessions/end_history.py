"""The history of sessions' endings: in memory for the pages, in the database for the next hub."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from datetime import timedelta

from mograder.core.clock import Clock
from mograder.core.errors import MograderError
from mograder.sandbox.protocol import Ended, Mode
from mograder.sessions.end_reasons import Ending, EndReason
from mograder.sessions.session import LiveSession, SessionKey
from mograder.store.hub.hub_state import EndingRow, HubState

_log = logging.getLogger(__name__)

KEPT = timedelta(days=30)
"""How long endings are kept in the database."""

_KEPT_IN_MEMORY = 5000
"""Number of endings, the newest; a page that was open asks for its session's ending soon."""


def log_unasked_end(key: SessionKey, gone: Ended, reason: EndReason) -> None:
    """Log that a session ended though no hub had asked for it, with the end of its output."""
    _log.warning(
        "%s of %s for %s ended by itself (%s) with status %s: %s",
        key.mode.value,
        key.item,
        key.user,
        reason.value,
        gone.status,
        gone.log_tail[-500:],
    )


class History:
    """Endings by session id and by key. A failed write is logged and not raised."""

    def __init__(self, rows: HubState, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock
        self._by_id: OrderedDict[str, Ending] = OrderedDict()
        self._by_key: OrderedDict[SessionKey, Ending] = OrderedDict()

    async def load(self) -> None:
        """Read the endings of the last 30 days from the database."""
        for row in await asyncio.to_thread(self._rows.endings, self._clock.now() - KEPT):
            self._remember(ending_of(row))

    def note(self, live: LiveSession, reason: EndReason, detail: str = "") -> Ending:
        """Record an ending in memory and return it; :meth:`save` writes it to the database."""
        ending = Ending(live.key, live.id, reason, self._clock.now(), detail, live.limits)
        self._remember(ending)
        return ending

    async def save(self, ending: Ending) -> None:
        """Write an ending to the database, unless it was forgotten or replaced since."""
        if self._by_key.get(ending.key) is not ending:
            return
        before = self._clock.now() - KEPT
        try:
            await asyncio.to_thread(
                self._rows.save_ending, ending_row(ending), forget_before=before
            )
        except MograderError as error:
            _log.warning("the ending of session %s was not saved: %s", ending.session_id, error)

    async def forget(self, key: SessionKey) -> None:
        """Remove the last ending of a key, because a new session of it runs.

        :meth:`of_session` still returns it, for pages of the old session that are open.
        """
        if self._by_key.pop(key, None) is None:
            return
        try:
            await asyncio.to_thread(self._rows.forget_ending, key.user, key.item, key.mode.value)
        except MograderError as error:
            _log.warning("the saved ending of %s was not deleted: %s", key.url, error)

    def of_session(self, session_id: str) -> Ending | None:
        """Return a session's ending, or None if it runs or its ending is no longer kept."""
        return self._by_id.get(session_id)

    def of_key(self, key: SessionKey) -> Ending | None:
        """Return the ending of the last session, or None if another was started since."""
        return self._by_key.get(key)

    def of_user(self, user: str) -> list[Ending]:
        """Return the last ending of each item and mode of a user, newest first."""
        return [each for each in reversed(self._by_key.values()) if each.key.user == user]

    def _remember(self, ending: Ending) -> None:
        self._by_id[ending.session_id] = ending
        self._by_key.pop(ending.key, None)
        self._by_key[ending.key] = ending
        for kept in (self._by_id, self._by_key):
            if len(kept) > _KEPT_IN_MEMORY:
                kept.popitem(last=False)


def ending_of(row: EndingRow) -> Ending:
    """Return the ending in a row."""
    key = SessionKey(row.username, row.item, Mode(row.mode))
    # The row may be from a newer mograder with reasons that this one does not know.
    known = row.reason in set(EndReason)
    reason = EndReason(row.reason) if known else EndReason.CRASHED
    return Ending(key, row.session_id, reason, row.ended_at, row.detail)


def ending_row(ending: Ending) -> EndingRow:
    """Return the row of an ending."""
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
