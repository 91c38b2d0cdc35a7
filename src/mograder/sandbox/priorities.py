"""Lets sessions that use more than their share run behind the others.

By the weight of their cgroup where they have one (:mod:`mograder.sandbox.cgroups`,
:mod:`mograder.sandbox.shares`), else by the niceness of their processes. That orders processes
within one autogroup only, and with autogroups (the usual setting) every ``setsid`` makes a group
of its own with a full share: so the groups are made nicer as well. Root can take both back. A
service user can take back only the second, and does not do the first; without autogroups it can
do but one mild and lasting step.

A tenth of the usual weight, and never the idle class: whoever is in there may hold a lock of the
kernel's that everybody's next ``fork`` needs, and would be run too late to let it go.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from mograder.sandbox import slices
from mograder.sandbox.cgroups import SessionGroup
from mograder.sandbox.usage import Member

_NICE, _MILD, _FIRST, _FORWARD = 10, 5, -10, -5
DEMOTED_PART = 10
"""A demoted session has its weight divided by this; so do ten steps of niceness."""

STARTING_TIMES = 32
"""A session that starts has its weight times this at first, where it has one."""

MOST_WEIGHT = 10_000

_SWITCH = Path("/proc/sys/kernel/sched_autogroup_enabled")


class Priorities(Protocol):
    """Changes who runs first; ``members`` are a session's processes at this moment."""

    @property
    def prompt(self) -> bool:
        """Whether it acts on a session as a whole and at once, however many processes that has."""
        ...

    def favour(self, session_id: str, times: int) -> None:
        """Give one that starts so many times its weight, where it has a weight."""
        ...

    def demote(self, session_id: str, members: Iterable[Member]) -> None:
        """Put a session behind everybody else; again for what it has started since."""
        ...

    def restore(self, session_id: str, members: Iterable[Member]) -> None:
        """Let a session run as everybody does that was put behind."""
        ...

    def hold(self, session_id: str, quota: int) -> None:
        """Let a session have no more than a quota of the processors, or as much as it gets.

        ``quota``: as in :mod:`mograder.sandbox.bandwidth`. Nothing where they are not ``prompt``.
        """
        ...

    def forget(self, session_id: str) -> None:
        """A session has ended."""
        ...


class GroupPriorities:
    """The weights of cgroups: nothing that a session does gets around them."""

    prompt = True

    def __init__(self) -> None:
        self._groups: dict[str, tuple[SessionGroup, int]] = {}

    def join(self, session_id: str, group: SessionGroup, weight: int) -> None:
        """Say which leaf is a session's that starts now, and its usual weight."""
        self._groups[session_id] = (group, weight)
        self.favour(session_id, STARTING_TIMES)

    def favour(self, session_id: str, times: int) -> None:
        if (known := self._groups.get(session_id)) is not None:
            group, weight = known
            group.weigh(min(MOST_WEIGHT, weight * times))

    def demote(self, session_id: str, members: Iterable[Member]) -> None:
        if (known := self._groups.get(session_id)) is not None:
            group, weight = known
            group.weigh(max(1, weight // DEMOTED_PART))

    def restore(self, session_id: str, members: Iterable[Member]) -> None:
        if (known := self._groups.get(session_id)) is not None:
            group, weight = known
            group.weigh(weight)

    def hold(self, session_id: str, quota: int) -> None:
        if (known := self._groups.get(session_id)) is not None:
            known[0].hold(quota)

    def forget(self, session_id: str) -> None:
        self._groups.pop(session_id, None)


class ProcessPriorities:
    """The priority of each process, where no cgroup shares out the processors."""

    prompt = False

    def __init__(self) -> None:
        self._root = os.geteuid() == 0
        self._groups = _autogroups()
        self._lowered: dict[str, set[int]] = {}
        """Of each demoted session: the numbers of those of its autogroups that were made nicer."""

    def favour(self, session_id: str, times: int) -> None:
        """Nothing here has a weight."""

    def demote(self, session_id: str, members: Iterable[Member]) -> None:
        lowered = self._lowered.setdefault(session_id, set())
        for member in members:
            if self._root:
                _make_nice(member.pid, _NICE)
            if self._groups and member.session not in lowered:
                if _make_group_nice(member.pid, _NICE):
                    lowered.add(member.session)
            elif not self._groups and not self._root:
                _make_nice(member.pid, _MILD)

    def restore(self, session_id: str, members: Iterable[Member]) -> None:
        if session_id not in self._lowered:
            return
        lowered = self._lowered.pop(session_id)
        for member in members:
            if self._root:
                _make_nice(member.pid, 0)
            if member.session in lowered and _make_group_nice(member.pid, 0):
                lowered.discard(member.session)

    def hold(self, session_id: str, quota: int) -> None:
        """Nothing here has a quota."""

    def forget(self, session_id: str) -> None:
        self._lowered.pop(session_id, None)


def put_first() -> None:
    """Let this thread act in time on a machine that others keep busy.

    By root before others; by everybody in shorter turns. What root starts is as everybody else.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, _FIRST)
        _make_group_nice(os.getpid(), _FIRST)
    slices.shorten()


def put_forward(pid: int) -> None:
    """Let a process that many wait for go before sessions, by its autogroup; only root can.

    Not by its own niceness, which what it forks would inherit.
    """
    _make_group_nice(pid, _FORWARD)


def _autogroups() -> bool:
    try:
        return _SWITCH.read_text().strip() == "1"
    except OSError:
        return False


def _make_group_nice(pid: int, nice: int) -> bool:
    """False when it is gone, or for who is not root after too many changes in a moment."""
    try:
        descriptor = os.open(f"/proc/{pid}/autogroup", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, str(nice).encode())
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _make_nice(pid: int, nice: int) -> None:
    """Each thread has a niceness of its own."""
    for tid in _threads(pid):
        with contextlib.suppress(OSError):
            if os.getpriority(os.PRIO_PROCESS, tid) != nice:
                os.setpriority(os.PRIO_PROCESS, tid, nice)


def _threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208 - hot
    except OSError:
        return []
