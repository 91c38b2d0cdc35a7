"""A site as the how-to describes it: a Swarm, PostgreSQL, a share, an index, a front."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from mograder.operations.front import Front, caddy_config
from tests.machines.commands import run, until
from tests.machines.docker_machine import HOST, Image, Machine
from tests.machines.package_index import package_index
from tests.machines.students import ITEM
from tests.machines.swarm import Swarm, swarm
from tests.support.fronts import Place, running
from tests.support.hub import HubProcess, run_mograder
from tests.support.identity import SECRET, instructor, instructor_token
from tests.support.postgres import PASSWORD, find_binaries, run_postgres
from tests.support.process import free_port
from tests.support.shared_hub import notebook

HEADER = """\
# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo"]
# ///

"""
DATABASE_PORT = 5433
DRAIN_SECONDS = 60
MEMORY_MB = 10_000
"""One node may have all sessions for a while when the nodes are replaced."""
SESSION_MB = 250
"""A session that does not start warm shares no memory with others, and needs more than 100."""

_SETTINGS = f"""\
[hub]
trusted_proxies = ["{HOST}"]

[limits]
memory_mb = {SESSION_MB}
starts_at_once = 4

[nodes]
lease_seconds = 20
"""
"""As the how-to has it where there are several hubs: nodes outlive the end of one's machine."""
_SIGNED_IN = "X-Signed-In"
"""Stands for a sign-on of the front: it believes this header."""

_STARTS = re.compile(
    r"mograder_(session_starts_total|session_start_seconds_(count|sum)|warm_start_fallbacks)"
)
_NODES_PORT = 8443
"""The front's port for nodes, which reach it from other machines and so over TLS."""


@dataclass
class Site:
    """A running site; ``hub`` is how clients see it: the front's address, and the course."""

    swarm: Swarm
    hub: HubProcess
    variables: dict[str, str]

    def publish(self, place: Path) -> None:
        """Publish the item by the command, over the front."""
        directory = place / ITEM
        directory.mkdir()
        (directory / f"{ITEM}.py").write_text(notebook(header=HEADER))
        where = ("--url", self.hub.url, "--token", instructor_token(), "--force")
        done = run_mograder("hub", "publish", str(directory), *where, cwd=place)
        assert done.status == 0, (done, self.swarm.told())

    def nodes(self) -> dict[str, dict[str, object]]:
        """What ``mograder hub nodes`` says, by the name of the node."""
        for machine in self.swarm.machines[:2]:
            with contextlib.suppress(AssertionError, IndexError):
                told = self.swarm.within(machine, "hub", "mograder", "hub", "nodes", "--json")
                return nodes_of(told)
        raise AssertionError(f"no hub answers:\n{self.swarm.told()}")

    def sessions(self) -> dict[str, int]:
        """How many sessions each node runs, as the hubs know it."""
        return {name: int(str(each["sessions"])) for name, each in self.nodes().items()}

    def starts(self) -> str:
        """How the hubs started sessions, warm or cold, and how long that took: their metrics."""
        said = []
        for machine in self.swarm.machines[:2]:
            address = f"http://{machine.address}:8080/metrics"
            told = httpx.get(address, headers=instructor(), trust_env=False).text
            lines = [line for line in told.splitlines() if not line.endswith(" 0.0")]
            said += [machine.name, *(line for line in lines if _STARTS.match(line))]
        return "\n".join(said)

    def wait_for_nodes(self, names: set[str], seconds: float = 120) -> None:
        """Wait until exactly these nodes take sessions."""
        until(lambda: self._ready() == names, seconds, lambda: (self.nodes(), self.swarm.told()))

    def roll(self, service: str, image: str) -> None:
        """Replace the version of the hubs or of the nodes, as an administrator does."""
        self.variables["MOGRADER_IMAGE"] = image
        self.swarm.deploy({"hub": "hub.yml", "node": "nodes.yml"}[service], self.variables)

    def images(self, service: str) -> set[str]:
        """The images that a service runs from."""
        listed = [
            json.loads(line)
            for line in self.swarm.manager.docker(
                "service",
                "ps",
                f"mograder_{service}",
                "--filter=desired-state=running",
                "--format={{json .}}",
            ).splitlines()
        ]
        return {task["Image"] for task in listed if task["CurrentState"].startswith("Running")}

    def _ready(self) -> set[str]:
        return {name for name, each in self.nodes().items() if each["state"] == "ready"}


@contextlib.contextmanager
def site(image: Image, place: Path) -> Iterator[Site]:
    """Make a site of three machines, two with hubs, all with nodes; it is empty at first."""
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(swarm(3, image))
        address = f"{HOST}:{DATABASE_PORT}"
        database = stack.enter_context(run_postgres(_binaries(), address))
        variables = {
            "MOGRADER_IMAGE": image.tag,
            "MOGRADER_DATABASE_URL": database.over_tcp(database.new_database()),
            "MOGRADER_NODE_MEMORY_MB": str(MEMORY_MB),
            "MOGRADER_NODE_DRAIN_SECONDS": str(DRAIN_SECONDS),
            "MOGRADER_NODE_HUB": f"https://{HOST}:{_NODES_PORT}",
            "SSL_CERT_FILE": "/srv/mograder/share/authority.pem",
            "UV_DEFAULT_INDEX": stack.enter_context(package_index()),
        }
        hub = HubProcess(_course(made.manager), place / "unused.log")
        hub.port = free_port()
        hubs = tuple(f"{machine.address}:8080" for machine in made.machines[:2])
        front = Place(port=hub.port, hubs=hubs, user="{http.vars.signed_in}")
        stack.enter_context(running("caddy", _signing_in(front), front.port, place / "front"))
        certificate = _certificate(place, made.manager.share / "share")
        stack.enter_context(_front_for_nodes(hubs, certificate, place / "front-for-nodes"))
        found = Site(made, hub, variables)
        _start(found)
        yield found


def signed_in(name: str) -> dict[str, str]:
    """Headers of a browser whose user the front has signed in."""
    return {_SIGNED_IN: name}


def nodes_of(told: str) -> dict[str, dict[str, object]]:
    """Read the output of ``mograder hub nodes --json``, by the name of the node."""
    return {str(each["name"]): each for each in json.loads(told)}


def _signing_in(front: Place) -> str:
    """Return the written configuration with a sign-on before it, which believes a header."""
    address = f"http://127.0.0.1:{front.port} {{\n"
    line = f"\tvars signed_in {{http.request.header.{_SIGNED_IN}}}\n"
    written = caddy_config(front.front())
    assert address in written
    return written.replace(address, address + line, 1)


def _start(made: Site) -> None:
    """Follow the how-to: secrets, labels, hubs, a token, nodes."""
    machines = made.swarm.machines
    made.swarm.secret("mograder-hub-secret", SECRET)
    made.swarm.secret("mograder-database-password", f"*:*:*:*:{PASSWORD}\n")
    for machine in machines[:2]:
        made.swarm.label(machine, "mograder.hub")
    for machine in machines:
        made.swarm.label(machine, "mograder.node")
    made.swarm.deploy("hub.yml", made.variables)
    made.swarm.wait_for("hub", 2)
    until(made.hub.healthy, 60, made.swarm.told)
    names = [machine.name for machine in machines]
    tokens = made.swarm.within(machines[0], "hub", "mograder", "hub", "node-token", *names)
    made.swarm.secret("mograder-node-token", tokens)
    made.swarm.deploy("nodes.yml", made.variables)
    made.swarm.wait_for("node", len(machines))
    made.wait_for_nodes({machine.name for machine in machines})


def _course(machine: Machine) -> Path:
    course, share = machine.share / "course", machine.share / "share"
    course.mkdir()
    share.mkdir()
    (course / "mograder.toml").write_text(_SETTINGS)
    for path in (course, share, course / "mograder.toml"):
        os.chown(path, 1000, 1000)
    return course


def _certificate(place: Path, share: Path) -> Path:
    """Make a key and a certificate for the front, which nodes find in the share; return both."""
    key, certificate = place / "key.pem", share / "authority.pem"
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-subj", "/CN=front", "-addext", f"subjectAltName=IP:{HOST}"),
        *("-keyout", str(key), "-out", str(certificate)),
    )
    certificate.chmod(0o644)
    both = place / "front.pem"
    both.write_text(key.read_text() + certificate.read_text())
    return both


@contextlib.contextmanager
def _front_for_nodes(hubs: tuple[str, ...], certificate: Path, place: Path) -> Iterator[None]:
    """Run Caddy with the shipped configuration at the address that other machines reach."""
    front = Front(
        scheme="https",
        host=HOST,
        port=_NODES_PORT,
        prefix="",
        upstreams=hubs,
        header="X-Remote-User",
        user="",
        request_mb=3,
        sessions=None,
        certificate=str(certificate),
        key=str(certificate),
    )
    address = f"https://{HOST}:{_NODES_PORT} {{"
    site = caddy_config(front).replace(address, f"{address}\n\tbind 127.0.0.1 {HOST}", 1)
    with running("caddy", site, _NODES_PORT, place):
        yield


def _binaries() -> Path:
    found = find_binaries()
    assert found is not None, "PostgreSQL is needed: run scripts/setup.sh test"
    return found
