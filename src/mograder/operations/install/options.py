"""The options of a deployment: their texts, their defaults, and the values that they take.

``scripts/deploy-hub-aws.sh`` runs this file by itself on an administrator's computer, with any
Python from 3.8 on, so it imports the standard library only. ``mograder hub install`` makes its
command line from the same table.
"""

from __future__ import annotations

import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

SHOWN = 10
"""Exit status: a text was asked for, and there is nothing more to do."""

_PORT, _PORTS = "8080", (1024, 65535)
_WHEEL = (
    r"(git\+(https|ssh|file)://|https://(?=.*\.whl$))[A-Za-z0-9._~:/@%+=-]+|(?!.*://).+\.whl",
    "a wheel file, https://….whl, or git+https://…@REFERENCE: in an index it is another program",
)
KINDS = {
    "HOST": (r"[A-Za-z0-9._:%][A-Za-z0-9._:%-]*", "an address: this is no host"),
    "LOGIN": (r"[A-Za-z0-9._][A-Za-z0-9._-]*", "a name: this is no login"),
    "PORT": (r"[0-9]{1,5}", "a number"),
    "WHEEL": _WHEEL,
    "DEVICE": (r"auto|none|/dev/[A-Za-z0-9/._-]+", "a device"),
    "DOMAIN": (r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", "a host name"),
    "HEADER": (r"[A-Za-z0-9-]+", "the name of a header"),
    "ADDRESS": (r"[0-9A-Fa-f.:/]+", "an address or a network"),
    "VARIABLE": (r"\{[A-Za-z0-9_.-]+\}", "a variable of Caddy's, such as {http.auth.user.id}"),
    "PATH": (r"/[A-Za-z0-9._/@+-]+", "an absolute path on the machine"),
    "URL": (r"https?://[A-Za-z0-9._~:/@%+=-]+", "an address, https://… or http://…"),
    "FILE": (r"[^\x00-\x1f\x7f]+", "a name without control characters"),
}
"""By an option's ``metavar``: the regular expression of a whole value, and what it wants."""


@dataclass(frozen=True)
class Option:
    """One option, a flag without ``metavar``; only the script takes those that are ``afar``."""

    name: str
    help: str
    metavar: str = ""
    default: str = ""
    afar: bool = False


OPTIONS = (
    Option("host", "Address of the machine (required).", "HOST", afar=True),
    Option("key", "The private key for SSH (required).", "FILE", afar=True),
    Option("user", "The login, which may use sudo.", "LOGIN", "ubuntu", afar=True),
    Option("ssh-port", "Port of SSH.", "PORT", "22", afar=True),
    Option(
        "mograder-version",
        "A wheel file of this computer, https://….whl, or git+https://…@REFERENCE.  [default: a "
        "wheel of the checkout that the script belongs to]",
        "WHEEL",
        afar=True,
    ),
    Option("port", "Port on the machine itself.", "PORT", _PORT),
    Option(
        "volume",
        'Disk for the data, at /srv/mograder; formatted only if it is empty. "none": no disk of '
        'its own. "auto": /dev/nvme1n1 if that is an EBS volume.',
        "DEVICE",
        "none",
    ),
    Option("domain", "Name that browsers use: Caddy serves it by HTTPS.", "DOMAIN"),
    Option("internal-ca", "With --domain: a certificate of Caddy's own authority."),
    Option(
        "sso-header",
        "Header in which a sign-on in front names the user.",
        "HEADER",
        "X-Remote-User",
    ),
    Option("sso-proxy", "With --domain: where that sign-on's requests come from.", "ADDRESS"),
    Option(
        "remote-user",
        "With --domain: Caddy's variable that holds the signed-in user; the sign-on itself is "
        "configured in /etc/caddy/mograder.d.",
        "VARIABLE",
    ),
    Option(
        "session-domain",
        "With --domain: give each session its own origin, SESSION.DOMAIN.",
        "DOMAIN",
    ),
    Option(
        "session-certificate", "Wildcard certificate for --session-domain, on the machine.", "PATH"
    ),
    Option("session-key", "Key of --session-certificate.", "PATH"),
    Option("index-url", "The site's package index, for the install and for notebooks.", "URL"),
    Option("proxy", "The site's web proxy, for apt and builds.", "URL"),
    Option("ca-file", "The site's own certificate authority (PEM).", "FILE"),
    Option("downgrade", "Allow an older version than the one that runs."),
    Option("rollback", "Go back to the version that ran before.", afar=True),
    Option("uninstall", "Remove services and programs; data, settings, secrets stay.", afar=True),
    Option("dry-run", "Say what would be done, and connect to nothing.", afar=True),
)

STEPS = (
    ("ensure_system", "Ubuntu or Debian with systemd; otherwise stop here"),
    ("ensure_network", "the site's index, proxy and authority, in /etc/mograder/build.env"),
    ("ensure_packages", "apt: bubblewrap, python3, ca-certificates, curl; caddy with --domain"),
    ("ensure_account", "the service user 'mograder', without a login"),
    ("ensure_volume", "the disk, at /srv/mograder, by UUID, nofail; formatted only if empty"),
    ("ensure_sandbox", "AppArmor's profile for bubblewrap where Ubuntu asks for one; sysctl"),
    ("ensure_program", "mograder in /opt/mograder, the version before kept"),
    ("ensure_secret", "/etc/mograder/hub-secret, 64 random hex digits, mode 600, never replaced"),
    ("ensure_course", "/srv/mograder/course with a mograder.toml, never replaced"),
    ("ensure_services", "mograder-hub and mograder-sessions, enabled and started"),
    ("ensure_front", "with --domain: Caddy with HTTPS in front, and the sign-on's header"),
    (
        "verify",
        "services active, a sandbox run, HTTPS through the front, a session opened and closed",
    ),
)
"""The steps of an installation in their order, each taken only where it is not done yet."""


@dataclass(frozen=True)
class InstallOptions:
    """The values that an installation on the machine itself uses; "" if not given."""

    port: int = 8080
    volume: str = "none"
    domain: str = ""
    internal_ca: bool = False
    sso_header: str = "X-Remote-User"
    sso_proxy: str = ""
    remote_user: str = ""
    session_domain: str = ""
    session_certificate: str = ""
    session_key: str = ""
    index_url: str = ""
    proxy: str = ""
    ca_file: str = ""
    downgrade: bool = False


class Refused(ValueError):
    """A sentence about options that cannot be used; nothing was done."""


def check(values: dict[str, str]) -> None:
    """Raise Refused for values that cannot be used; files that root writes contain them."""
    for option in OPTIONS:
        # An empty value is the same as none, but where there is a default.
        value = values.get(option.name, option.default)
        pattern, wanted = KINDS.get(option.metavar, (".*", ""))
        if (value or option.default) and not re.fullmatch(pattern, value):
            raise Refused(f"--{option.name} wants {wanted}.")
    if not _PORTS[0] <= int(values.get("port", _PORT)) <= _PORTS[1]:
        raise Refused("--port wants a number from 1024 to 65535.")
    for name in ("internal-ca", "sso-proxy", "remote-user", "session-domain"):
        if values.get(name) and not values.get("domain"):
            raise Refused(f"--{name} is of use only with --domain.")
    _check_sessions(values)
    for name in ("index-url", "proxy"):
        if "@" in values.get(name, ""):
            raise Refused(
                f"No password belongs into --{name}: packages that notebooks bring can read it."
            )
    if values.get("sso-proxy") and values.get("remote-user"):
        raise Refused(
            "Give --sso-proxy for a sign-on in front of Caddy, or --remote-user for one in Caddy."
        )
    if values.get("ca-file"):
        _check_authority(values["ca-file"])


def _check_sessions(values: dict[str, str]) -> None:
    domain, sessions = (values.get(name, "").lower() for name in ("domain", "session-domain"))
    files = [values.get(name) for name in ("session-certificate", "session-key")]
    if not sessions:
        if any(files):
            raise Refused("--session-certificate and --session-key are for --session-domain.")
        return
    if f".{sessions}".endswith(f".{domain}") or f".{domain}".endswith(f".{sessions}"):
        raise Refused(
            f"--session-domain has to be another domain than {domain}, not a part of it: pages "
            "there may set cookies for all of it."
        )
    if not all(files) and not values.get("internal-ca"):
        raise Refused(
            f"--session-domain wants a wildcard certificate for *.{sessions}: "
            "--session-certificate FILE --session-key FILE. (Caddy gets none by itself.)"
        )


def _check_authority(file: str) -> None:
    try:
        text = Path(file).read_bytes()
    except OSError as error:
        raise Refused(f"--ca-file {file} cannot be read: {error.strerror}.") from error
    if b"-----BEGIN CERTIFICATE-----" not in text:
        raise Refused(f"--ca-file {file} holds no certificate (PEM).")


def _parse(words: list[str]) -> dict[str, str]:
    known = {option.name: option for option in OPTIONS}
    values: dict[str, str] = {}
    left = list(words)
    while left:
        word, given, value = left.pop(0).partition("=")
        # The second is what 0.3.16 calls it (compatibility-0.3.16.md 10).
        name = word[2:].replace("mograder-source", "mograder-version")
        if not word.startswith("--") or name not in known:
            raise Refused(f"I do not know {word}.")
        if known[name].metavar and not given:
            if not left:
                raise Refused(f"{word} wants a value.")
            value = left.pop(0)
        elif not known[name].metavar:
            value = "yes"
        values[name] = value
    return values


def _check_afar(values: dict[str, str]) -> None:
    for name, asked in (("host", "which machine?"), ("key", "the private key for SSH.")):
        if not values.get(name):
            raise Refused(f"--{name} is missing: {asked}")
    if values.get("rollback") and (values.get("mograder-version") or values.get("uninstall")):
        raise Refused(
            "--rollback goes back to the version before; it takes no version, and no --uninstall."
        )
    check(values)


def _help() -> str:
    lines = [
        "Usage: deploy-hub-aws.sh --host HOST --key KEY.pem [OPTIONS]",
        "",
        "Deploys the mograder hub to an Ubuntu or Debian machine by SSH. Run it again to change or",
        "upgrade: settings, secrets and data stay.",
        "",
    ]
    for option in OPTIONS:
        default = "auto" if option.name == "volume" else option.default
        text = option.help + (f"  [default: {default}]" if default else "")
        lines.append(f"  --{option.name} {option.metavar}".rstrip())
        lines += textwrap.wrap(text, 96, initial_indent=" " * 10, subsequent_indent=" " * 10)
    return "\n".join(lines)


def _explanation(values: dict[str, str]) -> str:
    given = " ".join(f"--{name}={value}" for name, value in values.items() if name != "dry-run")
    values = {**{option.name: option.default for option in OPTIONS}, **values}
    machine, key = f"{values['user']}@{values['host']}", values["key"]
    lines = [
        "A dry run: nothing is connected to, nothing is changed.",
        f"On {machine} (SSH port {values['ssh-port']}, key {key}), as root:",
    ]
    if values["uninstall"]:
        lines.append("  uninstall           services and programs go; data, settings, secrets stay")
    elif values["rollback"]:
        lines.append("  rollback            the version before is started, and tried")
    else:
        version = values["mograder-version"] or "this checkout"
        lines.append(f"  uv and mograder of {version}, in a directory of its own; then")
        lines += [f"  {name:<19} {text}" for name, text in STEPS]
        lines.append(f"  by the options {given}")
    return "\n".join(f"[deploy] {line}" for line in lines)


def main(words: list[str]) -> int:
    """Print what the script asks for: help, the explanation of a dry run, or checked words.

    The last are a line ``--name=value`` or ``--flag`` for each option. Returns the exit status,
    :data:`SHOWN` if there is nothing more to do.
    """
    if "--help" in words or "-h" in words:
        _write(_help())
        return SHOWN
    try:
        values = _parse(words)
        _check_afar(values)
    except Refused as error:
        sys.stderr.write(f"{error}\nTry --help.\n")
        return 2
    if values.get("dry-run"):
        _write(_explanation(values))
        return SHOWN
    values.setdefault("volume", "auto")
    flags = {option.name for option in OPTIONS if not option.metavar}
    for name, value in values.items():
        _write(f"--{name}" if name in flags else f"--{name}={value}")
    return 0


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
