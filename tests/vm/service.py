"""A supervisor as a service: in a unit of its own, as root or as a service user."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mograder.sandbox.protocol import Limits, StartSession
from mograder.sandbox.supervisor.config import SupervisorConfig
from tests.support.supervisors import Sessions, make_config, short_directory
from tests.vm.delegated_cgroups import Unit, open_unit

LIMITS = Limits(
    processes=40,
    open_files=256,
    file_size_mb=16,
    tmp_mb=32,
    memory_mb=64,
)
_BORN_IN = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
"""How systemd starts a program: it is in its cgroup before it is anything."""


@dataclass
class Service:
    """One supervisor's unit, and where it works."""

    unit: Unit
    runtime: Path
    place: Path
    warm: int = 0
    """How many zygotes it keeps."""
    _process: subprocess.Popen[str] | None = None

    @property
    def config(self) -> SupervisorConfig:
        return make_config(
            self.runtime, self.place, owned=False, warm_environments=self.warm, log=None
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        config = self.config
        user = str(self.unit.uid)
        become = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--")
        program = (
            sys.executable,
            "-m",
            "mograder.sandbox.supervisor.server",
            config.model_dump_json(),
        )
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _BORN_IN, self.unit.entrance, *become, *program],
            stdout=subprocess.PIPE,
            env={"PATH": os.defpath},
            cwd="/",
            start_new_session=True,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """Kill it, as the kernel does when the machine runs out of memory."""
        assert self._process is not None
        self._process.kill()
        self.reap()

    def reap(self) -> None:
        """Collect it at its end."""
        if self._process is not None:
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it, if it runs, as systemd does."""
        if self._process is not None:
            self._process.terminate()
            self.reap()

    def leaf(self, name: str) -> Path:
        """The cgroup of a session of a test's."""
        (sessions,) = self.unit.path.glob("sessions-*")
        return sessions / f"session-{name}"

    def leaves(self) -> list[str]:
        """The names of all sessions' cgroups."""
        found = self.unit.path.glob("sessions-*/*")
        return sorted(path.name for path in found if path.is_dir())


@contextmanager
def open_service(name: str, uid: int, *, warm: int = 0) -> Iterator[Service]:
    """A supervisor in a unit of its own; nothing of it is there afterwards."""
    with short_directory() as runtime, short_directory() as place, open_unit(name, uid) as unit:
        for directory in (runtime, place):
            directory.chmod(0o755)
            os.chown(directory, uid, uid)
        service = Service(unit, runtime, place, warm)
        try:
            service.start()
            yield service
        finally:
            service.stop()


@dataclass
class UnitSessions(Sessions):
    """Sessions of shell scripts with tight limits, in workspaces of the service's user."""

    uid: int = 0
    limits: Limits = LIMITS

    def request(self, name: str, script: str, *, mode: str = "edit", slot: int = 1) -> StartSession:
        request = super().request(name, script, mode=mode, slot=slot)
        for path in (request.directory, *request.directory.iterdir()):
            os.chown(path, self.uid, self.uid)
        return request.model_copy(update={"limits": self.limits})
