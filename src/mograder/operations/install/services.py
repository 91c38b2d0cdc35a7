"""The services that systemd runs: the hub's own units and their command, and Caddy in front.

Caddy's configuration is the hub's and changes with it; an administrator's own lines for it have
files of their own.
"""

from __future__ import annotations

import re
from pathlib import Path

from mograder.core.errors import Conflict, MograderError, NotFound
from mograder.core.settings import load_settings
from mograder.operations.deploy_files import shipped_file
from mograder.operations.front import FrontOptions, caddy_config, front_of
from mograder.operations.install.data import COURSE, HUB_UNIT
from mograder.operations.install.options import InstallOptions
from mograder.operations.install.program import (
    CURRENT,
    PREVIOUS,
    UNITS,
    UNTRIED,
    is_active,
    is_behind,
    unit_text,
)
from mograder.operations.install.system import BUILD_ENV, SETTINGS, put, reading_as_account
from mograder.operations.service_checks import HUB, SESSIONS, SOCKET
from mograder.processes.programs import Host

UNIT_PLACE = "/etc/systemd/system"
WRAPPER = "/usr/local/sbin/mograder-hub"
UPKEEP_UNITS = ("mograder-backup.service", "mograder-backup.timer", "mograder-alarm@.service")

NODE_UNIT = "mograder-node.service"
"""An administrator copies it where a machine is a node, perhaps beside the hub."""

_OURS = "Wants=mograder-sessions.service"

CADDYFILE = "/etc/caddy/Caddyfile"
SITE = "/etc/caddy/mograder.caddy"
IMPORT = "import mograder.caddy"
_VALIDATE = (
    # As Caddy's user: it makes the log files that a site names.
    *("runuser", "-u", "caddy", "--", "env", "HOME=/var/lib/caddy"),
    *("caddy", "validate", "--config", CADDYFILE, "--adapter", "caddyfile"),
)
_SIGN_ON = re.compile(r"(?m)^\s*header_up [^-\s]\S* (\{\S+\})$")
_SIGN_ON_PROXY = re.compile(
    r"(?m)^\t@mograder_sso remote_ip (\S+)\n"
    r"\tvars @mograder_sso mograder_user \{http\.request\.header\.(\S+)\}$"
)
_OWN_LINES = {
    "site": 'Lines of your own for the hub\'s site, such as "log".',
    "route": "Lines of your own before everything else, such as a sign-on's: see Single sign-on.",
}


def ensure_services(host: Host, port: int, *, program_changed: bool) -> None:
    """Write the current version's units; start what does not run, restart the hub if needed."""
    host.step("The services")
    home = host.path(CURRENT)
    if host.dry and not home.exists():
        host.say("would write and start them")
        return
    _keep_foreign_unit(host)
    written = _write_units(host, home, port)
    if put(host, WRAPPER, shipped_file("mograder-hub").read_text("utf-8"), 0o755):
        written.add(WRAPPER)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "enable", "--quiet", *UNITS)
    untried = home / UNTRIED
    going_back = untried.exists() and host.path(PREVIOUS).exists()
    hint = "To go back to the version before: sudo mograder hub rollback" if going_back else ""
    if not is_active(host, SESSIONS):
        start(host, SESSIONS, hint=hint)
    elif program_changed or SESSIONS in written or is_behind(host, SESSIONS, BUILD_ENV):
        host.say("the session supervisor goes on as it is, since its restart ends every session.")
        host.say("When nobody is at work: systemctl restart mograder-sessions")
    # A socket that listens takes another port only when it is started anew, which the hub has to
    # let go.
    new_socket = SOCKET in written or is_behind(host, SOCKET, f"{UNIT_PLACE}/{SOCKET}")
    behind = program_changed or is_behind(host, HUB, HUB_UNIT, CURRENT, BUILD_ENV)
    if not is_active(host, HUB):
        host.attempt("systemctl", "reset-failed", HUB)
        start(host, SOCKET, HUB, verb="restart" if new_socket else "start", hint=hint)
    elif new_socket or written or behind:
        host.act("restarting the hub; sessions go on")
        start(host, *([SOCKET] if new_socket else []), HUB, verb="restart", hint=hint)
    if untried.exists():
        host.run("rm", "-f", str(untried))


def _write_units(host: Host, home: Path, port: int) -> set[str]:
    written = set()
    for name in (*UNITS, *UPKEEP_UNITS):
        try:
            text = unit_text(host, name, home, port)
        except NotFound:
            if name in UNITS:
                raise
            host.warn(f"this version has no {name}; what a newer one wrote stays as it is")
            continue
        if put(host, f"{UNIT_PLACE}/{name}", text):
            written.add(name)
    return written


def start(host: Host, *units: str, verb: str = "start", hint: str = "") -> None:
    """Start or restart units, else show the last one's log and raise :class:`MograderError`."""
    if not host.attempt("systemctl", verb, *units):
        host.attempt(
            "journalctl", "-u", units[-1], "-n", "20", "--no-pager", "-o", "cat", shown=True
        )
        failed = f"{units[-1]} did not start; its last log lines are above."
        raise MograderError(failed, hint=hint)


def demand_sign_on(host: Host, options: InstallOptions) -> None:
    """Refuse to write Caddy's configuration without the sign-on that the one in place has.

    People could not come in by it any more, and every check would still pass. A name in another
    header than the one that the sign-on sets may be a client's own.

    Raises: :class:`Conflict`; nothing was changed then.
    """
    text = host.text_of(SITE)
    found, proxy = _SIGN_ON.search(text), _SIGN_ON_PROXY.search(text)
    if not options.domain or found is None or options.remote_user:
        return
    if not options.sso_proxy:
        change = f"take the sign-on out of {SITE}"
        otherwise = "if people shall sign in at the hub itself from now on"
    elif proxy and proxy[2].lower() != options.sso_header.lower():
        change = f"take the user from {options.sso_header}, where {SITE} takes it from {proxy[2]}"
        otherwise = f"if the sign-on sets {options.sso_header} from now on"
    else:
        return
    given = f"--remote-user '{found[1]}'"
    if proxy:
        given = f"--sso-header {proxy[2]} --sso-proxy {proxy[1]}"
    raise Conflict(
        f"This would {change}. Nothing was changed.",
        hint=f"Give {given} again; or, {otherwise}, remove that file, and run this again.",
    )


def ensure_front(host: Host, options: InstallOptions) -> None:
    """Write Caddy's configuration for the domain, if there is one, and have Caddy take it."""
    if not options.domain:
        return
    host.step(f"Caddy for https://{options.domain}/")
    if host.dry:
        host.say("would write its configuration, and have Caddy take it")
        return
    demand_free_ports(host, options.domain)
    for name, text in _OWN_LINES.items():
        file = f"/etc/caddy/mograder.d/{name}.caddy"
        if not host.path(file).exists():
            put(host, file, f"# {text}\n# mograder never changes this file.\n")
    changed = put(host, SITE, front_text(host, options))
    if IMPORT not in host.text_of(CADDYFILE).splitlines():
        host.say(f"importing it in {CADDYFILE}")
        changed = True
        # Appended, since the file may be a link of the administrator's.
        with host.path(CADDYFILE).open("a", encoding="utf-8") as main:
            main.write(f"\n{IMPORT}\n")
    if not changed and not is_behind(host, "caddy", SITE, CADDYFILE, event="StateChange"):
        host.say("as it should be")
        return
    if not host.succeeds(*_VALIDATE):
        raise MograderError(
            "Caddy refuses its configuration.", hint=f"See: sudo {' '.join(_VALIDATE)}"
        )
    host.run("systemctl", "enable", "--quiet", "caddy")
    start(host, "caddy", verb="reload-or-restart")


def demand_free_ports(host: Host, domain: str) -> None:
    """Raise :class:`Conflict` for another web server on Caddy's ports, which browsers would see."""
    listening = host.ask("ss", "-ltnpH", "( sport = :80 or sport = :443 )").splitlines()
    taken = [line for line in listening if '"caddy"' not in line]
    if taken and not is_active(host, "caddy"):
        raise Conflict(
            "Another program listens on port 80 or 443, which Caddy needs:\n" + "\n".join(taken),
            hint="Stop it, or deploy without --domain and put that web server in front of the hub: "
            f"mograder hub proxy-config nginx --domain {domain}",
        )


def front_text(host: Host, options: InstallOptions) -> str:
    """Return the configuration of ``mograder hub proxy-config caddy``, with this site's lines."""
    user = options.remote_user or ("{http.vars.mograder_user}" if options.sso_proxy else "")
    chosen = FrontOptions(
        domain=options.domain,
        user=user,
        session_certificate=options.session_certificate,
        session_key=options.session_key if options.session_certificate else "",
        # Where mograder-hub.socket listens, whatever [hub] host says.
        hubs=(f"127.0.0.1:{options.port}",),
    )
    with reading_as_account():
        loaded = load_settings(host.path(COURSE))
    front = front_of(loaded, chosen)
    text = caddy_config(front)
    own = []
    if options.internal_ca:
        own.append("\ttls internal\n")
    if options.sso_proxy:
        # Before everything else: the sign-on's user is read only from where it comes from.
        own.append(f"\t@mograder_sso remote_ip {options.sso_proxy}\n")
        header = f"{{http.request.header.{options.sso_header}}}"
        own.append(f"\tvars @mograder_sso mograder_user {header}\n")
    site = f"{front.address} {{\n"
    text = text.replace(site, site + "".join(own))
    if front.sessions is not None and not options.session_certificate:
        site = f"{front.sessions.origin('*')} {{\n"
        # Without --session-domain it is an upgrade, and [hub] session_url is of an earlier install.
        before = re.search(rf"{re.escape(site)}(\ttls .+\n)", host.text_of(SITE))
        kept = before[1] if before else ""
        text = text.replace(site, site + ("\ttls internal\n" if options.session_domain else kept))
    return text


def _keep_foreign_unit(host: Host) -> None:
    """Stop the service of a deployment by hand, and keep its unit beside the settings."""
    unit, kept = host.path(HUB_UNIT), host.path(f"{SETTINGS}/mograder-hub.service.before")
    text = host.text_of(HUB_UNIT)
    if not text or _OURS in text:
        return
    host.act(f"a unit of your own is there: keeping it as {kept}")
    host.run("install", "-m", "600", str(unit), str(kept))
    host.run("systemctl", "stop", HUB)
