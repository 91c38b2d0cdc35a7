"""Caddy in front of the hub, and the lines that an administrator adds to it."""

from __future__ import annotations

from mograder.core.errors import Conflict, MograderError
from mograder.core.settings import load_settings
from mograder.operations.fronts.front import FrontOptions, caddy_config, front_of
from mograder.operations.install.course import COURSE
from mograder.operations.install.options import InstallOptions
from mograder.operations.install.services import is_active, is_behind, start
from mograder.operations.install.written_files import put
from mograder.processes.programs import Host

CADDYFILE = "/etc/caddy/Caddyfile"
SITE = "/etc/caddy/mograder.caddy"
IMPORT = "import mograder.caddy"
_OWN_LINES = {
    "site": 'Lines of your own for the hub\'s site, such as "log".',
    "route": "Lines of your own before everything else, such as a sign-on's: see Single sign-on.",
}


def ensure_front(host: Host, options: InstallOptions) -> None:
    """Write Caddy's configuration for the domain, if there is one, and have Caddy take it.

    Raises: :class:`Conflict` if another web server has its ports, :class:`MograderError`.
    """
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
    if not host.succeeds("caddy", "validate", "--config", CADDYFILE, "--adapter", "caddyfile"):
        raise MograderError(
            "Caddy refuses its configuration.",
            hint=f"See: caddy validate --config {CADDYFILE} --adapter caddyfile",
        )
    host.run("systemctl", "enable", "--quiet", "caddy")
    start(host, "caddy", verb="reload-or-restart")


def demand_free_ports(host: Host, domain: str) -> None:
    """Refuse another web server on Caddy's ports: browsers would see that one.

    Raises: :class:`Conflict`.
    """
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
    front = front_of(load_settings(host.path(COURSE)), chosen)
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
    if front.sessions is not None and options.session_domain and not options.session_certificate:
        site = f"{front.sessions.origin('*')} {{\n"
        text = text.replace(site, site + "\ttls internal\n")
    return text
