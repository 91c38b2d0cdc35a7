"""Ends the sessions of people who are removed from the roster (B37, B43).

Every request checks the roster, so only open sessions, and with them their pages' WebSockets, have
to be closed. The list may be edited by hand, and tokens and logins revoked from the command line or
at another hub, so one task checks them every two seconds.
"""

from __future__ import annotations

from functools import partial

from anyio import to_thread

from mograder.auth.roles import Role
from mograder.core.log import get_logger
from mograder.core.names import INSTRUCTOR, is_rehearsal
from mograder.core.tasks.periodic import every
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.session import LiveSession
from mograder.web.hub.core.hub_app import HubApp, Run

_LOOK_SECONDS = 2.0
_log = get_logger(__name__)


async def end_removed(app: HubApp) -> int:
    """End the sessions of people who are no longer enrolled; return how many.

    Where an instructor looks at one, it goes on, and only its student's pages end.
    """
    roster, capabilities = app.services.roster, app.services.capabilities
    visits = await to_thread.run_sync(capabilities.all)
    role_of = app.services.policy.role_of
    roles = {(each.session_id, each.username, role_of(each.username, each.role)) for each in visits}
    seen = frozenset(session for session, _, role in roles if role is Role.INSTRUCTOR)
    people = (live for live in app.services.pool.all() if not is_rehearsal(live.key.user))
    sessions = [(live, _role(app, live, seen)) for live in people]

    def removed() -> list[LiveSession]:
        for user in {user for _, user, role in roles if not roster.allows(user, role)}:
            capabilities.forget_user(user)
        return [live for live, role in sessions if not roster.allows(live.key.user, role)]

    gone = await to_thread.run_sync(removed) if sessions or roles else []
    for live in gone:
        _log.info("ending a session of %s, who was removed from the roster", live.key.user)
        await app.services.pool.stop(live.key, EndReason.REMOVED)
    return len(gone)


def open_watch(app: HubApp) -> Run:
    """Return the watch on the roster and the revocations during the block."""
    seen: object = object()  # differs from any stamp, so that adopted sessions are checked first

    async def look() -> None:
        nonlocal seen
        stamp = await to_thread.run_sync(app.services.roster.version)
        if stamp != seen:
            seen = stamp
            await end_removed(app)
        await _follow_revocations(app)

    return partial(every, _LOOK_SECONDS, "the list of users", look)


async def _follow_revocations(app: HubApp) -> None:
    revocations, capabilities = app.services.revocations, app.services.capabilities
    for user in await to_thread.run_sync(revocations.refresh):
        await to_thread.run_sync(capabilities.revoke_user, user)


def _role(app: HubApp, live: LiveSession, seen: frozenset[str]) -> Role:
    """Return the role under which a session may go on: INSTRUCTOR if its user or a viewer is."""
    user = live.key.user
    if user == INSTRUCTOR or live.id in seen:
        return Role.INSTRUCTOR
    return app.services.policy.role_of(user, Role.STUDENT)
