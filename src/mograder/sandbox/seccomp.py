"""The system-call filter of every sandbox, as a classic BPF program in plain Python.

The same bytes serve ``bwrap --seccomp`` (cold start) and ``prctl`` in a process that joins a
sandbox (a zygote's child, which bwrap's own filter would not cover). Without it ``AF_VSOCK``
opens inside an unshared network and ``keyctl`` reaches the host's keyrings (security.md, "The
sandbox"). An architecture without a table gets no filter and so no sandbox: fail closed.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from mograder.core.errors import SandboxUnavailable

_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _EOPNOTSUPP, _EAFNOSUPPORT = 1, 38, 95, 97
_NUMBER, _ARCHITECTURE, _ARG0, _ARG1 = 0, 4, 16, 24  # offsets in struct seccomp_data

_NEW_NAMESPACES = 0x7E020080
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME}, as ``clone`` takes them."""

_FAMILIES = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK (the C library enumerates interfaces by it)."""

_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

_DENIED_X86_64 = {
    "keyctl": 250,
    "add_key": 248,
    "request_key": 249,
    "bpf": 321,
    "perf_event_open": 298,
    "userfaultfd": 323,
    "kexec_load": 246,
    "kexec_file_load": 320,
    "init_module": 175,
    "finit_module": 313,
    "delete_module": 176,
    "ptrace": 101,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "process_madvise": 440,
    "pidfd_getfd": 438,
    "kcmp": 312,
    "unshare": 272,
    "setns": 308,
    "mount": 165,
    "umount2": 166,
    "pivot_root": 155,
    "chroot": 161,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "acct": 163,
    "swapon": 167,
    "swapoff": 168,
    "reboot": 169,
    "quotactl": 179,
    "quotactl_fd": 443,
    "syslog": 103,
    "iopl": 172,
    "ioperm": 173,
    "vhangup": 153,
    "lookup_dcookie": 212,
    "modify_ldt": 154,
    "personality": 135,
    "fanotify_init": 300,
}
_DENIED_AARCH64 = {
    "keyctl": 219,
    "add_key": 217,
    "request_key": 218,
    "bpf": 280,
    "perf_event_open": 241,
    "userfaultfd": 282,
    "kexec_load": 104,
    "kexec_file_load": 294,
    "init_module": 105,
    "finit_module": 273,
    "delete_module": 106,
    "ptrace": 117,
    "process_vm_readv": 270,
    "process_vm_writev": 271,
    "process_madvise": 440,
    "pidfd_getfd": 438,
    "kcmp": 272,
    "unshare": 97,
    "setns": 268,
    "mount": 40,
    "umount2": 39,
    "pivot_root": 41,
    "chroot": 51,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    "name_to_handle_at": 264,
    "open_by_handle_at": 265,
    "acct": 89,
    "swapon": 224,
    "swapoff": 225,
    "reboot": 142,
    "quotactl": 60,
    "quotactl_fd": 443,
    "syslog": 116,
    "vhangup": 58,
    "lookup_dcookie": 18,
    "personality": 92,
    "fanotify_init": 262,
}
_DENIED = {"x86_64": _DENIED_X86_64, "aarch64": _DENIED_AARCH64}
_JOINING = ("setns", "keyctl")
_IO_URING = (425, 426, 427)
_SYSTEM_V_X86_64 = (29, 64, 68)
_SYSTEM_V_AARCH64 = (194, 190, 186)
"""``shmget``, ``semget``, ``msgget``: memory that belongs to no process, so nobody could count it.
``multiprocessing`` uses the POSIX ones, which lie in the sandbox's own ``/dev/shm``."""


@dataclass(frozen=True, slots=True)
class _Table:
    architecture: int
    denied: tuple[int, ...]
    clone: int
    clone3: int
    socket: int
    socketpair: int
    ioctl: int
    fallocate: int
    memfd_create: int
    system_v: tuple[int, ...]
    x32: bool


_TABLES = {
    "x86_64": _Table(
        architecture=0xC000003E,
        denied=tuple(_DENIED_X86_64.values()),
        clone=56,
        clone3=435,
        socket=41,
        socketpair=53,
        ioctl=16,
        fallocate=285,
        memfd_create=319,
        system_v=_SYSTEM_V_X86_64,
        x32=True,
    ),
    "aarch64": _Table(
        architecture=0xC00000B7,
        denied=tuple(_DENIED_AARCH64.values()),
        clone=220,
        clone3=435,
        socket=198,
        socketpair=199,
        ioctl=29,
        fallocate=47,
        memfd_create=279,
        system_v=_SYSTEM_V_AARCH64,
        x32=False,
    ),
}


def filter_program(machine: str | None = None, *, joining: bool = False) -> bytes:
    """Return the filter for this machine's architecture as packed ``sock_filter`` records.

    ``joining``: for a zygote, whose children enter a sandbox and a keyring of their own before
    they take the whole filter on.
    Raises: :class:`SandboxUnavailable` on an architecture that has no table.
    """
    name = machine or platform.machine()
    table = _TABLES.get(name)
    if table is None:
        raise SandboxUnavailable(
            f"There is no system-call filter for the architecture {name!r}.",
            hint="Run the hub on x86-64 or 64-bit ARM.",
        )
    allowed = tuple(_DENIED[name][call] for call in _JOINING) if joining else ()
    return b"".join(_program(table, allowed))


def _program(table: _Table, allowed: tuple[int, ...]) -> Iterable[bytes]:
    yield _op(_LOAD, _ARCHITECTURE)
    yield _op(_JUMP_EQ, table.architecture, 1, 0)
    yield _op(_RETURN, _KILL)
    yield _op(_LOAD, _NUMBER)
    if table.x32:  # the x32 numbers are another door to the same calls
        yield from _refuse_when(_JUMP_GE, 0x40000000, _ENOSYS)
    # clone3 keeps its flags in memory, out of a filter's sight: libc falls back to clone.
    yield from _refuse_when(_JUMP_EQ, table.clone3, _ENOSYS)
    for number in (*_IO_URING, *table.system_v):
        yield from _refuse_when(_JUMP_EQ, number, _ENOSYS)
    # A file in memory with no name can lie in a socket's queue, where nobody could count it;
    # libraries use /dev/shm then, as on an older kernel.
    yield from _refuse_when(_JUMP_EQ, table.memfd_create, _ENOSYS)
    # It takes all of a disk in no time, before anybody could notice: libc writes the blocks then.
    yield from _refuse_when(_JUMP_EQ, table.fallocate, _EOPNOTSUPP)
    for number in table.denied:
        if number in allowed:
            continue
        yield from _refuse_when(_JUMP_EQ, number, _EPERM)
    yield from _clone_without_namespaces(table.clone)
    yield from _sockets_of_known_families(table.socket)
    yield from _pairs_of_unix_sockets(table.socketpair)
    yield from _no_terminal_injection(table.ioctl)
    yield _op(_RETURN, _ALLOW)


def _clone_without_namespaces(clone: int) -> list[bytes]:
    body = [
        _op(_LOAD, _ARG0),
        _op(_JUMP_SET, _NEW_NAMESPACES, 0, 1),
        _op(_RETURN, _ERRNO | _EPERM),
        _op(_RETURN, _ALLOW),
    ]
    return [_op(_JUMP_EQ, clone, 0, len(body)), *body]


def _sockets_of_known_families(socket: int) -> list[bytes]:
    """Allow the four families, and no raw or packet socket but netlink's."""
    unix, inet, inet6, netlink = _FAMILIES
    body = [
        _op(_LOAD, _ARG0),
        _op(_JUMP_EQ, unix, 9, 0),
        _op(_JUMP_EQ, netlink, 8, 0),
        _op(_JUMP_EQ, inet, 2, 0),
        _op(_JUMP_EQ, inet6, 1, 0),
        _op(_RETURN, _ERRNO | _EAFNOSUPPORT),
        _op(_LOAD, _ARG1),
        _op(_AND, 0xF),
        _op(_JUMP_EQ, 3, 1, 0),  # SOCK_RAW
        _op(_JUMP_EQ, 10, 0, 1),  # SOCK_PACKET
        _op(_RETURN, _ERRNO | _EPERM),
        _op(_RETURN, _ALLOW),
    ]
    return [_op(_JUMP_EQ, socket, 0, len(body)), *body]


def _pairs_of_unix_sockets(socketpair: int) -> list[bytes]:
    """No other family that a notebook needs has pairs, and asking would load the family's code."""
    unix, *_ = _FAMILIES
    body = [
        _op(_LOAD, _ARG0),
        _op(_JUMP_EQ, unix, 1, 0),
        _op(_RETURN, _ERRNO | _EAFNOSUPPORT),
        _op(_RETURN, _ALLOW),
    ]
    return [_op(_JUMP_EQ, socketpair, 0, len(body)), *body]


def _no_terminal_injection(ioctl: int) -> list[bytes]:
    body = [
        _op(_LOAD, _ARG1),
        _op(_JUMP_EQ, _TIOCSTI, 1, 0),
        _op(_JUMP_EQ, _TIOCLINUX, 0, 1),
        _op(_RETURN, _ERRNO | _EPERM),
        _op(_RETURN, _ALLOW),
    ]
    return [_op(_JUMP_EQ, ioctl, 0, len(body)), *body]


def _refuse_when(jump: int, value: int, errno: int) -> tuple[bytes, bytes]:
    return _op(jump, value, 0, 1), _op(_RETURN, _ERRNO | errno)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
