"""Writes the audit log: every grant, refusal and privileged action (security.md, "Who is asking").

Refusals repeat: a page that polls, a script that tries. Equal ones are recorded once a minute, and
at most twenty of one person (of one network, without a login; of all networks beyond a hundred
together); one line tells how many more there were. So refused requests cannot fill the disk; failed
sign-ins are limited, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from anyio import to_thread
from fastapi import Request

from mograder.auth.credentials import LIFETIME
from mograder.core.clock import Clock
from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.core.web_origin import network_of
from mograder.store.hub.hub_state import HubState
from mograder.web.context import request_context
from mograder.web.hub.core.access import identity_of

BY_FRONT = "by the web server in front"
"""The words for a sign-in by the trusted header."""
_QUIET_SECONDS = 60.0
_MOST_REFUSED = 20
_MOST_SOURCES = 100
_MOST_FAILED = 20
_REMEMBERED = 1000
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit log: user, action, object, and the client's address."""

    who: str
    action: str
    what: str
    where: str = ""


@dataclass(slots=True)
class _Minute:
    """The refusals of one person since a steady time: the different ones, and what is not told."""

    since: float
    last: Event
    recorded: set[Event] = field(default_factory=set)
    more: int = 0


class AuditTrail:
    """The writer of the log.

    Mutable state: ``_lately``, when an event was recorded, and ``_refusals``, by person or network.
    """

    def __init__(self, state: HubState, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._lately: dict[Event, float] = {}
        self._refusals: dict[str, _Minute] = {}

    async def granted(self, event: Event, *also: str) -> None:
        await self._write(event, "ok", *also)

    async def record(self, request: Request, action: str, what: str, *also: str) -> None:
        """Record an action of the person who sent the request; ``also`` on further objects."""
        who, where = identity_of(request), request_context(request).address
        await self.granted(Event(who.username if who else "", action, what, where), *also)

    async def record_foreign(self, request: Request, owner: str, action: str, what: str) -> None:
        """Record an action on another person's data; actions on one's own are not recorded."""
        who = identity_of(request)
        if who is None or owner != who.username:
            await self.record(request, action, what)

    async def visited(self, event: Event) -> None:
        """Record access to another person's data, once a minute for equal events."""
        if self._is_news(event):
            await self._write(event, "ok")

    async def signed_in(self, event: Event) -> None:
        """Record a sign-in by the front, once a day for equal events: programs keep no cookie."""
        if self._is_news(event, LIFETIME):
            await self._write(event, "ok")

    async def refused(self, event: Event) -> None:
        """Record a refusal, unless an equal one or too many others were in the same minute."""
        await self._tell_rest(self._clock.steady() - _QUIET_SECONDS)
        now, who = self._clock.steady(), event.who or network_of(event.where)
        if not event.who and who not in self._refusals and len(self._refusals) >= _MOST_SOURCES:
            who = ""
        minute = self._refusals.setdefault(who, _Minute(now, event))
        minute.last = event
        if event in minute.recorded:
            return
        if len(minute.recorded) >= _MOST_REFUSED:
            minute.more += 1
            return
        minute.recorded.add(event)
        await self._write(event, "refused")

    async def close(self) -> None:
        await self._tell_rest(self._clock.steady())

    async def _tell_rest(self, until: float) -> None:
        """Forget the minutes that began by then; record how many refusals each did not tell."""
        over = [who for who, minute in self._refusals.items() if minute.since <= until]
        for minute in [self._refusals.pop(who) for who in over]:
            if minute.more:
                last = minute.last
                event = Event(last.who, last.action, f"and {minute.more} more", last.where)
                await self._write(event, "refused")

    def _is_news(self, event: Event, quiet: float = _QUIET_SECONDS) -> bool:
        now = self._clock.steady()
        if now - self._lately.get(event, -quiet) < quiet:
            return False
        if len(self._lately) >= _REMEMBERED:
            self._lately.clear()
        self._lately[event] = now
        return True

    async def _write(self, event: Event, outcome: str, *also: str) -> None:
        """Write the lines; a failure is told in the program's log, as the action is done."""
        line = (event.who, event.action, event.what, event.where, outcome)
        try:
            await to_thread.run_sync(self._state.record, self._clock.now(), *line, *also)
        except MograderError as error:
            _log.error("The audit log could not be written (%s): %s %s", error, outcome, event)


class LoginThrottle:
    """Counts failed sign-ins by network, so that guessing does not flood the audit log.

    A token has 256 bits, so guessing needs no limit, and a valid one always works: behind one proxy
    a whole class shares an address and must not be locked out.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[str, list[float]] = {}

    def failed(self, client: str) -> bool:
        """Count a failure; return False when there were too many lately."""
        now, client = self._clock.steady(), network_of(client)
        recent = [at for at in self._failures.pop(client, []) if now - at < _QUIET_SECONDS]
        if len(self._failures) > 1000:
            self._failures.clear()
        within = len(recent) < _MOST_FAILED
        self._failures[client] = [*recent, now] if within else recent
        return within
