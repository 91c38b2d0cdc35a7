"""The units of systemd, and the command ``mograder-hub`` for administrators."""

from __future__ import annotations

import os
import time

from mograder.core.errors import MograderError
from mograder.operations.deploy_files import shipped_file
from mograder.operations.install.course import HUB_UNIT
from mograder.operations.install.network import BUILD_ENV
from mograder.operations.install.program import CURRENT, UNITS, unit_text
from mograder.operations.install.written_files import SETTINGS, put
from mograder.operations.service_checks import HUB, SESSIONS, SOCKET
from mograder.processes.programs import Host

UNIT_PLACE = "/etc/systemd/system"
WRAPPER = "/usr/local/sbin/mograder-hub"
UPKEEP_UNITS = ("mograder-backup.service", "mograder-backup.timer", "mograder-alarm@.service")
"""Units that an administrator enables."""

NODE_UNIT = "mograder-node.service"
"""An administrator copies it where a machine is a node, perhaps beside the hub."""

_MICROSECONDS = 1_000_000
_OURS = "Wants=mograder-sessions.service"


def ensure_services(host: Host, port: int, *, program_changed: bool) -> None:
    """Write the units of the current version; start what does not run, restart the hub if needed.

    Raises: :class:`MograderError` if a service does not start.
    """
    host.step("The services")
    home = host.path(CURRENT)
    if host.dry and not home.exists():
        host.say("would write and start them")
        return
    _keep_foreign_unit(host)
    written = {
        name
        for name in (*UNITS, *UPKEEP_UNITS)
        if put(host, f"{UNIT_PLACE}/{name}", unit_text(host, name, home, port))
    }
    if put(host, WRAPPER, shipped_file("mograder-hub").read_text("utf-8"), 0o755):
        written.add(WRAPPER)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "enable", "--quiet", *UNITS)
    if not is_active(host, SESSIONS):
        start(host, SESSIONS)
    elif program_changed or SESSIONS in written or is_behind(host, SESSIONS, BUILD_ENV):
        host.say("the session supervisor goes on as it is, since its restart ends every session.")
        host.say("When nobody is at work: systemctl restart mograder-sessions")
    # A socket that listens takes another port only when it is started anew, which the hub has to
    # let go.
    new_socket = SOCKET in written or is_behind(host, SOCKET, f"{UNIT_PLACE}/{SOCKET}")
    behind = program_changed or is_behind(host, HUB, HUB_UNIT, CURRENT, BUILD_ENV)
    if not is_active(host, HUB):
        host.attempt("systemctl", "reset-failed", HUB)
        start(host, SOCKET, HUB, verb="restart" if new_socket else "start")
    elif new_socket or written or behind:
        host.act("restarting the hub; sessions go on")
        start(host, *([SOCKET] if new_socket else []), HUB, verb="restart")


def start(host: Host, *units: str, verb: str = "start") -> None:
    """Start or restart units; the last one's log is shown if they do not start.

    Raises: :class:`MograderError`.
    """
    if not host.attempt("systemctl", verb, *units):
        host.attempt(
            "journalctl", "-u", units[-1], "-n", "20", "--no-pager", "-o", "cat", shown=True
        )
        raise MograderError(f"{units[-1]} did not start; its last log lines are above.")


def is_active(host: Host, unit: str) -> bool:
    """Return whether a unit of systemd is active."""
    return host.succeeds("systemctl", "is-active", "--quiet", unit)


def is_behind(host: Host, unit: str, *files: str, event: str = "ActiveEnter") -> bool:
    """Return whether a unit's last ``event`` was before a file was written.

    So it is where an earlier run broke off after it had written the file.
    """
    told = host.ask("systemctl", "show", "-P", f"{event}TimestampMonotonic", unit)
    if not told.isdecimal():
        return False
    at = time.time() - time.monotonic() + int(told) / _MICROSECONDS
    paths = [host.path(name) for name in files]
    return any(os.path.lexists(each) and each.lstat().st_mtime > at for each in paths)


def _keep_foreign_unit(host: Host) -> None:
    """Stop the service of a deployment by hand, and keep its unit beside the settings."""
    unit, kept = host.path(HUB_UNIT), host.path(f"{SETTINGS}/mograder-hub.service.before")
    text = host.text_of(HUB_UNIT)
    if not text or _OURS in text:
        return
    host.act(f"a unit of your own is there: keeping it as {kept}")
    host.run("install", "-m", "600", str(unit), str(kept))
    host.run("systemctl", "stop", HUB)
