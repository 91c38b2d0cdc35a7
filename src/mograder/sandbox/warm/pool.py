"""Warm starts: a zygote for each environment in use, and sessions forked from them.

Each zygote lives in a *zygote group* of its own: a user and pid namespace, and a sandbox that shows
it the environment and nothing of anybody's. The sandboxes of the sessions that it forks nest in the
zygote group's two namespaces, so it can join those and no others. A zygote group lasts as long as a
session in it; a zygote that dies is replaced, and takes no session along. Whatever fails on the way
ends in a cold start of the same plan: a warm start saves time, and decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.sandbox.isolation.bwrap import YARD_UIDS, BwrapRunner
from mograder.sandbox.isolation.bwrap_process import NotJoinedError, ZygoteGoneError
from mograder.sandbox.isolation.policy import Host
from mograder.sandbox.warm.sessions import WarmSession
from mograder.sandbox.warm.zygote_group import WarmStart as WarmStart
from mograder.sandbox.warm.zygote_group import ZygoteGroup, identity_of

_log = logging.getLogger("mograder.supervisor")

_AT_ONCE = 4
"""Sandboxes that are made for forks at the same time: more would only make each one slower, and
out of order. First come, first served."""


class ZygotePool:
    """The zygote groups in use, the latest last; ``counts`` tells what became of the starts."""

    def __init__(
        self,
        runner: BwrapRunner,
        host: Host,
        kept: int,
        memory_mb: int,
        shelter: Callable[[int], None] | None = None,
    ) -> None:
        """Keep at most ``kept`` zygotes, and of those as many as the memory allows.

        ``shelter`` puts a new one into its cgroup.
        """
        self._shelter = shelter
        self._runner = runner
        self._host = host
        self._most = kept
        self._budget = memory_mb << 20
        self._zygote_groups: dict[Path, ZygoteGroup] = {}
        self._retired: set[ZygoteGroup] = set()
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self.counts: Counter[str] = Counter()

    @property
    def kept(self) -> tuple[Path, ...]:
        """The environments of the zygotes, the one used last at the end."""
        return tuple(self._zygote_groups)

    @property
    def environments(self) -> tuple[Path, ...]:
        """The environments of all zygote groups, those included whose last session has not ended
        yet."""
        return (*self._zygote_groups, *(zygote_group.environment for zygote_group in self._retired))

    def memory(self) -> int:
        """Return what the zygotes take of the machine's memory in bytes, as measured lately."""
        return sum(zygote_group.memory() for zygote_group in self._zygote_groups.values())

    async def warm(self, environment: Path) -> bool:
        """Have a zygote for an environment; returns whether there is one.

        Raises: :class:`~mograder.core.errors.NotFound` for what is no environment.
        """
        zygote_group = self._zygote_group(environment)
        with zygote_group.in_use():
            return await zygote_group.ready()

    async def join(self, start: WarmStart) -> WarmSession:
        """Start a session from a zygote. Raises: :class:`NotJoinedError` with the reason."""
        if start.uid_slot >= YARD_UIDS:
            raise NotJoinedError("slot beyond the yard")
        try:
            session = await self._join(start)
        except (MograderError, OSError) as error:
            _log.warning("no warm start: %s", error)
            raise NotJoinedError("refused") from error
        self.counts["warm"] += 1
        _log.info("a session of %s started warm", start.environment.name)
        return session

    async def _join(self, start: WarmStart) -> WarmSession:
        """One whose zygote dies while it stands in line stands in line once more."""
        try:
            return await self._try(start)
        except ZygoteGoneError:
            return await self._try(start)

    async def _try(self, start: WarmStart) -> WarmSession:
        zygote_group = self._zygote_group(start.environment)
        with zygote_group.in_use():
            return await zygote_group.join(start, self._gate)

    def fell_back(self, reason: str) -> None:
        """Count a cold start that should have been warm."""
        self.counts["cold"] += 1
        self.counts[f"fallback: {reason}"] += 1
        _log.warning("a session starts cold: %s", reason)

    async def close(self) -> None:
        """End every zygote and zygote group; no session is left."""
        for zygote_group in tuple(self._zygote_groups.values()):
            self._retire(zygote_group)
        await asyncio.gather(*(zygote_group.ended() for zygote_group in tuple(self._retired)))

    def _zygote_group(self, environment: Path) -> ZygoteGroup:
        zygote_group = self._zygote_groups.pop(environment, None)
        if zygote_group is not None and not zygote_group.is_of(identity_of(environment)):
            self._retire(zygote_group)  # another environment in the place of the one that it knows
            zygote_group = None
        if zygote_group is None:
            zygote_group = ZygoteGroup(
                self._runner, self._host, environment, self._woke, self._shelter
            )
        self._zygote_groups[environment] = zygote_group
        self._make_room()
        return zygote_group

    def _woke(self, unrehearsed: str) -> None:
        if unrehearsed:
            self.counts["unrehearsed"] += 1
            _log.warning("a zygote did not rehearse: %s", unrehearsed)
        self._make_room()

    def _make_room(self) -> None:
        """End the zygotes used longest ago, beyond the number and the memory that may be kept.

        The one used last stays, however large, and so does one that is just being asked.
        """
        number, used = len(self._zygote_groups), self.memory()
        for zygote_group in tuple(self._zygote_groups.values())[:-1]:
            if number <= self._most and used <= self._budget:
                return
            if not zygote_group.starting:
                number, used = number - 1, used - zygote_group.memory()
                self._retire(zygote_group)

    def _retire(self, zygote_group: ZygoteGroup) -> None:
        self._zygote_groups.pop(zygote_group.environment, None)
        self._retired.add(zygote_group)
        zygote_group.retire(lambda: self._retired.discard(zygote_group))
