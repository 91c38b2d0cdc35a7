"""The system that this process runs on; each choice by system in our code reads it from here.

Also the folders for a person's settings and caches.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import platformdirs

if sys.platform != "win32":
    import pwd
    import resource

_OPEN_FILES = 65_536
_ENDING = ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")
"""The names of the signals that end a server; the last two are of a terminal that is closed."""

System = Literal["linux", "macos", "windows"]


def system_of(platform: str) -> System:
    """Return the system of a value of ``sys.platform``; BSDs and others count as macOS."""
    if platform == "win32":
        return "windows"
    return "linux" if platform.startswith("linux") else "macos"


SYSTEM: Final[System] = system_of(sys.platform)

SYSTEM_NAME: Final[str] = {"linux": "Linux", "macos": "macOS", "windows": "Windows"}[SYSTEM]


def ending_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a server here, without a SIGHUP that is ignored (nohup)."""
    found = (getattr(signal, name) for name in _ENDING if hasattr(signal, name))
    return tuple(
        each
        for each in found
        if each.name != "SIGHUP" or signal.getsignal(each) is not signal.SIG_IGN
    )


def user_id() -> int:
    """Return the user whose rights this process has; -1 on Windows, which has no numbers."""
    if sys.platform == "win32":
        return -1
    else:  # noqa: RET505 - mypy would call what follows unreachable
        return os.geteuid()


def is_root() -> bool:
    return user_id() == 0


def account_name(uid: int | None = None, nameless: str = "{}") -> str:
    """Return the name of a user id's account, or of this process's; ``nameless`` if it has none."""
    if sys.platform == "win32":
        return getpass.getuser()
    else:  # noqa: RET505 - mypy would call what follows unreachable
        number = os.getuid() if uid is None else uid
        try:
            return pwd.getpwuid(number).pw_name
        except KeyError:
            return nameless.format(number)


def allow_open_files() -> None:
    """Raise this process's soft limit of open files to 65,536, at most to its hard limit.

    Servers call it: a shell or a service manager starts them with 1024, and each student at work
    needs several.
    """
    if sys.platform != "win32":  # which has no such limit
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(ValueError):  # macOS may allow fewer than its hard limit
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """A socket of this machine, by its port and that of its other end, 0 of one that listens."""

    local: int
    remote: int
    state: str
    uid: int


_LISTENING, _ESTABLISHED = "0A", "01"
"""States of a socket in ``/proc/net/tcp``."""


def tcp_sockets(table: Path) -> list[TcpSocket]:
    """Return the sockets in a file like ``/proc/net/tcp``. Raises: OSError if it is missing."""
    rows = [line.split() for line in table.read_text("ascii", "replace").splitlines()[1:]]
    return [
        TcpSocket(int(row[1][-4:], 16), int(row[2][-4:], 16), row[3], int(row[7])) for row in rows
    ]


def listeners(table: Path, port: int) -> list[int]:
    """Return the users who listen on a port by such a file. Raises: OSError if it is missing."""
    found = tcp_sockets(table)
    return [each.uid for each in found if (each.local, each.state) == (port, _LISTENING)]


def is_another_user(
    sockets: Sequence[TcpSocket], port: int, peer: int, users: Collection[int]
) -> bool:
    """Return whether a connection from ``peer`` to a server at ``port`` is of none of the users.

    It may be of a client outside of this system's network, such as Windows for its WSL: then only
    one end of the connection is here, and the answer is no.
    """
    ends = [each for each in sockets if (each.local, each.remote) == (peer, port)]
    if ends:  # a socket that was closed has no owner any more
        return any(each.state != _ESTABLISHED or each.uid not in users for each in ends)
    served = [each for each in sockets if each.local == port]
    return bool(served) and not any(
        each.remote == peer and each.state == _ESTABLISHED for each in served
    )


PYTHONS = ("bin/python", "Scripts/python.exe")
"""The places of a virtual environment's Python, on Linux first."""


def python_of(environment: Path) -> Path:
    """Return the path of a virtual environment's Python; if there is none, its path on Linux."""
    places = [environment / each for each in PYTHONS]
    return next((place for place in places if place.exists()), places[0])


_NAME = "mograder"


def expanded(path: str) -> str:
    """Return a path with a leading ``~`` as the home; an unknown ``~name`` stays as it is.

    Many shells, and all of Windows, leave the tilde of ``--name=~/x``.
    """
    return os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser() raises for an unknown name


def user_folder(home: Path) -> Path:
    """Return the folder for settings and tokens of a person; it may not exist yet.

    On Linux it is ``~/.config/mograder`` whatever XDG_CONFIG_HOME is, since 0.3.16 ignores that. On
    macOS it is in ``~/Library/Application Support``; on Windows in ``%APPDATA%``, which only the
    user and administrators may read.
    """
    if SYSTEM == "linux":
        return earlier_folder(home)
    return platformdirs.user_config_path(_NAME, appauthor=False, roaming=True)


def user_cache(home: Path) -> Path:
    """Return the folder for what can be made again, such as environments; it may not exist yet."""
    if SYSTEM == "linux":
        return home / ".cache" / _NAME
    return platformdirs.user_cache_path(_NAME, appauthor=False)


def earlier_folder(home: Path) -> Path:
    """Return the folder of 0.3.16, which is the same on all systems."""
    return home / ".config" / _NAME
