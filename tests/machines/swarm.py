"""A Docker Swarm of machines, with mograder's stack as ``deploy/swarm`` has it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from scripts.gen_seccomp_profile import PROFILE
from tests.machines.commands import attempt, run, until
from tests.machines.docker_machine import Image, Machine, machines
from tests.support.course import REPOSITORY

STACK = "mograder"
FILES = REPOSITORY / "deploy" / "swarm"
_PORT = 2377
_UP_SECONDS = 120


@dataclass(frozen=True)
class Swarm:
    """Machines that are one Swarm; the first one is its manager."""

    machines: list[Machine]
    options: ClassVar[tuple[str, ...]] = (f"--seccomp-profile {PROFILE}",)
    """The options of each engine."""

    @property
    def manager(self) -> Machine:
        """The machine whose engine is asked for services."""
        return self.machines[0]

    def secret(self, name: str, text: str) -> None:
        """Keep a secret for services."""
        self.manager.docker("secret", "create", name, "-", given=text)

    def label(self, machine: Machine, name: str) -> None:
        """Give a machine a label with the value ``true``."""
        self.manager.docker("node", "update", "--label-add", f"{name}=true", machine.name)

    def deploy(self, file: str, variables: Mapping[str, str]) -> None:
        """Deploy a file of ``deploy/swarm``, or what has changed in it."""
        given = [f"{name}={value}" for name, value in variables.items()]
        options = ("--resolve-image", "never", "--compose-file", FILES / file)
        docker = ("docker", "-H", self.manager.socket)
        run("env", *given, *docker, "stack", "deploy", *options, STACK, seconds=120)

    def running(self, service: str) -> dict[str, str]:
        """The containers of a service that run, by the name of their machine."""
        listed = self.manager.docker(
            "service", "ps", f"{STACK}_{service}", "--no-trunc", "--format", "{{json .}}"
        )
        tasks = [json.loads(line) for line in listed.splitlines()]
        return {
            task["Node"]: f"{task['Name']}.{task['ID']}"
            for task in tasks
            if task["CurrentState"].startswith("Running")
        }

    def wait_for(self, service: str, count: int, seconds: float = _UP_SECONDS) -> float:
        """Wait until so many machines run a service; return the seconds that it took."""
        return until(lambda: len(self.running(service)) == count, seconds, self.told)

    def within(self, machine: Machine, service: str, *command: str, seconds: float = 120) -> str:
        """Run a command in the container of a service on a machine, as uid 1000."""
        return machine.docker(
            "exec", "--user", "1000", self._container(machine, service), *command, seconds=seconds
        )

    def kill(self, machine: Machine, service: str) -> None:
        """Kill the container of a service on a machine."""
        machine.docker("kill", "--signal", "KILL", self._container(machine, service))

    def told(self) -> str:
        """What the engines say of the stack."""
        said = [self.manager.docker("stack", "ps", "--no-trunc", STACK)]
        for machine in self.machines:
            for container in machine.docker("ps", "--all", "--quiet").split():
                shown = attempt("docker", "-H", machine.socket, "logs", "--tail", "40", container)
                said.append(f"{machine.name} {container}:\n{shown.stdout}{shown.stderr}")
        return "\n".join(said)

    def _container(self, machine: Machine, service: str) -> str:
        label = f"label=com.docker.swarm.service.name={STACK}_{service}"
        return machine.docker("ps", "--quiet", "--filter", label).split()[0]


@contextlib.contextmanager
def swarm(count: int, image: Image) -> Iterator[Swarm]:
    """Start machines that apply the shipped seccomp profile and are one Swarm."""
    with machines(count) as made:
        for machine in made:
            machine.start(*Swarm.options)
            machine.import_image(image)
        _join(made)
        yield Swarm(made)


def _join(made: list[Machine]) -> None:
    manager, *others = made
    listen = f"{manager.address}:{_PORT}"
    manager.docker("swarm", "init", "--advertise-addr", manager.address, "--listen-addr", listen)
    manager.docker("swarm", "update", "--dispatcher-heartbeat", "1s")
    token = manager.docker("swarm", "join-token", "--quiet", "worker").strip()
    for machine in others:
        own = ("--advertise-addr", machine.address, "--listen-addr", f"{machine.address}:{_PORT}")
        machine.docker("swarm", "join", "--token", token, *own, listen)
