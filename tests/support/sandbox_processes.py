"""The processes of a hub's sandboxes by kind, and a check that none of them is left.

Where the hub is root each student's sandbox has its own uid, which identifies its processes,
however they were started, also after their parents have ended; orphans become our children.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

from tests.support.hub import HubProcess
from tests.support.processes import processes_now
from tests.support.uids import FIRST_UID, owned_by

YARD_UIDS = 65_536


def parts_of(uid: int) -> dict[str, psutil.Process]:
    """The parts of a student's one sandbox by name; only those that are there."""
    parts: dict[str, psutil.Process] = {}
    processes = {process.pid: process for process in owned_by(uid)}
    for process in processes.values():
        with contextlib.suppress(psutil.Error):
            role = _role(process, processes)
            if role:
                parts.setdefault(role, process)
    return parts


def _role(process: psutil.Process, family: dict[int, psutil.Process]) -> str:
    parent = family.get(process.ppid())
    if process.name() == "bwrap":
        return "first process" if parent is not None else "monitor"
    if "python" not in process.name() or "resource_tracker" in " ".join(process.cmdline()):
        return ""
    return "kernel" if parent is not None and "python" in parent.name() else "server"


def zygotes() -> list[psutil.Process]:
    """The zygotes of this test's hubs."""
    found = []
    for process in owned_by(FIRST_UID):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[1:2] == ["/opt/mograder/programs/zygote.py"]:
                found.append(process)
    return found


def remains(hub: HubProcess) -> dict[str, list[str]]:
    """Return what is left of an ended hub by kind: processes, sockets, mounts, control groups."""
    place = hub.course.parent
    left = {
        "processes": [_described(p) for p in owned_by(FIRST_UID, YARD_UIDS)],
        "of ours": [_described(p) for p in processes_now() if str(place) in _words(p)],
        "sockets": [str(path) for path in (place / "run").rglob("*") if path.is_socket()],
        "mounts": [line for line in _mounts() if str(place) in line],
        "control groups": [str(path) for path in _control_groups() if place.name in str(path)],
    }
    return {kind: found for kind, found in left.items() if found}


def _described(process: psutil.Process) -> str:
    return f"{process.pid} {_words(process)[:150]}"


def _words(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return " ".join(process.cmdline())
    return ""


def _mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def _control_groups() -> list[Path]:
    return [path for path in Path("/sys/fs/cgroup").rglob("*mograder*") if path.is_dir()]
