"""Start a process in a user namespace of its own, or in the namespaces of another process.

bubblewrap makes every sandbox; these two ways stand around it. A *zygote group* (one for each
environment with a zygote) is a user and a pid namespace: it is *founded* by a bubblewrap that is
root in there and nowhere else, and the sandboxes of its sessions and its zygote are then started
*in* it, since the kernel lets a process join only a sandbox below its own namespaces.
Nothing here decides what a sandbox may see: that is ``policy.py``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from mograder.sandbox.inside import rights

CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
_CLONE_NEWNS, _CLONE_NEWCGROUP, _CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
_CLONE_NEWIPC, _CLONE_NEWNET = 0x08000000, 0x40000000
NESTED = CLONE_NEWUSER | CLONE_NEWPID
"""What a session's bubblewrap takes over: it makes all the rest itself."""

EVERYTHING = (
    NESTED | _CLONE_NEWNS | _CLONE_NEWCGROUP | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWNET
)
SETGID, SETUID, SETFCAP = 6, 7, 31
"""The first two are what a zygote keeps where it forks for students of different uids; the kernel
asks for the last one of whoever gives a new user namespace the 0 of its own."""

_MS_REC, _MS_SLAVE = 1 << 14, 1 << 19
_MS_NOTHING_SPECIAL = 2 | 4 | 8
"""MS_NOSUID, MS_NODEV and MS_NOEXEC, as every /proc has."""

_PR_SET_PDEATHSIG = 1
_CANNOT_EXECUTE = 127
_CLOSE_RANGE = 436
"""The same on every machine; Python's own ``closerange`` may be a loop over a million numbers."""

_ALL_DESCRIPTORS = 1 << 31


@dataclass(frozen=True, slots=True)
class Founded:
    """A new user namespace with ``count`` ids from ``first`` on the host; the process is 0 in it.

    A service user has one id to give, its own; root gives the range of its sandboxes.
    """

    first_uid: int
    first_gid: int
    count: int


@dataclass(frozen=True, slots=True)
class Joined:
    """The namespaces ``flags`` of the process behind ``pidfd``, as ``uid`` in there.

    Of all capabilities only ``capabilities`` are kept; ``program`` is a system-call filter that
    the process has from its first instruction on, or none. If there is a ``guide``, it enters the
    namespaces; otherwise the starting process does.
    """

    pidfd: int
    flags: int
    uid: int
    capabilities: tuple[int, ...] = ()
    program: bytes = b""
    guide: Guide | None = None


Place = Founded | Joined


class Executable(Protocol):
    """What to execute (:class:`~mograder.sandbox.isolation.child_process.Launch`)."""

    @property
    def argv(self) -> Sequence[str]: ...
    @property
    def directory(self) -> str: ...
    @property
    def descriptors(self) -> Sequence[int]: ...
    @property
    def umask(self) -> int: ...
    @property
    def entry(self) -> int | None: ...


class Guide(Protocol):
    """Enters namespaces for a process whose own fork would be slow.

    :class:`~mograder.sandbox.isolation.namespace_helper.NamespaceHelper` is one.
    """

    async def enter(
        self, place: Joined, launch: Executable, variables: Mapping[str, str], streams: Standard
    ) -> int:
        """As :func:`enter`, without blocking the loop."""
        ...


@dataclass(frozen=True, slots=True)
class Standard:
    """Standard input and output of what is started; errors go to the output."""

    stdin: int
    output: int


class Started:
    """A process by its pidfd, with the words of ``subprocess`` that its watcher needs.

    One in a zygote group is a child of the zygote group's first process, which collects it.
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
            return 0  # nobody outside is told
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def pid_behind(pidfd: int) -> int:
    """Return the pid of a process as it is called here; -1 when it is gone."""
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), -1)


def start_in(
    place: Place, launch: Executable, variables: Mapping[str, str], streams: Standard
) -> Started:
    """Start a program in its place. Raises: :class:`OSError` when the kernel refuses that."""
    if isinstance(place, Founded):
        return _found(place, launch, variables, streams)
    return Started(enter(place, launch, variables, streams), ours=False)


def _found(
    place: Founded, launch: Executable, variables: Mapping[str, str], streams: Standard
) -> Started:
    """The child leaves its user namespace, we say who is who in the new one, it goes on."""
    left_read, left_write = os.pipe()
    named_read, named_write = os.pipe()
    us = os.pidfd_open(os.getpid())
    pid = os.fork()
    if pid == 0:
        try:
            wanted = {named_read, left_write, us}
            _hold_only(wanted, launch, streams)
            rights.check(rights.libc.unshare(CLONE_NEWUSER), "unshare")
            os.write(left_write, b"x")
            if os.read(named_read, 1) == b"x":
                _become(0, single=place.count == 1)
                _die_with(us)
                _execute(launch, variables, streams)
        except OSError as error:
            _say(streams, error)
        finally:
            os._exit(_CANNOT_EXECUTE)
    for descriptor in (left_write, named_read, us):
        os.close(descriptor)
    try:
        if os.read(left_read, 1) != b"x":
            raise PermissionError("the kernel refuses a user namespace")
        _name_ids(pid, place)
        os.write(named_write, b"x")
    except OSError:
        os.close(named_write)  # the child reads its end, and goes
        named_write = -1
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(left_read)
        if named_write >= 0:
            os.close(named_write)
    return Started(os.pidfd_open(pid), ours=True)


def _hold_only(own: set[int], launch: Executable, streams: Standard) -> None:
    """Close all else that the fork has of the supervisor's, and the other ends of its own pipes.

    A child that waits for us with both ends of a pipe would wait for ever if we are killed, and
    keep the hub's connection and the runtime directory's lock for as long.
    """
    entry = () if launch.entry is None else (launch.entry,)
    bounds = sorted({2, *own, streams.stdin, streams.output, *launch.descriptors, *entry})
    for low, high in zip(bounds, [*bounds[1:], _ALL_DESCRIPTORS], strict=True):
        if low + 1 < high:
            last = ctypes.c_uint(high - 1)
            rights.check(rights.libc.syscall(_CLOSE_RANGE, low + 1, last, 0), "close_range")


def _name_ids(pid: int, place: Founded) -> None:
    process = Path(f"/proc/{pid}")
    if place.count == 1:  # the rule for who is not root: groups cannot be given up unseen
        (process / "setgroups").write_text("deny")
    (process / "uid_map").write_text(f"0 {place.first_uid} {place.count}")
    (process / "gid_map").write_text(f"0 {place.first_gid} {place.count}")


def enter(
    place: Joined, launch: Executable, variables: Mapping[str, str], streams: Standard
) -> int:
    """Start a program in the namespaces of a process; returns a pidfd of it.

    A first child enters the namespaces, its child lives there, and that one's is the program.

    The pid namespace holds only for what is made after entering it. The one in the middle goes at
    once, so that the program belongs to the first process in there, which collects it: a dead
    process that waits for a parent outside would keep the whole namespace from ending, should
    the supervisor be killed.
    Raises: :class:`OSError` when the kernel refuses that.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            entering = os.fork()
            if entering == 0:
                _enter(place, launch, variables, streams, theirs)
        os.waitpid(entering, 0)
        descriptors = socket.recv_fds(ours, 1, 1)[1]
    if not descriptors:
        raise PermissionError("the kernel refuses to enter the namespaces")
    return descriptors[0]


def _enter(
    place: Joined,
    launch: Executable,
    variables: Mapping[str, str],
    streams: Standard,
    told: socket.socket,
) -> NoReturn:
    try:
        _hold_only({place.pidfd, told.fileno()}, launch, streams)
        rights.check(rights.libc.setns(place.pidfd, place.flags), "setns")
        _go_on_inside(place, launch, variables, streams, told)
    except OSError as error:
        _say(streams, error)
    finally:
        os._exit(_CANNOT_EXECUTE)


def _go_on_inside(
    place: Joined,
    launch: Executable,
    variables: Mapping[str, str],
    streams: Standard,
    told: socket.socket,
) -> None:
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
    # bubblewrap dies with its parent: with the right one.
    poll = select.poll()
    poll.register(parent, select.POLLIN)
    poll.poll()
    _execute(launch, variables, streams)


def _settle(place: Joined) -> None:
    rights.leave_keyring()  # never the supervisor's own
    if place.flags == NESTED:
        _show_its_processes()
    rights.bound_capabilities(place.capabilities)  # while the right to do so is there
    _become(place.uid, single=place.uid == 0)
    rights.keep_capabilities(place.capabilities)
    if place.program:
        rights.forbid_new_privileges()
        rights.filter_calls(place.program)


def _show_its_processes() -> None:
    """Put the joined namespace's ``/proc`` in the place of ours, in a mount namespace of its own.

    bubblewrap looks up its own child in there.
    """
    rights.check(rights.libc.unshare(_CLONE_NEWNS), "unshare")
    rights.check(rights.libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None), "mount")
    rights.check(
        rights.libc.mount(b"proc", b"/proc", b"proc", _MS_NOTHING_SPECIAL, None), "mount proc"
    )


def _become(uid: int, *, single: bool) -> None:
    try:
        os.setgroups([])
    except PermissionError:
        if not single:
            raise  # where there is but one id, there is no group to give up either
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _die_with(us: int) -> None:
    """Ask for it now and not only when bubblewrap does: the supervisor may be killed till then."""
    # Last of all that changes who this is: the kernel forgets the wish then.
    rights.check(rights.libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "pdeathsig")
    poll = select.poll()
    poll.register(us, select.POLLIN)
    if poll.poll(0):
        raise ProcessLookupError("the supervisor has gone")


def _execute(launch: Executable, variables: Mapping[str, str], streams: Standard) -> NoReturn:
    os.setsid()
    # Python ignores these, and what is ignored stays so for the next program.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(streams.stdin, 0)
    os.dup2(streams.output, 1)
    os.dup2(streams.output, 2)
    for descriptor in launch.descriptors:
        os.set_inheritable(descriptor, True)
    os.umask(launch.umask)
    os.chdir(launch.directory)
    os.execve(launch.argv[0], list(launch.argv), variables)  # noqa: S606 - absolute, no shell


def _say(streams: Standard, error: OSError) -> None:
    """What the program would have printed goes to the same log."""
    os.write(streams.output, f"{error}\n".encode())
