"""Checks of the machine: directories, disk, port, memory, clock, namespaces, limits of the kernel.

They change nothing (B84, B85, security.md).
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import platform
import re
import resource
import socket
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from mograder import __version__
from mograder.core.files.disk import nearest_directory, space_of
from mograder.core.operating_system import account_name
from mograder.core.settings import LoadedSettings
from mograder.operations.report import Line, note, ok, problem
from mograder.sandbox.isolation.obstacles import (
    Surroundings,
    refusal_of_namespaces,
    remedy_for,
)
from mograder.sandbox.limits.cgroup2 import SessionGroups
from mograder.sandbox.limits.procfs import parse_meminfo

_INOTIFY_INSTANCES = 1024
"""Instances needed: each editor uses one to watch its file, and all may share one uid."""

_PIPE_PAGES = 16_384
"""The kernel's default; beyond it new pipes of the uid have only one page."""

_EPOLL_WATCHES = 2**31 - 1
"""More than all memory holds: the kernel's default is 4 % of it for a uid, which the sessions of a
service user can take from its hub; uvloop ends the process then."""

_KERNEL_LIMITS = (
    ("inotify", "inotify instances", "fs.inotify.max_user_instances", _INOTIFY_INSTANCES),
    ("pipes", "pipe pages", "fs.pipe-user-pages-soft", _PIPE_PAGES),
    ("epoll", "epoll watches", "fs.epoll.max_user_watches", _EPOLL_WATCHES),
)
_DESCRIPTORS_PER_SESSION = 16
"""Descriptors of the hub and its supervisor for each session: sockets, pipes, a cgroup."""

_SESSIONS = 300
_MOST_FILES = 4
"""The least factor between the hub's limit of open files and that of a session."""

IN_USE = "is in use"
"""The words in the result of :func:`port_line` for a port that another program uses."""

_TIMEX_BYTES = 512

_UNSYNCHRONISED = 5
_BUILT = datetime(2026, 1, 1, tzinfo=UTC)
"""A clock that shows an earlier time is wrong: the program was written later."""

_LEAST_MEMORY = 256
_LEAST_INODES = 1000
_LEAST_KERNEL = (5, 14)


def directory_lines(check: str, path: Path) -> Iterator[Line]:
    """Yield a problem if the hub cannot write to a directory, or cannot create a missing one."""
    nearest = next(each for each in (path, *path.parents) if each.exists() or each.is_symlink())
    if not nearest.is_dir():
        yield problem(check, f"{nearest} is not a directory", "Move it away, or name another.")
    elif os.access(nearest, os.W_OK | os.X_OK):
        return
    elif nearest == path:
        hint = f"Run the check as the hub's user, or give that user {nearest}."
        yield problem(check, f"{path} cannot be written by this user", hint)
    else:
        text = f"{path} is missing, and this user cannot make it in {nearest}"
        hint = f"As root: install -d -o {account_name(os.geteuid())} -m 755 {path}"
        yield problem(check, text, hint)


def disk_lines(loaded: LoadedSettings, paths: Iterable[Path]) -> Iterator[Line]:
    """Report the free space of the paths' file systems, and where no files can be made."""
    places: dict[int, list[Path]] = {}
    for path in paths:
        places.setdefault(space_of(path).device, []).append(path)
    for together in places.values():
        space = space_of(together[0])
        reserve = loaded.settings.limits.disk_reserve.of(space.total) >> 20
        free = space.free >> 20
        names = ", ".join(dict.fromkeys(each.name for each in together))
        text = f"{free} MB free for {names}"
        found = os.statvfs(nearest_directory(together[0]))
        inodes = found.f_favail if found.f_files else math.inf  # some file systems have no bound
        if inodes < _LEAST_INODES:
            text = f"{inodes} files can be made for {names}, although {free} MB are free"
            hint = "Remove what has many files (mograder hub prune). Why: df -i"
            yield problem("disk", text, hint)
        elif free > reserve:
            yield ok("disk", text)
        else:
            text = f"{text}: sessions leave {reserve} MB free and would be ended"
            hint = "Make room (mograder hub prune), or lower [limits] disk_reserve_mb."
            yield problem("disk", text, hint)


def port_line(host: str, port: int) -> Line:
    """Report whether the hub can listen on this address and TCP port (B84)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror:
        return _not_here(host)
    # IPv4 first, as the hub does: "localhost" may resolve to ::1, which most clients try last.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except PermissionError:
            return problem("port", f"port {port} needs root", "Choose a port above 1023.")
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return _not_here(host)
            hint = "Stop what listens there, or choose another by [hub] port."
            return problem("port", f"port {port} {IN_USE}", hint)
    return ok("port", f"port {port} is free")


def _not_here(host: str) -> Line:
    return problem("port", f"{host} is not an address of this machine", "Correct [hub] host.")


def kernel_lines(loaded: LoadedSettings, *, sys: Path = Path("/proc/sys")) -> Iterator[Line]:
    """Yield the kernel's limits that many sessions of one uid can reach (security.md)."""
    for check, what, key, wanted in _KERNEL_LIMITS:
        yield _counted(check, f"{what} per user", sys, key, wanted)
    yield _descriptors(loaded.settings.limits.open_files)


def kernel_version_lines(release: str = "") -> Iterator[Line]:
    """Yield a problem if the kernel, by default this one, is older than those supported.

    Before 5.14 it counts RLIMIT_NPROC for a user of the machine and not for each sandbox.
    """
    release = release or platform.release()
    found = re.match(r"(\d+)\.(\d+)", release)
    if found and (int(found[1]), int(found[2])) < _LEAST_KERNEL:
        text = f"Linux {release}: [limits] processes is for all sessions of a user together there"
        yield problem("kernel-version", text, "Take Linux 5.14 or newer.")


def _counted(check: str, what: str, sys: Path, key: str, wanted: int) -> Line:
    value = _number(sys / key.replace(".", "/"))
    if value is None:
        return note(check, f"{what}: the kernel does not tell")
    if value == 0 or value >= wanted:
        return ok(check, f"{what}: {value or 'no limit'}")
    hint = f"sysctl -w {key}={wanted * 8 if check == 'inotify' else wanted}"
    return note(check, f"{what}: {value} is little for a lecture hall", hint)


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
    hint = "A service with Delegate=yes has cgroups even where this shell has none."
    return note("limits", f"limits: rlimits and the watchdog ({refusal})", hint)


def clock_line(*, now: datetime | None = None, state: int | None = None) -> Line:
    """Report whether the clock is set correctly: deadlines, logins and certificates depend on it.

    ``state`` is the result of ``adjtimex``, by default asked of the kernel.
    """
    at = now or datetime.now(UTC)
    remedy = "timedatectl set-ntp true (Debian: apt install systemd-timesyncd)"
    if at < _BUILT:
        return problem("clock", f"clock: it says {at:%Y-%m-%d %H:%M} UTC", remedy)
    found = state
    if found is None:
        adjtimex = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", lambda _: -1)
        found = int(adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    text = f"clock: {at:%Y-%m-%d %H:%M} UTC"
    if found == _UNSYNCHRONISED:
        return note("clock", f"{text}, and nobody sets it right", remedy)
    return ok("clock", text if found < 0 else f"{text}, set by a time server")


def memory_line(loaded: LoadedSettings, *, meminfo: Path = Path("/proc/meminfo")) -> Line:
    """Report whether there is memory for sessions of up to ``[limits] memory_mb`` each."""
    try:
        found = parse_meminfo(meminfo.read_bytes())
    except OSError:
        return note("memory", "memory: the kernel does not tell")
    free, total = found.available >> 20, found.total >> 20
    most = loaded.settings.limits.memory_mb
    text = f"memory: {free} of {total} MB free"
    if free < _LEAST_MEMORY:
        hint = "Give the machine more, or end what else runs on it."
        return problem("memory", f"{text}: not enough for one session", hint)
    if total < 2 * most:
        hint = "Lower [limits] memory_mb, or give the machine more."
        return note("memory", f"{text}, and one session may take {most}", hint)
    return ok("memory", text)


def namespace_lines(
    *, sys: Path = Path("/proc/sys"), trial: Callable[[], str] = refusal_of_namespaces
) -> Iterator[Line]:
    """Yield whether namespaces can be made, which sandboxes need, by the kernel's settings.

    Where these allow it, it is tried: in a container a seccomp profile may forbid it, or covered
    parts of /proc. ``trial`` returns the reason, or "".
    """
    most = _number(sys / "user/max_user_namespaces")
    if most == 0:
        hint = "sysctl -w user.max_user_namespaces=15000"
        yield problem("namespaces", "user namespaces: none are allowed", hint)
    elif _number(sys / "kernel/unprivileged_userns_clone") == 0:
        hint = "sysctl -w kernel.unprivileged_userns_clone=1"
        yield problem("namespaces", "user namespaces: for root only", hint)
    elif _number(sys / "kernel/apparmor_restrict_unprivileged_userns"):
        if Path("/etc/apparmor.d/mograder").exists():
            yield ok("namespaces", "user namespaces: allowed by AppArmor's profile for mograder")
        else:
            text = "user namespaces: only for programs with an AppArmor profile"
            hint = "mograder hub install --systemd writes one for bubblewrap."
            yield note("namespaces", text, hint)
    elif reason := trial():
        hint = remedy_for(reason, Surroundings.found())
        yield problem("namespaces", f"user namespaces: refused here ({reason})", hint)
    else:
        yield ok("namespaces", "user namespaces: allowed")


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def version_line() -> Line:
    names = ("marimo", "uv")
    parts = [f"mograder {__version__}", *(f"{name} {metadata.version(name)}" for name in names)]
    parts += [f"Python {platform.python_version()}", f"Linux {platform.release()}"]
    return ok("versions", f"versions: {', '.join(parts)}")
