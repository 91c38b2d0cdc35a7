"""Lets sessions that use more than their share run only when nobody else wants to.

Only where no cgroup shares out the processor. ``SCHED_IDLE`` is inherited, and what runs under it
cannot leave it. It orders processes within one autogroup, though, and with autogroups (the usual
setting) every ``setsid`` makes a group of its own with a full share: so the groups are made nicer
as well. Root can take both back. A service user can take back only the second, and does not do
the first; without autogroups it can do but one mild and lasting step.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from mograder.sandbox.usage import Member

_NICEST, _MILD = 19, 5
_SWITCH = Path("/proc/sys/kernel/sched_autogroup_enabled")


class Priorities:
    """What was changed, to change it back."""

    def __init__(self) -> None:
        self._root = os.geteuid() == 0
        self._groups = _autogroups()
        self._lowered: dict[str, set[int]] = {}
        """Of each demoted session: the numbers of those of its autogroups that were made nicer."""

    def demote(self, session_id: str, members: Iterable[Member]) -> None:
        """Put a session's processes behind everybody else's; again for those that came since."""
        lowered = self._lowered.setdefault(session_id, set())
        for member in members:
            if self._root and member.policy != os.SCHED_IDLE:
                _schedule(member.pid, os.SCHED_IDLE)
            if self._groups and member.session not in lowered:
                if _make_group_nice(member.pid, _NICEST):
                    lowered.add(member.session)
            elif not self._groups and not self._root:
                _make_nice(member.pid)

    def restore(self, session_id: str, members: Iterable[Member]) -> None:
        """Let a session run as everybody does."""
        lowered = self._lowered.pop(session_id, set())
        for member in members:
            if self._root and member.policy == os.SCHED_IDLE:
                _schedule(member.pid, os.SCHED_OTHER)
            if member.session in lowered and _make_group_nice(member.pid, 0):
                lowered.discard(member.session)

    def forget(self, session_id: str) -> None:
        """A session has ended."""
        self._lowered.pop(session_id, None)


def _autogroups() -> bool:
    try:
        return _SWITCH.read_text().strip() == "1"
    except OSError:
        return False


def _schedule(pid: int, policy: int) -> None:
    """Each thread has a policy of its own."""
    for tid in _threads(pid):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(tid, policy, os.sched_param(0))


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


def _make_nice(pid: int) -> None:
    for tid in _threads(pid):
        with contextlib.suppress(OSError):
            if os.getpriority(os.PRIO_PROCESS, tid) < _MILD:
                os.setpriority(os.PRIO_PROCESS, tid, _MILD)


def _threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208 - hot
    except OSError:
        return []
