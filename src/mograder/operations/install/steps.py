"""The installation on this machine, its trial, its way back, and its removal (B1-B8).

Every step looks first, does what is missing, and tells it, so all may be run again at any time.
Data is never removed, and an existing ``mograder.toml``, secret or file system never replaced. In
the end services, HTTPS, a sandbox and a session are tried.
"""

from __future__ import annotations

import os
import re

from mograder.core.errors import MograderError, NotFound
from mograder.core.systemd import WAITS
from mograder.operations.install.data import (
    COURSE,
    DATA,
    ensure_course,
    ensure_secret,
    ensure_volume,
)
from mograder.operations.install.options import InstallOptions
from mograder.operations.install.program import (
    CURRENT,
    HOME_BIN,
    LINK,
    PREVIOUS,
    TOP,
    UNITS,
    UNTRIED,
    ensure_program,
    examine,
    is_active,
    is_untried,
    point_at,
    version_of,
)
from mograder.operations.install.services import (
    CADDYFILE,
    IMPORT,
    NODE_UNIT,
    SITE,
    UNIT_PLACE,
    UPKEEP_UNITS,
    WRAPPER,
    demand_sign_on,
    ensure_front,
    ensure_services,
    start,
)
from mograder.operations.install.system import (
    ACCOUNT,
    APPARMOR,
    KERNEL_SETTINGS,
    SETTINGS,
    SITE_AUTHORITY,
    as_account,
    ensure_account,
    ensure_network,
    ensure_packages,
    ensure_sandbox,
    ensure_system,
)
from mograder.operations.service_checks import HUB, SOCKET
from mograder.processes.programs import Host

_UMASK = 0o022
"""The service and the front read what is installed, whatever mask the administrator works with."""

_AUTHORITY = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
_CURL = ("curl", "--noproxy", "*", "-fsS", "-m", "20", "-o", "/dev/null")

_NEXT = """
The hub runs{at}.
An instructor's token, to be kept secret: sudo mograder-hub generate-token --role instructor admin

What to do next:
  1. Edit {course}/mograder.toml: how students hand in ([moodle] or [https]), [hub] instructors.
     Then: sudo systemctl restart mograder-hub (sessions go on)
  2. Publish, from the machine where the course is written:
     mograder hub publish A1 {way} --token TOKEN
  3. Prepare the environments: sudo mograder-hub warm-cache --all
{front}Look after it: sudo mograder-hub check · journalctl -u mograder-hub -f
Back it up:    (umask 077; sudo mograder-hub backup - > backup.tar.gz)"""
"""Without a token: this output may be kept in a log."""


def install(host: Host, options: InstallOptions) -> None:
    """Make a service of the hub, by the steps that ``options.STEPS`` names, and try it."""
    os.umask(_UMASK)
    ensure_system(host)
    demand_sign_on(host, options)
    ensure_network(host, options)
    ensure_packages(host, options)
    ensure_account(host)
    ensure_volume(host, options)
    ensure_sandbox(host)
    changed = ensure_program(host, options)
    ensure_secret(host)
    ensure_course(host, options)
    ensure_services(host, options.port, program_changed=changed)
    ensure_front(host, options)
    verify(host, options)


def roll_back(host: Host) -> None:
    """Start the version before; the newer one again where the older does not start."""
    os.umask(_UMASK)
    text = host.text_of(f"{UNIT_PLACE}/{SOCKET}")
    used = re.search(r"(?m)^ListenStream=127\.0\.0\.1:([0-9]+)$", text)
    options = InstallOptions(port=int(used[1])) if used else InstallOptions()
    ensure_system(host)
    host.step("Going back to the version before")
    new, old = host.path(CURRENT).resolve(), host.path(PREVIOUS).resolve()
    if old == new or not (old / "bin" / "mograder").exists():
        raise NotFound(f"There is no version before to go back to in {TOP}.")
    host.say(f"from {version_of(host, new) or new} to {version_of(host, old) or old}")
    if host.dry:
        host.say(f"would stop the hub and start {old}")
        return
    examine(host, old, older_too=True)
    if not is_untried(host):  # asked before the stop: then no hub is active
        host.run("rm", "-f", str(new / UNTRIED))
    host.say("stopping the hub; sessions go on")
    host.run("systemctl", "stop", SOCKET, HUB)
    point_at(host, old)
    try:
        start(host, SOCKET, HUB)
    except MograderError:
        host.warn(
            "The version before does not start, for the reason above, so the newer one starts."
        )
        host.run("systemctl", "stop", SOCKET, HUB)
        point_at(host, new)
        start(host, SOCKET, HUB)
        raise
    ensure_services(host, options.port, program_changed=True)
    verify(host, options)


def uninstall(host: Host) -> None:
    """Remove the services and programs, this one too; data, settings and secrets stay."""
    ensure_system(host)
    host.step(f"Removing the services and programs; what is in {DATA} and {SETTINGS} stays")
    for name in (*UNITS, *UPKEEP_UNITS, NODE_UNIT):
        unit = f"{UNIT_PLACE}/{name}"
        if host.path(unit).exists():
            if "@" not in name:  # a template is not enabled, and has no instance that goes on
                host.attempt("systemctl", "disable", "--quiet", "--now", name)
            host.run("rm", "-f", unit)
    host.run("systemctl", "daemon-reload")
    lines = host.text_of(CADDYFILE).splitlines()
    if IMPORT in lines:
        host.act(f"taking the hub's site out of {CADDYFILE}")
        if not host.dry:
            others = (f"{line}\n" for line in lines if line != IMPORT)
            host.replace_text(CADDYFILE, "".join(others))
        host.run("rm", "-f", SITE)
        host.attempt("systemctl", "reload", "caddy")
    if host.path(APPARMOR).exists():
        host.attempt("apparmor_parser", "--remove", APPARMOR)
        host.run("rm", "-f", APPARMOR)
    if host.path(SITE_AUTHORITY).exists():
        host.run("rm", "-f", SITE_AUTHORITY)
        host.attempt("update-ca-certificates")
    if host.succeeds("id", ACCOUNT):
        as_account(host, "rm", "-f", f"{HOME_BIN}/mograder", f"{HOME_BIN}/uv")
    host.run("rm", "-rf", WRAPPER, LINK, KERNEL_SETTINGS, TOP, "/run/mograder")
    host.say(
        f"Left as they are: {DATA}, {SETTINGS}, the user '{ACCOUNT}' and its home, installed "
        "packages, /etc/fstab, /etc/caddy/mograder.d; and Caddy goes on, with what else is in its "
        "Caddyfile. The kernel's settings stay in force until the next start."
    )


def verify(host: Host, options: InstallOptions) -> None:
    if host.dry:
        host.say("A dry run: nothing was changed.")
        return
    host.step("Trying all of it")
    for name in ("mograder-sessions", "mograder-hub", *(["caddy"] if options.domain else [])):
        host.verified(
            is_active(host, name),
            f"{name} is active",
            f"{name} is not active: systemctl status {name}",
        )
    if host.ask("systemctl", "show", "-P", "StatusText", HUB) == WAITS:  # it answers 503 to all
        host.say("the hub waits, since another one is at work: no session is opened on it")
        _check(host)
        return
    url = f"http://127.0.0.1:{options.port}"
    host.verified(
        host.succeeds(*_CURL, f"{url}/health"),
        f"the hub answers at {url}",
        f"the hub does not answer at {url}: journalctl -u mograder-hub",
    )
    if options.domain:
        _verify_front(host, options)
    host.say("a session is opened and closed, and a sandbox looked at from inside (some minutes")
    host.say("the first time, since packages are downloaded):")
    _check(host, "--session")


def _check(host: Host, *options: str) -> None:
    host.verified(
        host.attempt(WRAPPER, "check", *options, shown=True),
        "mograder-hub check finds nothing wrong",
        "mograder-hub check found something: its lines are above",
    )


def _verify_front(host: Host, options: InstallOptions) -> None:
    # A certificate from the internet takes a moment, and a name that leads here.
    patient = ("--retry", "20", "--retry-delay", "3", "--retry-all-errors")
    trusting = ("--cacert", _AUTHORITY) if options.internal_ca else ()
    here = ("--resolve", f"{options.domain}:443:127.0.0.1")
    host.verified(
        host.succeeds(*_CURL, *patient, *trusting, *here, f"https://{options.domain}/health"),
        f"https://{options.domain}/ answers through Caddy",
        f"https://{options.domain}/ does not answer: does the name lead to this machine, and are "
        "ports 80 and 443 open? journalctl -u caddy tells what the certificate lacks.",
    )


def demand_no_problems(host: Host) -> None:
    if host.problems:
        raise MograderError(
            f"{host.problems} thing(s) are not as they should be; see above.",
            hint="Mend them, and run this again.",
        )


def next_steps(options: InstallOptions) -> str:
    if options.domain:
        address = f"https://{options.domain}"
        return _NEXT.format(at=f" at {address}/", course=COURSE, way=f"--url {address}", front="")
    port = "" if options.port == InstallOptions().port else f" --ssh-port {options.port}"
    front = (
        "  4. Put a web server with HTTPS and your sign-in in front: mograder hub proxy-config\n"
    )
    # Until then the hub listens on this machine's loopback only.
    return _NEXT.format(at="", course=COURSE, way=f"--ssh LOGIN@MACHINE{port}", front=front)
