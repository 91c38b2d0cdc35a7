"""Warm starts: a zygote for each environment in use, and sessions forked from them.

Each zygote runs in a separate *zygote group*: a user and pid namespace, and a sandbox that contains
the environment and no user's files. The sandboxes of the sessions that it forks nest in the zygote
group's two namespaces, so it can join those and no others. A zygote group lasts as long as a
session in it; a zygote that dies is replaced, and its sessions continue. If any step fails, the
same plan is started cold: a warm start only saves time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.sandbox.isolation.bwrap import YARD_UIDS, BwrapRunner, Start
from mograder.sandbox.isolation.bwrap_process import NotJoinedError, ZygoteGoneError
from mograder.sandbox.isolation.policy import Host
from mograder.sandbox.warm.sessions import WarmSession
from mograder.sandbox.warm.zygote_group import ZygoteGroup, identity_of

_log = logging.getLogger("mograder.supervisor")

_TEMPLATES = 2
"""Zygotes of judges that are kept, beside those of environments."""

_REMEMBERED = 64
_AT_ONCE = 4
"""Sandboxes that are made for forks at the same time, in order of arrival: more would make each
one slower."""


class ZygotePool:
    """The zygote groups in use, the last used at the end; ``counts`` counts starts by outcome."""

    def __init__(
        self,
        runner: BwrapRunner,
        host: Host,
        kept: int,
        memory_mb: int,
        shelter: Callable[[int], None] | None = None,
    ) -> None:
        """Keep at most ``kept`` zygotes, and at most ``memory_mb`` MiB of them.

        ``shelter`` moves the zygote of a pid into its cgroup.
        """
        self._shelter = shelter
        self._runner = runner
        self._host = host
        self._most = kept
        self._budget = memory_mb << 20
        self._zygote_groups: dict[tuple[Path, Path | None], ZygoteGroup] = {}
        self._too_large: deque[Path] = deque(maxlen=_REMEMBERED)
        """The last templates whose zygotes needed too much memory."""
        self._retired: set[ZygoteGroup] = set()
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self.counts: Counter[str] = Counter()

    @property
    def ready(self) -> tuple[Path, ...]:
        """The environments whose zygotes can fork, the last used at the end.

        Zygotes that are being started, or have run a template, are not among them.
        """
        groups = self._zygote_groups.values()
        return tuple(each.environment for each in groups if each.can_fork and not each.template)

    def memory(self) -> int:
        """Return the zygotes' memory in bytes, as last measured."""
        return sum(zygote_group.memory() for zygote_group in self._zygote_groups.values())

    async def warm(self, environment: Path) -> bool:
        """Start a zygote for an environment if needed; return whether it can fork.

        Raises: :class:`~mograder.core.errors.NotFound` if there is no such environment.
        """
        zygote_group = self._zygote_group(environment)
        with zygote_group.in_use():
            return await zygote_group.ready()

    async def join(
        self, environment: Path, start: Start, template: Path | None = None
    ) -> WarmSession:
        """Start a session from the zygote of an environment; ``start`` is its cold start.

        A judge is forked from the zygote that has run its ``template``, if there is one, and starts
        it for the next judges if there is none.

        Raises: :class:`NotJoinedError` with the reason.
        """
        if template is not None and template not in self._too_large:
            try:
                session = await self._join_from(environment, start, template)
            except NotJoinedError as error:
                self.counts[f"no template: {error}"] += 1
            else:
                self.counts["template"] += 1
                return session
        return await self._join_from(environment, start)

    async def _join_from(
        self, environment: Path, start: Start, template: Path | None = None
    ) -> WarmSession:
        if start.uid_slot >= YARD_UIDS:
            raise NotJoinedError("slot beyond the zygote group")
        try:
            try:
                session = await self._join(environment, start, template)
            except ZygoteGoneError:  # it died while the request was queued: retry once
                session = await self._join(environment, start, template)
        except (MograderError, OSError) as error:
            _log.warning("a warm start failed: %s", error)
            raise NotJoinedError("refused") from error
        self.counts["warm"] += 1
        _log.info("a session of %s started warm", environment.name)
        return session

    async def _join(self, environment: Path, start: Start, template: Path | None) -> WarmSession:
        zygote_group = self._zygote_group(environment, template)
        with zygote_group.in_use():
            return await zygote_group.join(start, self._gate)

    def fell_back(self, reason: str) -> None:
        """Count a session that is started cold because its warm start failed with ``reason``."""
        self.counts["cold"] += 1
        self.counts[f"fallback: {reason}"] += 1
        _log.warning("a session starts cold: %s", reason)

    async def close(self) -> None:
        """End every zygote and zygote group; call when no session is left."""
        for zygote_group in tuple(self._zygote_groups.values()):
            self._retire(zygote_group)
        await asyncio.gather(*(zygote_group.ended() for zygote_group in tuple(self._retired)))

    def _zygote_group(self, environment: Path, template: Path | None = None) -> ZygoteGroup:
        key = environment, template
        zygote_group = self._zygote_groups.pop(key, None)
        if zygote_group is not None and not zygote_group.is_of(identity_of(*key)):
            self._retire(zygote_group)  # the environment at this path has been replaced
            zygote_group = None
        if zygote_group is None:
            zygote_group = ZygoteGroup(
                self._runner, self._host, environment, self._woke, self._shelter, template
            )
        self._zygote_groups[key] = zygote_group
        self._make_room()
        return zygote_group

    def _woke(self, no_warmup: str) -> None:
        if no_warmup:
            self.counts["no_warmup"] += 1
            _log.warning("a zygote did no warm-up run: %s", no_warmup)
        self._make_room()

    def _make_room(self) -> None:
        """Retire the least recently used zygotes beyond the number and memory that may be kept.

        Those with templates go first. The last used one without stays, however large, and so do
        those with starts under way.
        """
        templates = [each for each in self._zygote_groups.values() if each.template]
        others = [each for each in self._zygote_groups.values() if not each.template]
        self._retire_some(templates, len(templates) - _TEMPLATES)
        self._retire_some(others[:-1], len(others) - self._most)

    def _retire_some(self, zygote_groups: list[ZygoteGroup], surplus: int) -> None:
        """Retire the first ones: at least ``surplus``, and more while they need too much memory."""
        for zygote_group in zygote_groups:
            large = self.memory() > self._budget
            if (surplus <= 0 and not large) or zygote_group.starting:
                continue
            surplus -= 1
            if large and zygote_group.template is not None:
                self._too_large.append(zygote_group.template)
            self._retire(zygote_group)

    def _retire(self, zygote_group: ZygoteGroup) -> None:
        self._zygote_groups.pop((zygote_group.environment, zygote_group.template), None)
        self._retired.add(zygote_group)
        zygote_group.retire(lambda: self._retired.discard(zygote_group))
