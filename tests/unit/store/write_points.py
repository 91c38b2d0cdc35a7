"""Run each operation of the store repeatedly in a child that fails at its n-th write.

Run as ``python -m tests.unit.store.write_points PLACE``; prints what was found as JSON. It is a
program of its own since it forks, which a process with threads must not. A write is whatever
changes a name or a byte: the store's file layer (``store.disk.Disk``) and Python's audit events
tell of each. Either the child is killed before it, or in the middle of its bytes; or the disk is
full from then on.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from mograder.core.errors import Busy
from mograder.core.files.disk import DISK, Disk, Place
from tests.unit.store.operations import OPERATIONS, Operation, litter

KILL, FULL, KILL_OLD = "kill", "full disk", "kill without exchange"
FAULTS = (KILL, FULL, KILL_OLD)
_UNHURT, _REFUSED, _BROKEN, _DONE_ANYWAY = 0, 3, 4, 5
_CHANGES = frozenset(
    {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.truncate"}
)
_GROWS = frozenset({"os.mkdir", "os.symlink", "os.link", "os.rename"})
_MOST = 500


@dataclass(frozen=True, slots=True)
class Found:
    """At how many points an operation was hit, and how often the old or the new state was there."""

    operation: str
    fault: str
    points: int
    old: int
    new: int


class Fault:
    """Counts the writes of this process and hits at the one it was given."""

    def __init__(self, kind: str, number: int) -> None:
        self._kind = kind
        self._number = number
        self.seen = 0

    @property
    def hit(self) -> bool:
        """Whether the point was reached."""
        return self.seen >= self._number

    @property
    def fills(self) -> bool:
        """Whether the disk is full instead of the process killed."""
        return self._kind == FULL

    def point(self) -> None:
        """One more write is about to happen."""
        self.seen += 1
        if not self.hit:
            return
        if self.fills:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.kill(os.getpid(), signal.SIGKILL)

    def heed(self, event: str, arguments: tuple[object, ...]) -> None:
        """Audit hook: call ``point`` before each change of a file."""
        if event == "open":
            flags = arguments[2]
            if isinstance(flags, int) and flags & (os.O_CREAT | os.O_TRUNC):
                self.point()
        elif event in (_GROWS if self.fills else _CHANGES):
            self.point()


class HitDisk(Disk):
    """The machine's disk until the fault."""

    def __init__(self, fault: Fault, *, exchanges: bool) -> None:
        self._fault = fault
        self._exchanges = exchanges

    def write(self, fd: int, data: bytes) -> None:
        half = len(data) // 2
        super().write(fd, data[:half])
        self._fault.point()
        super().write(fd, data[half:])

    def fsync(self, fd: int) -> None:
        if self._fault.fills:
            self._fault.point()

    def place(self, source: Place, target: Place) -> None:
        if not self._exchanges:
            self._place_by_link(source, target)
            return
        self._fault.point()
        super().place(source, target)

    def exchange(self, one: Place, other: Place) -> None:
        if not self._exchanges:
            raise OSError(errno.EINVAL, "not here")
        self._fault.point()
        super().exchange(one, other)


def examine(operation: Operation, kind: str, place: Path) -> Found:
    """Hit an operation at each of its writes; every state must be the old or the new one."""
    base = place / "base"
    base.mkdir(parents=True)
    operation.prepare(base)
    assert operation.state(base) == "old", operation.name
    states: Counter[str] = Counter()
    for number in range(1, _MOST):
        home = place / str(number)
        shutil.copytree(base, home, symlinks=True)
        ended = _ended(operation, kind, number, home)
        what = f"{operation.name}, {kind} at write {number}: ended with {ended}"
        state = operation.state(home)
        if ended in (_UNHURT, _DONE_ANYWAY):
            assert state == "new", f"{what}, but the state is old"
        if ended == _UNHURT:
            return Found(operation.name, kind, number - 1, states["old"], states["new"])
        expected = (_REFUSED, _DONE_ANYWAY) if kind == FULL else (-signal.SIGKILL,)
        assert ended in expected, what
        left = litter(home) - litter(base)
        assert kind != FULL or not left, f"{what}, and left {left}"
        states[state] += 1
        operation.act(home, DISK)
        assert operation.state(home) == "new", f"{what}, and cannot be done again"
        shutil.rmtree(home)
    raise AssertionError(f"{operation.name} never ends")


def _ended(operation: Operation, kind: str, number: int, home: Path) -> int:
    """Do the operation in a child; its status, negative for a signal."""
    child = os.fork()
    if child == 0:
        _do(operation.act, Fault(kind, number), home, exchanges=kind != KILL_OLD)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _do(act: Callable[[Path, Disk], object], fault: Fault, home: Path, *, exchanges: bool) -> None:
    disk = HitDisk(fault, exchanges=exchanges)
    sys.addaudithook(fault.heed)
    try:
        act(home, disk)
    except Busy:
        os._exit(_REFUSED)
    except BaseException:  # noqa: BLE001 - a forked child goes nowhere else
        traceback.print_exc()
        os._exit(_BROKEN)
    os._exit(_DONE_ANYWAY if fault.hit else _UNHURT)


def main(place: Path) -> None:
    """Examine every operation with every fault; report failures with their trace."""
    sys.dont_write_bytecode = True
    found = []
    for operation, kind in itertools.product(OPERATIONS, FAULTS):
        where = place / f"{operation.name}-{kind}".replace(" ", "-")
        try:
            found.append(asdict(examine(operation, kind, where)))
        except Exception:  # noqa: BLE001 - a loop: the other operations are examined too
            found.append(
                {"operation": operation.name, "fault": kind, "why": traceback.format_exc()}
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
