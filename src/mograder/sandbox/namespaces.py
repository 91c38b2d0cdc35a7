"""Start a process in a user namespace of its own, or in the namespaces of another process.

bubblewrap makes every sandbox; these two ways stand around it. A *yard* (one for each
environment with a zygote) is a user and a pid namespace: it is *founded* by a bubblewrap that is
root in there and nowhere else, and the sandboxes of its sessions and its zygote are then started
*in* it, since the kernel lets a process join only a sandbox below its own namespaces.
Nothing here decides what a sandbox may see: that is ``policy.py``.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
_CLONE_NEWNS, _CLONE_NEWCGROUP, _CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
_CLONE_NEWIPC, _CLONE_NEWNET, _CLONE_PARENT = 0x08000000, 0x40000000, 0x00008000
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

_CLONE_NUMBERS = {"x86_64": 56, "aarch64": 220}
_KEYCTL_NUMBERS = {"x86_64": 250, "aarch64": 219}
_KEYCTL_JOIN_SESSION_KEYRING = 1
_PR_CAPBSET_DROP, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 24, 22, 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION = 0x20080522
_LAST_CAPABILITY = 63
_STARTED = struct.Struct("i")
_CANNOT_EXECUTE = 127

_libc = ctypes.CDLL(None, use_errno=True)


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
    the process has from its first instruction on, or none.
    """

    pidfd: int
    flags: int
    uid: int
    capabilities: tuple[int, ...] = ()
    program: bytes = b""


Place = Founded | Joined


class Executable(Protocol):
    """What to execute (:class:`~mograder.sandbox.process.Launch`)."""

    @property
    def argv(self) -> Sequence[str]: ...
    @property
    def directory(self) -> str: ...
    @property
    def descriptors(self) -> Sequence[int]: ...
    @property
    def umask(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Standard:
    """Standard input and output of what is started; errors go to the output."""

    stdin: int
    output: int


class Started:
    """A child by its pid, with the words of ``subprocess`` that its watcher needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def start_in(
    place: Place, launch: Executable, variables: dict[str, str], streams: Standard
) -> Started:
    """Start a program in its place. Raises: :class:`OSError` when the kernel refuses that."""
    if isinstance(place, Founded):
        return _found(place, launch, variables, streams)
    return _join(place, launch, variables, streams)


def _found(
    place: Founded, launch: Executable, variables: dict[str, str], streams: Standard
) -> Started:
    """The child leaves its user namespace, we say who is who in the new one, it goes on."""
    left_read, left_write = os.pipe()
    named_read, named_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _check(_libc.unshare(CLONE_NEWUSER), "unshare")
            os.write(left_write, b"x")
            if os.read(named_read, 1) == b"x":
                _become(0, single=place.count == 1)
                _execute(launch, variables, streams)
        except OSError as error:
            _say(streams, error)
        finally:
            os._exit(_CANNOT_EXECUTE)
    os.close(left_write)
    os.close(named_read)
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
    return Started(pid)


def _name_ids(pid: int, place: Founded) -> None:
    process = Path(f"/proc/{pid}")
    if place.count == 1:  # the rule for who is not root: groups cannot be given up unseen
        (process / "setgroups").write_text("deny")
    (process / "uid_map").write_text(f"0 {place.first_uid} {place.count}")
    (process / "gid_map").write_text(f"0 {place.first_gid} {place.count}")


def _join(
    place: Joined, launch: Executable, variables: dict[str, str], streams: Standard
) -> Started:
    """A first child enters the namespaces, its brother is the process that lives there.

    The pid namespace holds only for what is made after entering it. ``CLONE_PARENT`` makes that
    one our own child, which ``--die-with-parent`` and its reaping ask for.
    """
    read_end, write_end = os.pipe()
    entering = os.fork()
    if entering == 0:
        try:
            _check(_libc.setns(place.pidfd, place.flags), "setns")
            pid = _fork_brother()
            if pid == 0:
                _settle(place)
                _execute(launch, variables, streams)
            os.write(write_end, _STARTED.pack(pid))
        except OSError as error:
            _say(streams, error)
        finally:
            os._exit(_CANNOT_EXECUTE)
    os.close(write_end)
    os.waitpid(entering, 0)
    try:
        told = os.read(read_end, _STARTED.size)
    finally:
        os.close(read_end)
    if len(told) != _STARTED.size:
        raise PermissionError("the kernel refuses to enter the namespaces")
    return Started(int(_STARTED.unpack(told)[0]))


def _fork_brother() -> int:
    number = _CLONE_NUMBERS[platform.machine()]
    pid = int(_libc.syscall(number, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0))
    _check(min(pid, 0), "clone")
    return pid


def _settle(place: Joined) -> None:
    keyctl = _KEYCTL_NUMBERS.get(platform.machine())
    if keyctl is not None:  # never the supervisor's own keyring
        _libc.syscall(keyctl, _KEYCTL_JOIN_SESSION_KEYRING, None, 0, 0, 0)
    if place.flags == NESTED:
        _show_its_processes()
    _bound(place.capabilities)  # while the right to do so is there
    _become(place.uid, single=place.uid == 0)
    _keep_only(place.capabilities)
    if place.program:
        _filter_calls(place.program)


def _show_its_processes() -> None:
    """Put the joined namespace's ``/proc`` in the place of ours, in a mount namespace of its own.

    bubblewrap looks up its own child in there.
    """
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None), "mount")
    _check(_libc.mount(b"proc", b"/proc", b"proc", _MS_NOTHING_SPECIAL, None), "mount proc")


def _become(uid: int, *, single: bool) -> None:
    try:
        os.setgroups([])
    except PermissionError:
        if not single:
            raise  # where there is but one id, there is no group to give up either
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _bound(capabilities: tuple[int, ...]) -> None:
    """What is out of the bounding set does not come back by executing a program."""
    for capability in range(_LAST_CAPABILITY + 1):
        if capability not in capabilities:
            _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def _keep_only(capabilities: tuple[int, ...]) -> None:
    kept = sum(1 << capability for capability in capabilities)
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    _check(_libc.capset(header, struct.pack("6I", kept, kept, 0, 0, 0, 0)), "capset")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _filter_calls(program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    record = _Program(len(program) // 8, ctypes.addressof(code))
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    filtered = _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(record), 0, 0)
    _check(filtered, "seccomp")


def _execute(launch: Executable, variables: dict[str, str], streams: Standard) -> NoReturn:
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


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
