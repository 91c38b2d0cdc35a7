"""The hub's secret, and the directory of its course."""

from __future__ import annotations

import secrets
import shlex
import tempfile
from pathlib import Path

from mograder.core.errors import InvalidInput
from mograder.core.settings import load_settings
from mograder.operations.install.options import InstallOptions
from mograder.operations.install.system import ACCOUNT, BUILD_ENV, BUILD_ENV_HEAD, as_account
from mograder.operations.install.volume import DATA
from mograder.operations.install.written_files import SETTINGS, put
from mograder.processes.programs import Host

COURSE = f"{DATA}/course"
SECRET = f"{SETTINGS}/hub-secret"
HUB_UNIT = "/etc/systemd/system/mograder-hub.service"
_ENV = f"{SETTINGS}/env"
_ENV_HEAD = (
    "# Variables of the hub, such as MOGRADER_DATABASE_URL. The secret is in\n"
    "# hub-secret beside this file.\n"
)
_VARIABLE = "MOGRADER_HUB_SECRET="


def ensure_secret(host: Host) -> None:
    """Make the hub's secret, or take over the one of a deployment by hand or by 0.3.16.

    With another secret, all tokens would be void.
    """
    host.step("The hub's secret")
    host.run("install", "-d", "-m", "755", str(host.path(SETTINGS)))
    file = host.path(SECRET)
    if file.exists() and file.stat().st_size:
        host.say("there, and kept")
        host.run("chmod", "600", str(file))
    elif host.dry:
        host.say(f"would write {SECRET}")
    else:
        put(host, SECRET, (_earlier_secret(host) or secrets.token_hex(32)) + "\n", 0o600)
    if not host.path(_ENV).exists():
        put(host, _ENV, _ENV_HEAD, 0o600)
    if not host.path(BUILD_ENV).exists():
        put(host, BUILD_ENV, BUILD_ENV_HEAD)


def _earlier_secret(host: Host) -> str:
    unit = host.text_of(HUB_UNIT)
    lines = [line.removeprefix("Environment=") for line in _joined(unit)]
    if _ENV in unit or not unit:
        lines += _joined(host.text_of(_ENV))  # which systemd reads after the unit's own
    words = [word for line in lines for word in _words(line)]
    found = [word.removeprefix(_VARIABLE) for word in words if word.startswith(_VARIABLE)]
    given = [secret for secret in found if secret and "<" not in secret]
    if not given:
        if unit:
            host.warn(
                "no secret of before was found: a new one is made, and earlier tokens are void"
            )
        return ""
    host.say("taken over from the deployment before")
    return given[-1]


def _joined(text: str) -> list[str]:
    """Return the lines of a file of systemd's, where a backslash continues one."""
    return text.replace("\\\n", " ").splitlines()


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a quotation mark without its end
        return []


def ensure_course(host: Host, options: InstallOptions) -> None:
    """Make the course's directories and its ``mograder.toml``; keep an existing ``mograder.toml``.

    Raises: :class:`InvalidInput` if the kept one lacks ``session_url``, or has another port.
    """
    host.step(f"The course in {COURSE}")
    owned = ("install", "-d", "-o", ACCOUNT, "-g", ACCOUNT, "-m")
    host.run(*owned, "750", COURSE, f"{DATA}/hub-notebooks")
    # Packages and marimo's files, which a web server may read; they are built again when missing.
    host.run(*owned, "755", f"{DATA}/environments")
    path = host.path(f"{COURSE}/mograder.toml")
    if not path.exists():
        host.act("writing mograder.toml")
        if not host.dry:
            with tempfile.TemporaryDirectory(prefix="mograder-course-") as scratch:
                Path(scratch).chmod(0o755)
                new = Path(scratch, "mograder.toml")
                new.write_text(course_settings(options), "utf-8")
                as_account(host, "install", "-m", "640", str(new), str(path))
        return
    host.say("mograder.toml: there, and kept")
    text = path.read_text("utf-8", "replace").lower()
    if options.domain and f"https://{options.domain.lower()}" not in text:
        host.warn(f"see that [hub] public_url in it is https://{options.domain}")
    if options.session_domain and f"{{session}}.{options.session_domain.lower()}" not in text:
        raise InvalidInput(
            f"[hub] session_url in {path} has to be "
            f'"https://{{session}}.{options.session_domain}"; write it there, and run this again.'
        )
    port = load_settings(path.parent, environ={}).settings.hub.port
    if port != options.port:
        raise InvalidInput(
            f"[hub] port in {path} is {port}, and --port is {options.port}: Caddy and checks "
            "would look for the hub at another port than it has.",
            hint=f"Give --port {port}, or write port = {options.port} there; then run this again.",
        )


def course_settings(options: InstallOptions) -> str:
    """Return the text of a new ``mograder.toml``."""
    public = []
    if options.domain:
        public.append(f'public_url = "https://{options.domain}"')
    if options.session_domain:
        public.append(f'session_url = "https://{{session}}.{options.session_domain}"')
    lines = [
        '# The settings of this course; "mograder config show" lists all of them.',
        '# How students hand in: add [moodle] or [https] here (docs, "Settings").',
        "",
        "[hub]",
        'host = "127.0.0.1"',
        f"port = {options.port}",
        f'notebooks_dir = "{DATA}/hub-notebooks"',
        f'environments_dir = "{DATA}/environments"',
        f'trusted_header = "{options.sso_header}"',
        "instructors = []",
        *public,
        "",
        "[security]",
        "use_bubblewrap = true",
    ]
    return "\n".join(lines) + "\n"
