"""One cgroup v2 leaf for each session, where a part of the tree is delegated to us.

The kernel then limits a session's memory and processes and divides CPU time, whatever a session
forks and however fast (security.md, "The sandbox"). The part is delegated under systemd
with ``Delegate=yes``, and as root where no systemd manages the tree. Otherwise only the monitor
enforces limits (:mod:`mograder.sandbox.limits.rules`).

The resulting layout; a cgroup that distributes resources may hold no process itself::

    <ours>/supervisor           all previous members: the supervisor, perhaps the hub
    <ours>/zygotes-<name>       zygotes and their zygote groups
    <ours>/sessions-<name>/<id> one for each session
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mograder.sandbox.protocol import Limits

_log = logging.getLogger("mograder.supervisor")

CONTROLLERS = ("cpu", "memory", "pids")
_OWN, _ZYGOTES, _SESSIONS = "supervisor", "zygotes-", "sessions-"
_MANAGED = Path("/run/systemd/system")
_DELEGATED = ("user.delegate", "trusted.delegate")
"""Extended attributes with which systemd marks a delegated cgroup."""

_FIRST = 1000
"""The weight of the supervisor, of the hub that started it, and of the zygotes."""

_EACH, _MOST_WEIGHT = 100, 10_000
"""The weight of all sessions together: that of one busy process on every CPU, up to the kernel's
largest, which it has from a hundred CPUs on."""

PERIOD = 20_000
"""Period of ``cpu.max`` in microseconds. The usual 100 ms are as long as a whole start."""

FOR_SESSIONS = 0.95
"""The fraction of all CPUs that all sessions together may use."""

_ROUNDS = 5
"""Number of attempts to move processes that were forked while their parents were moved."""

_MICROSECONDS = 1_000_000
_SOFT = (31, 32)
"""The default soft limit as a fraction (31/32) of the hard limit.

Sessions have no swap, so above the soft limit the kernel slows them to about a MiB a second: a
wide gap would freeze a notebook for minutes before it is ended and its student is told why.
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """Current use of a session: bytes, CPU seconds since its start, processes and threads."""

    memory: int
    cpu: float
    tasks: int


@dataclass(frozen=True, slots=True)
class GroupEvents:
    """Number of OOM kills, of times that it reached its own limit, and of forks refused.

    The kernel counts a kill also where the machine's memory, or a cgroup's above it, was used up.
    """

    oom_kills: int
    own_limit: int
    refused: int


class SessionGroup:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._last = GroupEvents(0, 0, 0)

    def entry(self) -> int:
        """Return a descriptor of ``cgroup.procs``: a process that writes 0 to it is moved here.

        The kernel checks the permissions of the opener, so a process may enter that could not
        see this directory. The write may block on forks under way elsewhere; a supervisor that
        moved processes itself would block for as long. Raises: :class:`OSError`.
        """
        return os.open(self.path / "cgroup.procs", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def pids(self) -> list[int]:
        return _pids(self.path)

    def use(self) -> Reading:
        """Return the current use, without inactive file cache; OSError when the leaf is gone."""
        return Reading(_resident(self.path), self.cpu(), int(_read(self.path / "pids.current")))

    def cpu(self) -> float:
        """Return the CPU seconds used so far. Raises: :class:`OSError`."""
        return _keyed(self.path / "cpu.stat").get("usage_usec", 0) / _MICROSECONDS

    def events(self) -> GroupEvents:
        """Return the events so far; after :meth:`close`, those up to then."""
        with contextlib.suppress(OSError):
            memory = _keyed(self.path / "memory.events")
            self._last = GroupEvents(
                oom_kills=memory.get("oom_kill", 0),
                own_limit=memory.get("oom", 0),
                refused=_keyed(self.path / "pids.events").get("max", 0),
            )
        return self._last

    def weigh(self, weight: int) -> None:
        if self.path.exists():
            with contextlib.suppress(OSError):  # the session has ended
                (self.path / "cpu.weight").write_text(str(weight))

    def cap(self, processors: float | None) -> None:
        """Set ``cpu.max`` to this number of CPUs, or to no limit (None)."""
        if self.path.exists():
            _cap(self.path, processors)

    def close(self) -> bool:
        """Kill the remaining processes and remove the leaf; false if that must be retried."""
        self.events()
        return _remove(self.path)


class SessionGroups:
    """The delegated part of the tree, and the leaves in it."""

    def __init__(self, root: Path, name: str) -> None:
        """``root`` is the delegated cgroup; ``name`` the supervisor's, the same at each start."""
        self.root = root
        self._sessions = root / f"{_SESSIONS}{name}"
        self._zygotes = root / f"{_ZYGOTES}{name}"
        self._lingering: list[Path] = []
        self._lock = threading.Lock()
        """Guards ``_lingering``: the methods that block are called in threads."""

    @classmethod
    def find(
        cls, name: str = "course", *, proc: Path = Path("/proc"), managed: Path = _MANAGED
    ) -> SessionGroups | None:
        """Set up our own cgroup if it is delegated to us; call once, at the start.

        Moves this process and the others in its cgroup into a leaf, and kills the sessions left
        by a killed supervisor of the same name. Returns None, and logs the reason, where there is
        no cgroup v2 with these controllers or it is not delegated to us.
        """
        root = _divisible(proc, managed)
        refusal = root
        if isinstance(root, Path):
            groups = cls(root, name)
            try:
                groups.divide()
            except OSError as error:
                refusal = f"{root} cannot be divided: {error}"
            else:
                _log.info("sessions are limited by cgroups below %s", root)
                return groups
        _log.info("sessions are limited by rlimits and the monitor alone: %s", refusal)
        return None

    @staticmethod
    def refusal(*, proc: Path = Path("/proc"), managed: Path = _MANAGED) -> str:
        """Return why our own cgroup is not delegated to us, "" if it is. Changes nothing."""
        root = _divisible(proc, managed)
        return root if isinstance(root, str) else ""

    def divide(self) -> None:
        """Make the branches and enable the controllers in them. Raises: :class:`OSError`."""
        own = self.root / _OWN
        own.mkdir(exist_ok=True)
        for _ in range(_ROUNDS):
            for pid in _pids(self.root):
                with contextlib.suppress(ProcessLookupError):
                    (own / "cgroup.procs").write_text(str(pid))
            try:
                _hand_down(self.root)
                break
            except OSError as error:
                refusal = error
        else:
            raise refusal
        self._zygotes.mkdir(exist_ok=True)
        self._sessions.mkdir(exist_ok=True)
        processors = os.cpu_count() or 1
        together = min(_EACH * processors, _MOST_WEIGHT)
        for branch, weight in ((own, _FIRST), (self._zygotes, _FIRST), (self._sessions, together)):
            (branch / "cpu.weight").write_text(str(weight))
        _cap(self._sessions, FOR_SESSIONS * processors)
        _hand_down(self._sessions)
        for stale in _branches(self._sessions):
            _log.warning("a killed supervisor left the cgroup %s", stale.name)
            self._put_away(stale)

    def make(self, session_id: str, limits: Limits) -> SessionGroup:
        """Make a session's leaf with its limits; blocks. Raises: :class:`OSError`."""
        path = self._sessions / session_id
        with self._lock:
            waiting, self._lingering = self._lingering, []
        for each in waiting:
            self._put_away(each)
        path.mkdir()
        try:
            for file, value in _settings(limits):
                (path / file).write_text(value)
            if (path / "memory.swap.max").exists():
                (path / "memory.swap.max").write_text("0")
        except OSError:
            _remove(path)
            raise
        return SessionGroup(path)

    def put_away(self, group: SessionGroup) -> None:
        """Close a leaf, now or as soon as its killed processes have been reaped; blocks."""
        if not group.close():
            with self._lock:
                self._lingering.append(group.path)

    def shelter(self, pid: int) -> None:
        """Move a zygote out of our own leaf; may block: call it in a thread. Raises: OSError."""
        (self._zygotes / "cgroup.procs").write_text(str(pid))

    def overhead(self) -> int:
        """Return the memory of the supervisor's leaf and of the zygotes in bytes."""
        total = 0
        for path in (self.root / _OWN, self._zygotes):
            with contextlib.suppress(OSError, ValueError):
                total += _resident(path)
        return total

    def close(self) -> bool:
        """Remove the sessions' branch; false while the kernel still has dead processes in it.

        The supervisor's own leaf remains, since this process is in it.
        """
        for path in (*_branches(self._sessions), self._sessions, self._zygotes):
            self._put_away(path)
        return not self._sessions.exists()

    def _put_away(self, path: Path) -> None:
        if not _remove(path):
            with self._lock:
                self._lingering.append(path)


def _settings(limits: Limits) -> Iterator[tuple[str, str]]:
    hard = limits.memory_mb << 20
    part, whole = _SOFT
    soft = (limits.memory_soft_mb << 20) or hard * part // whole
    yield "memory.max", str(hard) if hard else "max"
    yield "memory.high", str(min(soft, hard) if hard else soft) if soft else "max"
    # A kernel without its server, or the reverse, is useless: kill all processes at once.
    yield "memory.oom.group", "1"
    yield "pids.max", str(limits.processes or "max")
    yield "cpu.weight", str(limits.cpu_weight)


def _divisible(proc: Path, managed: Path) -> Path | str:
    root = _own_cgroup(proc)
    if root is None:
        return "this process is in no cgroup v2"
    above = set(_words(root.parent / "cgroup.subtree_control"))
    if root.name == _OWN and above.issuperset(CONTROLLERS) and _is_ours(root.parent, managed):
        root = root.parent  # started by a hub that an earlier supervisor moved into that leaf
    missing = set(CONTROLLERS) - set(_words(root / "cgroup.controllers"))
    if missing:
        return f"{root} has no {', '.join(sorted(missing))} controller"
    if not _is_ours(root, managed):
        return f"{root} is not delegated (systemd: Delegate=yes)"
    return root


def _own_cgroup(proc: Path) -> Path | None:
    """Return the directory of our own v2 cgroup, None if it is not mounted."""
    own = next((w[3:] for w in _lines(proc / "self/cgroup") if w.startswith("0::/")), None)
    if own is None or own.startswith("/.."):
        return None
    for line in _lines(proc / "self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields = before.split()
        if after.split()[:1] == ["cgroup2"] and Path(own).is_relative_to(fields[3]):
            return Path(fields[4]) / Path(own).relative_to(fields[3])
    return None


def _is_ours(root: Path, managed: Path) -> bool:
    needed = (root, root / "cgroup.procs", root / "cgroup.subtree_control")
    if not all(os.access(path, os.W_OK) for path in needed):
        return False
    if os.geteuid() != 0 or not managed.exists():
        return True
    return any(_mark(root, name) == b"1" for name in _DELEGATED)


def _mark(path: Path, name: str) -> bytes:
    try:
        return os.getxattr(path, name)
    except OSError:
        return b""


def _hand_down(path: Path) -> None:
    # In a single system call, as the kernel requires for its files: so is any short `write_text`.
    (path / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in CONTROLLERS))


def _cap(path: Path, processors: float | None) -> None:
    with contextlib.suppress(OSError):  # the session has ended, or the kernel has no quotas
        (path / "cpu.max").write_text(cpu_max(processors))


def cpu_max(processors: float | None) -> str:
    """Return the text for ``cpu.max`` for this number of CPUs, or for no limit (None)."""
    quota = "max" if processors is None else str(int(processors * PERIOD))
    return f"{quota} {PERIOD}"


def _remove(path: Path) -> bool:
    """Kill the processes of a cgroup and remove it; false if the kernel does not allow that yet."""
    try:
        pids = _pids(path)
        if pids and (path / "cgroup.kill").exists():
            (path / "cgroup.kill").write_text("1")
            pids = []
        for pid in pids:  # before Linux 5.14
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _branches(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry.is_dir()] if path.is_dir() else []


def _resident(path: Path) -> int:
    dropped = _keyed(path / "memory.stat").get("inactive_file", 0)
    return max(0, int(_read(path / "memory.current")) - dropped)


def _pids(path: Path) -> list[int]:
    """Return the pids in a cgroup, without 0, which stands for an outer pid namespace's process."""
    return [pid for word in _words(path / "cgroup.procs") if (pid := int(word)) > 0]


def _keyed(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in _read(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return _read(path).splitlines()
    except OSError:
        return []


def _read(path: Path) -> str:
    return path.read_text("utf-8", "replace")
