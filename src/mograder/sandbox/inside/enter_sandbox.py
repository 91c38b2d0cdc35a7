"""The entry of a zygote's child into a sandbox: join it, drop all privileges, become a program.

Runs inside, beside ``zygote.py`` and the programs, and imports nothing else of mograder. A sandbox
to be joined contains only its placeholder, so no student process can interfere with a half-done
entry; after the ``inside`` message the process is as confined as one that bubblewrap started.

The supervisor uses the functions that drop privileges, too. Each of them raises :class:`OSError`
where the kernel refuses, or where a privilege is still present afterwards: a process that keeps
one by mistake must not continue.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import errno
import functools
import importlib
import json
import os
import pathlib
import platform
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from typing import Any, NoReturn

_SANDBOX = 0x7E020000
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}"""

_PR_SET_DUMPABLE, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 4, 47, 4
_FAILED = 71
_OF_FILES = "marimo._config"
_ARG_START = 45
"""Index of the field in ``/proc/self/stat``, counted from after the program's name."""


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


def enter(
    request: dict[str, Any],
    descriptors: list[int],
    told: int,  # the pipe to the zygote
    control: socket.socket,
    forgets: list[functools._lru_cache_wrapper[Any]],  # the :func:`remembered_files`
    program: Callable[[list[str]], None],
) -> NoReturn:
    """Join the sandbox, fork (only a child is in its pid namespace) and run ``program``."""
    try:
        count = len(request["descriptors"])
        handed = descriptors[:count]
        output, holder, go, *entries = descriptors[count:]
        signal.set_wakeup_fd(-1)
        for entry in entries:  # before any student code, so that its forks are in it too
            os.write(entry, b"0")
            os.close(entry)
        os.setsid()
        if uid := request["uid"]:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        check(libc.setns(holder, _SANDBOX), "setns")
        if pid := os.fork():
            os.write(told, b"pid %d\n" % pid)
            os._exit(0)
        os.setsid()
        control.close()
        _give_up(request, {*handed, go, told}, output)
        for each in forgets:
            each.cache_clear()
        os.write(told, b"inside\n")
        os.close(told)
    except BaseException as error:  # noqa: BLE001 - reported to the supervisor before the exit
        os.write(told, f"failed {error!r}"[:500].replace("\n", " ").encode() + b"\n")
        os._exit(_FAILED)
    if os.read(go, 1) != b"g":  # its setup failed, or the supervisor has ended
        os._exit(_FAILED)
    os.close(go)
    try:
        options, *arguments = request["arguments"]
        numbers = dict(zip(request["descriptors"], handed, strict=True))
        program([json.dumps({**json.loads(options), **numbers}), *arguments])
    except SystemExit as ending:
        _leave(ending.code)
    except BaseException:  # noqa: BLE001 - must not reach the zygote's own frames
        traceback.print_exc()
        _leave(1)
    _leave(0)


def _give_up(request: dict[str, Any], keep: set[int], output: int) -> None:
    """Give up the zygote's descriptors but ``keep``, its rights, signals and variables."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    close_all_but({0, 1, 2, *keep})
    _give_up_rights(base64.b64decode(request["filter"]))
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.umask(0o022)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["variables"])
    os.environ["PWD"] = request["directory"]
    time.tzset()
    _show_arguments([sys.executable, *request["arguments"]])
    draw_new_random_numbers()


def _show_arguments(arguments: list[str]) -> None:
    """Overwrite the process title, so that ``ps`` distinguishes sessions and zygote."""
    fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_START + 1])
    if 0 < start < end:
        title = "\0".join(arguments).encode()[: end - start - 1]
        ctypes.memmove(start, title.ljust(end - start, b"\0"), end - start)


def _give_up_rights(program: bytes) -> None:
    """Apply the restrictions that bubblewrap applies only to its own children."""
    forbid_new_privileges()
    cleared = libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    check(cleared, "ambient")
    bound_capabilities()
    keep_capabilities()
    # As execve does: joining made /proc/PID unreadable to its uid, also to marimo's kernel.
    check(libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "dumpable")
    filter_calls(program)
    # Verified by what the kernel says, not by our own calls' results.
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    empty = all(int(status[name], 16) == 0 for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"))
    if not empty or (status["NoNewPrivs"], status["Seccomp"]) != ("1", "2"):
        raise OSError("the rights were not given up")


def remembered_files() -> list[functools._lru_cache_wrapper[Any]]:
    """Return marimo's caches of file contents, which every session must clear.

    Called once, in the zygote: the search writes to a memory page of every module (refcounts).
    """
    modules = [m for name, m in tuple(sys.modules.items()) if name.startswith(_OF_FILES)]
    values = [value for module in modules for value in vars(module).values()]
    return [each for each in values if isinstance(each, functools._lru_cache_wrapper)]


def draw_new_random_numbers() -> None:
    """Reseed numpy, as a fork continues its parent's sequence; ``random`` reseeds itself."""
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def close_all_but(keep: set[int]) -> None:
    for descriptor in [int(entry.name) for entry in pathlib.Path("/proc/self/fd").iterdir()]:
        if descriptor not in keep:
            with contextlib.suppress(OSError):  # that of the listing is closed already
                os.close(descriptor)


def _leave(code: object) -> NoReturn:
    """Exit as a program does, without unwinding the zygote's own frames."""
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    importlib.import_module("atexit")._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
