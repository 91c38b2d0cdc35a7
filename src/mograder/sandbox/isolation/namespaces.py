"""The start of a process in a new user namespace, or in the namespaces of another process.

bubblewrap makes every sandbox; the two ways here prepare for it. A *zygote group* (one for each
environment with a zygote) is a user and a pid namespace. It is *founded* by a bubblewrap that is
root only inside it; the zygote and the sandboxes of its sessions are then started *in* it, since
the kernel lets a process join only a sandbox below its own namespaces.
The view of a sandbox is not defined here but in ``policy.py``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from mograder.core.context_managers import open_pipes
from mograder.sandbox.inside.enter_sandbox import (
    bound_capabilities,
    check,
    filter_calls,
    forbid_new_privileges,
    keep_capabilities,
    libc,
)

CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
_CLONE_NEWNS, _CLONE_NEWCGROUP, _CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
_CLONE_NEWIPC, _CLONE_NEWNET = 0x08000000, 0x40000000
NESTED = CLONE_NEWUSER | CLONE_NEWPID
"""The namespaces that a session's bubblewrap joins; it makes all others itself."""

EVERYTHING = (
    NESTED | _CLONE_NEWNS | _CLONE_NEWCGROUP | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWNET
)
SETGID, SETUID, SETFCAP = 6, 7, 31
"""A zygote that forks for students of different uids keeps the first two; the kernel requires the
last one to map the parent's uid 0 into a new user namespace."""

_MS_REC, _MS_SLAVE = 1 << 14, 1 << 19
_MS_NOTHING_SPECIAL = 2 | 4 | 8
"""MS_NOSUID, MS_NODEV and MS_NOEXEC, the usual flags of /proc."""

_OOM_SCORE = "600"

_PR_SET_PDEATHSIG = 1
_CANNOT_EXECUTE = 127
_CLOSE_RANGE = 436
"""The same number on all architectures; ``os.closerange`` may loop over a million numbers."""

_ALL_DESCRIPTORS = 1 << 31


@dataclass(frozen=True, slots=True)
class Founded:
    """A new user namespace that maps ``count`` ids from ``first_*`` on; the process is 0 in it.

    A service user can map only its own id; root maps the range of its sandboxes.
    """

    first_uid: int
    first_gid: int
    count: int


@dataclass(frozen=True, slots=True)
class Joined:
    """The namespaces ``flags`` (CLONE_NEW*) of the process of ``pidfd``, entered as ``uid``.

    ``uid`` is as seen inside. Only the given ``capabilities`` are kept. ``program`` is a
    system-call filter (BPF bytes) installed before the program is executed; empty for no filter.
    """

    pidfd: int
    flags: int
    uid: int
    capabilities: tuple[int, ...] = ()
    program: bytes = b""


Place = Founded | Joined


UMASK = 0o022
"""The file creation mask of every program that the supervisor starts."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A program to execute: absolute path, whole environment, and the descriptors to keep.

    ``uid`` is the host uid to switch to (and the gid of the same number), or None to keep ours.
    With a ``place`` the program starts there, with that place's uid. ``stdin`` is a descriptor,
    or None for /dev/null; ``lend_output`` keeps our write end of the output open in
    ``Child.lent``, for a later writer. ``output_rate`` is in bytes read per second. ``entry`` is
    an open ``cgroup.procs`` that the child writes to before it executes the program, or None.
    """

    argv: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    uid: int | None = None
    descriptors: Sequence[int] = ()
    place: Place | None = None
    stdin: int | None = None
    lend_output: bool = False
    output_rate: int = 1 << 20
    entry: int | None = None


class Started:
    """A process by its pidfd, with the methods of ``subprocess.Popen`` that its watcher needs.

    ``ours`` is false in a zygote group: there the group's first process reaps it.
    """

    def __init__(self, pidfd: int, *, ours: bool) -> None:
        self.pid = pid_behind(pidfd)
        self.pidfd = pidfd
        self.ours = ours

    def send_signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def wait(self) -> int:
        if not self.ours:
            return 0  # its status is known only inside the zygote group
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def pid_behind(pidfd: int) -> int:
    """Return the pid of a process in our pid namespace; -1 when it has ended."""
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), -1)


def start_in(place: Place, launch: Launch, output: int) -> Started:
    """Start a program in its place, with the descriptor ``output`` as standard output and error.

    Raises: :class:`OSError` when the kernel refuses.
    """
    if isinstance(place, Founded):
        return _found(place, launch, output)
    return Started(enter(place, launch, output), ours=False)


def _found(place: Founded, launch: Launch, output: int) -> Started:
    """Fork a child that makes a user namespace, write its id maps, and let it execute."""
    (left_read, left_write), (named_read, named_write) = open_pipes(2)
    us = os.pidfd_open(os.getpid())
    pid = os.fork()
    if pid == 0:
        try:
            wanted = {named_read, left_write, us}
            _hold_only(wanted, launch, output)
            check(libc.unshare(CLONE_NEWUSER), "unshare")
            os.write(left_write, b"x")
            if os.read(named_read, 1) == b"x":
                _become(0, single=place.count == 1)
                _die_with(us)
                _execute(launch, output)
        except OSError as error:
            _say(output, error)
        finally:
            os._exit(_CANNOT_EXECUTE)
    for descriptor in (left_write, named_read, us):
        os.close(descriptor)
    try:
        if os.read(left_read, 1) != b"x":
            raise PermissionError("the kernel refuses a user namespace")
        process = Path(f"/proc/{pid}")
        if place.count == 1:  # required of a process that is not root: it may not drop groups
            (process / "setgroups").write_text("deny")
        (process / "uid_map").write_text(f"0 {place.first_uid} {place.count}")
        (process / "gid_map").write_text(f"0 {place.first_gid} {place.count}")
        os.write(named_write, b"x")
    except OSError:
        os.close(named_write)  # the child reads end of file and exits
        named_write = -1
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(left_read)
        if named_write >= 0:
            os.close(named_write)
    return Started(os.pidfd_open(pid), ours=True)


def _hold_only(own: set[int], launch: Launch, output: int) -> None:
    """Close all descriptors inherited from the supervisor but those that the child needs.

    With both ends of a pipe open, a child waiting on it would block forever after the supervisor
    was killed, and keep the hub's connection and the runtime directory's lock open.
    """
    given = {fd for fd in (launch.stdin, launch.entry) if fd is not None}
    bounds = sorted({2, output, *own, *given, *launch.descriptors})
    for low, high in zip(bounds, [*bounds[1:], _ALL_DESCRIPTORS], strict=True):
        if low + 1 < high:
            last = ctypes.c_uint(high - 1)
            check(libc.syscall(_CLOSE_RANGE, low + 1, last, 0), "close_range")


def enter(place: Joined, launch: Launch, output: int) -> int:
    """Start a program in the namespaces of a process; return a pidfd of it.

    Forks three times: the first child enters the namespaces, the second is its child in there,
    the third becomes the program.

    A pid namespace applies only to children made after entering it. The second child exits at
    once, so that the program is adopted and reaped by the first process inside: an unreaped
    process whose parent is outside would keep the whole namespace from ending if the supervisor
    was killed.
    Raises: :class:`OSError` when the kernel refuses.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            entering = os.fork()
            if entering == 0:
                _enter(place, launch, output, theirs)
        os.waitpid(entering, 0)
        descriptors = socket.recv_fds(ours, 1, 1)[1]
    if not descriptors:
        raise PermissionError("the kernel refuses to enter the namespaces")
    return descriptors[0]


def prefer_to_end(pid: int) -> None:
    """Raise ``oom_score_adj`` so that the kernel kills this process or its forks first.

    This protects the hub and the supervisor. A session cannot lower a value set by root.
    """
    with contextlib.suppress(OSError):  # it has ended, or we may not: then nothing changes
        Path(f"/proc/{pid}/oom_score_adj").write_text(_OOM_SCORE)


def _enter(place: Joined, launch: Launch, output: int, told: socket.socket) -> NoReturn:
    try:
        _hold_only({place.pidfd, told.fileno()}, launch, output)
        prefer_to_end(os.getpid())  # a zygote, too
        check(libc.setns(place.pidfd, place.flags), "setns")
        _go_on_inside(place, launch, output, told)
    except OSError as error:
        _say(output, error)
    finally:
        os._exit(_CANNOT_EXECUTE)


def _go_on_inside(place: Joined, launch: Launch, output: int, told: socket.socket) -> None:
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    parent = os.pidfd_open(os.getpid())
    pid = os.fork()
    if pid:
        socket.send_fds(told, [b"x"], [os.pidfd_open(pid)])
        os._exit(0)
    told.close()
    if launch.entry is not None:  # before the sandbox's cgroup namespace is made
        os.write(launch.entry, b"0")
    _settle(place)
    # bubblewrap asks to die with its parent: wait until that is the group's first process.
    poll = select.poll()
    poll.register(parent, select.POLLIN)
    poll.poll()
    _execute(launch, output)


def _settle(place: Joined) -> None:
    if place.flags == NESTED:
        # bubblewrap looks up its own child in /proc: mount that of the joined pid namespace over
        # ours, in a private mount namespace.
        check(libc.unshare(_CLONE_NEWNS), "unshare")
        check(libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None), "mount")
        check(libc.mount(b"proc", b"/proc", b"proc", _MS_NOTHING_SPECIAL, None), "mount proc")
    bound_capabilities(place.capabilities)  # needs CAP_SETPCAP, which is dropped below
    _become(place.uid, single=place.uid == 0)
    keep_capabilities(place.capabilities)
    if place.program:
        forbid_new_privileges()
        filter_calls(place.program)


def _become(uid: int, *, single: bool) -> None:
    try:
        os.setgroups([])
    except PermissionError:
        if not single:
            raise  # a namespace with a single id forbids setgroups
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _die_with(us: int) -> None:
    """Set PDEATHSIG before bwrap sets its own, since the supervisor may die in between.

    Must follow the uid change, which clears it.
    """
    check(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "pdeathsig")
    poll = select.poll()
    poll.register(us, select.POLLIN)
    if poll.poll(0):
        raise ProcessLookupError("the supervisor has gone")


def _execute(launch: Launch, output: int) -> NoReturn:
    os.setsid()
    # Python ignores these, and an ignored signal stays ignored after exec.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    stdin = launch.stdin
    os.dup2(os.open(os.devnull, os.O_RDONLY) if stdin is None else stdin, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for descriptor in launch.descriptors:
        os.set_inheritable(descriptor, True)
    os.umask(UMASK)
    os.chdir(launch.directory)
    os.execve(launch.argv[0], list(launch.argv), dict(launch.variables))  # noqa: S606 - absolute, no shell


def _say(output: int, error: OSError) -> None:
    """Write the error to the program's output, and so to its log."""
    os.write(output, f"{error}\n".encode())
