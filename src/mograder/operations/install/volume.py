"""The disk of the data, at ``/srv/mograder`` (B6, B21)."""

from __future__ import annotations

from pathlib import Path

from mograder.core.errors import Conflict, MograderError, NotFound
from mograder.operations.install.options import InstallOptions
from mograder.processes.programs import Host

DATA = "/srv/mograder"
_FSTAB = "/etc/fstab"
_USUAL_DISK = "/dev/nvme1n1"
_KEPT_KINDS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs")


def ensure_volume(host: Host, options: InstallOptions, *, data: str = DATA) -> None:
    """Mount the disk at ``data``; make a file system only on one that is empty.

    Raises: :class:`NotFound`, :class:`Conflict`.
    """
    host.step(f"The data's place, {data}")
    device = options.volume
    if device == "auto":
        device = _usual_disk(host, data)
    if device in ("", "none"):
        if host.succeeds("mountpoint", "-q", data):
            host.say("a volume is mounted there")
        elif _is_listed(host, data):
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
    if not _is_listed(host, data):
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


def _is_listed(host: Host, data: str) -> bool:
    """Return whether /etc/fstab has a volume for this place."""
    lines = host.text_of(_FSTAB).splitlines()
    return any(line.split("#")[0].split()[1:2] == [data] for line in lines)
