"""Who is taken off the list in mid-session loses access at once (B37, B43).

Every request asks the list, so only what is open already has to be closed: sessions, and with
them their pages' WebSockets. The list may be edited by hand and tokens revoked from the command
line, so one task looks at both every other second.
"""

from __future__ import annotations

import asyncio
import contextlib

from anyio import to_thread

from mograder.auth.roles import Role
from mograder.core.log import get_logger
from mograder.core.names import INSTRUCTOR
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.session import LiveSession
from mograder.web.hub.support.hub_app import HubApp

_LOOK_SECONDS = 2.0
_log = get_logger(__name__)


async def end_removed(app: HubApp) -> int:
    """End the sessions of those who may not come in any more; return how many."""
    roster = app.services.roster
    seen = app.services.capabilities.instructed()
    sessions = [(live, _role(app, live, seen)) for live in app.services.pool.all()]

    def removed() -> list[LiveSession]:
        return [live for live, role in sessions if not roster.allows(live.key.user, role)]

    gone = await to_thread.run_sync(removed) if sessions else []
    for live in gone:
        _log.info("%s is not on the list any more: a session ends", live.key.user)
        await app.services.pool.stop(live.key, EndReason.REMOVED)
    return len(gone)


async def keep_watch(app: HubApp, stop: asyncio.Event, seconds: float = _LOOK_SECONDS) -> None:
    """Look at the list and at what was revoked until told to stop.

    Not until cancelled: a look at the database in a thread would outlive that, and then the
    database would be closed beneath it.
    """
    seen: object = object()  # at first everything is news: sessions were adopted
    while not stop.is_set():
        try:
            stamp = await to_thread.run_sync(app.services.roster.stamp)
            if stamp != seen:
                seen = stamp
                await end_removed(app)
            for user in await to_thread.run_sync(app.services.revocations.refresh):
                await to_thread.run_sync(app.services.capabilities.revoke_user, user)
        except Exception:  # noqa: BLE001 - a loop: the next change must be noticed too
            _log.exception("the list of users could not be watched")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)


def _role(app: HubApp, live: LiveSession, seen: frozenset[str]) -> Role:
    """The role that lets a session go on: an instructor's, if one is named or looks at it."""
    user = live.key.user
    named = user == INSTRUCTOR or user in app.services.policy.instructors
    return Role.INSTRUCTOR if named or live.id in seen else Role.STUDENT
