"""The system-call filter of every sandbox, as a classic BPF program in plain Python.

It is an allow-list (``allowed_syscalls.py``). A call that is not on it is answered with ENOSYS, as
by a kernel that does not have the call, so that libraries fall back; privileged calls get EPERM.

The same bytes are given to ``bwrap --seccomp`` (cold start) and to ``prctl`` in a process that
joins a sandbox (a zygote's child, which bwrap's own filter would not cover). Without the filter
``AF_VSOCK`` sockets work inside an unshared network namespace and ``keyctl`` reaches the host's
keyrings (security.md, "The sandbox"). An architecture without a table has no filter, and the
sandbox is refused.
"""

from __future__ import annotations

import functools
import platform
import struct
from collections.abc import Iterable, Mapping

from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.isolation.allowed_syscalls import ALLOWED, CHECKED, FORBIDDEN, Numbers

_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _EOPNOTSUPP, _EAFNOSUPPORT = 1, 38, 95, 97
_NUMBER, _ARCHITECTURE, _ARG0, _ARG1, _ARG2 = 0, 4, 16, 24, 32  # offsets in struct seccomp_data

_NEW_NAMESPACES = 0x7E020080
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME}, as in the flags of ``clone``."""

_FAMILIES = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK (libc lists the network interfaces with it)."""

_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_SOL_SOCKET, _SO_LINGER = 1, 13

_JOINING = ("setns",)

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Audit number, and the index into the pairs of ``allowed_syscalls.py``, by machine."""


@functools.cache
def filter_program(machine: str | None = None, *, joining: bool = False) -> bytes:
    """Return the filter for this machine's architecture as packed ``sock_filter`` records.

    ``joining`` also allows ``setns``, for a zygote: its children enter a sandbox before they
    install the full filter.
    Raises: :class:`SandboxUnavailable` on an architecture that has no table.
    """
    name = machine or platform.machine()
    if name not in _ARCHITECTURES:
        raise SandboxUnavailable(
            f"There is no system-call filter for the architecture {name!r}.",
            hint="Run the hub on x86-64 or 64-bit ARM.",
        )
    audit, column = _ARCHITECTURES[name]
    return b"".join(_program(audit, column, _JOINING if joining else ()))


def _program(audit: int, column: int, joining: tuple[str, ...]) -> Iterable[bytes]:
    yield _op(_LOAD, _ARCHITECTURE)
    yield _op(_JUMP_EQ, audit, 1, 0)
    yield _op(_RETURN, _KILL)
    yield _op(_LOAD, _NUMBER)
    for name, check in _CHECKS.items():
        number = CHECKED[name][column]
        if number is not None:
            body = check()
            yield _op(_JUMP_EQ, number, 0, len(body))
            yield from body
    actions = dict.fromkeys(_numbers(FORBIDDEN, column), _ERRNO | _EPERM)
    actions |= dict.fromkeys(_numbers(ALLOWED, column), _ALLOW)
    actions |= {number: _ALLOW for name in joining if (number := FORBIDDEN[name][column])}
    yield from _decision(_ranges(actions))


def _numbers(calls: Numbers, column: int) -> Iterable[int]:
    return (number for pair in calls.values() if (number := pair[column]) is not None)


def _ranges(actions: Mapping[int, int]) -> list[tuple[int, int]]:
    """Return (first number, action) for each run of numbers with the same action.

    A number without an action gets ENOSYS, also an x32 number or one above the last.
    """
    ranges = [(0, actions.get(0, _ERRNO | _ENOSYS))]
    for number in range(1, max(actions) + 2):
        action = actions.get(number, _ERRNO | _ENOSYS)
        if action != ranges[-1][1]:
            ranges.append((number, action))
    return ranges


def _decision(ranges: list[tuple[int, int]]) -> list[bytes]:
    """Return instructions that find the action for the loaded number by bisection."""
    if len(ranges) == 1:
        return [_op(_RETURN, ranges[0][1])]
    middle = len(ranges) // 2
    low, high = _decision(ranges[:middle]), _decision(ranges[middle:])
    return [_op(_JUMP_GE, ranges[middle][0], len(low), 0), *low, *high]


def _clone_without_namespaces() -> list[bytes]:
    return [
        _op(_LOAD, _ARG0),
        _op(_JUMP_SET, _NEW_NAMESPACES, 0, 1),
        _op(_RETURN, _ERRNO | _EPERM),
        _op(_RETURN, _ALLOW),
    ]


def _sockets_of_known_families() -> list[bytes]:
    """Allow the four families; refuse raw and packet sockets, except for netlink."""
    unix, inet, inet6, netlink = _FAMILIES
    return [
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


def _pairs_of_unix_sockets() -> list[bytes]:
    """Allow AF_UNIX only: others need no pairs, and a request would load the family's module."""
    unix, *_ = _FAMILIES
    return [
        _op(_LOAD, _ARG0),
        _op(_JUMP_EQ, unix, 1, 0),
        _op(_RETURN, _ERRNO | _EAFNOSUPPORT),
        _op(_RETURN, _ALLOW),
    ]


def _no_terminal_injection() -> list[bytes]:
    return [
        _op(_LOAD, _ARG1),
        _op(_JUMP_EQ, _TIOCSTI, 1, 0),
        _op(_JUMP_EQ, _TIOCLINUX, 0, 1),
        _op(_RETURN, _ERRNO | _EPERM),
        _op(_RETURN, _ALLOW),
    ]


def _no_lingering() -> list[bytes]:
    """Ignore ``SO_LINGER``, which makes the last close of a socket wait.

    A session can send the descriptor of such a socket over its Unix socket to the hub, and the hub
    would do that close: it would stand still for as long as the sender likes.
    """
    return [
        _op(_LOAD, _ARG1),
        _op(_JUMP_EQ, _SOL_SOCKET, 0, 3),
        _op(_LOAD, _ARG2),
        _op(_JUMP_EQ, _SO_LINGER, 0, 1),
        _op(_RETURN, _ERRNO),
        _op(_RETURN, _ALLOW),
    ]


def _no_reserved_room() -> list[bytes]:
    """Refuse ``fallocate``, which fills a disk faster than the monitor can notice.

    On EOPNOTSUPP, unlike ENOSYS, libc falls back to writing the blocks itself.
    """
    return [_op(_RETURN, _ERRNO | _EOPNOTSUPP)]


_CHECKS = {
    "clone": _clone_without_namespaces,
    "socket": _sockets_of_known_families,
    "socketpair": _pairs_of_unix_sockets,
    "ioctl": _no_terminal_injection,
    "fallocate": _no_reserved_room,
    "setsockopt": _no_lingering,
}


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
