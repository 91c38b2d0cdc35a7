"""Cgroups as a service manager delegates them, and processes that live in them.

The tests run as root of a virtual machine (``scripts/test-vm``) and play systemd: a unit is a
cgroup below ``system.slice``, and with ``User=`` and ``Delegate=yes`` systemd gives the user the
directory and three files of it, no others.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SLICE = Path("/sys/fs/cgroup/system.slice")
ROOT, SERVICE = 0, 1000
"""Users that a unit may run as: root, or a service user."""

_GIVEN = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
_MARK = "trusted.delegate"


@dataclass(frozen=True, slots=True)
class Unit:
    """One service's cgroup, and the user that it runs as."""

    path: Path
    uid: int

    @property
    def entrance(self) -> Path:
        """Where a new process begins; what a hub starts later, where a supervisor moved the hub."""
        moved = self.path / "supervisor"
        return moved if moved.exists() else self.path

    def enter(self) -> None:
        """Move the calling process here, then become the unit's user, as systemd does."""
        (self.entrance / "cgroup.procs").write_text(str(os.getpid()))
        if self.uid:
            os.setgroups([])
            os.setgid(self.uid)
            os.setuid(self.uid)


@contextmanager
def open_unit(name: str, uid: int, *, delegate: bool = True) -> Iterator[Unit]:
    """A unit of its own; whatever is left in it is killed at its end."""
    path = SLICE / f"{name}.service"
    path.mkdir()
    if delegate:
        os.setxattr(path, _MARK, b"1")
        for given in (path, *(path / file for file in _GIVEN)):
            os.chown(given, uid, uid)
    yield Unit(path, uid)
    (path / "cgroup.kill").write_text("1")
    for branch in sorted((p for p in path.rglob("*") if p.is_dir()), reverse=True):
        remove(branch)
    remove(path)


def remove(group: Path) -> None:
    """Remove a cgroup as soon as what was killed in it is gone."""
    wait_for_events(group, "populated 0")
    group.rmdir()


def wait_for_events(group: Path, line: str) -> None:
    """Wait until ``cgroup.events`` has this line; the kernel wakes pollers."""
    with (group / "cgroup.events").open() as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while line not in events.read().splitlines():
            assert poll.poll(60_000), f"{group} never said: {line}"
            events.seek(0)


def child(work: Callable[[], object]) -> int:
    """Fork a process that does this and ends; returns its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a child must never go on as a second pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def inside(unit: Unit, work: Callable[[], object]) -> None:
    """Do something in a process of the unit and wait for its end, which must be a good one."""

    def enter_and_work() -> None:
        unit.enter()
        work()

    assert status_of(child(enter_and_work)) == 0, "its words are in the output"


def resident(unit: Unit, work: Callable[[], object]) -> int:
    """Do something in a process of the unit that stays there then; returns its pid."""
    done, tell = os.pipe()

    def enter_work_and_stay() -> None:
        unit.enter()
        work()
        os.write(tell, b"!")
        sleep_forever()

    pid = child(enter_work_and_stay)
    os.close(tell)
    with os.fdopen(done, "rb") as words:
        assert words.read(1), "it failed; its words are in the output"
    return pid


def status_of(pid: int) -> int:
    """Wait for a child; returns its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def apart(work: Callable[[], object]) -> None:
    """Do something in a session of its own, which no process group holds together."""
    os.setsid()
    work()


def sleep_forever() -> None:
    while True:
        signal.pause()


@contextmanager
def ended(*pids: int) -> Iterator[None]:
    """End children whatever happens in between."""
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def words_of(path: Path) -> list[str]:
    """Return the words of a file of the kernel's."""
    return path.read_text().split()


def number_in(path: Path, key: str) -> int:
    """Return the number behind a key of a file with one pair on each line."""
    pairs = (line.split() for line in path.read_text().splitlines())
    return next(int(value) for name, value in pairs if name == key)
