"""The installation on this machine, its way back, and its removal (B1-B8).

Every step looks first, does what is missing, and tells it, so all may be run again at any time.
Data is never removed, and an existing ``mograder.toml``, secret or file system never replaced.
"""

from __future__ import annotations

import os
import re

from mograder.core.errors import MograderError, NotFound
from mograder.operations.install.course import ensure_course, ensure_secret
from mograder.operations.install.front import CADDYFILE, IMPORT, SITE, ensure_front
from mograder.operations.install.network import SITE_AUTHORITY, ensure_network
from mograder.operations.install.options import InstallOptions
from mograder.operations.install.program import (
    CURRENT,
    HOME_BIN,
    LINK,
    PREVIOUS,
    TOP,
    UNITS,
    ensure_program,
    examine,
    point_at,
    version_of,
)
from mograder.operations.install.services import (
    NODE_UNIT,
    UNIT_PLACE,
    UPKEEP_UNITS,
    WRAPPER,
    ensure_services,
    start,
)
from mograder.operations.install.system import (
    ACCOUNT,
    APPARMOR,
    KERNEL_SETTINGS,
    as_account,
    ensure_account,
    ensure_packages,
    ensure_sandbox,
    ensure_system,
)
from mograder.operations.install.verification import verify
from mograder.operations.install.volume import DATA, ensure_volume
from mograder.operations.install.written_files import SETTINGS
from mograder.operations.service_checks import HUB, SOCKET
from mograder.processes.programs import Host

_UMASK = 0o022
"""The service and the front read what is installed, whatever mask the administrator works with."""


def install(host: Host, options: InstallOptions) -> None:
    """Make a service of the hub, by the steps that ``options.STEPS`` names, and try it.

    Raises: :class:`MograderError` if a step fails; running it again goes on there.
    """
    os.umask(_UMASK)
    ensure_system(host)
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
    """Start the version before; the newer one again where the older does not start.

    Raises: :class:`NotFound` if no version before is kept, :class:`MograderError`.
    """
    os.umask(_UMASK)
    options = InstallOptions(port=_port_in_use(host))
    ensure_system(host)
    host.step("Going back to the version before")
    new, old = host.path(CURRENT).resolve(), host.path(PREVIOUS).resolve()
    if not (old / "bin" / "mograder").exists():
        raise NotFound(f"There is no version before to go back to in {TOP}.")
    host.say(f"from {version_of(host, new) or new} to {version_of(host, old) or old}")
    if host.dry:
        host.say(f"would stop the hub and start {old}")
        return
    examine(host, old, older_too=True)
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


def _port_in_use(host: Host) -> int:
    text = host.text_of(f"{UNIT_PLACE}/{SOCKET}")
    found = re.search(r"(?m)^ListenStream=127\.0\.0\.1:([0-9]+)$", text)
    return int(found[1]) if found else InstallOptions().port


def uninstall(host: Host) -> None:
    """Remove the services and programs, this one too; data, settings and secrets stay.

    Raises: :class:`MograderError`.
    """
    ensure_system(host)
    host.step(f"Removing the services and programs; what is in {DATA} and {SETTINGS} stays")
    for name in (*UNITS, *UPKEEP_UNITS, NODE_UNIT):
        unit = f"{UNIT_PLACE}/{name}"
        if host.path(unit).exists():
            if "@" not in name:  # a template is not enabled, and has no instance that goes on
                host.attempt("systemctl", "disable", "--quiet", "--now", name)
            host.run("rm", "-f", unit)
    host.run("systemctl", "daemon-reload")
    _remove_front(host)
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


def _remove_front(host: Host) -> None:
    lines = host.text_of(CADDYFILE).splitlines()
    if IMPORT not in lines:
        return
    host.act(f"taking the hub's site out of {CADDYFILE}")
    if not host.dry:
        host.replace_text(CADDYFILE, "".join(f"{line}\n" for line in lines if line != IMPORT))
    host.run("rm", "-f", SITE)
    host.attempt("systemctl", "reload", "caddy")
