"""Warm starts: a zygote for each environment in use, and sessions forked from them.

Each zygote lives in a *yard* of its own: a user and pid namespace, and a sandbox that shows it the
environment and nothing of anybody's. The sandboxes of the sessions that it forks nest in the
yard's two namespaces, so it can join those and no others. A yard lasts as long as a session in
it; a zygote that dies is replaced, and takes no session along. Whatever fails on the way ends in
a cold start of the same plan: a warm start saves time, and decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import MograderError, SandboxUnavailable
from mograder.sandbox.bubblewrap import YARD_UIDS, BubblewrapRunner
from mograder.sandbox.forker import Forker, Way
from mograder.sandbox.inhabited import Inhabited
from mograder.sandbox.namespaces import EVERYTHING, SETGID, SETUID, Joined
from mograder.sandbox.policy import SANDBOXED_SESSION, Host, Plan, yard_plan
from mograder.sandbox.process import Launch
from mograder.sandbox.record import RECORD, read_record
from mograder.sandbox.sandboxed import Held, NotJoinedError
from mograder.sandbox.seccomp import filter_program

_log = logging.getLogger("mograder.supervisor")

_READY_SECONDS = 1.0
"""How long a start waits for a zygote that is on its way: about as long as a cold start takes."""

_BOOT_SECONDS = 60.0
_ATTEMPTS = 3
"""Starts of a zygote that may fail, one after the other, until its environment rests."""

_REST_SECONDS = 300.0
_LIFE_SECONDS = 5.0
"""A zygote that dies is replaced at once if it has lived so long, else when it is asked for."""


@dataclass(frozen=True, slots=True)
class WarmStart:
    """A session to start: a cold start's plan, its environment and its listening socket."""

    plan: Plan
    environment: Path
    uid_slot: int
    listener: int
    on_output: Callable[[bytes], None]
    settle: Callable[[int], None] = lambda _: None


class Zygotes:
    """The yards in use, the latest last; ``counts`` tells what became of the starts."""

    def __init__(self, runner: BubblewrapRunner, host: Host, kept: int) -> None:
        """Keep at most ``kept`` zygotes."""
        self._runner = runner
        self._host = host
        self._kept = kept
        self._yards: dict[Path, Yard] = {}
        self._retired: set[Yard] = set()
        self.counts: Counter[str] = Counter()

    async def warm(self, environment: Path) -> bool:
        """Have a zygote for an environment; returns whether there is one.

        Raises: :class:`~mograder.core.errors.NotFound` for what is no environment.
        """
        yard = self._yard(environment)
        with yard.in_use():
            return await yard.ready(_BOOT_SECONDS) is not None

    async def join(self, start: WarmStart) -> Inhabited:
        """Start a session from a zygote. Raises: :class:`NotJoinedError` with the reason."""
        if start.uid_slot >= YARD_UIDS:
            raise NotJoinedError("slot beyond the yard")
        try:
            yard = self._yard(start.environment)
            with yard.in_use():
                session = await yard.join(start)
        except (MograderError, OSError) as error:
            _log.warning("no warm start: %s", error)
            raise NotJoinedError("refused") from error
        self.counts["warm"] += 1
        _log.info("a session of %s started warm", start.environment.name)
        return session

    def fell_back(self, reason: str) -> None:
        """Count a cold start that should have been warm."""
        self.counts["cold"] += 1
        self.counts[f"fallback: {reason}"] += 1
        _log.warning("a session starts cold: %s", reason)

    async def close(self) -> None:
        """End every zygote and yard; no session is left."""
        for yard in tuple(self._yards.values()):
            self._retire(yard)
        await asyncio.gather(*(yard.ended() for yard in tuple(self._retired)))

    def _yard(self, environment: Path) -> Yard:
        yard = self._yards.pop(environment, None)
        if yard is not None and not yard.is_of(_identity(environment)):
            self._retire(yard)  # another environment in the place of the one that it knows
            yard = None
        if yard is None:
            yard = Yard(self._runner, self._host, environment)
        self._yards[environment] = yard
        for idle in tuple(self._yards.values())[: -self._kept]:
            self._retire(idle)
        return yard

    def _retire(self, yard: Yard) -> None:
        self._yards.pop(yard.environment, None)
        self._retired.add(yard)
        yard.retire(lambda: self._retired.discard(yard))


class Yard:
    """One environment's namespaces and its zygote, as often as that has to be started."""

    def __init__(self, runner: BubblewrapRunner, host: Host, environment: Path) -> None:
        """Raises: :class:`~mograder.core.errors.NotFound` for what is no environment."""
        self.environment = environment
        self._runner = runner
        self._identity = _identity(environment)
        roots = read_record(environment).interpreter_roots
        self._plan = yard_plan(environment, roots, host)
        self._held: Held | None = None
        self._forker: Forker | None = None
        self._waking: asyncio.Task[None] | None = None
        self._heavy = True
        self._failures = 0
        self._hopeless = ""
        self._hopeless_until = math.inf
        self._users = 0
        self._on_end: Callable[[], None] | None = None

    def is_of(self, identity: tuple[int, int]) -> bool:
        """Whether the environment is still the one that the zygote imported."""
        return self._identity == identity

    def wake(self) -> None:
        """Start the zygote if it is not there, nor hopeless, nor on its way."""
        if self._hopeless and asyncio.get_running_loop().time() > self._hopeless_until:
            self._hopeless, self._hopeless_until = "", math.inf
        idle = self._waking is None or self._waking.done()
        if idle and not self._hopeless and not (self._forker and self._forker.alive):
            self._waking = asyncio.create_task(self._wake())

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the yard for as long as something starts in it."""
        self._users += 1
        try:
            yield
        finally:
            self._leave()

    async def join(self, start: WarmStart) -> Inhabited:
        """Start a session here. Raises: :class:`NotJoinedError`."""
        warm = await self.ready(_READY_SECONDS)
        if warm is None:
            raise NotJoinedError(self._hopeless or "zygote not ready")
        forker, pidfd = warm
        held = self._runner.hold(
            start.plan, uid_slot=start.uid_slot, yard=pidfd, on_output=start.on_output
        )
        try:
            await held.stand()
            uid = self._runner.uid_inside(start.uid_slot)
            way = Way(uid, start.listener, held.output, held.holder)
            forked = await forker.fork(start.plan, way)
        except BaseException:
            held.end()
            await asyncio.shield(held.exited)  # the workspace is free again
            raise
        finally:
            held.let_go()
        self._users += 1
        held.exited.add_done_callback(lambda _: self._leave())
        return Inhabited(held, forked, forker.kill)

    async def ready(self, seconds: float) -> tuple[Forker, int] | None:
        """Return the zygote and a pidfd of its yard, once they are there, within this time."""
        self.wake()
        if self._waking is not None:
            await asyncio.wait({self._waking}, timeout=seconds)
        if self._hopeless or self._held is None or self._held.exited.done():
            return None
        if self._forker is None or not self._forker.alive:
            return None
        return self._forker, self._held.holder

    async def _wake(self) -> None:
        try:
            problem = await self._start_zygote()
        except (NotJoinedError, MograderError, OSError) as error:
            problem = f"boot: {error}"
        if not problem:
            self._failures = 0
            self._expect_its_end()
            _log.info("the zygote of %s is ready", self.environment.name)
            return
        said = self._forker.said if self._forker is not None else ""
        _log.warning("the zygote of %s: %s %s", self.environment.name, problem, said)
        self._failures += 1
        if self._forker is not None:
            self._forker.kill()
        if problem.startswith("threads") and self._heavy:
            self._heavy = False  # marimo alone has none
            await self._wake()
        elif not problem.startswith("boot") or self._failures >= _ATTEMPTS:
            self._hopeless = problem.partition(":")[0]
            if self._hopeless == "boot":  # the machine may have been short of something
                self._failures = 0
                self._hopeless_until = asyncio.get_running_loop().time() + _REST_SECONDS

    def _expect_its_end(self) -> None:
        """Replace a zygote that somebody killed before the next student waits for it."""
        loop = asyncio.get_running_loop()
        born = loop.time()

        def died() -> None:
            if not self._hopeless and loop.time() - born > _LIFE_SECONDS:
                self.wake()

        if self._forker is not None:
            self._forker.exited.add_done_callback(lambda _: died())

    async def _start_zygote(self) -> str:
        if self._held is None or self._held.exited.done():
            self._held = self._runner.found(self._plan, lambda _: None)
            await self._held.stand()
        rights = () if self._runner.uid_base is None else (SETGID, SETUID)
        program = filter_program(joining=True)
        launch = Launch(
            self._plan.argv,
            dict(self._plan.variables),
            str(self._plan.directory),
            place=Joined(self._held.holder, EVERYTHING, 0, rights, program),
        )
        caches = str(SANDBOXED_SESSION.environment / "caches")
        self._forker = Forker(launch, caches, heavy=self._heavy)
        try:
            async with asyncio.timeout(_BOOT_SECONDS):
                return await asyncio.shield(self._forker.ready)
        except TimeoutError:
            return "boot: it took too long"

    def _leave(self) -> None:
        self._users -= 1
        self._end_if_idle()

    def retire(self, on_end: Callable[[], None]) -> None:
        """End the zygote now, and the yard with the last session in it."""
        self._on_end = on_end
        self._hopeless, self._hopeless_until = "retired", math.inf
        if self._waking is not None:
            self._waking.cancel()
        if self._forker is not None:
            self._forker.kill()
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        """A yard that no session is in and that none will start in is of no use."""
        if self._users or not (self._on_end or self._hopeless):
            return
        if self._held is None or self._held.exited.done():
            self._tell_end()
        else:
            self._held.end()
            self._held.exited.add_done_callback(lambda _: self._tell_end())

    def _tell_end(self) -> None:
        if self._on_end is not None:
            self._on_end()

    async def ended(self) -> None:
        """Wait for the end of a retired yard, for a while."""
        waited = [f.exited for f in (self._held, self._forker) if f is not None]
        if waited:
            await asyncio.wait(waited, timeout=_READY_SECONDS)


def _identity(environment: Path) -> tuple[int, int]:
    try:
        status = (environment / RECORD).stat()
    except OSError as error:
        raise SandboxUnavailable(f"{environment.name} is no finished environment.") from error
    return status.st_ino, status.st_mtime_ns
