"""The namespace helper starts programs with what they were given and nothing else."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import psutil
import pytest

from mograder.sandbox.isolation.bwrap_process import Child, begin_elsewhere
from mograder.sandbox.isolation.namespace_helper import NamespaceHelper
from mograder.sandbox.isolation.namespaces import CLONE_NEWUSER, Founded, Joined, Launch
from tests.support.course import REPOSITORY
from tests.support.supervisors import PATIENCE, until

pytestmark = pytest.mark.full

HERE = Founded(os.geteuid(), os.getegid(), 1)
VARIABLES = {"PATH": "/usr/bin:/bin"}
STARTER = """
import signal
from mograder.sandbox.isolation.namespace_helper import NamespaceHelper
helper = NamespaceHelper()
print("begun", flush=True)
signal.pause()
"""


@pytest.fixture
def helper() -> Iterator[NamespaceHelper]:
    with closing(NamespaceHelper()) as helper:
        yield helper


@pytest.fixture
async def place() -> AsyncIterator[Joined]:
    """A user namespace that the namespace helper enters, for as long as a process is in it."""
    sleeper = Child(Launch(("/bin/sleep", "600"), VARIABLES, place=HERE), lambda _: None)
    pidfd = os.pidfd_open(sleeper.pid)
    yield Joined(pidfd, CLONE_NEWUSER, 0)
    os.close(pidfd)
    sleeper.signal(signal.SIGKILL)
    await asyncio.wait_for(sleeper.exited, PATIENCE)


async def _said(
    helper: NamespaceHelper, place: Joined, script: str, descriptors: tuple[int, ...] = ()
) -> str:
    said: list[bytes] = []
    launch = Launch(("/bin/sh", "-c", script), VARIABLES, descriptors=descriptors, place=place)
    child = Child(launch, said.append, await begin_elsewhere(launch, helper))
    await asyncio.wait_for(child.exited, PATIENCE)
    return b"".join(said).decode()


async def test_a_program_has_what_it_was_given_at_the_numbers_that_it_was_told(
    helper: NamespaceHelper, place: Joined
) -> None:
    """Also at the lowest ones, which the namespace helper itself has other things at."""
    ends = [os.pipe() for _ in range(4)]
    for number, (_, write) in enumerate(ends):
        os.write(write, f"word {number}".encode())
        os.close(write)
    numbers = tuple(read for read, _ in ends)
    script = "; ".join(f"cat /proc/self/fd/{number}; echo" for number in numbers)
    said = await _said(helper, place, script, numbers)
    for number in numbers:
        os.close(number)
    assert said.split("\n")[:4] == ["word 0", "word 1", "word 2", "word 3"]


async def test_a_program_has_nothing_else(helper: NamespaceHelper, place: Joined) -> None:
    for _ in range(2):  # nor what the one before had
        given = os.open(os.devnull, os.O_RDONLY)
        said = await _said(
            helper, place, "for i in /proc/$$/fd/*; do echo ${i##*/}; done", (given,)
        )
        os.close(given)
        assert set(map(int, said.split())) <= {0, 1, 2, 3, 10, given}, "3 and 10 are the shell's"


async def test_a_program_is_whom_its_place_says_and_can_do_nothing(
    helper: NamespaceHelper, place: Joined
) -> None:
    said = await _said(helper, place, "id -u; grep CapEff /proc/self/status")
    assert said.split() == ["0", "CapEff:", "0" * 16]


async def test_namespaces_that_cannot_be_entered_are_an_error_and_no_end(
    helper: NamespaceHelper, place: Joined
) -> None:
    own = os.pidfd_open(os.getpid())
    try:
        with pytest.raises(PermissionError, match="refuses"):
            await _said(helper, Joined(own, CLONE_NEWUSER, 0), "true")
    finally:
        os.close(own)
    assert await _said(helper, place, "echo on") == "on\n"


@pytest.mark.full
async def test_a_porter_that_was_killed_is_replaced(helper: NamespaceHelper, place: Joined) -> None:
    (first,) = _porters()
    first.kill()
    await until(lambda: not first.is_running() or first.status() == psutil.STATUS_ZOMBIE)
    assert await _said(helper, place, "echo on") == "on\n"
    (second,) = _porters()
    assert second.pid != first.pid


@pytest.mark.full
async def test_a_porter_that_could_not_be_replaced_at_first_is_replaced_later(
    helper: NamespaceHelper, place: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel that killed it for its memory has none for another one."""
    (first,) = _porters()
    first.kill()
    await until(lambda: not first.is_running() or first.status() == psutil.STATUS_ZOMBIE)
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", _without_memory)
        with pytest.raises(OSError, match="Cannot allocate memory"):
            await begin_elsewhere(Launch(("/bin/true",), VARIABLES, place=place), helper)
    assert await _said(helper, place, "echo on") == "on\n"


def _without_memory(*_: object, **__: object) -> None:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


@pytest.mark.full
async def test_a_killed_supervisor_takes_its_porter_along() -> None:
    starter = _starter()
    assert starter.stdout is not None
    with starter.stdout as words:
        assert words.readline() == b"begun\n"
    (helper,) = psutil.Process(starter.pid).children()
    starter.kill()
    starter.wait()
    await until(lambda: not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE)


def _starter() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", STARTER]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY / "src")


def _porters() -> list[psutil.Process]:
    """Without those that have ended: here, programs are this process's own once they have."""
    living = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
    return [
        each
        for each in living
        if "mograder.sandbox.isolation.namespace_helper" in " ".join(each.cmdline())
    ]


@pytest.mark.full
async def test_the_loop_goes_on_while_the_porter_takes_its_time(
    place: Joined, helper: NamespaceHelper
) -> None:
    process = psutil.Process(helper.pid)
    process.suspend()
    try:
        asking = asyncio.create_task(_said(helper, place, "echo here"))
        await asyncio.sleep(0)
        # A timer that goes off shows that nothing blocks the loop.
        await asyncio.wait({asking}, timeout=0.05)
        assert not asking.done()
    finally:
        process.resume()
    assert await asking == "here\n"
