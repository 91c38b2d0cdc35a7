"""Matching the sessions known to the hub with those that the launcher runs, after a break."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Protocol

from mograder.core.errors import MograderError
from mograder.sandbox.machines import Launcher
from mograder.sandbox.protocol import Ended, Endpoint
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.session import LiveSession
from mograder.sessions.startup import Starter

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5
"""The pause between two attempts to reach an unreachable launcher."""
_AT_ONCE = 8
"""How many sessions of one machine are stopped at the same time."""


class KnownSessions(Protocol):
    """The part of the session manager that is matched with the launcher."""

    def all(self) -> list[LiveSession]: ...

    def ending(self) -> Set[str]:
        """Return the ids of the sessions that are being ended."""
        ...

    async def note_exit(self, gone: Ended, reason: EndReason | None = None) -> None:
        """Record the end of a session."""
        ...


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Matches both sides.

    ``is_dead`` returns whether a server certainly accepts no more connections.

    Mutable state: ``_unknown``, the ids that are yet to be stopped, by machine.
    """

    sessions: KnownSessions
    launcher: Launcher
    starter: Starter
    is_dead: Callable[[Endpoint], bool]
    _unknown: dict[str, set[str]] = field(default_factory=dict)

    async def after_each(self, broke: asyncio.Event) -> None:
        """Reconcile whenever ``broke`` is set: a connection broke or was made; until cancelled.

        What is stopped on one of several machines keeps nothing else waiting.
        """
        async with asyncio.TaskGroup() as stops:
            while True:
                await broke.wait()
                broke.clear()
                try:
                    await self.reconcile(stops)
                except Exception:  # noqa: BLE001 - the loop must go on after an error
                    _log.exception("the sessions could not be matched with the launcher's")

    async def reconcile(self, stops: asyncio.TaskGroup | None = None) -> None:
        """Match the sessions known here with the launcher's, after a connection broke or was made.

        Sessions that the launcher still runs are kept. Those that it lacks have ended as lost.
        Those that are unknown here are stopped, in ``stops`` if it is given: their start or stop
        was in progress at the break.
        """
        while True:
            # Collected before the call: its answer may lack sessions that start meanwhile.
            known = {*self._ids(), *self.starter.launched()}
            try:
                running = {each.session_id: each.node for each in await self.launcher.sessions()}
                break
            except MograderError as error:
                _log.warning("%s", error)
            await self._note_dead()
            await asyncio.sleep(_RETRY_SECONDS)
        nodes = {live.id: live.endpoint.node for live in self.sessions.all()}
        nodes.update(self.starter.launched())
        for session_id in known - running.keys():
            gone = lost(session_id, nodes.get(session_id, ""))
            await self.sessions.note_exit(gone, EndReason.LOST)
        unknown = running.keys() - {*self._ids(), *self.starter.ids(), *self.sessions.ending()}
        await self._stop({each: running[each] for each in unknown}, stops)
        _log.info("connected: %d sessions run", len(running))

    async def _stop(self, machines: Mapping[str, str], stops: asyncio.TaskGroup | None) -> None:
        """Stop sessions, given with their machines; do not wait for them if there is ``stops``."""
        for machine in set(machines.values()):
            begun = machine in self._unknown
            self._unknown[machine] = {each for each, on in machines.items() if on == machine}
            if stops is None:
                await self._stop_on(machine)
            elif not begun:
                stops.create_task(self._stop_on(machine))

    async def _stop_on(self, machine: str) -> None:
        try:
            while waiting := self._unknown[machine]:
                some = [waiting.pop() for _ in range(min(_AT_ONCE, len(waiting)))]
                await stop_all(self.launcher, some)
        except MograderError as error:
            _log.warning("the sessions that are not known are not all stopped: %s", error)
        finally:
            del self._unknown[machine]

    async def _note_dead(self) -> None:
        """Record sessions whose server is dead as lost, while the launcher is unreachable."""
        for live in self.sessions.all():
            if self.is_dead(live.endpoint):
                await self.sessions.note_exit(lost(live.id, live.endpoint.node), EndReason.LOST)

    def _ids(self) -> set[str]:
        return {live.id for live in self.sessions.all()}


async def stop_all(launcher: Launcher, session_ids: Iterable[str]) -> None:
    """Stop sessions at the same time."""
    await asyncio.gather(*(launcher.stop(session_id) for session_id in session_ids))


def lost(session_id: str, node: str) -> Ended:
    """Return the end of a session whose end the launcher did not report."""
    return Ended(session_id=session_id, status=-1, log_tail="", node=node)
