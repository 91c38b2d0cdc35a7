"""What hostile student code tries from inside a real session's kernel; run as a cell there.

Stands alone: its source text is typed into a notebook. ``look(hints)`` returns what it found,
by attempt; the test decides what it may have found.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any


def look(hints: dict[str, Any]) -> dict[str, Any]:
    """Try everything; ``hints`` are host paths and ports that an attacker may know."""
    return {
        "uid": os.getuid(),
        "environment": dict(os.environ),
        "capabilities": _status("CapEff", "CapBnd", "NoNewPrivs", "Seccomp"),
        "paths": {path: _attempt(partial(os.listdir, path)) for path in hints["paths"]},
        "files": {path: _attempt(partial(_read, path)) for path in hints["files"]},
        "needles": _search(hints["needles"]),
        "processes": sorted(int(p) for p in os.listdir("/proc") if p.isdigit()),
        "writable": _writable(),
        "ports": {port: _attempt(partial(_dial, port)) for port in hints["ports"]},
        "sockets": {path: _attempt(partial(_dial_unix, path)) for path in hints["sockets"]},
        "outside": _attempt(lambda: _dial(53, "192.0.2.1")),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "families": {n: _attempt(partial(_open_family, n)) for n in (40, 38, 17, 2, 1)},
        "raw": _attempt(lambda: socket.socket(2, 3).close()),
        "calls": _calls(),
        "nested": _attempt(_nested_namespace),
        "mounts": pathlib.Path("/proc/self/mountinfo").read_text(),
        "descriptors": {fd: _link(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")},
        "sysctl": _attempt(lambda: _write("/proc/sys/kernel/hostname", "x")),
    }


def _attempt(action: Callable[[], Any]) -> str:
    try:
        return f"OK {action()!r}"[:2000]
    except (OSError, subprocess.SubprocessError) as error:
        return f"refused: {type(error).__name__}"


def _read(path: str) -> str:
    with open(path, "rb") as file:
        return file.read(500).decode("utf-8", "replace")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _status(*names: str) -> dict[str, str]:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    pairs = [line.split(":", 1) for line in lines]
    return {name: value.strip() for name, value in pairs if name in names}


def _search(needles: list[str]) -> list[str]:
    """Look for secrets in every process's memory of its start, and in every file in sight."""
    found = []
    places = [
        f"/proc/{p}/{part}"
        for p in os.listdir("/proc")
        if p.isdigit()
        for part in ("environ", "cmdline", "status", "mountinfo", "cwd", "root")
    ]
    for top in ("/home", "/tmp", "/opt/mograder", "/etc", "/run", "/var", "/srv", "/dev"):
        for directory, folders, files in os.walk(top):
            folders[:] = [f for f in folders if f not in ("site-packages", "uv-cache", "lib")]
            places += [os.path.join(directory, name) for name in files]
    for place in places:
        try:
            if not place.startswith("/proc") and not os.path.isfile(place):
                continue
            with open(place, "rb") as file:
                data = file.read(2_000_000)
        except OSError:
            continue
        found += [f"{needle} in {place}" for needle in needles if needle.encode() in data]
    return found


def _writable() -> list[str]:
    """Directories that take a new file."""
    taken = []
    tops = [
        "/",
        "/usr",
        "/etc",
        "/opt",
        "/opt/mograder",
        "/opt/mograder/environment",
        "/opt/mograder/environment/env",
        "/opt/mograder/uv-cache",
        "/home",
        "/home/student",
        "/home/student/work",
        "/tmp",
        "/dev",
        "/dev/shm",
        "/proc",
        "/run",
        "/var",
    ]
    for top in tops:
        path = os.path.join(top, "probe-was-here")
        try:
            with open(path, "w"):
                pass
            os.unlink(path)
        except OSError:
            continue
        taken.append(top)
    return taken


def _dial(port: int, host: str = "127.0.0.1") -> str:
    with socket.create_connection((host, port), timeout=2):
        return "connected"


def _dial_unix(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    return "connected"


def _open_family(family: int) -> None:
    socket.socket(family).close()


def _calls() -> dict[str, int]:
    """Raw system calls that must be refused (x86-64 and 64-bit ARM numbers)."""
    libc = ctypes.CDLL(None, use_errno=True)
    arm = os.uname().machine == "aarch64"
    numbers = {
        "keyctl": (250, 219), "add_key": (248, 217), "bpf": (321, 280), "unshare": (272, 97),
        "perf_event_open": (298, 241), "userfaultfd": (323, 282), "ptrace": (101, 117),
        "mount": (165, 40), "setns": (308, 268), "io_uring_setup": (425, 425),
        "clone3": (435, 435), "open_by_handle_at": (304, 265),
    }  # fmt: skip
    return {
        name: int(libc.syscall(pair[arm], 0x10000000, 0, 0, 0, 0)) for name, pair in numbers.items()
    }


def _nested_namespace() -> str:
    done = subprocess.run(["/usr/bin/unshare", "-Ur", "true"], capture_output=True, check=True)
    return str(done.returncode)
