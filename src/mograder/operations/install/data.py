"""The hub's data on this machine: its disk, the directory of its course, and the secret.

The disk is at ``/srv/mograder`` (B6, B21), the course on it; the secret is beside the settings in
``/etc/mograder``.
"""

from __future__ import annotations

import secrets
import shlex
import tempfile
from pathlib import Path

from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound
from mograder.core.settings import load_settings
from mograder.operations.install.options import InstallOptions
from mograder.operations.install.system import (
    ACCOUNT,
    BUILD_ENV,
    BUILD_ENV_HEAD,
    SETTINGS,
    account_entry,
    as_account,
    put,
    reading_as_account,
)
from mograder.processes.programs import Host

DATA = "/srv/mograder"
COURSE = f"{DATA}/course"
SECRET = f"{SETTINGS}/hub-secret"
HUB_UNIT = "/etc/systemd/system/mograder-hub.service"
_FSTAB = "/etc/fstab"
_USUAL_DISK = "/dev/nvme1n1"
_KEPT_KINDS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs")
_ENV = f"{SETTINGS}/env"

_ENV_HEAD = (
    "# Variables of the hub, its backup and mograder-hub, such as MOGRADER_DATABASE_URL.\n"
    "# mograder-sessions does not read them, since no secret may be beside student code:\n"
    "# write what is in [limits], [security] and [hub] into mograder.toml.\n"
    "# The hub's secret is in hub-secret beside this file.\n"
)
_VARIABLE = "MOGRADER_HUB_SECRET="


def ensure_volume(host: Host, options: InstallOptions, *, data: str = DATA) -> None:
    """Mount the disk at ``data``; make a file system only on one that is empty."""
    host.step(f"The data's place, {data}")
    device = options.volume
    if device == "auto":
        device = _usual_disk(host, data)
    if device in ("", "none"):
        if host.succeeds("mountpoint", "-q", data):
            host.say("a volume is mounted there")
        elif _listed(host, data):
            raise Conflict(
                f"The volume of {data} is in {_FSTAB} and not mounted. Nothing was changed there.",
                hint=f"Attach its disk, then: mount {data}; and run this again.",
            )
        else:
            host.say("on the machine's own disk (--volume gives it one that outlives the machine)")
        host.run("install", "-d", "-m", "755", data)
        return
    if not _is_disk(host, device):
        here = host.ask("lsblk", "-dno", "NAME,SIZE,MODEL")
        hint = f"Attach it, or choose another; here are:\n{here}"
        raise NotFound(f"There is no disk {device}.", hint=hint)
    device = str(Path(device).resolve())
    _demand_listed(host, device, data)
    source = host.ask("findmnt", "-nvo", "SOURCE", data)
    if str(Path(source).resolve()) != device:  # LVM's have several names
        _demand_unused(host, device, data)
    kind = _probe(host, device, "TYPE")
    if not kind:
        _format(host, device)
    elif kind in _KEPT_KINDS:
        host.say(f"it carries {kind}: kept as it is")
    else:
        raise _not_empty(f"{device} carries {kind}, which is no file system to mount", device)
    _mount(host, device, data)


def ensure_secret(host: Host) -> None:
    """Make the hub's secret, or keep the earlier one: with another, all tokens would be void."""
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


def ensure_course(host: Host, options: InstallOptions) -> None:
    """Make the course's directories and its ``mograder.toml``; keep those that are there.

    Raises: :class:`Conflict` if the course belongs to another user, :class:`InvalidInput` if the
    kept ``mograder.toml`` lacks ``session_url``, or has another port.
    """
    host.step(f"The course in {COURSE}")
    _demand_own(host)
    _ensure_owned(host, COURSE, "750")
    _ensure_owned(host, f"{DATA}/hub-notebooks", "750")
    # Packages and marimo's files, which a web server may read; they are built again when missing.
    _ensure_owned(host, f"{DATA}/environments", "755")
    path = host.path(f"{COURSE}/mograder.toml")
    with reading_as_account():
        found = path.exists()
    if not found:
        host.act("writing mograder.toml")
        if not host.dry:
            with tempfile.TemporaryDirectory(prefix="mograder-course-") as scratch:
                Path(scratch).chmod(0o755)
                new = Path(scratch, "mograder.toml")
                new.write_text(course_settings(options), "utf-8")
                as_account(host, "install", "-m", "640", str(new), str(path))
        return
    host.say("mograder.toml: there, and kept")
    with reading_as_account():
        text = path.read_text("utf-8", "replace").lower()
        port = load_settings(path.parent, environ={}).settings.hub.port
    if options.domain and f"https://{options.domain.lower()}" not in text:
        host.warn(f"see that [hub] public_url in it is https://{options.domain}")
    if options.session_domain and f"{{session}}.{options.session_domain.lower()}" not in text:
        raise InvalidInput(
            f"[hub] session_url in {path} has to be "
            f'"https://{{session}}.{options.session_domain}"; write it there, and run this again.'
        )
    if port != options.port:
        raise InvalidInput(
            f"[hub] port in {path} is {port}, and --port is {options.port}: Caddy and checks "
            "would look for the hub at another port than it has.",
            hint=f"Give --port {port}, or write port = {options.port} there; then run this again.",
        )


def _demand_own(host: Host) -> None:
    """Refuse a course of a volume of another machine, where the services' user had another uid."""
    path, account = host.path(COURSE), account_entry()
    owner = path.stat().st_uid if path.is_dir() else 0
    if owner == 0 or account is None or owner == account.pw_uid:
        return
    raise Conflict(
        f"{COURSE} belongs to uid {owner}, and {ACCOUNT} is uid {account.pw_uid} here.",
        hint=f"If its volume is of another machine: chown -R --from={owner} {ACCOUNT}:{ACCOUNT} "
        f"{DATA}, and run this again. On a share, make the user with uid {owner} instead.",
    )


def _ensure_owned(host: Host, name: str, mode: str) -> None:
    path = host.path(name)
    if not path.is_dir() or path.stat().st_uid == 0:
        host.run("install", "-d", "-o", ACCOUNT, "-g", ACCOUNT, "-m", mode, name)


def course_settings(options: InstallOptions) -> str:
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


def _usual_disk(host: Host, data: str) -> str:
    """Return the EBS volume of the usual name or "": an instance's own disk forgets at a stop."""
    if host.succeeds("mountpoint", "-q", data) or not _is_disk(host, _USUAL_DISK):
        return ""
    model = host.ask("lsblk", "-dno", "MODEL", _USUAL_DISK)
    return _USUAL_DISK if "Elastic Block Store" in model else ""


def _is_disk(host: Host, device: str) -> bool:
    return host.succeeds("test", "-b", device)


def _probe(host: Host, device: str, name: str) -> str:
    return host.ask("blkid", "-p", "-o", "value", "-s", name, device)


def _not_empty(what: str, device: str) -> Conflict:
    return Conflict(
        f"{what}; I format nothing that holds something.",
        hint=f"If it may go: wipefs --all {device}",
    )


def _demand_unused(host: Host, device: str, data: str) -> None:
    mounted = host.ask("lsblk", "-nro", "MOUNTPOINT", device).split()
    if mounted:
        raise Conflict(f"{device} is in use at {mounted[0]}.")
    place = host.path(data)
    if place.is_dir() and any(place.iterdir()):
        if host.succeeds("mountpoint", "-q", data):
            raise Conflict(f"Another disk is mounted at {data}.")
        raise Conflict(
            f"There is data in {data}, which a volume mounted over it would hide.",
            hint="Move it away, run this again, and move it back; or say --volume none.",
        )


def _format(host: Host, device: str) -> None:
    """Make a file system on what is empty to the last signature, also of partitions."""
    parts = host.ask("lsblk", "-nro", "NAME", device).splitlines()
    if len(parts) != 1 or host.ask("blkid", "-p", device) or host.ask("wipefs", device):
        raise _not_empty(
            f"{device} is not empty (partitions or the signature of something)", device
        )
    host.act(f"{device} is empty: making a file system on it")
    host.run("mkfs.ext4", "-q", "-L", "mograder", device)


def _mount(host: Host, device: str, data: str) -> None:
    if not _listed(host, data):
        host.act(
            "mounting it at every start, by its UUID; the machine starts without it too (nofail)"
        )
        if not host.dry:
            uuid, kind = _probe(host, device, "UUID"), _probe(host, device, "TYPE")
            if not uuid:
                raise MograderError(f"{device} has no UUID.")
            line = f"UUID={uuid} {data} {kind} defaults,nofail,x-systemd.device-timeout=30s 0 2"
            lines = [*host.text_of(_FSTAB).splitlines(), line]
            host.replace_text(_FSTAB, "".join(f"{line}\n" for line in lines))
            host.run("systemctl", "daemon-reload")
    if host.succeeds("mountpoint", "-q", data):
        host.say("mounted")
        return
    if not host.dry:
        host.path(data).mkdir(parents=True, exist_ok=True)
    host.run("mount", data)


def _listed(host: Host, data: str) -> str:
    """Return the source that /etc/fstab has for this place, such as ``UUID=…``, or ""."""
    rows = (line.split("#")[0].split() for line in host.text_of(_FSTAB).splitlines())
    return next((row[0] for row in rows if row[1:2] == [data]), "")


def _demand_listed(host: Host, device: str, data: str) -> None:
    """Refuse a disk where /etc/fstab has another one: that one would be mounted."""
    listed = _listed(host, data)
    uuid = _probe(host, device, "UUID") if listed else ""
    if not listed or listed == f"UUID={uuid}":
        return
    named = listed if listed.startswith("/") else host.ask("findfs", listed)
    if str(Path(named).resolve()) != device:
        raise Conflict(
            f"{_FSTAB} has {listed} for {data}, and that is not {device}. Nothing was changed.",
            hint=f"If {device} shall take its place, remove that line, and run this again.",
        )


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
