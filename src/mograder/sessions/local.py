"""The launcher for one machine: asks the supervisor."""

from __future__ import annotations

from collections.abc import Callable

from mograder.core.settings import LimitsSettings
from mograder.sandbox.link import SupervisorLink
from mograder.sandbox.protocol import Ended, Limits, SessionInfo, StartSession
from mograder.sessions.launcher import Endpoint, Exit, Launched, LaunchSpec


class LocalLauncher:
    """Fulfils :class:`~mograder.sessions.launcher.Launcher` by the supervisor's socket."""

    def __init__(self, link: SupervisorLink, limits: LimitsSettings) -> None:
        self._link = link
        self._limits = Limits(
            processes=limits.processes,
            open_files=limits.open_files,
            file_size_mb=limits.file_size_mb,
            tmp_mb=limits.tmp_mb,
        )

    async def start(self, spec: LaunchSpec) -> Launched:
        request = StartSession(
            session_id=spec.session_id,
            mode=spec.mode.value,
            directory=spec.directory,
            notebook=spec.notebook,
            environment=spec.environment,
            base_url=spec.base_url,
            uid_slot=spec.uid_slot,
            limits=self._limits,
            allow=spec.allow,
        )
        return _launched(await self._link.start(request))

    async def stop(self, session_id: str) -> bool:
        return await self._link.stop(session_id)

    async def running(self) -> list[Launched]:
        return [_launched(info) for info in await self._link.sessions()]

    def watch(self, on_exit: Callable[[Exit], None], on_lost: Callable[[], None]) -> None:
        def ended(news: Ended) -> None:
            on_exit(Exit(news.session_id, news.status, news.log_tail))

        self._link.watch(ended, on_lost)


def _launched(info: SessionInfo) -> Launched:
    return Launched(info.session_id, Endpoint(info.socket))
