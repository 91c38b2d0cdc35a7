"""Checks of the host: clock, memory, inodes, namespaces, versions. They change nothing."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from mograder import __version__
from mograder.core.settings import LoadedSettings
from mograder.operations.report import Line, note, ok, problem
from mograder.sandbox.isolation.obstacles import (
    Surroundings,
    refusal_of_namespaces,
    remedy_for,
)
from mograder.sandbox.limits.procfs import parse_meminfo

_TIMEX_BYTES = 512
"""Bytes of a buffer larger than any kernel's ``struct timex``."""

_UNSYNCHRONISED = 5
_BUILT = datetime(2026, 1, 1, tzinfo=UTC)
"""A clock that shows an earlier time is wrong: the program was written later."""

_LEAST_MEMORY = 256
_FEW_INODES, _NO_INODES = 0.05, 1000


def clock_line(*, now: datetime | None = None, state: int | None = None) -> Line:
    """Report whether the clock is set correctly: deadlines, logins and certificates depend on it.

    ``state`` is the result of ``adjtimex``, by default asked of the kernel.
    """
    at = now or datetime.now(UTC)
    remedy = "timedatectl set-ntp true (Debian: apt install systemd-timesyncd)"
    if at < _BUILT:
        return problem("clock", f"clock: it says {at:%Y-%m-%d %H:%M} UTC", remedy)
    found = _clock_state() if state is None else state
    text = f"clock: {at:%Y-%m-%d %H:%M} UTC"
    if found == _UNSYNCHRONISED:
        return note("clock", f"{text}, and nobody sets it right", remedy)
    return ok("clock", text if found < 0 else f"{text}, set by a time server")


def _clock_state() -> int:
    """Return the clock's state from the kernel (adjtimex); negative if it is not available."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", None)
    if call is None:
        return -1
    answer: int = call(ctypes.create_string_buffer(_TIMEX_BYTES))
    return answer


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
        return note(
            "memory",
            f"{text}, and one session may take {most}",
            "Lower [limits] memory_mb, or give the machine more.",
        )
    return ok("memory", text)


def inode_line(path: Path) -> Line:
    """Report the number of free inodes on the file system of ``path``."""
    nearest = next(each for each in (path, *path.parents) if each.is_dir())
    found = os.statvfs(nearest)
    if not found.f_files:  # btrfs and others have no such limit
        return ok("inodes", "inodes: no limit")
    text = f"inodes: {found.f_favail} of {found.f_files} free for {path.name}"
    hint = "Remove what has many small files, or move the data to a larger file system."
    if found.f_favail < _NO_INODES:
        return problem("inodes", text, hint)
    if found.f_favail < found.f_files * _FEW_INODES:
        return note("inodes", text, hint)
    return ok("inodes", text)


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
        profile = Path("/etc/apparmor.d/mograder")
        if profile.exists():
            yield ok("namespaces", "user namespaces: allowed by AppArmor's profile for mograder")
        else:
            yield note(
                "namespaces",
                "user namespaces: only for programs with an AppArmor profile",
                "mograder hub install --systemd writes one for bubblewrap.",
            )
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
    """Report the versions of the programs and of the kernel, for problem reports."""
    names = ("marimo", "uv")
    parts = [f"mograder {__version__}", *(f"{name} {metadata.version(name)}" for name in names)]
    parts += [f"Python {platform.python_version()}", f"Linux {platform.release()}"]
    return ok("versions", f"versions: {', '.join(parts)}")
