"""The entry of a zygote's child into a sandbox: join it, drop all privileges, become a program.

Runs inside, beside ``zygote.py`` and the programs, and imports nothing else of mograder. A sandbox
to be joined contains only its placeholder, so no student process can interfere with a half-done
entry; after the ``inside`` message the process is as confined as one that bubblewrap started.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import functools
import importlib
import json
import os
import pathlib
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import rights  # type: ignore[import-not-found]  # in this file's directory

_SANDBOX = 0x7E020000
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}"""

_PR_SET_DUMPABLE, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 4, 47, 4
_FAILED = 71
_OF_FILES = "marimo._config"
_ARG_START = 45
"""Index of the field in ``/proc/self/stat``, counted from after the program's name."""


class Session:
    """A forked child that enters the sandbox, drops its privileges and runs a program."""

    def __init__(
        self,
        request: dict[str, Any],
        descriptors: list[int],
        told: int,
        control: socket.socket,
        forgets: list[functools._lru_cache_wrapper[Any]],
    ) -> None:
        """``told`` is the pipe to the zygote, ``forgets`` the :func:`remembered_files`."""
        self._forgets = forgets
        self._request = request
        self._descriptors = descriptors
        self._told = told
        self._control = control

    def enter(self, program: Callable[[list[str]], None]) -> NoReturn:
        """Join the sandbox, fork (only a child is in its pid namespace) and run ``program``."""
        try:
            count = len(self._request["descriptors"])
            handed = self._descriptors[:count]
            output, holder, go, *entries = self._descriptors[count:]
            signal.set_wakeup_fd(-1)
            for entry in entries:  # before any student code, so that its forks are in it too
                os.write(entry, b"0")
                os.close(entry)
            os.setsid()
            uid = self._request["uid"]
            if uid:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            rights.check(rights.libc.setns(holder, _SANDBOX), "setns")
            pid = os.fork()
            if pid:
                os.write(self._told, b"pid %d\n" % pid)
                os._exit(0)
            self._give_up(handed, output, go)
        except BaseException as error:  # noqa: BLE001 - reported to the supervisor before the exit
            os.write(self._told, f"failed {error!r}"[:500].replace("\n", " ").encode() + b"\n")
            os._exit(_FAILED)
        if os.read(go, 1) != b"g":  # its setup failed, or the supervisor has ended
            os._exit(_FAILED)
        os.close(go)
        try:
            program(self._arguments(handed))
        except SystemExit as ending:
            _leave(ending.code)
        except BaseException:  # noqa: BLE001 - must not reach the zygote's own frames
            traceback.print_exc()
            _leave(1)
        _leave(0)

    def _give_up(self, handed: list[int], output: int, go: int) -> None:
        os.setsid()
        self._control.close()
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        close_all_but({0, 1, 2, *handed, go, self._told})
        _give_up_rights(base64.b64decode(self._request["filter"]))
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.umask(0o022)
        os.chdir(self._request["directory"])
        os.environ.clear()
        os.environ.update(self._request["variables"])
        os.environ["PWD"] = self._request["directory"]
        time.tzset()
        for each in self._forgets:
            each.cache_clear()
        _show_arguments([sys.executable, *self._request["arguments"]])
        draw_new_random_numbers()
        os.write(self._told, b"inside\n")
        os.close(self._told)

    def _arguments(self, handed: list[int]) -> list[str]:
        options, *arguments = self._request["arguments"]
        numbers = dict(zip(self._request["descriptors"], handed, strict=True))
        return [json.dumps({**json.loads(options), **numbers}), *arguments]


def _show_arguments(arguments: list[str]) -> None:
    """Overwrite the process title, so that ``ps`` distinguishes sessions and zygote."""
    fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_START + 1])
    if 0 < start < end:
        title = "\0".join(arguments).encode()[: end - start - 1]
        ctypes.memmove(start, title.ljust(end - start, b"\0"), end - start)


def _give_up_rights(program: bytes) -> None:
    """Apply the restrictions that bubblewrap applies only to its own children."""
    rights.forbid_new_privileges()
    cleared = rights.libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    rights.check(cleared, "ambient")
    rights.bound_capabilities()
    rights.keep_capabilities()
    # As execve does: joining made /proc/PID unreadable to its uid, also to marimo's kernel.
    rights.check(rights.libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "dumpable")
    rights.filter_calls(program)
    _check_rights()


def _check_rights() -> None:
    """Verify the privileges in ``/proc/self/status``, not by our own calls' results."""
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
