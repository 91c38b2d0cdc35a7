"""The versions of mograder in ``/opt/mograder``, and which of them runs.

Each version has a directory of its own, and ``current`` is a link: what runs keeps its files while
another is installed (docs/decisions/0035-deployment.md).
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from packaging.version import Version

from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.operations.install.options import InstallOptions
from mograder.operations.install.system import ACCOUNT, as_account
from mograder.operations.service_checks import HUB, SESSIONS, SOCKET
from mograder.processes.programs import Host

TOP = "/opt/mograder"
CURRENT = f"{TOP}/current"
PREVIOUS = f"{TOP}/previous"
LINK = "/usr/local/bin/mograder"
HOME_BIN = f"/home/{ACCOUNT}/.local/bin"
"""The directory in which the documented unit of a hand-made deployment looks."""

UNITS = (SESSIONS, SOCKET, HUB)
UNTRIED = "mograder-untried"
"""A file in the directory of a version that was made current: the hub has not started with it."""

_KEPT_VERSIONS = 5
_MICROSECONDS = 1_000_000
_VERSION = "import mograder; print(mograder.__version__)"
_SHIPPED = (
    "import sys; from mograder.operations.deploy_files import shipped_file; "
    "print(shipped_file(sys.argv[1]))"
)


def ensure_program(host: Host, options: InstallOptions) -> bool:
    """Make this mograder ``current``; return whether the services have another one now."""
    host.step(f"mograder in {TOP}")
    home = Path(sys.prefix).resolve()
    program = home / "bin" / "mograder"
    if not program.is_file():
        raise InvalidInput(
            f"There is no bin/mograder in {home}.",
            hint="Install mograder into a virtual environment, such as /opt/mograder/own-1.0.",
        )
    if not host.dry and not host.succeeds(
        "runuser", "-u", ACCOUNT, "--", str(program), "--version"
    ):
        raise InvalidInput(
            f"The service user cannot run {program}.",
            hint=f"Install mograder where everybody may read, such as {TOP}, and run that one's "
            "hub install.",
        )
    examine(host, home, older_too=options.downgrade)
    if not host.dry and host.path(CURRENT).resolve() != home:
        (home / UNTRIED).touch()
    return point_at(host, home)


def version_of(host: Host, home: Path) -> str:
    return host.ask(str(home / "bin" / "python"), "-I", "-c", _VERSION)


def shipped(host: Host, name: str, home: Path) -> Path:
    """Return a file that comes with the mograder in an environment; raises :class:`NotFound`."""
    found = host.ask(str(home / "bin" / "python"), "-I", "-c", _SHIPPED, name)
    if not found or not Path(found).stat().st_size:
        raise NotFound(
            f"The mograder in {home} lacks {name}, which this script needs. Nothing was changed."
        )
    return Path(found)


def unit_text(host: Host, name: str, home: Path, port: int) -> str:
    text = shipped(host, name, home).read_text("utf-8")
    return text.replace("127.0.0.1:8080", f"127.0.0.1:{port}")


def examine(host: Host, home: Path, *, older_too: bool) -> None:
    """Refuse a version that cannot be installed, before anything that runs is changed."""
    new, old = version_of(host, home), version_of(host, host.path(CURRENT))
    if not new:
        raise NotFound(f"{home} holds no mograder that this script could run.")
    if old and not older_too and Version(new) < Version(old):
        raise Conflict(
            f"mograder {new} is older than {old}, which runs here. Nothing was changed.",
            hint="To go back to the version before: --rollback (mograder hub rollback). To install "
            "the older one all the same: --downgrade.",
        )
    with tempfile.TemporaryDirectory(prefix="mograder-units-") as scratch:
        place = Path(scratch)
        for name in UNITS:
            text = unit_text(host, name, home, 8080)
            # The program that a unit starts is not in its place yet.
            (place / name).write_text(re.sub(r"(?m)^ExecStart=\S*", "ExecStart=/bin/true", text))
        if not host.has("systemd-analyze"):
            return
        told = host.told_by(
            *("systemd-analyze", "verify", "--man=no"),
            *(str(place / name) for name in UNITS),
            variables={"SYSTEMD_UNIT_PATH": f"{place}:"},
        )
    ours = [line for line in told.splitlines() if f"{place}/" in line]
    if ours:
        raise Conflict(
            "systemd does not accept the units of this version. Nothing was changed.",
            hint="\n".join(ours),
        )


def point_at(host: Host, home: Path) -> bool:
    """Make a version the current one; return whether it was another, or replaced there.

    The one that was current becomes the version before, unless its hub has never started.
    """
    current = host.path(CURRENT)
    changed = current.resolve() != home.resolve()
    if changed:
        before = current.resolve().name if current.exists() else "none"
        host.act(f"current: {home.name}, was {before}")
        host.run("mkdir", "-p", str(host.path(TOP)))
        if current.exists() and not is_untried(host):
            host.run("ln", "-sfn", str(current.resolve()), str(host.path(PREVIOUS)))
    else:
        host.say(f"current: {home.name}")
        changed = _is_replaced(current, home)
        if changed:
            host.warn(
                f"The mograder in {home} was replaced while it was the current one, so there is no "
                "version of before it to go back to. Next time, install into a directory of that "
                "version's own."
            )
    if changed:
        host.run("ln", "-sfn", str(home), f"{current}.new")
        host.run("mv", "-T", f"{current}.new", str(current))
    if not host.dry:
        for old in _forgotten(host):
            host.say(f"removing the old version {old.name}")
            host.run("rm", "-rf", str(old))
    host.run("ln", "-sfn", f"{CURRENT}/bin/mograder", str(host.path(LINK)))
    as_account(host, "mkdir", "-p", HOME_BIN)
    as_account(host, "ln", "-sfn", f"{CURRENT}/bin/mograder", f"{CURRENT}/bin/uv", HOME_BIN)
    return changed


def is_untried(host: Host) -> bool:
    """Return whether the hub has never started with the current version.

    It may have by itself, or the hub of the version before may be at work still.
    """
    if not host.path(f"{CURRENT}/{UNTRIED}").exists():
        return False
    return not is_active(host, HUB) or is_behind(host, HUB, CURRENT)


def is_active(host: Host, unit: str) -> bool:
    return host.succeeds("systemctl", "is-active", "--quiet", unit)


def is_behind(host: Host, unit: str, *files: str, event: str = "ActiveEnter") -> bool:
    """Return whether a unit's last ``event`` was before a file was written."""
    told = host.ask("systemctl", "show", "-P", f"{event}TimestampMonotonic", unit)
    if not told.isdecimal():
        return False
    at = time.time() - time.monotonic() + int(told) / _MICROSECONDS
    paths = [host.path(name) for name in files]
    return any(os.path.lexists(each) and each.lstat().st_mtime > at for each in paths)


def _is_replaced(current: Path, home: Path) -> bool:
    """Return whether another mograder was installed there after the link to it was made."""
    made = current.lstat().st_mtime
    installed = home.glob("lib/python3*/site-packages/mograder_hub-*.dist-info")
    return any(each.stat().st_mtime > made for each in installed)


def _forgotten(host: Host) -> Iterator[Path]:
    """Yield the old versions that nothing runs: the supervisor may run one for months."""
    versions = host.path(f"{TOP}/versions")
    if not versions.is_dir():
        return
    newest_first = sorted(versions.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
    kept = {host.path(link).resolve() for link in (CURRENT, PREVIOUS)}
    for old in newest_first[_KEPT_VERSIONS:]:
        if old.resolve() not in kept and not _is_running(old):
            yield old


def _is_running(home: Path) -> bool:
    """Return whether a process was started from there, or has one of its files mapped."""
    name = f"{home}/".encode()
    for file in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/maps")):
        with contextlib.suppress(OSError):  # the process has ended meanwhile
            if name in file.read_bytes():
                return True
    return False
