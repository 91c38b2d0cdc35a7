"""A fresh Debian with systemd in a container, reached by SSH on loopback (``make test-deploy``).

The container shares this machine's network, so its Caddy is at port 443 here, and requests
from 127.0.0.2 have another address than 127.0.0.1.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.process import accepts, free_port

LOGIN = "admin"
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_DISK_BYTES = 4 << 30
_START_SECONDS = 120
_STOP_SECONDS = 20
_SHARED = (
    Path("/proc/sys/fs/inotify/max_user_instances"),
    Path("/proc/sys/fs/pipe-user-pages-soft"),
    Path("/proc/sys/fs/epoll/max_user_watches"),
)
"""Kernel settings of the deployment that a container shares with its host."""

_SSHD = "Port {port}\nListenAddress 127.0.0.1\nPasswordAuthentication no\nUseDNS no\n"


@dataclass
class Machine:
    """One run of it; everything is gone afterwards."""

    root: Path
    key: Path
    port: int
    log: Path
    disks: tuple[str, ...] = ()
    """Block devices that are attached to it, empty at first."""
    _container: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def boot(self) -> None:
        """Start systemd in it, and wait until SSH answers."""
        with self.log.open("ab") as log:
            self._container = subprocess.Popen(
                [
                    *("systemd-nspawn", f"--directory={self.root}", "--boot"),
                    *("--register=no", "--keep-unit", "--quiet", "--console=pipe"),
                    *(f"--bind={disk}" for disk in self.disks),
                    *("--machine=mograder-deploy", "--resolv-conf=replace-host"),
                    # Sandboxes are made of namespaces and a /proc of their own.
                    "--system-call-filter=@mount @keyring bpf",
                    "systemd.unit=multi-user.target",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"},
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not accepts(self.port):
            assert self._container.poll() is None, self.told()
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.2)
        # The first login waits for the system to have started up.
        self.run("systemctl is-system-running --wait || true")

    def told(self) -> str:
        """The end of the container's console."""
        return self.log.read_text("utf-8", "replace")[-4000:]

    def halt(self) -> None:
        """Switch it off, as its first process is asked to by SIGRTMIN+4."""
        if self._container is None:
            return
        self._container.send_signal(signal.SIGTERM)
        try:
            self._container.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._container.pid, signal.SIGKILL)
            self._container.wait()
        self._container = None

    def ssh(self) -> list[str]:
        """The command that logs in."""
        return [
            *("ssh", "-i", str(self.key), "-p", str(self.port), "-o", "BatchMode=yes"),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "LogLevel=ERROR", f"{LOGIN}@127.0.0.1"),
        ]

    def run(self, command: str, *, given: bytes = b"", check: bool = True) -> str:
        """Run a shell's command line as root there, and return its output."""
        done = subprocess.run(
            [*self.ssh(), f"sudo -n bash -c {_quoted(command)}"],
            input=given,
            capture_output=True,
            timeout=900,
            check=False,
        )
        said = done.stdout.decode("utf-8", "replace")
        errors = done.stderr.decode("utf-8", "replace")
        assert not check or done.returncode == 0, f"{command}\n{said}\n{errors}"
        return said

    def fetch(self, command: str) -> bytes:
        """Return the bytes that a command there writes."""
        return subprocess.run(
            [*self.ssh(), f"sudo -n {command}"], capture_output=True, timeout=900, check=True
        ).stdout


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


@contextmanager
def fresh_machine(system: Path, place: Path) -> Iterator[Machine]:
    """Copy the fresh system, let an administrator in by key, and boot it."""
    root, key = place / "root", place / "key"
    subprocess.run(["cp", "-a", "--reflink=auto", str(system), str(root)], check=True)
    disks = tuple(_attach(place / f"disk{number}") for number in range(2))
    machine = Machine(root, key, free_port(), place / "console.log", disks)
    before = {file: file.read_text() for file in _SHARED}
    try:
        _let_in(machine)
        _trust_what_we_trust(root)
        machine.boot()
        yield machine
    finally:
        machine.halt()
        for file, value in before.items():
            file.write_text(value)
        shutil.rmtree(root, ignore_errors=True)
        for disk in disks:
            subprocess.run(["losetup", "--detach", disk], check=False)
        # The script remembers whom it spoke to, as it should.
        name = f"[127.0.0.1]:{machine.port}"
        subprocess.run(["ssh-keygen", "-q", "-R", name], capture_output=True, check=False)


def _attach(file: Path) -> str:
    """Make a disk of a sparse file."""
    with file.open("wb") as disk:
        disk.truncate(_DISK_BYTES)
    done = subprocess.run(
        ["losetup", "--find", "--show", str(file)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _let_in(machine: Machine) -> None:
    """As a cloud's image does: an account with the owner's key, and sudo without a password."""
    key, root = machine.key, machine.root
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)],
        stdin=subprocess.DEVNULL,
        check=True,
    )
    subprocess.run(
        ["chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", LOGIN], check=True
    )
    home = root / "home" / LOGIN / ".ssh"
    home.mkdir(mode=0o700)
    (home / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
    subprocess.run(["chroot", str(root), "chown", "-R", LOGIN, f"/home/{LOGIN}/.ssh"], check=True)
    (root / "etc/sudoers.d/admin").write_text(f"{LOGIN} ALL=(ALL) NOPASSWD:ALL\n")
    (root / "etc/ssh/sshd_config.d/test.conf").write_text(_SSHD.format(port=machine.port))
    (root / "etc/hostname").write_text("mograder-deploy\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost mograder-deploy hub.test\n")


def _trust_what_we_trust(root: Path) -> None:
    """Copy this machine's certificate bundle into the container."""
    shutil.copy(_BUNDLE, root / "usr/local/share/ca-certificates/host.crt")
    subprocess.run(
        ["chroot", str(root), "update-ca-certificates"], capture_output=True, check=False
    )
    shutil.copy(_BUNDLE, root / _BUNDLE.relative_to("/"))
    (root / "etc/pip.conf").write_text(f"[global]\ncert = {_BUNDLE}\n")
    (root / "etc/uv").mkdir()
    (root / "etc/uv/uv.toml").write_text("system-certs = true\n")
    (root / "etc/mograder").mkdir(mode=0o755)
    (root / "etc/mograder/build.env").write_text(f"SSL_CERT_FILE={_BUNDLE}\n")
