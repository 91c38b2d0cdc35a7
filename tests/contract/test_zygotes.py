"""Which zygotes are kept, and what becomes of a start when one misbehaves.

The sandboxes are real; the zygotes are scripts of a few lines that fail in every way there is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from uv import find_uv_bin

from mograder.sandbox.environments.record import take
from mograder.sandbox.inside import serve
from mograder.sandbox.isolation.bwrap import BwrapRunner, Start, find_bubblewrap, system_links
from mograder.sandbox.isolation.bwrap_process import NotJoinedError
from mograder.sandbox.isolation.mounts import Sources
from mograder.sandbox.isolation.policy import SANDBOXED_SESSION as INSIDE
from mograder.sandbox.isolation.policy import Host, Plan, session_plan
from mograder.sandbox.protocol import Mode, StartSession
from mograder.sandbox.supervisor.config import keep_cache, write_etc
from mograder.sandbox.warm.pool import ZygotePool
from mograder.sandbox.warm.sessions import WarmSession
from tests.support.supervisors import LIMITS, PATIENCE, shell_environment, told_of, until

SCRIPTED = Path("/usr/bin/python3")
"""The only python that a sandbox sees without an environment."""

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not SCRIPTED.exists(), reason="no system Python for the scripts"),
]

TALK = """
import json, os, socket, sys, time
control = socket.socket(fileno=json.loads(sys.argv[2])["fd"])
def say(**words): control.send(json.dumps(words).encode())
def hear():
    data, fds, _, _ = socket.recv_fds(control, 65536, 4)
    return (json.loads(data)["id"], fds) if data else sys.exit()
def answer(number, fds):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if os.read(fds[3], 1) == b"g" and time.sleep(600) else 1)
    socket.send_fds(control, [json.dumps({"id": number}).encode()], [os.pidfd_open(pid)])
    for fd in fds: os.close(fd)
"""
READY = "say(ready=True, threads=1)\n"
SERVES = f"{READY}while True: answer(*hear())"


@dataclass
class LocalPool:
    """A zygote pool in the test's process, without a supervisor."""

    place: Path
    host: Host
    runner: BwrapRunner
    zygotes: ZygotePool
    joined: list[WarmSession] = field(default_factory=list)
    open: ExitStack = field(default_factory=ExitStack)

    def environment(self, name: str, script: str) -> Path:
        """Return an environment whose python runs a script."""
        directory = shell_environment(self.place / name, "")
        program = directory / "env" / "bin" / "python"
        program.write_text(f"#!{SCRIPTED}\n{TALK}{script}\n")
        return directory

    async def join(
        self, environment: Path, name: str, settle: Callable[[int], None] = lambda _: None
    ) -> WarmSession:
        """Start a session there."""
        listener = os.open(os.devnull, os.O_RDONLY)
        self.open.callback(os.close, listener)
        plan = self._plan(environment, name, listener)
        start = Start(plan, 1, lambda _: None, (listener,), settle)
        session = await self.zygotes.join(environment, start)
        self.joined.append(session)
        return session

    async def close(self) -> None:
        """Leave nothing."""
        for session in self.joined:
            session.end()
        if self.joined:
            await asyncio.wait([session.exited for session in self.joined], timeout=PATIENCE)
        await self.zygotes.close()
        self.open.close()

    def _plan(self, environment: Path, name: str, fd: int) -> Plan:
        workspace = self.place / f"workspace-{name}"
        workspace.mkdir()
        request = StartSession(
            session_id=f"session-{name}",
            mode=Mode.EDIT,
            directory=workspace,
            notebook="A1.py",
            environment=environment,
            base_url="/",
            uid_slot=1,
            limits=LIMITS,
        )
        return session_plan(request, (), self.host, INSIDE, fd)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    links, directories = system_links()
    tmp_path = tmp_path_factory.mktemp("host")
    keep_cache(tmp_path / "cache", None)
    return Host(
        etc=write_etc(tmp_path / "etc", network=False),
        build_etc=write_etc(tmp_path / "etc-build", network=True),
        uv=Path(find_uv_bin()),
        uv_cache=tmp_path / "cache",
        scripts=Path(serve.__file__).parent,
        links=links,
        directories=directories,
    )


@pytest.fixture
async def make_local_pool(
    host: Host, tmp_path: Path
) -> AsyncIterator[Callable[[int, int], LocalPool]]:
    """``make_local_pool(kept, memory_mb)``"""
    made: list[LocalPool] = []

    def make(kept: int, memory_mb: int) -> LocalPool:
        runner = BwrapRunner(find_bubblewrap(), host, Sources(), None)
        made.append(LocalPool(tmp_path, host, runner, ZygotePool(runner, host, kept, memory_mb)))
        return made[-1]

    yield make
    for local_pool in made:
        await local_pool.close()


@pytest.fixture
def local_pool(make_local_pool: Callable[[int, int], LocalPool]) -> LocalPool:
    return make_local_pool(4, 1024)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start waits for its zygote however busy the machine is."""
    monkeypatch.setattr("mograder.sandbox.warm.pool._PATIENCE_SECONDS", PATIENCE)
    monkeypatch.setattr("mograder.sandbox.warm.pool._PATIENCE_MOST", PATIENCE)
    monkeypatch.setattr("mograder.sandbox.warm.sessions._HEED_SECONDS", PATIENCE)


def zygotes_now() -> int:
    """How many run, with what they forked."""
    mine = psutil.Process().children(recursive=True)
    return sum(map(_is_zygote, mine))


def _is_zygote(process: psutil.Process) -> bool:
    try:
        return (
            process.name() == "python" and "/opt/mograder/programs/zygote.py" in process.cmdline()
        )
    except psutil.NoSuchProcess:
        return False


# --- which are kept -------------------------------------------------------------------------


async def test_the_one_used_longest_ago_makes_room_in_number(
    make_local_pool: Callable[[int, int], LocalPool],
) -> None:
    local_pool = make_local_pool(2, 1024)
    one, two, three = (local_pool.environment(name, SERVES) for name in ("one", "two", "three"))
    assert await local_pool.zygotes.warm(one)
    assert await local_pool.zygotes.warm(two)
    assert await local_pool.zygotes.warm(one)
    assert await local_pool.zygotes.warm(three)
    await until(lambda: zygotes_now() == 2)
    assert {path.name for path in local_pool.zygotes.ready} == {"one", "three"}


async def test_an_environment_is_reported_as_warm_once_its_zygote_can_fork(
    make_local_pool: Callable[[int, int], LocalPool],
) -> None:
    """A node that has just started gets no sessions that would wait for its zygote."""
    local_pool = make_local_pool(2, 1024)
    environment = local_pool.environment("one", SERVES)
    warming = asyncio.create_task(local_pool.zygotes.warm(environment))
    await asyncio.sleep(0)
    assert take(environment) is None, "it must not be removed"
    assert not local_pool.zygotes.ready
    assert await warming
    assert environment in local_pool.zygotes.ready


async def test_the_one_used_longest_ago_makes_room_in_memory(
    make_local_pool: Callable[[int, int], LocalPool],
) -> None:
    local_pool = make_local_pool(8, 100)
    large = f"kept = bytearray(os.urandom(60 << 20))\n{SERVES}"
    for name in ("one", "two", "three"):
        assert await local_pool.zygotes.warm(local_pool.environment(name, large))
    await until(lambda: zygotes_now() == 1)
    assert {path.name for path in local_pool.zygotes.ready} == {"three"}
    assert 60 << 20 < local_pool.zygotes.memory() < 100 << 20


async def test_the_only_one_stays_however_large_it_is(
    make_local_pool: Callable[[int, int], LocalPool],
) -> None:
    local_pool = make_local_pool(8, 8)
    large = f"kept = bytearray(os.urandom(30 << 20))\n{SERVES}"
    environment = local_pool.environment("one", large)
    assert await local_pool.zygotes.warm(environment)
    assert await local_pool.zygotes.warm(environment)
    assert local_pool.zygotes.memory() > 30 << 20


async def test_the_kernel_would_end_a_zygote_before_the_supervisor(local_pool: LocalPool) -> None:
    """It may load much: an assignment's template is code of the author's."""
    assert await local_pool.zygotes.warm(local_pool.environment("one", SERVES))
    zygotes = list(filter(_is_zygote, psutil.Process().children(recursive=True)))
    assert told_of(zygotes, "oom_score_adj") == {"600"}


@pytest.mark.usefixtures("patient")
async def test_a_yard_stays_for_its_sessions_and_goes_with_the_last(
    make_local_pool: Callable[[int, int], LocalPool],
) -> None:
    local_pool = make_local_pool(1, 1024)
    session = await local_pool.join(local_pool.environment("one", SERVES), "a")
    assert await local_pool.zygotes.warm(local_pool.environment("two", SERVES))
    await until(lambda: zygotes_now() == 2)  # the session and the other zygote
    assert not session.exited.done()
    session.end()
    await asyncio.wait_for(session.exited, PATIENCE)


# --- what becomes of a start ----------------------------------------------------------------


@pytest.mark.usefixtures("patient")
async def test_many_at_once_come_in_the_order_that_they_asked(local_pool: LocalPool) -> None:
    environment = local_pool.environment("one", SERVES)
    settled: list[int] = []

    def settle(number: int) -> Callable[[int], None]:
        return lambda _: settled.append(number)

    starts = (local_pool.join(environment, str(n), settle(n)) for n in range(20))
    await asyncio.gather(*starts)
    assert local_pool.zygotes.counts == {"warm": 20}
    early = [number for place, number in enumerate(settled) if abs(place - number) > 4]
    assert early == [], "as far as those that are on their way at the same time allow"


@pytest.mark.usefixtures("patient")
async def test_a_session_is_settled_by_its_pid_before_it_does_anything(
    local_pool: LocalPool,
) -> None:
    pids: list[int] = []
    waiting = "number, fds = hear(); answer(number, fds); hear()"
    session = await local_pool.join(
        local_pool.environment("one", READY + waiting), "a", pids.append
    )
    (pid,) = pids
    assert "/opt/mograder/programs/zygote.py" in psutil.Process(pid).cmdline()
    assert session.first_pid > 0


@pytest.mark.usefixtures("patient")
async def test_one_that_cannot_be_settled_ends_and_the_start_falls_back(
    local_pool: LocalPool,
) -> None:
    pids: list[int] = []

    def refuse(pid: int) -> None:
        pids.append(pid)
        raise OSError("no such group")

    environment = local_pool.environment("one", SERVES)
    with pytest.raises(NotJoinedError, match="settle"):
        await local_pool.join(environment, "a", refuse)
    await until(lambda: not _runs(pids[0]))
    await local_pool.join(environment, "b")
    assert local_pool.zygotes.counts == {"warm": 1}


@pytest.mark.usefixtures("patient")
async def test_a_start_waits_for_a_zygote_that_is_on_its_way(local_pool: LocalPool) -> None:
    await local_pool.join(local_pool.environment("one", f"time.sleep(0.3)\n{SERVES}"), "a")
    assert local_pool.zygotes.counts == {"warm": 1}


async def test_a_crowd_waits_longer_than_one_alone(local_pool: LocalPool) -> None:
    """It would take as long to start them all cold."""
    slow = f"time.sleep(3)\n{SERVES}"
    with pytest.raises(NotJoinedError, match="not ready"):
        await local_pool.join(local_pool.environment("lone", slow), "lone")
    crowd = local_pool.environment("crowd", slow)
    number = 12 * (os.cpu_count() or 1)
    await asyncio.gather(*(local_pool.join(crowd, str(n)) for n in range(number)))
    assert local_pool.zygotes.counts == {"warm": number}


async def test_nobody_waits_long_for_one_that_never_comes(local_pool: LocalPool) -> None:
    environment = local_pool.environment("one", "time.sleep(600)")
    for name in ("a", "b"):
        with pytest.raises(NotJoinedError, match="not ready"):
            await asyncio.wait_for(local_pool.join(environment, name), PATIENCE)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (f"{READY}hear(); sys.exit(1)", "zygote died"),
        (f"{READY}hear(); control.send(b'what?'); time.sleep(600)", "zygote died"),
        (f"{READY}time.sleep(600)", "zygote silent"),
        ("sys.exit('no marimo here')", "zygote not ready"),
    ],
)
async def test_one_that_fails_again_and_again_is_left_alone(
    local_pool: LocalPool, script: str, reason: str
) -> None:
    environment = local_pool.environment("one", script)
    said = []
    for name in ("a", "b", "c", "d"):
        await local_pool.zygotes.warm(environment)  # a session that starts waits 2 s only
        with pytest.raises(NotJoinedError) as refused:
            await local_pool.join(environment, name)
        said.append(str(refused.value))
    assert said[0] == reason
    assert said[-1] == (reason if READY in script else "boot"), "it rests"
    await until(lambda: zygotes_now() == 0)


@pytest.mark.usefixtures("patient")
async def test_one_refused_fork_is_no_reason_to_give_the_zygote_up(local_pool: LocalPool) -> None:
    """A student can make a workspace that no process can enter."""
    script = (
        f"{READY}for _ in range(2):\n    say(id=hear()[0], problem='failed'); say(id=hear()[0])\n"
        "answer(*hear()); hear()"
    )
    environment = local_pool.environment("one", script)
    for name in ("a", "b", "c", "d"):
        with pytest.raises(NotJoinedError, match="join failed"):
            await local_pool.join(environment, name)
    await local_pool.join(environment, "e")


@pytest.mark.parametrize("problem", ["internals: other", "threads: 2"])
async def test_one_that_cannot_serve_is_not_asked_again(
    local_pool: LocalPool, problem: str
) -> None:
    environment = local_pool.environment(
        "one", f"say(ready=True, threads=1, problem={problem!r})\nhear()"
    )
    assert not await local_pool.zygotes.warm(environment)
    with pytest.raises(NotJoinedError, match=problem.partition(":")[0]):
        await local_pool.join(environment, "a")
    await until(lambda: zygotes_now() == 0)


async def test_nothing_can_start_in_what_is_no_environment(
    local_pool: LocalPool, tmp_path: Path
) -> None:
    with pytest.raises(NotJoinedError, match="refused"):
        await local_pool.join(tmp_path / "nowhere", "a")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
