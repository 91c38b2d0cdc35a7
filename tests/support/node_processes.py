"""A real hub with real nodes: ``mograder node run`` as processes of this machine."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from mograder.sandbox.protocol import NodeStatus
from mograder.store.database.database import database_url, open_engine
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.nodes import Nodes
from tests.support.course import log_place, work_place
from tests.support.fake_node_processes import node_tokens
from tests.support.hub import MOGRADER, HubConfig, HubProcess, outside
from tests.support.process import StartedServer
from tests.support.shared_hub import Prepare, SharedCaches, until


class NodeProcess(StartedServer):
    """``mograder node run`` with a supervisor of its own; use it as a context manager.

    ``hub`` is the address of its hub.
    """

    def __init__(
        self, hub: str, token: str, place: Path, share: Path, log: Path, uv_cache: Path
    ) -> None:
        name = token.partition(":")[0]
        super().__init__(f"mograder node {name}", log)
        self.node = name
        self.state = place / name
        self._hub = hub
        self._share = share
        self._uv_cache = uv_cache
        self._token = token

    def start(self) -> None:
        """Start it, also again, and wait until it is connected to a hub."""
        self.state.mkdir(exist_ok=True)
        home = self.state / "home"
        home.mkdir(exist_ok=True)
        command = [str(MOGRADER), "node", "run", "--share", str(self._share)]
        options = ["--hub", self._hub, "--state", str(self.state), "--drain-seconds", "2"]
        given = {
            "HOME": str(home),
            "MOGRADER_NODE_TOKEN": self._token,
            "MOGRADER_NODE_UV_CACHE": str(self._uv_cache),
        }
        before = self._connections()
        self.launch([*command, *options], {**outside(), **given}, self.state)
        self.wait_until(lambda: self._connections() > before, 60)

    def _connections(self) -> int:
        return self.log_text().count("connected to the hub at")

    def processes(self) -> list[psutil.Process]:
        """The node's process and all that it has started."""
        own = psutil.Process(self.pid)
        return [own, *own.children(recursive=True)]


@dataclass
class NodesHub:
    """A hub whose sessions run on nodes."""

    hub: HubProcess
    place: Path
    shared: SharedCaches

    def node(self, name: str) -> NodeProcess:
        """Make a node, which is started as a context."""
        log = log_place() / f"{self.place.name}-{name}.log"
        (token,) = node_tokens(self.hub, name)
        share, cache = self.hub.course, self.shared.uv_cache
        return NodeProcess(self.hub.url, token, self.place, share, log, cache)

    @contextmanager
    def extra(self, name: str, like: NodeProcess) -> Iterator[NodeProcess]:
        """A further node that has the environments of another one, for a test that ends it."""
        node = self.node(name)
        shutil.copytree(
            like.state / "environments",
            node.state / "environments",
            symlinks=True,
            copy_function=os.link,
        )
        with node:
            yield node

    @contextmanager
    def only(self, name: str) -> Iterator[None]:
        """Have new sessions start on one node, by a drain of all others."""
        with self._nodes() as nodes:
            others = sorted(nodes.holding() - {name})
            for other in others:
                nodes.drain(other, draining=True)
            until(lambda: all(_drains(nodes, other) for other in others))
        try:
            yield
        finally:
            with self._nodes() as nodes:
                for other in others:
                    nodes.drain(other, draining=False)
                until(lambda: not any(_drains(nodes, other) for other in others))

    @contextmanager
    def _nodes(self) -> Iterator[Nodes]:
        engine = open_engine(database_url("", self.hub.course))
        try:
            yield Nodes(engine)
        finally:
            engine.dispose()

    def places(self) -> dict[str, str]:
        """The nodes of all sessions that run, by user."""
        engine = open_engine(database_url("", self.hub.course))
        try:
            rows = HubState(engine).sessions()
        finally:
            engine.dispose()
        return {row.username: row.node for row in rows if row.state == "running"}

    def warm(self) -> set[str]:
        """The names of the nodes that have a process to fork sessions from."""
        with self._nodes() as nodes:
            told = {row.name: row.status for row in nodes.all() if row.status}
        return {name for name, text in told.items() if json.loads(text)["zygotes"]}

    def held(self) -> set[str]:
        """The names of the nodes whose lease is not over."""
        with self._nodes() as nodes:
            return set(nodes.holding())


def _drains(nodes: Nodes, name: str) -> bool:
    """Whether a node at work has told the hub that it is drained."""
    row = nodes.find(name)
    return row is not None and NodeStatus.model_validate_json(row.status).draining


@contextmanager
def nodes_hub(
    name: str,
    shared: SharedCaches,
    prepare: Prepare,
    settings: Mapping[str, object] | None = None,
) -> Iterator[NodesHub]:
    """A hub with nodes, of which none is connected yet."""
    logs = log_place()
    with ExitStack() as stack:
        place = stack.enter_context(work_place())
        course = place / "c"
        course.mkdir()
        prepare(course)
        whole = {
            **shared.settings(),
            "hub.runtime_dir": str(place / "run"),
            "nodes.enabled": True,
            **(settings or {}),
        }
        log = logs / f"{name}-hub.log"
        log.unlink(missing_ok=True)
        hub = stack.enter_context(HubProcess(course, log, HubConfig(settings=whole)))
        yield NodesHub(hub, place, shared)
