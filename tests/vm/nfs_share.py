"""An NFS 4.2 server and two clients of it in the test machine.

The server has the machine's own network; a client is a network namespace with a hostname of its
own, since a server takes two clients of one hostname for one that was restarted, and gives both the
same lock. Which client a mount belongs to is decided when it is mounted, so one process can use the
mounts of both: each has its own caches, as on two machines.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DISK = Path("/dev/vda")
BASE = Path("/run/nfs")
EXPORT = BASE / "export"
UID = 1000
LEASE_SECONDS = 10
_FOREVER = 2**31 - 1
_ROOT_SQUASH = 0x4
_NO_SUBTREE_CHECK = 0x400
_HAS_FSID = 0x2000
_NOBODY = 65534


def run(*command: object) -> str:
    """Run a program as root; return its output."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, user=0)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@dataclass(frozen=True)
class Client:
    number: int

    @property
    def name(self) -> str:
        """Its hostname, and that of its network namespace."""
        return f"client{self.number}"

    @property
    def address(self) -> str:
        """Its address; the server's is another on the same cable."""
        return f"10.77.{self.number}.2"

    @property
    def server(self) -> str:
        """The server's address for this client."""
        return f"10.77.{self.number}.1"

    def start(self) -> None:
        """Make its namespace, with a cable to the server."""
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self.name, "type", "veth", "peer", "eth0", "netns", self.name)
        run("ip", "addr", "add", f"{self.server}/24", "dev", self.name)
        run("ip", "link", "set", self.name, "up")
        run("ip", "-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        run("ip", "-n", self.name, "link", "set", "eth0", "up")

    def mount(self, name: str, *options: str) -> Path:
        """Mount the share with more options; return the place, which others may enter."""
        place = BASE / self.name / name
        place.mkdir(parents=True)
        words = ("vers=4.2", f"addr={self.server}", f"clientaddr={self.address}", "hard", *options)
        script = 'hostname "$0" && exec "$@"'
        self.run(
            "unshare",
            "--uts",
            "sh",
            "-c",
            script,
            self.name,
            "mount",
            "-i",
            "-t",
            "nfs4",
            "-o",
            ",".join(words),
            f"{self.server}:/",
            place,
        )
        return place

    def run(self, *command: object) -> str:
        """Run a program on this machine; return its output."""
        return run("nsenter", f"--net=/run/netns/{self.name}", *command)

    @contextmanager
    def without_power(self) -> Iterator[None]:
        """Cut its power, as the others see it: nothing of it comes any more."""
        run("ip", "link", "set", self.name, "down")
        try:
            yield
        finally:
            run("ip", "link", "set", self.name, "up")


def serve(*clients: Client) -> None:
    """Export the disk to the clients: as an administrator does, but without mountd's daemon.

    mountd answers the kernel's questions, which client may mount what; these are the answers.
    """
    run("ip", "link", "set", "lo", "up")
    run("mkfs.ext4", "-q", "-F", DISK)
    EXPORT.mkdir(parents=True)
    run("mount", "-t", "ext4", DISK, EXPORT)
    control = Path("/proc/fs/nfsd")
    run("mount", "-t", "nfsd", "nfsd", control)
    answers = Path("/proc/net/rpc")
    for client in clients:
        _answer(answers / "auth.unix.ip/channel", f"nfsd {client.address} {_FOREVER} clients")
    flags = _ROOT_SQUASH | _NO_SUBTREE_CHECK | _HAS_FSID
    export = f"clients {EXPORT} {_FOREVER} {flags} {_NOBODY} {_NOBODY} 0"
    _answer(answers / "nfsd.export/channel", export)
    _answer(answers / "nfsd.fh/channel", f"clients 1 \\x00000000 {_FOREVER} {EXPORT}")
    (control / "versions").write_text("-2 -3 +4 +4.1 +4.2\n")
    for name in ("nfsv4leasetime", "nfsv4gracetime"):
        (control / name).write_text(f"{LEASE_SECONDS}\n")
    (control / "portlist").write_text("tcp 2049\n")
    (control / "threads").write_text("8\n")


def _answer(channel: Path, line: str) -> None:
    with channel.open("wb", buffering=0) as file:
        file.write(f"{line}\n".encode())


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """Let this process act as a user without rights; its mounts stay where they are."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
