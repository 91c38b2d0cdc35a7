"""A cluster of Slurm on this machine: a controller and two compute daemons."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.machines.commands import attempt, run, until
from tests.machines.docker_machine import PREFIX, end_processes, remove_cgroups
from tests.support.process import ServerProcess
from tests.support.processes import processes_now

NODES = (f"{PREFIX}n1", f"{PREFIX}n2")
_CONTROLLER_PORT, _FIRST_PORT = 16817, 16818
_START_SECONDS = 60
_STEP_SECONDS = 40
_CONFIGURATION = """\
ClusterName={prefix}
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
AuthInfo=socket={place}/munge.socket
SlurmUser=root
StateSaveLocation={place}/state
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd-%n.pid
SlurmdSpoolDir={place}/spool-%n
SlurmdLogFile={place}/slurmd-%n.log
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
SlurmdTimeout=10
KillWait=5
NodeName=DEFAULT CPUs=2 RealMemory=10000
NodeName={prefix}n[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[{first}-{second}]
PartitionName=p Nodes={prefix}n[1-2] Default=YES
"""
_CGROUPS = """\
CgroupPlugin={plugin}
CgroupMountpoint=/sys/fs/cgroup
CgroupAutomount=no
ConstrainRAMSpace=yes
"""


@dataclass
class Cluster:
    """A running cluster; its commands are run by :meth:`command`."""

    place: Path
    daemons: dict[str, ServerProcess] = field(default_factory=dict)
    _earlier: frozenset[int] = field(default_factory=lambda: frozenset(psutil.pids()))

    @property
    def environment(self) -> dict[str, str]:
        """The environment of Slurm's commands and daemons."""
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        return {"PATH": path, "SLURM_CONF": str(self.place / "slurm.conf"), "LC_ALL": "C.UTF-8"}

    def command(self, *words: str | Path, seconds: float = 60) -> str:
        """Run one of Slurm's commands and return its output."""
        return run("env", *self._variables(), *words, seconds=seconds)

    def submit(self, script: Path, *options: str, environment: dict[str, str]) -> int:
        """Submit a batch script with options of ``sbatch``; return the job's number."""
        variables = [f"{name}={value}" for name, value in environment.items()]
        told = run(
            "env",
            *self._variables(),
            *variables,
            *("sbatch", "--parsable", "--export=ALL", *options, str(script)),
        )
        return int(told.strip().split(";")[0])

    def state(self, job: int) -> str:
        """The state of a job, such as ``RUNNING``; empty once the controller forgot it."""
        listed = attempt(
            "env",
            *self._variables(),
            "squeue",
            "--noheader",
            "--states=all",
            f"--jobs={job}",
            "-o%T",
        )
        return listed.stdout.strip()

    def start_compute(self, node: str) -> None:
        """Start the compute daemon of a node, and wait until the controller has it."""
        self._daemon(f"slurmd-{node}", "slurmd", "-D", "-N", node)
        until(lambda: self._idle(node), _START_SECONDS, lambda: self.command("sinfo"))

    def kill_compute(self, node: str) -> None:
        """Kill the compute daemon alone, as a fault of it would."""
        self.daemons.pop(f"slurmd-{node}").kill()

    def start(self) -> None:
        (self.place / "state").mkdir()
        key = self.place / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        files = (
            *(f"--{kind}={self.place}/munge.{kind}" for kind in ("socket", "pid-file", "log-file")),
            f"--seed-file={self.place}/munge.seed",
            f"--key-file={key}",
        )
        self._daemon("munged", "munged", "--foreground", "--force", *files)
        until((self.place / "munge.socket").exists, _START_SECONDS, self.told)
        self._daemon("slurmctld", "slurmctld", "-D")
        for node in NODES:
            self.start_compute(node)

    def stop_jobs(self) -> None:
        """Cancel all jobs, and wait until their processes have ended."""
        attempt("env", *self._variables(), "scancel", "--full", *self._jobs())
        with contextlib.suppress(AssertionError):
            until(lambda: not self._jobs(), 30, self._jobs)

    def stop(self) -> None:
        """Cancel all jobs and stop the daemons, after a restart of those that were killed."""
        for node in NODES:
            if f"slurmd-{node}" not in self.daemons:
                with contextlib.suppress(AssertionError):
                    self.start_compute(node)
        self.stop_jobs()
        # Those of a killed daemon tell the new one of their end, and try that for a while.
        _, left = psutil.wait_procs(self._steps(), _STEP_SECONDS)
        for step in left:
            step.kill()
        for daemon in reversed(self.daemons.values()):
            daemon.stop()

    def told(self) -> str:
        """The ends of the daemons' logs."""
        return "\n".join(f"{name}: {each.tail()}" for name, each in self.daemons.items())

    def _steps(self) -> list[psutil.Process]:
        """The processes that watch over this cluster's jobs."""
        steps = [each for each in processes_now("name") if each.info["name"] == "slurmstepd"]
        return [each for each in steps if each.pid not in self._earlier]

    def _jobs(self) -> list[str]:
        return attempt("env", *self._variables(), "squeue", "--noheader", "-o%A").stdout.split()

    def _idle(self, node: str) -> bool:
        listed = attempt(
            "env", *self._variables(), "sinfo", "--noheader", f"--nodes={node}", "-o%T"
        )
        return listed.stdout.strip() in ("idle", "mixed", "allocated")

    def _variables(self) -> list[str]:
        return [f"{name}={value}" for name, value in self.environment.items()]

    def _daemon(self, name: str, *command: str) -> None:
        daemon = ServerProcess(name, self.place / f"{name}.out")
        # A test run that is killed takes its daemons along.
        daemon.launch(["setpriv", "--pdeathsig=KILL", *command], self.environment, self.place)
        self.daemons[name] = daemon


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a cluster; its jobs are cancelled, and all is removed at the end."""
    place = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-", dir="/var/tmp"))
    place.chmod(0o755)
    (place / "slurm.conf").write_text(
        _CONFIGURATION.format(
            prefix=PREFIX,
            place=place,
            controller=_CONTROLLER_PORT,
            first=_FIRST_PORT,
            second=_FIRST_PORT + 1,
        )
    )
    plugin = "autodetect" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "cgroup/v1"
    (place / "cgroup.conf").write_text(_CGROUPS.format(plugin=plugin))
    made = Cluster(place)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        remove_slurm_cgroups()
        shutil.rmtree(place, ignore_errors=True)


def remove_slurm_cgroups() -> None:
    """End the processes of jobs whose daemon was killed; remove the cgroups of all jobs."""
    for node in NODES:
        end_processes(f"slurm_{node}")
        remove_cgroups(f"slurm_{node}")
