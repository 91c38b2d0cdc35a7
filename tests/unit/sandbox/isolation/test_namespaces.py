"""Programs in namespaces have what they were given, nothing else, and end with the supervisor."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import psutil
import pytest

from mograder.sandbox.isolation.bwrap_process import Child, begin_elsewhere
from mograder.sandbox.isolation.namespace_helper import NamespaceHelper
from mograder.sandbox.isolation.namespaces import CLONE_NEWUSER, NESTED, Founded, Joined, Launch
from tests.support.course import REPOSITORY
from tests.support.supervisors import PATIENCE, until, until_gone

pytestmark = pytest.mark.full

HERE = Founded(os.geteuid(), os.getegid(), 1)
VARIABLES = {"PATH": "/usr/bin:/bin"}
STARTER = """
import sys
from mograder.sandbox.isolation.namespaces import Founded, Launch, start_in
import os
nothing = os.open(os.devnull, os.O_RDWR)
place = Founded(os.geteuid(), os.getegid(), 1)
launch = Launch(("/bin/sleep", sys.argv[1]))
print("begun", flush=True)
while True:
    start_in(place, launch, nothing)
"""


async def _outcome(script: str) -> str:
    said: list[bytes] = []
    launch = Launch(("/bin/sh", "-c", script), VARIABLES, place=HERE)
    child = Child(launch, said.append)
    assert await asyncio.wait_for(child.exited, PATIENCE) == 0, said
    return b"".join(said).decode()


async def test_it_is_root_in_there_and_who_it_was_outside() -> None:
    said = await _outcome("id -u; cat /proc/self/uid_map")
    assert said.split() == ["0", "0", str(os.geteuid()), "1"]


async def test_it_has_no_descriptor_of_the_supervisors() -> None:
    kept = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(kept, True)  # as a careless library might
    try:
        said = await _outcome("for each in /proc/$$/fd/*; do echo ${each##*/}; done")
    finally:
        os.close(kept)
    assert set(map(int, said.split())) <= {0, 1, 2, 3, 10}  # the last two are the shell's own
    assert str(kept) not in said.split() or kept in {3, 10}


async def test_a_program_that_is_not_there_is_an_end_and_no_riddle() -> None:
    said: list[bytes] = []
    child = Child(Launch(("/nowhere",), place=HERE), said.append)
    assert await asyncio.wait_for(child.exited, PATIENCE) == 127
    assert b"No such file" in b"".join(said)


async def test_namespaces_that_cannot_be_entered_are_an_error_at_once() -> None:
    own = os.pidfd_open(os.getpid())
    place = Joined(own, NESTED, 0)  # a process cannot enter its own user namespace
    try:
        with pytest.raises(PermissionError, match="refuses"):
            Child(Launch(("/bin/true",), place=place), lambda _: None)
    finally:
        os.close(own)


async def test_whenever_the_supervisor_is_killed_nothing_of_it_goes_on() -> None:
    """Also between the first fork and the program, where nobody has asked for it yet."""
    for step in range(6):
        mark = f"600.0{os.getpid()}{step}"
        starter = _begun(STARTER, mark)
        time.sleep(step / 700)  # noqa: ASYNC251 - another moment of its work each time
        starter.send_signal(signal.SIGKILL)
        starter.wait()
        await until(functools.partial(_none_marked, mark))


def _begun(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a program in the place of a supervisor, and wait until it says that it has begun."""
    command = [sys.executable, "-c", program, *arguments]
    starter = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY / "src")
    assert starter.stdout is not None
    with starter.stdout as words:
        assert words.readline() == b"begun\n"
    return starter


def _none_marked(mark: str) -> bool:
    """Whether none of our offspring, orphans included, has this word on its command line."""
    for process in psutil.Process().children(recursive=True):
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and mark in process.cmdline():
                return False
        except psutil.NoSuchProcess:
            continue
    return True


# --- the namespace helper, which starts programs in namespaces that are there ----------------

WITH_HELPER = """
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


async def test_a_porter_that_was_killed_is_replaced(helper: NamespaceHelper, place: Joined) -> None:
    first = await _killed_porter()
    assert await _said(helper, place, "echo on") == "on\n"
    (second,) = _porters()
    assert second.pid != first.pid


async def test_a_porter_that_could_not_be_replaced_at_first_is_replaced_later(
    helper: NamespaceHelper, place: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel that killed it for its memory has none for another one."""
    await _killed_porter()
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", _without_memory)
        with pytest.raises(OSError, match="Cannot allocate memory"):
            await begin_elsewhere(Launch(("/bin/true",), VARIABLES, place=place), helper)
    assert await _said(helper, place, "echo on") == "on\n"


def _without_memory(*_: object, **__: object) -> None:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


async def test_a_killed_supervisor_takes_its_porter_along() -> None:
    starter = _begun(WITH_HELPER)
    (helper,) = psutil.Process(starter.pid).children()
    starter.kill()
    starter.wait()
    await until_gone([helper])


async def _killed_porter() -> psutil.Process:
    """Kill the namespace helper's process, and wait for its end."""
    (porter,) = _porters()
    porter.kill()
    await until_gone([porter])
    return porter


def _porters() -> list[psutil.Process]:
    """Without those that have ended: here, programs are this process's own once they have."""
    living = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
    return [
        each
        for each in living
        if "mograder.sandbox.isolation.namespace_helper" in " ".join(each.cmdline())
    ]


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
