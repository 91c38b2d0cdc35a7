"""The machine under the hub: its network, packages, account, kernel's settings, and written files.

What this site's network needs is kept in ``/etc/mograder/build.env`` for the builds too.

A file of the system that another program or a person has written is copied before it is written
(:func:`put`). The checksum of each written file is in ``/etc/mograder/written``, as ``sha256sum``
prints it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import pwd
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from mograder.core.errors import MograderError, Unsupported
from mograder.core.files.disk import write_file
from mograder.operations.deploy_files import shipped_file
from mograder.operations.install.options import InstallOptions
from mograder.processes.programs import Host

SETTINGS = "/etc/mograder"
_WRITTEN = f"{SETTINGS}/written"
_KEPT = f"{SETTINGS}/kept"
BUILD_ENV = f"{SETTINGS}/build.env"
SITE_AUTHORITY = "/usr/local/share/ca-certificates/mograder-site.crt"
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")

BUILD_ENV_HEAD = (
    "# What building environments needs here, if anything: HTTPS_PROXY, SSL_CERT_FILE,\n"
    "# UV_DEFAULT_INDEX … No secrets: packages that are built can read it.\n"
)
ACCOUNT = "mograder"
_HOME = f"/home/{ACCOUNT}"
APPARMOR = "/etc/apparmor.d/mograder"
KERNEL_SETTINGS = "/etc/sysctl.d/60-mograder.conf"
_PACKAGES = ("bubblewrap", "python3", "python3-venv", "ca-certificates", "curl")
_ABI = "/etc/apparmor.d/abi/4.0"
"""The feature set that our profile names; AppArmor refuses the profile without it."""

_RESTRICTED = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
_USER_NAMESPACES = "/proc/sys/kernel/unprivileged_userns_clone"


def ensure_system(host: Host) -> None:
    """Refuse other systems than Debian and Ubuntu with systemd, and users that are not root."""
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


def ensure_network(host: Host, options: InstallOptions) -> None:
    wanted = {}
    if options.index_url:
        wanted["UV_DEFAULT_INDEX"] = options.index_url
    if options.proxy:
        without = ["localhost", "127.0.0.1", "::1", *filter(None, [options.domain])]
        wanted |= {"HTTP_PROXY": options.proxy, "HTTPS_PROXY": options.proxy}
        wanted["NO_PROXY"] = ",".join(without)
    if options.ca_file:
        wanted["SSL_CERT_FILE"] = _BUNDLE
    if wanted:
        host.step("The site's network")
        _set_for_builds(host, wanted)
    for line in host.text_of(BUILD_ENV).splitlines():
        name, _, value = line.partition("=")
        if name.upper() in _PROXIES:
            value = value.strip("\"'")
            host.environment |= {name.upper(): value, name.lower(): value}
    if options.ca_file:  # which may need a package, by way of the proxy
        _trust_authority(host, Path(options.ca_file))


def ensure_packages(host: Host, options: InstallOptions) -> None:
    host.step("System packages")
    wanted = [*_PACKAGES, *(["caddy"] if options.domain else [])]
    asked = ("dpkg-query", "-W", "-f", "${db:Status-Status}")
    missing = [name for name in wanted if host.ask(*asked, name) != "installed"]
    if not missing:
        host.say("all there")
        return
    try:
        _install_packages(host, *missing)
    except MograderError as error:
        if "caddy" not in missing:
            raise
        raise MograderError(
            error.message, hint="Caddy is in Debian 12 and Ubuntu 24.04 and later."
        ) from error


def ensure_account(host: Host) -> None:
    host.step(f"The service user '{ACCOUNT}'")
    if host.succeeds("id", ACCOUNT):
        host.say("there")
        if not host.path(_HOME).is_dir():  # which the units name
            host.run("install", "-d", "-o", ACCOUNT, "-g", ACCOUNT, "-m", "750", _HOME)
        return
    host.run(
        *("useradd", "--system", "--user-group", "--home-dir", _HOME),
        *("--create-home", "--shell", "/usr/sbin/nologin", ACCOUNT),
    )


def ensure_sandbox(host: Host) -> None:
    """Let bubblewrap make namespaces, and give hundreds of sessions of one user what they need."""
    host.step("What sandboxes need of the kernel")
    setting = host.text_of(_RESTRICTED).strip()
    # A kernel that is newer than AppArmor has the setting, off; the profile cannot be read then.
    if setting and (setting != "0" or host.path(_ABI).exists()):
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


def as_account(host: Host, *command: str) -> None:
    """Run a program as the services' user: in that user's directories root follows no link."""
    host.run("runuser", "-u", ACCOUNT, "--", *command)


def account_entry() -> pwd.struct_passwd | None:
    """Return the services' user; None in a dry run, before there is one."""
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        return None


@contextlib.contextmanager
def reading_as_account() -> Iterator[None]:
    """Read files as the services' user: root may not, where the course is on a share."""
    account = account_entry() if os.geteuid() == 0 else None
    if account is None:
        yield
        return
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def put(host: Host, name: str, text: str, mode: int = 0o644) -> bool:
    """Write a file if it has another text, and return whether it had (in a dry run too).

    A file that is not as this wrote it is copied into ``/etc/mograder/kept`` before.
    """
    if not text:
        raise MograderError(f"There is nothing to write to {name}.")
    path, data = host.path(name), text.encode()
    found = path.read_bytes() if path.exists() else None
    if found == data:
        if not host.dry and _line(name, data) not in _lines(host):
            _note(host, name, data)
        return False
    if host.dry:
        host.say(f"would write {name}")
        return True
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if found and _line(name, found) not in _lines(host):
        _keep(host, name, found)
    write_file(path, data, mode)
    _note(host, name, data)
    host.say(f"wrote {name}")
    return True


def _install_packages(host: Host, *names: str) -> None:
    host.act(f"installing {' '.join(names)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    host.run("apt-get", "-qq", "update", variables=quiet)
    install = ("apt-get", "-qq", "install", "-y", "--no-install-recommends")
    host.run(*install, *names, variables=quiet)


def _set_for_builds(host: Host, wanted: dict[str, str]) -> None:
    found = host.text_of(BUILD_ENV).splitlines()
    lines = [f"{name}={value}" for name, value in wanted.items()]
    missing = [line for line in lines if line not in found]
    for line in missing:
        host.act(f"{line} in {BUILD_ENV}")
    if not missing or host.dry:
        return
    if not host.path(BUILD_ENV).exists():
        put(host, BUILD_ENV, BUILD_ENV_HEAD)
        found = BUILD_ENV_HEAD.splitlines()
    kept = [line for line in found if line.partition("=")[0] not in wanted]
    text = "".join(f"{line}\n" for line in [*kept, *lines])
    write_file(host.path(BUILD_ENV), text.encode("utf-8", "surrogateescape"), 0o644)


def _trust_authority(host: Host, file: Path) -> None:
    """Add it to the system's own list, so that apt, curl, git, pip and uv all know it."""
    target = host.path(SITE_AUTHORITY)
    data = file.read_bytes()
    if not (target.exists() and target.read_bytes() == data):
        host.act(f"trusting the certificates of {file.name}")
        if not host.dry:
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_file(target, data, 0o644)
    if not host.has("update-ca-certificates"):
        _install_packages(host, "ca-certificates")
    host.run("update-ca-certificates")


def _keep(host: Host, name: str, data: bytes) -> None:
    copy = f"{_KEPT}/{Path(name).name}.{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    host.path(_KEPT).mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(host.path(copy), data, 0o600)
    foreign = "was not written by this script, as far as it knows"
    known = any(line.endswith(f"  {name}") for line in _lines(host))
    reason = "was changed by somebody" if known else foreign
    host.warn(f"{name} {reason}; it is written again, and that copy is kept: {copy}")


def _note(host: Host, name: str, data: bytes) -> None:
    lines = [line for line in _lines(host) if not line.endswith(f"  {name}")]
    text = "".join(f"{line}\n" for line in [*lines, _line(name, data)])
    host.path(SETTINGS).mkdir(mode=0o755, parents=True, exist_ok=True)
    # Root's only: a checksum tells a weak secret that was taken over.
    write_file(host.path(_WRITTEN), text.encode(), 0o600)


def _line(name: str, data: bytes) -> str:
    return f"{hashlib.sha256(data).hexdigest()}  {name}"


def _lines(host: Host) -> list[str]:
    return host.text_of(_WRITTEN).splitlines()
