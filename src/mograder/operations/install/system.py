"""The machine under the hub: its distribution, packages, account, and kernel's settings."""

from __future__ import annotations

import os
import platform

from mograder.core.errors import MograderError, Unsupported
from mograder.operations.deploy_files import shipped_file
from mograder.operations.install.network import install_packages
from mograder.operations.install.options import InstallOptions
from mograder.operations.install.written_files import put
from mograder.processes.programs import Host

ACCOUNT = "mograder"
APPARMOR = "/etc/apparmor.d/mograder"
KERNEL_SETTINGS = "/etc/sysctl.d/60-mograder.conf"
_PACKAGES = ("bubblewrap", "python3", "python3-venv", "ca-certificates", "curl")
_RESTRICTED = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
_USER_NAMESPACES = "/proc/sys/kernel/unprivileged_userns_clone"


def ensure_system(host: Host) -> None:
    """Refuse other systems than Debian and Ubuntu with systemd, and users that are not root.

    Raises: :class:`Unsupported`, :class:`MograderError`.
    """
    host.step("Looking at the machine")
    if os.geteuid() != 0 and not host.dry:
        raise MograderError("This wants root: run it with sudo.")
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    name = release.get("PRETTY_NAME", "another system")
    if not {"debian", "ubuntu"} & {release.get("ID", ""), *release.get("ID_LIKE", "").split()}:
        raise Unsupported(f"This is for Ubuntu and Debian; here is {name}.")
    host.say(name)
    if not host.path("/run/systemd/system").is_dir() and not host.dry:
        raise Unsupported("systemd does not run here.")


def ensure_packages(host: Host, options: InstallOptions) -> None:
    """Install the Debian packages that are missing."""
    host.step("System packages")
    wanted = [*_PACKAGES, *(["caddy"] if options.domain else [])]
    missing = [name for name in wanted if not _is_installed(host, name)]
    if not missing:
        host.say("all there")
        return
    try:
        install_packages(host, *missing)
    except MograderError as error:
        raise MograderError(
            error.message, hint="Caddy is in Debian 12 and Ubuntu 24.04 and later."
        ) from error


def _is_installed(host: Host, package: str) -> bool:
    return host.ask("dpkg-query", "-W", "-f", "${db:Status-Status}", package) == "installed"


def ensure_account(host: Host) -> None:
    """Make the services' user."""
    host.step(f"The service user '{ACCOUNT}'")
    if host.succeeds("id", ACCOUNT):
        host.say("there")
        return
    host.run(
        *("useradd", "--system", "--user-group", "--home-dir", f"/home/{ACCOUNT}"),
        *("--create-home", "--shell", "/usr/sbin/nologin", ACCOUNT),
    )


def as_account(host: Host, *command: str) -> None:
    """Run a program as the services' user: in that user's directories root follows no link."""
    host.run("runuser", "-u", ACCOUNT, "--", *command)


def ensure_sandbox(host: Host) -> None:
    """Let bubblewrap make namespaces, and give hundreds of sessions of one user what they need."""
    host.step("What sandboxes need of the kernel")
    if host.path(_RESTRICTED).exists():
        if not put(host, APPARMOR, shipped_file("apparmor-mograder").read_text("utf-8")):
            host.say("AppArmor: the profile is there")
        host.run("apparmor_parser", "--replace", APPARMOR)  # an earlier run may have broken off
    else:
        host.say("AppArmor does not keep bubblewrap from making namespaces here")
    text = shipped_file("60-mograder.conf").read_text("utf-8")
    if host.path(_USER_NAMESPACES).exists():  # a setting of Debian's kernels
        text += "kernel.unprivileged_userns_clone = 1\n"
    put(host, KERNEL_SETTINGS, text)
    if not host.attempt("sysctl", "-q", "-p", KERNEL_SETTINGS):
        host.warn("the kernel did not take all of it")
