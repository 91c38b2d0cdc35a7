"""The launcher for one machine: asks the supervisor."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from mograder.sandbox import protocol
from mograder.sandbox.link import SupervisorLink
from mograder.sandbox.protocol import Ended, Limits, Measured, SessionInfo, StartSession
from mograder.sessions.launcher import (
    Arrival,
    Endpoint,
    Exit,
    Launched,
    LaunchSpec,
    Limit,
    Measurement,
    News,
    SessionLimits,
    Use,
    unheard,
)


def sandbox_limits(limits: SessionLimits) -> Limits:
    """Say the same bounds in the supervisor's words."""
    return Limits.model_validate(dataclasses.asdict(limits))


class LocalLauncher:
    """Fulfils :class:`~mograder.sessions.launcher.Launcher` by the supervisor's socket."""

    def __init__(self, link: SupervisorLink) -> None:
        self._link = link

    async def start(self, spec: LaunchSpec) -> Launched:
        request = StartSession(
            session_id=spec.session_id,
            mode=spec.mode.value,
            directory=spec.directory,
            notebook=spec.notebook,
            environment=spec.environment,
            base_url=spec.base_url,
            uid_slot=spec.uid_slot,
            limits=sandbox_limits(spec.limits),
            allow=spec.allow,
        )
        return _launched(await self._link.start(request))

    async def stop(self, session_id: str) -> bool:
        return await self._link.stop(session_id)

    def answered(self, session_id: str) -> None:
        self._link.answered(session_id)

    async def running(self) -> list[Launched]:
        return [_launched(info) for info in await self._link.sessions()]

    def watch(
        self,
        on_exit: Callable[[Exit], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = unheard,
    ) -> None:
        def ended(told: Ended) -> None:
            on_exit(Exit(told.session_id, told.status, told.log_tail, _limit(told.reason)))

        self._link.watch(ended, on_lost, lambda told: on_news(_news(told)))


def _launched(info: SessionInfo) -> Launched:
    return Launched(info.session_id, Endpoint(info.socket))


def _limit(reason: str) -> Limit | None:
    """A newer supervisor may know limits that this hub does not."""
    return Limit(reason) if reason in set(Limit) else None


def _news(told: protocol.News) -> News:
    if isinstance(told, Measured):
        uses = [
            Use(use.session_id, use.memory, use.cpu, use.processes, use.workspace)
            for use in told.sessions
        ]
        return Measurement(uses, told.overhead)
    return Arrival(told.session_id, told.warm, told.fallback)
