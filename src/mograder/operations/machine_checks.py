"""Checks of the machine: directories, disk, port, kernel limits, cgroups (B84, B85, security.md).

They change nothing.
"""

from __future__ import annotations

import os
import pwd
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

from mograder.core.disk import space_of
from mograder.core.settings import LoadedSettings
from mograder.operations.report import Line, note, ok, problem
from mograder.sandbox.limits.cgroup2 import SessionGroups

_INOTIFY_INSTANCES = 1024
"""Instances needed: each editor uses one to watch its file, and all may share one uid."""

_PIPE_PAGES = 16_384
"""The kernel's default; beyond it new pipes of the uid have only one page."""

_DESCRIPTORS_PER_SESSION = 16
"""Descriptors of the hub and its supervisor for each session: sockets, pipes, a cgroup."""

_SESSIONS = 300
_MOST_FILES = 4
"""The least factor between the hub's limit of open files and that of a session."""

IN_USE = "is in use"
"""The words in the result of :func:`port_line` for a port that another program uses."""


def directory_lines(check: str, path: Path) -> Iterator[Line]:
    """Yield a problem if the hub cannot write to a directory, or cannot create a missing one."""
    nearest = next(each for each in (path, *path.parents) if each.exists() or each.is_symlink())
    if not nearest.is_dir():
        yield problem(check, f"{nearest} is not a directory", "Move it away, or name another.")
    elif nearest != path and not os.access(nearest, os.W_OK | os.X_OK):
        yield problem(
            check,
            f"{path} is missing, and this user cannot make it in {nearest}",
            f"As root: install -d -o {user_name(os.geteuid())} -m 755 {path}",
        )
    elif not os.access(nearest, os.W_OK | os.X_OK):
        yield problem(
            check,
            f"{path} cannot be written by this user",
            f"Run the check as the hub's user, or give that user {nearest}.",
        )


def user_name(uid: int) -> str:
    """Return the name of a user id, or the number as text if it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def disk_line(loaded: LoadedSettings, path: Path) -> Line:
    """Report the free space of the file system of ``path``."""
    space = space_of(path)
    reserve = loaded.settings.limits.disk_reserve.of(space.total) >> 20
    free = space.free >> 20
    text = f"{free} MB free for {path.name}"
    if free <= reserve:
        return problem(
            "disk",
            f"{text}: sessions leave {reserve} MB free and would be ended",
            "Make room (mograder hub prune), or lower [limits] disk_reserve_mb.",
        )
    return ok("disk", text)


def port_line(host: str, port: int) -> Line:
    """Report whether the hub can listen on this address and TCP port (B84)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror:
        return problem("port", f"{host} is not an address of this machine", "Correct [hub] host.")
    # IPv4 first, as the hub does: "localhost" may resolve to ::1, which most clients try last.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except PermissionError:
            return problem("port", f"port {port} needs root", "Choose a port above 1023.")
        except OSError:
            hint = "Stop what listens there, or choose another by [hub] port."
            return problem("port", f"port {port} {IN_USE}", hint)
    return ok("port", f"port {port} is free")


def kernel_lines(loaded: LoadedSettings, *, sys: Path = Path("/proc/sys")) -> Iterator[Line]:
    """Yield the kernel's limits that many sessions of one uid can reach (security.md)."""
    yield _counted(
        "inotify",
        "inotify instances per user",
        sys / "fs/inotify/max_user_instances",
        _INOTIFY_INSTANCES,
        "fs.inotify.max_user_instances",
    )
    yield _counted(
        "pipes",
        "pipe pages per user",
        sys / "fs/pipe-user-pages-soft",
        _PIPE_PAGES,
        "fs.pipe-user-pages-soft",
    )
    yield _descriptors(loaded.settings.limits.open_files)


def _counted(check: str, what: str, file: Path, wanted: int, key: str) -> Line:
    try:
        value = int(file.read_text())
    except (OSError, ValueError):
        return note(check, f"{what}: the kernel does not tell")
    if value == 0 or value >= wanted:
        return ok(check, f"{what}: {value or 'no limit'}")
    return note(
        check,
        f"{what}: {value} is little for a lecture hall",
        f"sysctl -w {key}={wanted * 8 if check == 'inotify' else wanted}",
    )


def _descriptors(per_session: int) -> Line:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = max(_MOST_FILES * per_session, _SESSIONS * _DESCRIPTORS_PER_SESSION)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        shown = "no limit" if hard == resource.RLIM_INFINITY else str(hard)
        return ok("descriptors", f"open files of the hub: {shown}")
    hint = f"Set LimitNOFILE={wanted} in the unit, or `ulimit -n {wanted}`."
    text = f"open files of the hub: at most {hard}"
    if hard <= per_session:
        why = f"and one session may open {per_session}"
        return problem("descriptors", f"{text}, {why}", hint)
    return note("descriptors", f"{text}, little for a lecture hall", hint)


def limits_line() -> Line:
    """Report how sessions' limits are enforced: by cgroups, or by rlimits and the watchdog.

    This is determined for the process that runs this check, not for the hub's service.
    """
    refusal = SessionGroups.refusal()
    if not refusal:
        return ok("limits", "limits: cgroup v2 is delegated here, the kernel enforces them")
    return note(
        "limits",
        f"limits: rlimits and the watchdog ({refusal})",
        "A service with Delegate=yes has cgroups even where this shell has none.",
    )
