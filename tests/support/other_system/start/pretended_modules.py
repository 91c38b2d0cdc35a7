"""The modules of the standard library as mograder's modules find them on another system."""

from __future__ import annotations

import asyncio
import builtins
import ctypes
import functools
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from tests.support.other_system.start import pretended_files, pretended_msvcrt
from tests.support.other_system.start.callers import called_by_us, is_ours

_NOT_ON_WINDOWS = (
    *("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix", "crypt"),
    *("spwd", "nis", "readline", "curses", "uvloop"),
)
_NOT_ON_MACOS = ("spwd",)

_OS_LINUX = (
    *("O_PATH", "O_TMPFILE", "O_NOATIME", "O_DIRECT", "O_LARGEFILE", "O_RSYNC", "pidfd_open"),
    *("memfd_create", "sched_getaffinity", "sched_setaffinity", "sched_setscheduler", "setns"),
    *("sched_getscheduler", "unshare", "pipe2", "splice", "copy_file_range", "eventfd"),
    *("posix_fallocate", "posix_fadvise", "getxattr", "setxattr", "listxattr", "removexattr"),
    *("getrandom", "setresuid", "setresgid", "getresuid", "getresgid", "fdatasync", "P_PIDFD"),
)
_OS_POSIX = (
    *("O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_SYNC", "O_DSYNC"),
    *("O_NDELAY", "O_ASYNC", "O_ACCMODE", "fork", "forkpty", "killpg", "getuid", "geteuid"),
    *("getgid", "getegid", "getgroups", "initgroups", "setuid", "setgid", "seteuid", "setegid"),
    *("setgroups", "fchmod", "fchown", "chown", "lchown", "lchmod", "statvfs", "fstatvfs"),
    *("getpgid", "getpgrp", "setpgid", "setsid", "getsid", "setpriority", "getpriority", "nice"),
    *("mkfifo", "mknod", "chroot", "fchdir", "sendfile", "pread", "pwrite", "preadv", "pwritev"),
    *("readv", "writev", "lockf", "sync", "uname", "sysconf", "getloadavg", "ttyname", "openpty"),
    *("major", "minor", "makedev", "wait", "wait3", "wait4", "waitid", "WNOHANG", "WIFEXITED"),
    *("WIFSIGNALED", "WEXITSTATUS", "WTERMSIG", "WUNTRACED", "posix_spawn", "posix_spawnp"),
    *("register_at_fork", "fwalk", "fpathconf", "pathconf", "confstr", "ctermid", "setreuid"),
    *("setregid", "set_blocking", "get_blocking", "tcgetpgrp", "tcsetpgrp", "EX_USAGE"),
    *("EX_CONFIG", "EX_TEMPFAIL", "EX_UNAVAILABLE", "EX_SOFTWARE", "EX_NOPERM", "spawnvp"),
)
_SIGNAL_LINUX = ("SIGRTMIN", "SIGRTMAX", "SIGPWR", "pidfd_send_signal", "sigwaitinfo")
_SIGNAL_POSIX = (
    *("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGSTOP", "SIGCONT", "SIGALRM"),
    *("SIGQUIT", "SIGPIPE", "SIGTSTP", "SIGWINCH", "SIGXCPU", "alarm", "setitimer", "pause"),
    *("pthread_sigmask", "pthread_kill", "sigwait", "sigtimedwait", "siginterrupt"),
)
_SOCKET_LINUX = ("AF_NETLINK", "AF_VSOCK", "SO_PEERCRED", "SO_BINDTODEVICE", "SOCK_CLOEXEC")
_SOCKET_POSIX = ("AF_UNIX", "SO_REUSEPORT", "SCM_RIGHTS", "send_fds", "recv_fds", "CMSG_LEN")
_TIME_POSIX = ("clock_gettime", "clock_getres", "clock_settime", "tzset", "CLOCK_MONOTONIC")
_CREATION = {
    "CREATE_NEW_CONSOLE": 0x10,
    "CREATE_NEW_PROCESS_GROUP": 0x200,
    "CREATE_NO_WINDOW": 0x08000000,
    "DETACHED_PROCESS": 0x8,
    "HIGH_PRIORITY_CLASS": 0x80,
    "BELOW_NORMAL_PRIORITY_CLASS": 0x4000,
}
_NO_POPEN = ("pass_fds", "start_new_session", "preexec_fn", "process_group", "user", "group")


class Pretended(ModuleType):
    """A module without the names ``hidden`` and with those of ``other``; the rest is real."""

    def __init__(self, real: ModuleType, hidden: Iterable[str], other: Mapping[str, Any]) -> None:
        vars_of(self).update(
            _real=real, _hidden=frozenset(hidden), _other=dict(other), __name__=real.__name__
        )

    def __getattribute__(self, name: str) -> Any:
        own = object.__getattribute__(self, "__dict__")
        if name in own["_hidden"]:
            raise AttributeError(f"module {own['__name__']!r} has no attribute {name!r} there")
        if name in own["_other"]:
            return own["_other"][name]
        return getattr(own["_real"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars_of(self)["_real"], name, value)


def vars_of(module: Pretended) -> dict[str, Any]:
    """Return the facts that a pretended module keeps."""
    found: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return found


def begin(system: str) -> None:
    """Pretend from now on, in this process."""
    windows = system == "windows"
    missing = _NOT_ON_WINDOWS if windows else _NOT_ON_MACOS
    modules = _on_windows() if windows else _on_macos()
    pretended_files.begin(system)
    if windows:
        _refuse_in_loops()
    real_import = builtins.__import__

    @functools.wraps(real_import)
    def pretending_import(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: tuple[str, ...] = (),
        level: int = 0,
    ) -> ModuleType:
        importer = str((globals or {}).get("__name__", ""))
        if level or not is_ours(importer):
            return real_import(name, globals, locals, fromlist, level)
        top = name.partition(".")[0]
        # Without ctypes platformdirs takes the folders of Windows from environment variables.
        if top in missing or (top == "ctypes" and importer.startswith("platformdirs")):
            raise ModuleNotFoundError(f"No module named {top!r} on {system}", name=top)
        if top not in modules or (fromlist and "." in name):
            return real_import(name, globals, locals, fromlist, level)
        if "." in name:
            real_import(name, globals, locals, (), 0)
        return modules[top]

    builtins.__import__ = pretending_import  # type: ignore[assignment]


def _on_windows() -> dict[str, ModuleType]:
    hidden_os = (*_OS_LINUX, *_OS_POSIX)
    return {
        "os": Pretended(os, hidden_os, _windows_os()),
        "sys": Pretended(sys, ("getdlopenflags", "setdlopenflags"), {"platform": "win32"}),
        "signal": Pretended(
            signal,
            (*_SIGNAL_LINUX, *_SIGNAL_POSIX),
            {"SIGBREAK": signal.Signals(21), "CTRL_C_EVENT": 0, "CTRL_BREAK_EVENT": 1},
        ),
        "socket": Pretended(
            socket,
            (*_SOCKET_LINUX, *_SOCKET_POSIX),
            {"SO_EXCLUSIVEADDRUSE": socket.SO_KEEPALIVE},  # here no other program takes a port
        ),
        "select": Pretended(select, ("epoll", "poll", "EPOLLIN", "POLLIN", "POLLHUP"), {}),
        "time": Pretended(time, _TIME_POSIX, {}),
        "subprocess": Pretended(
            subprocess,
            (),
            {
                **_CREATION,
                "Popen": WindowsPopen,
                "run": _popen_arguments_checked(subprocess.run),
                "STARTUPINFO": type("STARTUPINFO", (), {"dwFlags": 0, "wShowWindow": 0}),
                "STARTF_USESHOWWINDOW": 1,
                "SW_HIDE": 0,
            },
        ),
        "asyncio": Pretended(
            asyncio,
            ("open_unix_connection", "start_unix_server", "get_child_watcher"),
            {"create_subprocess_exec": _popen_arguments_checked(asyncio.create_subprocess_exec)},
        ),
        "ctypes": Pretended(ctypes, (), {"CDLL": _no_libc}),
        "multiprocessing": Pretended(
            multiprocessing, (), {"get_context": _spawn_only, "set_start_method": _spawn_only}
        ),
        "msvcrt": pretended_msvcrt,
    }


def _on_macos() -> dict[str, ModuleType]:
    return {
        "os": Pretended(os, _OS_LINUX, {}),
        "sys": Pretended(sys, (), {"platform": "darwin"}),
        "signal": Pretended(signal, _SIGNAL_LINUX, {}),
        "socket": Pretended(socket, _SOCKET_LINUX, {}),
        "select": Pretended(select, ("epoll", "EPOLLIN"), {}),
        "ctypes": Pretended(ctypes, (), {"CDLL": _MacLibrary}),
    }


def _windows_os() -> dict[str, Any]:
    """Return what ``os`` has otherwise on Windows, or only there."""
    without_dir_fd = {
        name: pretended_files.without_descriptors(name)
        for name in (
            *("access", "chmod", "link", "listdir", "lstat", "mkdir", "readlink", "remove"),
            *("rename", "replace", "rmdir", "scandir", "stat", "symlink", "unlink", "utime"),
            *("truncate",),
        )
    }
    return {
        **without_dir_fd,
        "name": "nt",
        "linesep": "\r\n",
        "O_BINARY": pretended_files.O_BINARY,
        "O_NOINHERIT": 0,
        "O_TEXT": 0,
        "open": pretended_files.windows_open,
        "read": pretended_files.windows_read,
        "write": pretended_files.windows_write,
        "fsync": pretended_files.windows_fsync,
        "kill": _kill,
        "startfile": lambda path: None,
        "supports_dir_fd": frozenset(),
        "supports_fd": frozenset(),
        "supports_follow_symlinks": frozenset({os.stat}),
    }


def _kill(pid: int, number: int) -> None:
    """End the process, as ``os.kill`` does there with each number but the console's two events."""
    if number == 0:
        raise RuntimeError("os.kill(pid, 0) ends the process on Windows")
    os.kill(pid, signal.SIGINT if number == 1 else signal.SIGKILL)


class WindowsPopen(subprocess.Popen[Any]):
    """``Popen`` that refuses what Windows has not, and has the arguments of Windows."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **_without_windows_arguments(kwargs))

    def kill(self) -> None:
        super().send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """End the process at once: there is no request to end."""
        self.kill()

    def send_signal(self, sig: int) -> None:
        """Send one of the signals that there are."""
        if sig not in (0, 1, signal.SIGTERM):
            raise ValueError(f"Unsupported signal: {sig}")
        super().send_signal(signal.SIGINT if sig in (0, 1) else signal.SIGKILL)


def _popen_arguments_checked(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def checked(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **_without_windows_arguments(kwargs))

    return checked


def _without_windows_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    wrong = [name for name in _NO_POPEN if kwargs.get(name)]
    if wrong:
        raise ValueError(f"{wrong[0]} is not supported on Windows platforms")
    return {key: kwargs[key] for key in kwargs if key not in ("creationflags", "startupinfo")}


def _no_libc(name: str | None, *args: Any, **kwargs: Any) -> Any:
    if name is None:
        raise TypeError("LoadLibrary() argument 1 must be str, not None")
    raise FileNotFoundError(f"Could not find module {name!r} (or one of its dependencies).")


class _MacLibrary:
    """The C library of macOS: without Linux's own calls."""

    def __init__(self, name: str | None, *args: Any, **kwargs: Any) -> None:
        if name is not None:
            raise OSError(f"dlopen({name}, 0x0006): tried: '{name}' (no such file)")
        self._real = ctypes.CDLL(name, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in ("renameat2", "prctl", "openat2", "syscall", "unshare", "mount", "setns"):
            raise AttributeError(f"dlsym(RTLD_DEFAULT, {name}): symbol not found")
        return getattr(self._real, name)


def _spawn_only(method: str | None = None, **kwargs: Any) -> Any:
    if method not in (None, "spawn"):
        raise ValueError(f"cannot find context for {method!r}")
    return multiprocessing.get_context("spawn")


def _refuse_in_loops() -> None:
    """Let event loops refuse what those of Windows have not, when mograder asks."""
    for name in ("add_signal_handler", "remove_signal_handler", "add_reader", "add_writer"):
        real = getattr(asyncio.SelectorEventLoop, name)
        setattr(asyncio.SelectorEventLoop, name, _refusing(real))


def _refusing(real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def refusing(*args: Any, **kwargs: Any) -> Any:
        if called_by_us():
            raise NotImplementedError
        return real(*args, **kwargs)

    return refusing
