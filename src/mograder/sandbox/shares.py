"""A share of the processors for each session, by the ``cpu`` controller of cgroup v1.

For a supervisor that is root on a machine without cgroup v2. The processors are the one thing that
no limit on processes can divide: with autogroups, the usual setting, every ``setsid`` makes a new
group with a full share, and 250 of them leave next to nothing for the others. In a cgroup of its
own a session has one share, whatever it forks. Memory and processes are the watchdog's here.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from mograder.sandbox.priorities import DEMOTED_PART, STARTING_TIMES
from mograder.sandbox.usage import Member

_log = logging.getLogger("mograder.supervisor")

_UNIT, _LEAST = 1024, 2
"""``cpu.shares`` of weight 100, and what the kernel knows as the least."""

_USUAL_WEIGHT = 100


class CpuShares:
    """A branch of the tree with a leaf for each session."""

    def __init__(self, root: Path) -> None:
        """Raises: :class:`OSError` where no cgroup can be made."""
        self._root = root
        self._weights: dict[str, int] = {}
        root.mkdir(exist_ok=True)
        # All sessions together weigh as much as one busy process on every processor.
        _write(root / "cpu.shares", _UNIT * (os.cpu_count() or 1))
        self.sweep()

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
        self.sweep()
        leaf = self._root / session_id
        leaf.mkdir(parents=True, exist_ok=True)
        self._weights[session_id] = weight
        self._set(session_id, weight * STARTING_TIMES)
        return os.open(leaf / "tasks", os.O_WRONLY | os.O_CLOEXEC)

    def demote(self, session_id: str, members: Iterable[Member]) -> None:
        """Give it a small part of its share."""
        if session_id in self._weights:
            self._set(session_id, self._weights[session_id] // DEMOTED_PART)

    def restore(self, session_id: str, members: Iterable[Member]) -> None:
        """Give it its share again."""
        if session_id in self._weights:
            self._set(session_id, self._weights[session_id])

    def forget(self, session_id: str) -> None:
        """A session has ended; its leaf goes as soon as the kernel is done with it."""
        self._weights.pop(session_id, None)
        self.sweep()

    def sweep(self) -> None:
        """Remove the leaves of sessions that have ended, of a killed supervisor's as well."""
        with contextlib.suppress(FileNotFoundError):
            for leaf in self._root.iterdir():
                if leaf.is_dir() and leaf.name not in self._weights:
                    _remove(leaf)

    def close(self) -> bool:
        """Remove the branch; false while the kernel is not done with what ended in it."""
        self._weights.clear()
        self.sweep()
        _remove(self._root)
        return not self._root.exists()

    def _set(self, session_id: str, weight: int) -> None:
        with contextlib.suppress(OSError):  # it has ended
            shares = max(_LEAST, weight * _UNIT // _USUAL_WEIGHT)
            _write(self._root / session_id / "cpu.shares", shares)


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


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # the dead are not collected yet: the next time
        path.rmdir()


def _write(path: Path, value: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)
