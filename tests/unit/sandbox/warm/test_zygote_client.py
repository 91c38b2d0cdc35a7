"""The supervisor's side of the protocol with a zygote, with any answer of the zygote."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import PurePosixPath
from typing import cast

import pytest

from mograder.sandbox.isolation.bwrap_process import (
    Child,
    Echo,
    Held,
    NotJoinedError,
    ZygoteGoneError,
    children_of,
)
from mograder.sandbox.isolation.namespaces import Launch
from mograder.sandbox.isolation.policy import Plan
from mograder.sandbox.warm.sessions import ZygoteClient

pytestmark = pytest.mark.full

TALK = """
import array, json, os, socket, sys, time
control = socket.socket(fileno=json.loads(sys.argv[1])["fd"])
def say(**words): control.send(json.dumps(words).encode())
def hear():
    data, fds, _, _ = socket.recv_fds(control, 65536, 4)
    assert len(fds) == 4, fds
    return json.loads(data)["id"]
def answer(number):
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    pidfd = os.pidfd_open(pid)
    socket.send_fds(control, [json.dumps({"id": number}).encode()], [pidfd])
    return pid
"""
READY = "say(ready=True, threads=1)\n"
PLAN = Plan(
    argv=("/python", "/serve.py", '{"fd": 3}', "--", "edit"),
    variables=(),
    binds=(),
    directory=PurePosixPath("/"),
    network=False,
    tmp_mb=1,
)


@asynccontextmanager
async def zygote(script: str) -> AsyncIterator[ZygoteClient]:
    """One that follows a script."""
    launch = Launch((sys.executable, "-c", TALK + script))
    zygote_client = ZygoteClient(launch, "/caches", heavy=True)
    try:
        yield zygote_client
    finally:
        zygote_client.kill()
        await asyncio.wait_for(zygote_client.exited, 60)


async def fork(zygote_client: ZygoteClient) -> None:
    """Ask for one session; its pidfd is put away at once."""
    descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]
    try:
        (await zygote_client.fork(PLAN, 0, descriptors)).forget()
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request may lie unread for longer, however busy the machine is."""
    monkeypatch.setattr("mograder.sandbox.warm.sessions._HEED_SECONDS", 30.0)


async def serving(zygote_client: ZygoteClient) -> None:
    assert await asyncio.wait_for(zygote_client.ready, 60) == ""
    assert zygote_client.alive


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("say(ready=True, threads=1, problem='internals: other')", "internals: other"),
        ("say(ready=True, threads=3)", "threads: 3"),
        ("control.send(b'no json')\nhear()", "boot: it ended before it was ready"),
        ("say(ready='yes')\nhear()", "boot: it ended before it was ready"),
        ("control.close(); time.sleep(600)", "boot: it ended before it was ready"),
        ("sys.exit('no marimo here')", "boot: it ended before it was ready"),
    ],
)
async def test_one_that_cannot_serve_says_why_or_is_ended(words: str, problem: str) -> None:
    async with zygote(words) as zygote_client:
        assert await asyncio.wait_for(zygote_client.ready, 60) == problem
        assert not zygote_client.alive


async def test_its_last_words_are_kept_for_the_log() -> None:
    async with zygote("print('no marimo here', flush=True)") as zygote_client:
        await asyncio.wait_for(zygote_client.exited, 60)
        assert "no marimo here" in zygote_client.said


@pytest.mark.usefixtures("patient")
async def test_a_session_is_handed_over_with_its_end() -> None:
    script = READY + "number = hear(); pid = answer(number); hear()\n"
    script += "os.kill(pid, 9); os.waitpid(pid, 0); say(ended=number, status=-9); hear()"
    async with zygote(script) as zygote_client:
        await serving(zygote_client)
        way = [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]
        session = await zygote_client.fork(PLAN, 0, way)
        assert session.pid > 0
        asking = asyncio.create_task(zygote_client.fork(PLAN, 0, way))
        assert await asyncio.wait_for(session.ended, 60) == -9
        with pytest.raises(ProcessLookupError):
            session.pid  # noqa: B018 - it is asked for the error
        session.forget()
        zygote_client.kill()
        with pytest.raises(ZygoteGoneError):
            await asking
        for descriptor in way:
            os.close(descriptor)


@pytest.mark.usefixtures("patient")
async def test_refused_forks_leave_nothing_to_wait_for() -> None:
    words = "for _ in range(20): say(id=hear(), problem='failed OSError()')\nhear()"
    async with zygote(READY + words) as zygote_client:
        await serving(zygote_client)
        for _ in range(20):
            with pytest.raises(NotJoinedError):
                await fork(zygote_client)
        assert not zygote_client._ends


@pytest.mark.parametrize(
    "words",
    [
        "hear(); sys.exit(1)",
        "hear(); control.send(b'[]'); time.sleep(600)",
        "hear(); control.close(); time.sleep(600)",
    ],
)
@pytest.mark.usefixtures("patient")
async def test_one_that_breaks_off_over_a_request_is_ended(words: str) -> None:
    async with zygote(READY + words) as zygote_client:
        await serving(zygote_client)
        with pytest.raises(ZygoteGoneError) as gone:
            await fork(zygote_client)
        assert gone.value.asked
        assert not zygote_client.alive


async def test_one_that_reads_nothing_is_ended_and_those_in_line_go_elsewhere() -> None:
    async with zygote(READY + "time.sleep(600)") as zygote_client:
        await serving(zygote_client)
        first, *others = await asyncio.gather(
            *(fork(zygote_client) for _ in range(3)), return_exceptions=True
        )
        assert isinstance(first, NotJoinedError)
        assert str(first) == "zygote silent"
        assert [(type(e), e.asked) for e in others if isinstance(e, ZygoteGoneError)] == [
            (ZygoteGoneError, False)
        ] * 2


async def test_one_that_is_slow_over_a_request_is_waited_for() -> None:
    """Longer than a request may lie unread: a machine that is busy is no reason to start cold."""
    async with zygote(
        READY + "number = hear(); time.sleep(1.5); answer(number); hear()"
    ) as zygote_client:
        await serving(zygote_client)
        await fork(zygote_client)


@pytest.mark.usefixtures("patient")
async def test_answers_that_nobody_asked_for_are_put_away() -> None:
    strange = "answer(77); say(ended=78, status=0); say(ready=True, threads=9)\n"
    async with zygote(f"{READY}{strange}answer(hear())\nhear()") as zygote_client:
        await serving(zygote_client)
        before = _open_descriptors()
        await fork(zygote_client)
        assert zygote_client.alive
        assert _open_descriptors() <= before


@pytest.mark.usefixtures("patient")
async def test_a_start_that_is_called_off_in_line_disturbs_no_other() -> None:
    script = READY + "number = hear(); time.sleep(0.3); answer(number); answer(hear()); hear()"
    async with zygote(script) as zygote_client:
        await serving(zygote_client)
        first, second, third = (asyncio.create_task(fork(zygote_client)) for _ in range(3))
        await asyncio.sleep(0)  # each stands where it waits
        second.cancel()
        await asyncio.gather(first, third)
        assert second.cancelled()


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted, nothing else


class Reaped:
    """A monitor that has ended, and whose pid is another program's by now."""

    lent = -1

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.exited.set_result(0)

    def end_loan(self) -> None:
        """Nothing is lent."""

    def signal(self, _: object) -> None:
        """It has ended."""


async def test_a_sandbox_that_has_ended_kills_nobody_with_its_old_pid() -> None:
    stranger = await asyncio.create_subprocess_exec("sh", "-c", "sleep 600 & echo; wait", stdout=-1)
    assert stranger.stdout is not None
    await stranger.stdout.readline()
    told = os.open(os.devnull, os.O_WRONLY)
    held = Held(cast(Child, Reaped(stranger.pid)), told, Echo(lambda _: None))
    await held.exited
    held.end()
    found = held.first_pid
    for pid in (*children_of(stranger.pid), stranger.pid):
        os.kill(pid, signal.SIGKILL)
    await stranger.wait()
    assert found == 0
