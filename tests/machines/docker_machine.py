"""Machines with a Docker engine each, on one machine: namespaces, joined by a bridge.

A machine is a network, mount, host name and process namespace whose first process is ``dockerd``;
killing that is a power cut. Its containers share its network (there is no registry of images, and
none is asked). The test's own processes are on the bridge, too, at :data:`HOST`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.machines.commands import attempt, run, until

NETWORK = "10.99.0"
HOST = f"{NETWORK}.254"
"""The address at which machines reach servers of the test."""

PREFIX = "mgt"
"""The beginning of all names of the rig, by which :mod:`.sweep` removes what was left."""

SWITCH = f"{PREFIX}sw"
_START_SECONDS, _END_SECONDS = 60, 10
_DISK = "12g"


@dataclass(frozen=True)
class Image:
    """An image that each machine imports."""

    rootfs: Path
    options: tuple[str, ...]
    """Options of ``docker import``, which set user, environment and entry point."""
    tag: str = "mograder:test"


@dataclass
class Machine:
    """One machine; its number is the last part of its address."""

    number: int
    place: Path
    share: Path
    """What it mounts at ``/srv/mograder``, as the other machines do."""
    _engine: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.number}"

    @property
    def address(self) -> str:
        """Its address on the bridge."""
        return f"{NETWORK}.{self.number}"

    @property
    def socket(self) -> str:
        """Docker's address of its engine."""
        return f"unix://{self.place}/s"

    def start(self, *options: str) -> None:
        """Start the engine, with options of ``dockerd``, and wait until it answers."""
        self.place.mkdir(exist_ok=True)
        # Of an engine whose power was cut: a machine that starts has neither. By the ids in such
        # files the engine would take any process for its containerd.
        (self.place / "pid").unlink(missing_ok=True)
        shutil.rmtree(self.place / "exec", ignore_errors=True)
        (self.place / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        known = "".join(f"{NETWORK}.{number} {PREFIX}{number}\n" for number in range(1, 10))
        (self.place / "hosts").write_text(f"127.0.0.1 localhost\n{known}")
        engine = (
            f"dockerd --data-root {self.place}/data --exec-root {self.place}/exec"
            f" --pidfile {self.place}/pid -H {self.socket} --bip 172.31.{self.number}.1/24"
            f" --cgroup-parent /{self.name} {' '.join(options)}"
        )
        script = (
            "mount -t tmpfs t /run;"
            f" mount --bind {self.place}/resolv.conf /etc/resolv.conf;"
            f" mount --bind {self.place}/hosts /etc/hosts; mount -t tmpfs t /srv;"
            f" mkdir /srv/mograder; mount --bind {self.share} /srv/mograder;"
            f" hostname {self.name}; exec {engine}"
        )
        within = ("nsenter", f"--net=/run/netns/{self.name}")
        apart = ("unshare", "-m", "-u", "-p", "--fork", "--kill-child", "--mount-proc")
        with (self.place / "log").open("ab") as log:
            self._engine = subprocess.Popen(
                # A test run that is killed takes its machines along.
                ["setpriv", "--pdeathsig=KILL", *within, *apart, "sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, _START_SECONDS, self.log)

    def docker(self, *words: str | Path, seconds: float = 120, given: str = "") -> str:
        """Run a command of Docker's on this machine and return its output."""
        return run("docker", "-H", self.socket, *words, seconds=seconds, given=given)

    def import_image(self, image: Image) -> None:
        self.docker("import", *image.options, image.rootfs, image.tag, seconds=300)

    def log(self) -> str:
        """The end of the engine's log."""
        log = self.place / "log"
        return log.read_text("utf-8", "replace")[-3000:]

    def cut_off(self) -> None:
        """Take its cable out: its processes go on."""
        run("ip", "-n", SWITCH, "link", "set", self.name, "down")

    def connect(self) -> None:
        """Put the cable back in."""
        run("ip", "-n", SWITCH, "link", "set", self.name, "up")

    def kill(self) -> None:
        """Cut its power: all of its processes end at once."""
        if self._engine is None:
            return
        children = _children(self._engine.pid)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._engine.kill()
        self._engine.wait()
        self._engine = None
        for child in children:  # the tests' process adopts orphans
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)

    def _answers(self) -> bool:
        assert self._engine is not None
        assert self._engine.poll() is None, self.log()
        return attempt("docker", "-H", self.socket, "version").returncode == 0


@contextlib.contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """Wire machines to a bridge; they are not started yet. All is removed at the end."""
    place = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-", dir="/var/tmp"))
    # In memory: it holds the image once for each machine, which a disk takes minutes to remove.
    run("mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=755", PREFIX, place)
    share = place / "share"
    share.mkdir()
    os.chown(share, 1000, 1000)
    made = [Machine(number, place / str(number), share) for number in range(1, count + 1)]
    try:
        _wire_bridge()
        for machine in made:
            _wire(machine)
        yield made
    finally:
        for machine in made:
            machine.kill()
        remove_network()
        for machine in made:
            remove_cgroups(machine.name)
        remove_place(place)


def remove_place(place: Path) -> None:
    """Remove a directory of the rig, with what is mounted there."""
    while os.path.ismount(place):
        run("umount", "--lazy", place)
    shutil.rmtree(place, ignore_errors=True)


def remove_network() -> None:
    """Remove the namespaces and links of the rig."""
    for line in run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        if name.startswith(PREFIX):
            attempt("ip", "netns", "del", name)
    attempt("ip", "link", "del", f"{PREFIX}host")


def end_processes(name: str) -> None:
    """Kill the processes in the cgroups of this name and below, and wait until they have ended."""
    pids = {
        int(pid)
        for group in _cgroups(name)
        for listed in group.rglob("cgroup.procs")
        for pid in listed.read_text().split()
    }
    running = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            process.kill()
            running.append(process)
    psutil.wait_procs(running, _END_SECONDS)


def remove_cgroups(name: str) -> None:
    """Remove the empty cgroups below those of this name, in each hierarchy."""
    for group in _cgroups(name):
        for below in sorted((each for each in group.rglob("*") if each.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                below.rmdir()
        with contextlib.suppress(OSError):
            group.rmdir()


def _cgroups(name: str) -> tuple[Path, ...]:
    top = Path("/sys/fs/cgroup")
    return (*top.glob(name), *top.glob(f"*/{name}"))


def _wire_bridge() -> None:
    remove_network()
    run("ip", "netns", "add", SWITCH)
    run("ip", "-n", SWITCH, "link", "add", "br0", "type", "bridge")
    run("ip", "-n", SWITCH, "link", "set", "br0", "up")
    peer = ("peer", "name", "host", "netns", SWITCH)
    run("ip", "link", "add", f"{PREFIX}host", "type", "veth", *peer)
    run("ip", "-n", SWITCH, "link", "set", "host", "master", "br0", "up")
    run("ip", "addr", "add", f"{HOST}/24", "dev", f"{PREFIX}host")
    run("ip", "link", "set", f"{PREFIX}host", "up")


def _wire(machine: Machine) -> None:
    name = machine.name
    run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")
    peer = ("peer", "name", name, "netns", SWITCH)
    run("ip", "link", "add", "eth0", "netns", name, "type", "veth", *peer)
    run("ip", "-n", SWITCH, "link", "set", name, "master", "br0", "up")
    run("ip", "-n", name, "addr", "add", f"{machine.address}/24", "dev", "eth0")
    run("ip", "-n", name, "link", "set", "eth0", "up")


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in listed.read_text().split()] if listed.exists() else []
