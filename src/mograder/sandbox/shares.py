"""A share of the processors for each session, by the ``cpu`` controller of cgroup v1.

For a supervisor that is root on a machine without cgroup v2. The processors are the one thing that
no limit on processes can divide: with autogroups, the usual setting, every ``setsid`` makes a new
group with a full share, and 250 of them leave next to nothing for the others. In a cgroup of its
own a session has one share, whatever it forks. Memory and processes are the watchdog's here.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mograder.sandbox import bandwidth
from mograder.sandbox.priorities import DEMOTED_PART, MOST_WEIGHT, STARTING_TIMES
from mograder.sandbox.usage import Member

_log = logging.getLogger("mograder.supervisor")

_UNIT, _LEAST = 1024, 2
"""``cpu.shares`` of weight 100, and what the kernel knows as the least."""

_USUAL_WEIGHT = 100
_AT_HAND = 16
"""Leaves that are made before they are needed."""


@dataclass(frozen=True, slots=True)
class _Share:
    leaf: Path
    weight: int

    def weigh(self, weight: int) -> None:
        with contextlib.suppress(OSError):  # it has ended
            _write(self.leaf / "cpu.shares", max(_LEAST, weight * _UNIT // _USUAL_WEIGHT))

    def hold(self, quota: int) -> None:
        _limit(self.leaf, quota)


class CpuShares:
    """A branch of the tree with a leaf for each session."""

    prompt = True

    def __init__(self, root: Path) -> None:
        """Raises: :class:`OSError` where no cgroup can be made."""
        self._root = root
        self._shares: dict[str, _Share] = {}
        self._numbers = itertools.count(1)
        self._ready: deque[Path] = deque()
        self._ended: deque[Path] = deque()
        self._worker = ThreadPoolExecutor(1, "shares")
        root.mkdir(exist_ok=True)
        # All sessions together weigh as much as one busy process on every processor.
        _write(root / "cpu.shares", _UNIT * (os.cpu_count() or 1))
        _limit(root, bandwidth.quota(bandwidth.FOR_SESSIONS))
        for leaf in _leaves(root):  # a killed supervisor's
            _remove(leaf)
        self._prepare()

    @classmethod
    def find(cls, name: str, *, proc: Path = Path("/proc")) -> CpuShares | None:
        """Take a branch of our own cgroup, named after this supervisor; None where that fails."""
        own = _own_cgroup(proc) if os.geteuid() == 0 else None
        if own is None:
            return None
        try:
            return cls(own / f"mograder-{name}")
        except OSError as error:
            _log.info("sessions get no share of the processors: %s", error)
            return None

    def make(self, session_id: str, weight: int) -> int:
        """Give a session that starts its share; whoever writes 0 to what is returned is in it.

        A thread that moves itself needs no lock of the kernel's; to move a whole process, or
        another one, the kernel waits for forks that are under way anywhere.
        Raises: :class:`OSError`.
        """
        share = self._shares.get(session_id)  # of a warm start that failed, before the cold one
        if share is None:
            share = _Share(self._ready.popleft() if self._ready else self._make_leaf(), weight)
            self._shares[session_id] = share
            self._worker.submit(self._prepare)
        share.weigh(min(MOST_WEIGHT, weight * STARTING_TIMES))
        return os.open(share.leaf / "tasks", os.O_WRONLY | os.O_CLOEXEC)

    def favour(self, session_id: str, times: int) -> None:
        """Give one that starts so many times its share."""
        if (share := self._shares.get(session_id)) is not None:
            share.weigh(min(MOST_WEIGHT, share.weight * times))

    def demote(self, session_id: str, members: Iterable[Member]) -> None:
        """Give it a small part of its share."""
        if (share := self._shares.get(session_id)) is not None:
            share.weigh(share.weight // DEMOTED_PART)

    def restore(self, session_id: str, members: Iterable[Member]) -> None:
        """Give it its share again."""
        if (share := self._shares.get(session_id)) is not None:
            share.weigh(share.weight)

    def hold(self, session_id: str, quota: int) -> None:
        """Let it have no more than a quota, or as much as it gets."""
        if (share := self._shares.get(session_id)) is not None:
            share.hold(quota)

    def forget(self, session_id: str) -> None:
        """A session has ended; its leaf goes as soon as the kernel is done with it."""
        if (share := self._shares.pop(session_id, None)) is not None:
            self._ended.append(share.leaf)
            self._worker.submit(self._prepare)

    def close(self) -> bool:
        """Remove the branch; false while the kernel is not done with what ended in it."""
        self._worker.shutdown()
        self._shares.clear()
        for leaf in _leaves(self._root):
            _remove(leaf)
        _remove(self._root)
        return not self._root.exists()

    def _prepare(self) -> None:
        """In a thread: have empty leaves at hand, and remove what has ended.

        While somebody moves a process into another cgroup, nobody makes or removes one, and that
        may take as long as the slowest fork: nothing that the supervisor's loop can wait for.
        """
        for _ in range(len(self._ended)):
            leaf = self._ended.popleft()
            if not _remove(leaf):
                self._ended.append(leaf)  # the dead are not collected yet: the next time
        with contextlib.suppress(OSError):
            while len(self._ready) < _AT_HAND:
                self._ready.append(self._make_leaf())

    def _make_leaf(self) -> Path:
        leaf = self._root / f"session-{next(self._numbers)}"
        leaf.mkdir(parents=True)
        return leaf


def _own_cgroup(proc: Path) -> Path | None:
    own = None
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if "cpu" in names.split(","):
            own = path
    for line in (proc / "self/mountinfo").read_text().splitlines() if own else ():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(maxsplit=2)
        ours = kind == "cgroup" and "cpu" in options.split(",")
        if ours and own is not None and Path(own).is_relative_to(fields[3]):
            return Path(fields[4]) / Path(own).relative_to(fields[3])
    return None


def _leaves(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []


def _remove(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _limit(path: Path, quota: int) -> None:
    """Set a quota where there are any, and where a container's own is not less already."""
    with contextlib.suppress(OSError):
        if quota != bandwidth.NO_QUOTA:
            _write(path / "cpu.cfs_period_us", bandwidth.PERIOD)
        _write(path / "cpu.cfs_quota_us", quota)


def _write(path: Path, value: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)
