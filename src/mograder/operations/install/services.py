"""The units of systemd, and the command ``mograder-hub`` for administrators."""

from __future__ import annotations

from mograder.core.errors import MograderError
from mograder.operations.deploy_files import shipped_file
from mograder.operations.install.course import HUB_UNIT
from mograder.operations.install.program import CURRENT, UNITS, unit_text
from mograder.operations.install.written_files import SETTINGS, put
from mograder.processes.host import Host

UNIT_PLACE = "/etc/systemd/system"
WRAPPER = "/usr/local/sbin/mograder-hub"
UPKEEP_UNITS = ("mograder-backup.service", "mograder-backup.timer", "mograder-alarm@.service")
"""Units that an administrator enables."""

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
    if written:
        host.run("systemctl", "daemon-reload")
    host.run("systemctl", "enable", "--quiet", *UNITS)
    if not _is_active(host, "mograder-sessions.service"):
        start(host, "mograder-sessions.service")
    elif program_changed or "mograder-sessions.service" in written:
        host.say(
            "the session supervisor goes on as it is, since its restart ends every session. When"
        )
        host.say("nobody is at work: systemctl restart mograder-sessions")
    if not _is_active(host, "mograder-hub.service"):
        host.attempt("systemctl", "reset-failed", "mograder-hub.service")
        start(host, "mograder-hub.socket", "mograder-hub.service")
    elif written or program_changed:
        host.act("restarting the hub; sessions go on")
        # A socket that listens takes another port only when it is started anew, which the hub has
        # to let go.
        socket = ("mograder-hub.socket",) if "mograder-hub.socket" in written else ()
        start(host, *socket, "mograder-hub.service", verb="restart")


def start(host: Host, *units: str, verb: str = "start") -> None:
    """Start or restart units; the last one's log is shown if they do not start.

    Raises: :class:`MograderError`.
    """
    if not host.attempt("systemctl", verb, *units):
        host.attempt(
            "journalctl", "-u", units[-1], "-n", "20", "--no-pager", "-o", "cat", shown=True
        )
        raise MograderError(f"{units[-1]} did not start; its last log lines are above.")


def _is_active(host: Host, unit: str) -> bool:
    return host.succeeds("systemctl", "is-active", "--quiet", unit)


def _keep_foreign_unit(host: Host) -> None:
    """Stop the service of a deployment by hand, and keep its unit beside the settings."""
    unit, kept = host.path(HUB_UNIT), host.path(f"{SETTINGS}/mograder-hub.service.before")
    if not unit.exists() or not unit.stat().st_size or _OURS in unit.read_text("utf-8"):
        return
    host.act(f"a unit of your own is there: keeping it as {kept}")
    host.run("install", "-m", "600", str(unit), str(kept))
    host.run("systemctl", "stop", "mograder-hub.service")
