"""Attempts on rights and on other processes: to be more than one student in one sandbox."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial

from tests.security.probes.attempts import (
    Hints,
    attempt,
    command_of,
    status_of,
    statuses,
    that_work,
    visible_pids,
)

SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
UID = 1000


@attempt("keeps a capability", unsandboxed=True)
def keeps_capabilities(_: Hints) -> object:
    found = []
    for pid, status in statuses().items():
        # bubblewrap's own first process may be bounded only; it runs no code of the student's.
        sets = SETS if pid != 1 else ("CapInh", "CapPrm", "CapEff", "CapAmb")
        found += [(pid, name, status[name]) for name in sets if int(status[name], 16)]
    return found


@attempt("runs without no_new_privs or without the filter", unsandboxed=True)
def runs_unfiltered(_: Hints) -> object:
    found = []
    for pid, status in statuses().items():
        if (status["NoNewPrivs"], status["Seccomp"]) != ("1", "2") and pid != 1:
            found.append((pid, status["Name"], status["NoNewPrivs"], status["Seccomp"]))
    return found


@attempt("is another user than a student, or in a group", unsandboxed=True)
def is_somebody(_: Hints) -> object:
    ids = {*os.getresuid(), *os.getresgid()}
    # Where a service user's sandboxes cannot give up its groups they show as the overflow id.
    groups = set(os.getgroups()) - {UID, 65534}
    return [*(ids - {UID}), *groups]


@attempt("becomes another user", unsandboxed=True)
def becomes_somebody(_: Hints) -> object:
    tries = {"setuid": partial(os.setuid, 0), "setgroups": partial(os.setgroups, [0])}
    return that_work(tries)


@attempt("gains rights from a set-user-id program")
def runs_setuid(_: Hints) -> object:
    gained = []
    for folder in ("/usr/bin", "/usr/sbin", "/usr/lib/openssh", "/usr/libexec"):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.stat(path).st_mode & 0o6000:
                gained += effective_users_of(path)
    return gained


@attempt("leaves a set-user-id program behind", unsandboxed=True)
def leaves_setuid(_: Hints) -> object:
    """Another user of the host could run it as its owner."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        old, new = os.path.join(folder, "old"), os.path.join(folder, "new")
        file = os.open(old, os.O_WRONLY | os.O_CREAT)
        that_work(
            {
                "chmod": partial(os.chmod, old, 0o4755),
                "fchmod": partial(os.fchmod, file, 0o4755),
                "mknod": partial(os.mknod, new, stat.S_IFREG | 0o4755),
                "open": partial(os.open, new, os.O_WRONLY | os.O_CREAT, 0o4755),
            }
        )
        return [each.name for each in os.scandir(folder) if each.stat().st_mode & 0o6000]


def effective_users_of(program: str) -> list[tuple[str, str]]:
    """Return a program's user while it runs, if it is not the student's."""
    try:
        with subprocess.Popen([program], stdin=-1, stdout=-1, stderr=-1) as process:
            uids = status_of(process.pid).get("Uid", "").split()
            process.kill()
    except OSError:
        return []
    return [(program, uid) for uid in uids if uid != str(UID)]


@attempt("sees a process that is not its own", unsandboxed=True)
def sees_processes(hints: Hints) -> object:
    foreign = ("supervisor", "zygote.py", "nginx", *hints["foreign_words"])
    found = []
    for pid in visible_pids():
        words = command_of(pid)
        if pid != 1 and any(word in words for word in foreign):
            found.append((pid, words[:200]))
    return found or (len(visible_pids()) > 16 and visible_pids())


@attempt("signals, holds or traces a process outside", unsandboxed=True)
def reaches_processes(hints: Hints) -> object:
    tries: dict[str, Callable[[], object]] = {}
    for pid in hints["pids"]:
        tries |= {
            f"kill {pid}": partial(os.kill, pid, 0),
            f"killpg {pid}": partial(os.killpg, pid, 0),
            f"pidfd_open {pid}": partial(os.pidfd_open, pid),
            f"getpgid {pid}": partial(os.getpgid, pid),
            f"prlimit {pid}": partial(resource.prlimit, pid, resource.RLIMIT_NOFILE),
            f"affinity {pid}": partial(os.sched_getaffinity, pid),
            f"priority {pid}": partial(os.getpriority, os.PRIO_PROCESS, pid),
            f"memory {pid}": partial(os.open, f"/proc/{pid}/mem", os.O_RDWR),
            f"spaces {pid}": partial(os.open, f"/proc/{pid}/ns/mnt", os.O_RDONLY),
        }
    return that_work(tries)


@attempt("shares a namespace with the host or a neighbour", unsandboxed=True)
def shares_namespaces(hints: Hints) -> object:
    kinds = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
    mine = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}
    return [name for name in mine.values() if name in hints["namespaces"]]


@attempt("has the host's name", unsandboxed=True)
def has_the_hosts_name(hints: Hints) -> object:
    return [name for name in (socket.gethostname(), os.uname().nodename) if name in hints["names"]]


@attempt("finds the shared memory or message queue of a neighbour", unsandboxed=True)
def finds_shared_memory(hints: Hints) -> object:
    libc = ctypes.CDLL(None, use_errno=True)
    found = []
    if libc.shmget(hints["ipc_key"], 0, 0) >= 0:
        found.append("shared memory")
    if libc.msgget(hints["ipc_key"], 0) >= 0:
        found.append("message queue")
    return found


@attempt("raises a limit or lacks one", unsandboxed=True)
def raises_limits(hints: Hints) -> object:
    found: dict[str, object] = {}
    for name, value in hints["rlimits"].items():
        number = getattr(resource, name)
        if resource.getrlimit(number) != (value, value):
            found[name] = resource.getrlimit(number)
        try:
            resource.setrlimit(number, (value + 1, value + 1))
            found[f"raise {name}"] = value + 1
        except (OSError, ValueError):
            continue
    return found


@attempt("writes a file beyond its limit", unsandboxed=True)
def writes_too_much(hints: Hints) -> object:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = hints["rlimits"]["RLIMIT_FSIZE"]
    path = f"{hints['own_place']}/too-large"
    with open(path, "wb") as file:
        try:
            return os.pwrite(file.fileno(), b"x", size + 1)
        finally:
            os.unlink(path)


@attempt("takes the processor by a higher priority", unsandboxed=True)
def takes_priority(_: Hints) -> object:
    first = os.sched_param(1)
    return that_work(
        {
            "nice": partial(os.setpriority, os.PRIO_PROCESS, 0, -5),
            "realtime": partial(os.sched_setscheduler, 0, os.SCHED_RR, first),
        }
    )
