"""Processes that tests put into a session's cgroup, and what they do there."""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Callable

from mograder.sandbox.limits.cgroup2 import SessionGroup
from tests.vm.delegated_cgroups import child, sleep_forever, status_of, wait_for_events

_TELL = 100
"""The file in which a joined process reports that it stays."""


def entered(group: SessionGroup, work: Callable[[], object]) -> None:
    """Enter a session's cgroup, and work there."""
    enter(group)
    work()


def enter(group: SessionGroup) -> None:
    """Go where a session belongs, as its first process does."""
    entry = group.entry()
    os.write(entry, b"0")
    os.close(entry)


def joined(group: SessionGroup, work: Callable[[], object], *, stays: bool = True) -> int:
    """Fork a process that enters the cgroup by the supervisor's descriptor, and runs the work.

    One that ``stays`` reports so at the end of its work (``stay``); others are not waited for.
    """
    told, tell = os.pipe()
    released, release = os.pipe()

    def wait_and_work() -> None:
        os.read(released, 1)
        os.write(entry, b"0")
        os.close(entry)
        os.dup2(tell, _TELL)
        work()

    entry = group.entry()
    pid = child(wait_and_work)
    os.write(release, b"!")
    for descriptor in (tell, released, release, entry):
        os.close(descriptor)
    with os.fdopen(told, "rb") as words:
        assert not stays or words.read(1), "it failed; its words are in the output"
    return pid


def stay() -> None:
    """Report that the work is done, and wait to be killed."""
    os.write(_TELL, b"!")
    sleep_forever()


def hold_memory(amount: int) -> None:
    """Take this many bytes, and stay."""
    memory = mmap.mmap(-1, amount, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for offset in range(0, amount, mmap.PAGESIZE):
        memory[offset] = 1
    stay()


def spin() -> None:
    while True:
        pass


def close(group: SessionGroup, *pids: int) -> None:
    """Close a leaf, and reap the processes that it kills."""
    if not group.close():
        for pid in pids:
            assert status_of(pid) == -signal.SIGKILL
        wait_for_events(group.path, "populated 0")
        assert group.close()
