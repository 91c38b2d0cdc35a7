"""What keeps bubblewrap from making sandboxes on this machine or in this container, and the remedy.

Three things are in the way in a container by default: the engine's seccomp profile forbids the
system calls that make namespaces; parts of ``/proc`` are covered, and the kernel then refuses a new
one in a user namespace; and root lacks ``CAP_SYS_ADMIN``, without which the supervisor cannot have
mounts of its own. Each shows itself by another message, and all others have the same one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SYS_ADMIN = 1 << 21
_FILTERED = 2
"""The seccomp mode of a process with a filter."""

_SECONDS = 20.0
_HARMLESS = "/proc/sys/fs/binfmt_misc"
"""A mount below /proc that covers nothing: its directory is always empty."""

_SECCOMP = (
    "The container's seccomp profile forbids namespaces. Start it with the shipped one (Docker: "
    "--security-opt seccomp=deploy/image/seccomp.json; Swarm: dockerd --seccomp-profile; "
    "Kubernetes: seccompProfile, type Localhost)."
)
_PROC = (
    "Parts of /proc are covered in this container. Docker: --security-opt "
    "systempaths=unconfined; Kubernetes: procMount: Unmasked with hostUsers: false. Elsewhere: a "
    "container with CAP_SYS_ADMIN whose entry point runs mount -t proc proc /proc, and then steps "
    "down to an ordinary user."
)
_CAPABILITY = (
    "As root the supervisor needs CAP_SYS_ADMIN, which this container lacks. Run it as an ordinary "
    "user, who needs no capability (Docker: --user 1000), or add --cap-add SYS_ADMIN."
)
_REFUSED = ("No permissions", "not permitted")
"""The words in bubblewrap's message about a system call that was refused."""

_SYSCTL = "sysctl -w user.max_user_namespaces=15000"
_CLONE = "sysctl -w kernel.unprivileged_userns_clone=1"
_PROFILE = (
    "AppArmor keeps bubblewrap from making user namespaces: allow it with a profile for "
    "/usr/bin/bwrap (mograder hub install --systemd writes one)."
)
_CONFINED = (
    "AppArmor's profile of this container forbids mounts (Docker: --security-opt "
    "apparmor=unconfined; Kubernetes: appArmorProfile; Swarm has no option for it, so AppArmor has "
    "to be off on the machine, by apparmor=0 on the kernel's command line)."
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The facts about this process that explain a failure of bubblewrap.

    ``filtered`` is whether a container's seccomp profile is in force: then the first process has
    it too, unlike the filters that systemd sets for a service. ``sysctl`` is a remedy for a kernel
    setting that forbids user namespaces, or empty; ``profile`` is the AppArmor profile that
    confines this process, or empty.
    """

    is_root: bool = False
    sys_admin: bool = True
    filtered: bool = False
    covered: bool = False
    sysctl: str = ""
    profile: str = ""

    @classmethod
    def found(cls, proc: Path = Path("/proc")) -> Surroundings:
        """Return the facts; what cannot be read is not in the way."""
        status, first = _read(proc / "self/status"), _read(proc / "1/status")
        mounts = [line.split()[4] for line in _read(proc / "self/mountinfo").splitlines()]
        confinement = _read(proc / "self/attr/current").strip("\0\n ")
        return cls(
            is_root=os.geteuid() == 0,
            sys_admin=bool(int(_field(status, "CapEff") or "ffffffff", 16) & _SYS_ADMIN),
            filtered=_field(status, "Seccomp") == _field(first, "Seccomp") == str(_FILTERED),
            covered=any(m.startswith("/proc/") and not m.startswith(_HARMLESS) for m in mounts),
            sysctl=_sysctl(proc / "sys"),
            profile="" if confinement in {"", "unconfined"} else confinement,
        )


def remedy_for(reason: str, here: Surroundings) -> str:
    """Return what to do about a sandbox that failed with this message."""
    if here.is_root and (not here.sys_admin or "leave the mount namespace" in reason):
        return _CAPABILITY
    if "mount proc" in reason:
        return _PROC
    if here.sysctl:
        return here.sysctl
    remedies = [
        *([_SECCOMP] if here.filtered and any(each in reason for each in _REFUSED) else []),
        *([_PROC] if here.covered else []),
        *([_CONFINED] if here.profile else []),
    ]
    return " ".join(remedies) or f"{_PROFILE} In a container: {_SECCOMP} {_PROC}"


def refusal_of_namespaces() -> str:
    """Try to make namespaces with a /proc of their own; return why that failed, or "".

    Also "" without bubblewrap: another check tells that. Takes a few milliseconds.
    """
    program = shutil.which("bwrap")
    if program is None:
        return ""
    wanted = ("--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc")
    try:
        tried = subprocess.run(
            (program, *wanted, "/bin/sh", "-c", ":"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = " ".join(tried.stderr.decode("utf-8", "replace").split())
    return "" if tried.returncode == 0 else said or f"exit status {tried.returncode}"


def _sysctl(sys: Path) -> str:
    if _number(sys / "user/max_user_namespaces") == 0:
        return _SYSCTL
    if _number(sys / "kernel/unprivileged_userns_clone") == 0:
        return _CLONE
    if _number(sys / "kernel/apparmor_restrict_unprivileged_userns"):
        return _PROFILE
    return ""


def _field(status: str, name: str) -> str:
    found = re.search(rf"^{name}:\s*(\S+)", status, re.MULTILINE)
    return found[1] if found else ""


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
