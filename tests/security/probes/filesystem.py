"""Attempts on files: to see, change or plant any that are not this session's."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
from functools import partial

from tests.security.probes.attempts import (
    Hints,
    attempt,
    read_some,
    that_work,
    visible_pids,
)

OWN_PLACES = ("/home/student", "/home/student/work", "/tmp", "/dev/shm")
OWN_MOUNTS = (*OWN_PLACES, "/proc", "/dev/pts", "/dev/mqueue")
DEVICES = {
    *("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm"),
    *("fd", "stdin", "stdout", "stderr", "core", "console", "mqueue"),
}
OPEN_KINDS = ("pipe:", "socket:", "anon_inode:", "/memfd:", "/dev/", "/proc/", "/tmp/")
LARGEST_AREA = 1 << 28


@attempt("lists a directory of the host", unsandboxed=True)
def lists_directories(hints: Hints) -> object:
    return that_work({path: partial(os.listdir, path) for path in hints["directories"]})


@attempt("reads a file of the host or of another student", unsandboxed=True)
def reads_files(hints: Hints) -> object:
    return that_work({path: partial(read_some, path) for path in hints["files"]})


@attempt("reaches the host's files through another process", unsandboxed=True)
def reaches_through_processes(hints: Hints) -> object:
    ways = [f"/proc/{pid}/{way}" for pid in visible_pids() for way in ("root", "cwd")]
    paths = [way + path for way in ways for path in hints["files"] if path.startswith("/")]
    return that_work({path: partial(read_some, path) for path in paths})


@attempt("leaves through the directories above its own")
def climbs(hints: Hints) -> object:
    up = "../" * 12
    starts = ("", "/proc/self/cwd/", "/proc/self/root/", "/proc/1/root/", "/dev/fd/0/", "/tmp/")
    paths = [start + up + path.lstrip("/") for start in starts for path in hints["files"]]
    return that_work({path: partial(read_some, path) for path in paths})


@attempt("changes what it runs on")
def writes_shared_files(_: Hints) -> object:
    import marimo

    package = os.path.dirname(marimo.__file__ or "")
    files = [
        *("/opt/mograder/programs/serve.py", "/opt/mograder/programs/zygote.py"),
        *("/opt/mograder/programs", "/opt/mograder/environment"),
        *(sys.executable, os.path.realpath(sys.executable), marimo.__file__ or ""),
        *("/opt/mograder/uv-cache", "/etc/passwd", "/usr/bin/python3", "/usr/bin/env"),
        *("/opt/mograder/uv-cache/archive-v0", "/opt/mograder/environment/environment.json"),
        os.path.join(package, "__pycache__"),
        os.path.dirname(os.path.dirname(os.path.realpath(sys.executable))),
    ]
    # If one of these worked, it would harm only the test's own environment by a later time.
    return that_work(
        {
            **{f"open {path}": partial(os.open, path, os.O_WRONLY | os.O_APPEND) for path in files},
            **{f"chmod {path}": partial(os.chmod, path, 0o777) for path in files},
            **{f"utime {path}": partial(os.utime, path) for path in files},
            **{f"link {path}": partial(os.link, path, "/home/student/work/x") for path in files},
        }
    )


@attempt("makes a file outside its own places")
def writes_elsewhere(_: Hints) -> object:
    taken = []
    for top, folders, _files in os.walk("/"):
        # Its own processes' views of the same tree, and what it owns.
        folders[:] = [f for f in folders if os.path.join(top, f) not in ("/proc", *OWN_PLACES)]
        path = os.path.join(top, "probe-was-here")
        try:
            with open(path, "x"):
                os.unlink(path)
        except OSError:
            continue
        taken.append(top)
    return [place for place in taken if place not in OWN_PLACES]


@attempt("has a mount that takes writes, devices or foreign rights")
def has_a_loose_mount(_: Hints) -> object:
    with open("/proc/self/mountinfo") as file:
        lines = [line.split() for line in file]
    writable = [line[4] for line in lines if "rw" in line[5].split(",")]
    suid = [line[4] for line in lines if "nosuid" not in line[5]]
    shared = [line[4] for line in lines if line[6].startswith("shared:")]
    foreign = [place for place in writable if place not in OWN_MOUNTS]
    # A device node that is bound on its own, like /dev/null, is a mount of its own.
    foreign = [place for place in foreign if os.path.basename(place) not in DEVICES]
    return [kind for kind in (foreign, suid, shared) if kind]


@attempt("makes a device")
def makes_devices(_: Hints) -> object:
    kinds = {"memory": (stat.S_IFCHR, os.makedev(1, 1)), "disk": (stat.S_IFBLK, os.makedev(8, 0))}
    return that_work(
        {
            f"{kind} in {place}": partial(os.mknod, f"{place}/probe-{kind}", 0o666 | what, number)
            for kind, (what, number) in kinds.items()
            for place in ("/home/student/work", "/tmp", "/dev/shm")
        }
    )


@attempt("finds a device that is not everybody's")
def finds_devices(_: Hints) -> object:
    return sorted(set(os.listdir("/dev")) - DEVICES)


@attempt("reads the kernel's memory or log", unsandboxed=True)
def reads_the_kernel(_: Hints) -> object:
    files = ("kcore", "kmsg", "vmallocinfo", "slabinfo", "pagetypeinfo")
    found = that_work({name: partial(os.open, f"/proc/{name}", os.O_RDONLY) for name in files})
    with open("/proc/kallsyms") as symbols:
        known = [line for line, _ in zip(symbols, range(100), strict=False)]
    if any(int(line.split()[0], 16) for line in known):
        found["kallsyms"] = known[0]
    return found


@attempt("changes a setting of the kernel", unsandboxed=True)
def changes_the_kernel(_: Hints) -> object:
    found = []
    for top, folders, files in os.walk("/proc"):
        own = top == "/proc"
        folders[:] = [f for f in folders if not (own and (f.isdigit() or "self" in f))]
        for name in files:
            try:  # opening alone changes nothing
                os.close(os.open(os.path.join(top, name), os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                continue
            found.append(os.path.join(top, name))
    return found[:20]


@attempt("sees or changes a control group")
def sees_control_groups(_: Hints) -> object:
    with open("/proc/self/cgroup") as file:
        lines = [line.strip().split(":", 2) for line in file]
    named = [":".join(line) for line in lines if line[2] != "/"]
    return [*named, *(["/sys/fs/cgroup"] if os.path.exists("/sys/fs/cgroup") else [])]


@attempt("finds the files that a neighbour keeps for itself", unsandboxed=True)
def finds_planted_files(hints: Hints) -> object:
    return that_work({path: partial(os.stat, path) for path in hints["planted"]})


@attempt("has a file of the host open")
def holds_host_files(_: Hints) -> object:
    found = []
    for pid in visible_pids():
        for name in os.listdir(f"/proc/{pid}/fd") if os.access(f"/proc/{pid}/fd", os.R_OK) else ():
            try:
                target = os.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            own = target.startswith(("/home/student/", *OPEN_KINDS)) or target in OWN_PLACES
            standard = int(name) <= 2 and not target.startswith(("/dev/null", "pipe:", "socket:"))
            if not own or standard:
                found.append((pid, name, target))
    return found


@attempt("holds a process or a conversation of the host by a descriptor")
def holds_host_descriptors(_: Hints) -> object:
    return [(name, target) for name, target in own_descriptors() if is_of_the_host(name, target)]


def own_descriptors() -> list[tuple[str, str]]:
    """Return this process's open files, by descriptor."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found.append((name, os.readlink(f"/proc/self/fd/{name}")))
    return found


def is_of_the_host(name: str, target: str) -> bool:
    """Whether a descriptor leads to a process or a socket that was made outside."""
    if target == "anon_inode:[pidfd]":
        with open(f"/proc/self/fdinfo/{name}") as file:
            return "Pid:\t0\n" in file.read()  # a process that has no number in here
    if not target.startswith("socket:"):
        return False
    with socket.socket(fileno=os.dup(int(name))) as held:
        of_unix = held.family == socket.AF_UNIX
        return of_unix and (held.type != socket.SOCK_STREAM or bool(held.getsockname()))


@attempt("finds a secret in a file or in what a process was started with")
def finds_secrets_in_files(hints: Hints) -> object:
    parts = ("environ", "cmdline", "status", "mountinfo")
    places = [f"/proc/{pid}/{part}" for pid in visible_pids() for part in parts]
    for top in ("/home", "/tmp", "/opt/mograder", "/etc", "/run", "/var", "/srv", "/dev"):
        for directory, folders, files in os.walk(top):
            folders[:] = [f for f in folders if f not in ("site-packages", "uv-cache", "lib")]
            places += [os.path.join(directory, name) for name in files]
    secrets = [word[::-1].encode() for word in hints["reversed_secrets"]]
    found = []
    for place in places:
        if place.startswith("/proc") or os.path.isfile(place):
            found += [place for secret in secrets if secret in whole_of(place)]
    return found


def whole_of(place: str) -> bytes:
    """The first megabytes of a file, or nothing."""
    try:
        with open(place, "rb") as file:
            return file.read(2_000_000)
    except OSError:
        return b""


@attempt("finds a secret in the memory of another process")
def finds_secrets_in_memory(hints: Hints) -> object:
    # Only this child spells them forwards; what it is a child of holds the canary.
    secrets = [word[::-1].encode() for word in hints["reversed_secrets"]]
    canary = hints["reversed_canary"][::-1].encode()
    found = []
    seen = False
    for pid in visible_pids():
        if pid == os.getpid():
            continue
        for chunk in memory_of(pid):
            found += [(pid, number) for number, secret in enumerate(secrets) if secret in chunk]
            seen = seen or canary in chunk
    return found if seen else "the search is blind"


def memory_of(pid: int) -> list[bytes]:
    """Return the readable part of a process's writable memory."""
    chunks: list[bytes] = []
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/maps") as file:
            areas = [line.split()[:2] for line in file]
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for area, rights in areas:
                chunks += read_area(memory.fileno(), area) if rights.startswith("rw") else []
    return chunks


def read_area(descriptor: int, area: str) -> list[bytes]:
    """One area, as far as it is there and not only set aside."""
    start, end = (int(number, 16) for number in area.split("-"))
    try:
        return [os.pread(descriptor, end - start, start)] if end - start < LARGEST_AREA else []
    except OSError:
        return []
