"""Processes in namespaces inherit nothing of the supervisor, and end with it."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from mograder.sandbox.isolation.bwrap_process import Child
from mograder.sandbox.isolation.namespaces import NESTED, Founded, Joined, Launch
from tests.support.course import REPOSITORY
from tests.support.supervisors import PATIENCE, until

pytestmark = pytest.mark.full

HERE = Founded(os.geteuid(), os.getegid(), 1)
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
    launch = Launch(("/bin/sh", "-c", script), {"PATH": "/usr/bin:/bin"}, place=HERE)
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


@pytest.mark.full
async def test_whenever_the_supervisor_is_killed_nothing_of_it_goes_on() -> None:
    """Also between the first fork and the program, where nobody has asked for it yet."""
    for step in range(6):
        mark = f"600.0{os.getpid()}{step}"
        starter = _starter(mark)
        assert starter.stdout is not None
        with starter.stdout as words:
            assert words.readline() == b"begun\n"
        time.sleep(step / 700)  # noqa: ASYNC251 - another moment of its work each time
        starter.send_signal(signal.SIGKILL)
        starter.wait()
        await until(functools.partial(_none_marked, mark))


def _starter(mark: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", STARTER, mark]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY / "src")


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
