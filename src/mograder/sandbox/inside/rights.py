"""Irrevocable dropping of privileges, verified with the kernel.

Each function raises :class:`OSError` where the kernel refuses, or where a privilege is still
present afterwards: a process that keeps one by mistake must not continue. Imports nothing of
mograder, like all programs inside a sandbox: ``enter_sandbox.py`` imports it from its own
directory, ``namespaces.py`` as a module of the supervisor.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Collection, Iterator

_PR_SET_SECCOMP, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 22, 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39
_SECCOMP_MODE_FILTER = 2
_KEYCTL_NUMBERS = {"x86_64": 250, "aarch64": 219}
_KEYCTL_JOIN_SESSION_KEYRING = 1
_CAPABILITY_VERSION = 0x20080522
_MOST_CAPABILITIES = 64

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise :class:`OSError` if ``result``, of a C library call named ``what``, is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def leave_keyring() -> None:
    """Join a new session keyring, so that the keys of the previous one are inaccessible.

    The supervisor does this once. Sandboxes share its empty keyring, which their filter makes
    inaccessible: one for each would exhaust the kernel's quota of a service user, 200 keys
    (keyrings(7)), at some 95 sessions.
    """
    number = _KEYCTL_NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"no system-call numbers for {platform.machine()}")
    joined = libc.syscall(number, _KEYCTL_JOIN_SESSION_KEYRING, None, 0, 0, 0)
    check(joined, "a session keyring")


def bound_capabilities(kept: Collection[int] = ()) -> None:
    """Drop all capabilities but ``kept`` from the bounding set: no exec can regain them."""
    for capability in _held():
        if capability not in kept:
            check(libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), "the bounding set")
    if left := set(_held()) - set(kept):
        raise PermissionError(f"capabilities are left in the bounding set: {sorted(left)}")


def _held() -> Iterator[int]:
    """Yield the capabilities in the bounding set; the kernel defines fewer than 64."""
    for capability in range(_MOST_CAPABILITIES):
        if libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
            yield capability


def keep_capabilities(kept: Collection[int] = ()) -> None:
    """Drop all capabilities of this process but ``kept``."""
    mask = sum(1 << capability for capability in kept)
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    # Effective, permitted and inheritable; first the lower 32 bits of each, then the upper ones.
    wanted = struct.pack("6I", mask, mask, 0, 0, 0, 0)
    check(libc.capset(header, wanted), "capset")
    found = ctypes.create_string_buffer(len(wanted))
    check(libc.capget(header, found), "capget")
    if found.raw != wanted:
        raise PermissionError("capabilities are left that were to be given up")


def forbid_new_privileges() -> None:
    """Set no_new_privs: no program executed from now on gains privileges."""
    check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1:
        raise PermissionError("no_new_privs is not set")


def filter_calls(program: bytes) -> None:
    """Install a system-call filter (packed ``sock_filter`` records); needs no_new_privs."""
    code = ctypes.create_string_buffer(program, len(program))
    record = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    check(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, record, 0, 0), "seccomp")
