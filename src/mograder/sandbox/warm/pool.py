"""Warm starts: a zygote for each environment in use, and sessions forked from them.

Each zygote runs in a separate *zygote group*: a user and pid namespace, and a sandbox that contains
the environment and no user's files. The sandboxes of the sessions that it forks nest in the zygote
group's two namespaces, so it can join those and no others. A zygote group lasts as long as a
session in it; a zygote that dies is replaced, and its sessions continue. If any step fails, the
same plan is started cold: a warm start only saves time.

Judges of one assignment have a group of their own, whose zygote has run the *template*: those cells
of the author's that are the same for all submissions. No other process is forked from it. A zygote
that has ended is restarted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from mograder.core.errors import MograderError, SandboxUnavailable
from mograder.sandbox.environments.record import RECORD, keep, read_record
from mograder.sandbox.isolation.bwrap import YARD_UIDS, BwrapRunner, Start
from mograder.sandbox.isolation.bwrap_process import Held, NotJoinedError, ZygoteGoneError
from mograder.sandbox.isolation.namespaces import EVERYTHING, SETGID, SETUID, Joined, Launch
from mograder.sandbox.isolation.policy import PLAN, SANDBOXED_SESSION, Host, zygote_group_plan
from mograder.sandbox.isolation.seccomp import filter_program
from mograder.sandbox.warm.sessions import Forked, WarmSession, ZygoteClient

_log = logging.getLogger("mograder.supervisor")

_PATIENCE_SECONDS, _PATIENCE_EACH, _PATIENCE_MOST = 2.0, 1.0, 15.0
"""Seconds after its start for which sessions wait for a zygote: for one session, more for each
other waiting one (divided by the CPUs), at most. A cold start takes about one CPU second."""

BOOT_SECONDS = 60.0
_ATTEMPTS = 3
"""Failed starts of a zygote, or requests to it, in a row before it is not tried for a while."""

_REST_SECONDS = 300.0
_LIFE_SECONDS = 5.0
"""A zygote that dies after so many seconds is replaced at once, an earlier one at the next use."""

_END_SECONDS = 1.0
_MEASURE_SECONDS = 10.0
"""Maximum age of a memory measurement, for which the kernel walks all pages of the process."""

_GO = b"g"


class ZygoteGroup:
    """A zygote group and its zygote, which is started on demand, replaced when it dies, and not
    tried for a while after repeated failures."""

    def __init__(
        self,
        runner: BwrapRunner,
        host: Host,
        environment: Path,
        on_ready: Callable[[str], None] = lambda _: None,
        shelter: Callable[[int], None] | None = None,
        template: Path | None = None,
    ) -> None:
        """``template`` is the directory of the judges that this group is for.

        ``on_ready`` is called per ready zygote with the reason for no warm-up run, or "".

        ``shelter`` moves the zygote of a pid into its cgroup; it blocks, so it runs in a thread.

        Raises: :class:`~mograder.core.errors.NotFound` if there is no such environment.
        """
        self.environment = environment
        self.template = template
        self.starting = 0
        """Number of starts under way in this group."""
        self._runner = runner
        self._on_ready = on_ready
        self._shelter = shelter
        self.identity = identity_of(environment, template)
        """That of the environment which the zygote imported."""
        roots = read_record(environment).interpreter_roots
        self._kept = keep(environment)
        self._plan = zygote_group_plan(environment, roots, host, template)
        self._held: Held | None = None
        self._zygote_client: ZygoteClient | None = None
        self._waking: asyncio.Task[None] | None = None
        self._woken_at = -math.inf
        self._heavy = True
        self._failures = 0
        self._hopeless = ""
        self._hopeless_until = math.inf
        self._sessions = 0
        self._on_end: Callable[[], None] | None = None
        self._memory, self._measured_at = 0, -math.inf

    def memory(self) -> int:
        """Return the zygote's memory in bytes, as last measured; 0 if there is no zygote."""
        now = asyncio.get_running_loop().time()
        if self._zygote_client is None or not self._zygote_client.alive:
            return 0
        if now - self._measured_at > _MEASURE_SECONDS:
            self._memory, self._measured_at = self._zygote_client.memory(), now
        return self._memory

    def wake(self) -> None:
        """Start the zygote unless it runs, is being started, or has been given up for now."""
        now = asyncio.get_running_loop().time()
        if self._hopeless and now > self._hopeless_until:
            self._hopeless, self._hopeless_until = "", math.inf
        idle = self._waking is None or self._waking.done()
        if idle and not self._hopeless and not (self._zygote_client and self._zygote_client.alive):
            self._woken_at = now
            self._waking = asyncio.create_task(self._wake())

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the zygote group alive during a start in it."""
        self.starting += 1
        try:
            yield
        finally:
            self.starting -= 1
            self._end_if_idle()

    async def join(self, start: Start, gate: asyncio.Semaphore) -> WarmSession:
        """Start a session here, in the order of ``gate``. Raises: :class:`NotJoinedError`.

        Judges do not wait for a zygote that is being started: there is another for them.
        """
        await self.arrival(None if self.template is None else 0)
        async with gate:
            warm = self._warm()
            if warm is not None:
                return await self._join(start, *warm)
            client = self._zygote_client
            if not self._hopeless and client is not None and client.served:
                raise ZygoteGoneError(asked=False)  # it died while this start was queued
            raise NotJoinedError(self._hopeless or "zygote not ready")

    async def _join(self, start: Start, zygote_client: ZygoteClient, pidfd: int) -> WarmSession:
        with start.entry() as entry:
            held = await self._hold(start, zygote_client, pidfd, entry)
            go, say_go = os.pipe()
            try:
                await held.stand()
                entries = () if entry is None else (entry,)
                given = (*start.descriptors, held.output, held.holder, go, *entries)
                forked = await self._fork(zygote_client, start, given)
                _settle(start, forked)
                os.write(say_go, _GO)
            except BaseException:
                await _emptied(held, zygote_client)  # frees the workspace
                raise
            finally:
                held.let_go()
                os.close(go)
                os.close(say_go)
        self._sessions += 1

        def leave(_: object) -> None:
            self._sessions -= 1
            self._end_if_idle()

        held.exited.add_done_callback(leave)
        return WarmSession(held, forked, zygote_client.kill)

    async def _hold(
        self, start: Start, zygote_client: ZygoteClient, pidfd: int, entry: int | None
    ) -> Held:
        """Make the sandbox; if cancelled, wait until it exists and end it."""
        holding = asyncio.create_task(self._runner.hold(start, pidfd, entry))
        try:
            return await asyncio.shield(holding)
        except asyncio.CancelledError:
            await asyncio.wait({holding})
            if holding.exception() is None:
                await _emptied(holding.result(), zygote_client)
            raise

    async def _fork(
        self, zygote_client: ZygoteClient, start: Start, descriptors: tuple[int, ...]
    ) -> Forked:
        """Request a fork; count a failure, so that a zygote that keeps failing is left alone."""
        uid = self._runner.uid_inside(start.uid_slot)
        try:
            forked = await zygote_client.fork(start.plan, uid, descriptors)
        except NotJoinedError as error:
            asked = not isinstance(error, ZygoteGoneError) or error.asked
            if asked and not zygote_client.alive:
                self._failed(str(error))
            raise
        self._failures = 0
        return forked

    async def arrival(self, seconds: float | None = None) -> None:
        """Wait for a zygote being started, ``seconds`` or as long as waiting pays off."""
        self.wake()
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        while self._waking is not None and not self._waking.done():
            until = self._woken_at + self._patience() if seconds is None else asked_at + seconds
            if loop.time() >= until:
                return
            await asyncio.wait({self._waking}, timeout=until - loop.time())

    @property
    def can_fork(self) -> bool:
        return self._warm() is not None

    def _patience(self) -> float:
        others = max(0, self.starting - 1)
        crowd = others * _PATIENCE_EACH / (os.cpu_count() or 1)
        return min(_PATIENCE_SECONDS + crowd, _PATIENCE_MOST)

    def _warm(self) -> tuple[ZygoteClient, int] | None:
        """Return the zygote and a pidfd of its zygote group, if both are alive."""
        if self._hopeless or self._held is None or self._held.exited.done():
            return None
        if self._zygote_client is None or not self._zygote_client.alive:
            return None
        return self._zygote_client, self._held.holder

    async def _wake(self) -> None:
        try:
            problem = await self._start_zygote()
        except (NotJoinedError, MograderError, OSError) as error:
            problem = f"boot: {error}"
        client = self._zygote_client
        if not problem and client is not None:
            self._measured_at = -math.inf
            client.exited.add_done_callback(partial(self._died, asyncio.get_running_loop().time()))
            _log.info("the zygote of %s is ready", self.environment.name)
            self._on_ready(client.no_warmup)
            return
        said = "" if client is None else client.said
        _log.warning("the zygote of %s did not start: %s %s", self.environment.name, problem, said)
        if client is not None:
            client.kill()
        if self.template is not None:
            self._give_up(problem.partition(":")[0])
        elif problem.startswith("threads") and self._heavy:
            self._heavy = False  # marimo alone starts no threads
            await self._wake()
        elif not problem.startswith("boot"):
            self._hopeless = problem.partition(":")[0]
        else:
            self._failed("boot")
        self._end_if_idle()  # a judge does not wait for its zygote

    def _died(self, born: float, _: object) -> None:
        """Replace the zygote as soon as it is killed, before the next session waits for it."""
        if not self._hopeless and asyncio.get_running_loop().time() - born > _LIFE_SECONDS:
            self.wake()

    def _failed(self, reason: str) -> None:
        """Count a failure that may be temporary; after ``_ATTEMPTS`` pause ``_REST_SECONDS``."""
        self._failures += 1
        if self._failures >= _ATTEMPTS and not self._hopeless:
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        self._failures = 0
        self._hopeless = reason
        self._hopeless_until = asyncio.get_running_loop().time() + _REST_SECONDS
        _log.error("the zygote of %s is not retried for now: %s", self.environment.name, reason)

    async def _start_zygote(self) -> str:
        if self._held is None or self._held.exited.done():
            self._held = await self._runner.found(self._plan, lambda _: None)
            try:
                await self._held.stand()
            except BaseException:
                self._held.end()
                self._held = None  # the next try founds another
                raise
        rights = () if self._runner.uid_base is None else (SETGID, SETUID)
        program = filter_program(joining=True)
        launch = Launch(
            self._plan.argv,
            dict(self._plan.variables),
            str(self._plan.directory),
            place=Joined(self._held.holder, EVERYTHING, 0, rights, program),
        )
        caches = str(SANDBOXED_SESSION.environment / "caches")
        plan = "" if self.template is None else str(SANDBOXED_SESSION.judged / PLAN)
        self._zygote_client = ZygoteClient(launch, caches, heavy=self._heavy, template=plan)
        try:
            async with asyncio.timeout(BOOT_SECONDS):
                if self._shelter is not None:
                    await asyncio.to_thread(self._shelter, self._zygote_client.pid)
                return await asyncio.shield(self._zygote_client.ready)
        except TimeoutError:
            return "boot: it took too long"

    def retire(self, on_end: Callable[[], None]) -> None:
        """End the zygote now, and the zygote group after its last session."""
        self._on_end = on_end
        self._hopeless, self._hopeless_until = "retired", math.inf
        if self._waking is not None:
            self._waking.cancel()
        if self._zygote_client is not None:
            self._zygote_client.kill()
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        """End a retired or failed zygote group in which no session runs or starts."""
        if self.starting or self._sessions or not (self._on_end or self._hopeless):
            return
        if self._held is None or self._held.exited.done():
            self._tell_end()
        else:
            self._held.end()
            self._held.exited.add_done_callback(lambda _: self._tell_end())

    def _tell_end(self) -> None:
        if self._on_end is not None and self._kept >= 0:
            os.close(self._kept)
            self._kept = -1
            self._on_end()

    async def ended(self) -> None:
        """Wait up to ``_END_SECONDS`` for the end of a retired zygote group."""
        waited = [f.exited for f in (self._held, self._zygote_client) if f is not None]
        if waited:
            await asyncio.wait(waited, timeout=_END_SECONDS)


def identity_of(environment: Path, template: Path | None = None) -> tuple[int, ...]:
    """Return numbers (inodes, mtimes in ns) that differ for a replaced environment or template.

    Raises: :class:`SandboxUnavailable` if the environment is not finished, or there is no template.
    """
    paths = [environment / RECORD, *(() if template is None else (template,))]
    try:
        found = [path.stat() for path in paths]
    except OSError as error:
        raise SandboxUnavailable(f"{environment.name} is no finished environment.") from error
    return tuple(number for each in found for number in (each.st_ino, each.st_mtime_ns))


async def _emptied(held: Held, zygote_client: ZygoteClient) -> None:
    """End an unused sandbox, and kill the zygote if that keeps the sandbox from ending."""
    held.end()
    await asyncio.wait({held.exited}, timeout=_END_SECONDS)
    if not held.exited.done():
        zygote_client.kill()
        await asyncio.wait({held.exited}, timeout=_END_SECONDS)


def _settle(start: Start, forked: Forked) -> None:
    try:
        start.settle(forked.pid)
    except OSError as error:
        forked.forget()
        _log.warning("a forked session could not be given its limits: %s", error)
        raise NotJoinedError("settle") from error


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
        return sum(zygote_group.memory() for zygote_group in self._zygote_groups.values())

    async def warm(self, environment: Path) -> bool:
        """Start a zygote for an environment if needed; return whether it can fork.

        Raises: :class:`~mograder.core.errors.NotFound` if there is no such environment.
        """
        zygote_group = self._zygote_group(environment)
        with zygote_group.in_use():
            await zygote_group.arrival(BOOT_SECONDS)
            return zygote_group.can_fork

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
        identity = identity_of(*key)
        zygote_group = self._zygote_groups.pop(key, None)
        if zygote_group is not None and zygote_group.identity != identity:
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
