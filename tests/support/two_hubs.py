"""Two real hubs of one course on PostgreSQL: one is at work, one waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from mograder.store.database.database import database_url, open_engine
from mograder.store.hub.hub_state import HubState, SessionRow
from tests.support.course import log_place, put_release, work_place
from tests.support.fake_node_processes import node_tokens
from tests.support.fronts import Place, shipped
from tests.support.hub import HubConfig, HubProcess, write_settings
from tests.support.node_processes import NodeProcess
from tests.support.postgres import PostgresServer
from tests.support.process import free_port
from tests.support.shared_hub import TINY, Prepare, SharedCaches, notebook

LEASE_SECONDS = 30
"""Longer than a hub that hangs keeps its lock, so that no session of a node ends with it."""


def status_of(hub: HubProcess, path: str = "/health") -> int:
    """The status of a hub's answer, 0 without one."""
    try:
        return httpx.get(f"{hub.url}{path}", timeout=5, trust_env=False).status_code
    except httpx.TransportError:
        return 0


def waits(hub: HubProcess) -> bool:
    """Whether a hub says that another one is at work."""
    return status_of(hub) == httpx.codes.SERVICE_UNAVAILABLE


class WaitingHub(HubProcess):
    """A hub that finds another one at work."""

    def start(self) -> None:
        """Start it, also again, and wait until it says that it waits."""
        write_settings(self.course, self.config.settings)
        self.launch(self.command(), self.environment(), self.course)
        self.wait_until(lambda: waits(self), 60)


@dataclass
class TwoHubs:
    """The hubs; each has a directory of its own, and the share's directories in common."""

    hubs: tuple[HubProcess, WaitingHub]
    place: Path
    database: str
    url: str
    shared: SharedCaches

    def node(self, name: str) -> NodeProcess:
        """Make a node, which is started as a context and connects to the hub at work.

        It connects to :attr:`url`, which leads to the one at work, as a front does.
        """
        log = log_place() / f"two-hubs-node-{name}.log"
        log.unlink(missing_ok=True)
        (token,) = node_tokens(self.hubs[0], name)
        return NodeProcess(self.url, token, self.place, self.place, log, self.shared.uv_cache)

    def environments(self, hub: int) -> set[str]:
        """The names of the finished environments of a hub that has its own."""
        records = self.hubs[hub].course.parent.glob("environments/[!.]*/environment.json")
        return {record.parent.name for record in records}

    def rows(self) -> list[SessionRow]:
        engine = open_engine(database_url(self.database, self.place))
        try:
            return list(HubState(engine).sessions())
        finally:
            engine.dispose()


@contextmanager
def two_hubs(
    postgres: PostgresServer,
    shared: SharedCaches,
    prepare: Prepare = lambda _: None,
    *,
    apart: bool = False,
) -> Iterator[TwoHubs]:
    """Start both hubs, the first one at work; no node is connected yet.

    ``prepare`` may fill the share before. ``apart``: each has its own environments, as on machines
    of their own (:meth:`TwoHubs.environments`).
    """
    logs = log_place()
    database = postgres.new_database()
    with ExitStack() as stack:
        place = stack.enter_context(work_place())
        share = place / "share"
        put_release(share, TINY, notebook())
        prepare(share)
        hubs: list[HubProcess] = []
        for name, kind in (("one", HubProcess), ("two", WaitingHub)):
            course = place / name / "c"
            course.mkdir(parents=True)
            log = logs / f"two-hubs-{name}.log"
            log.unlink(missing_ok=True)
            settings = {
                **shared.settings(),
                "database.url": database,
                "hub.trusted_proxies": ["127.0.0.1"],
                "hub.release_dir": str(share / "hub-release"),
                "hub.notebooks_dir": str(share / "hub-notebooks"),
                "hub.runtime_dir": str(place / name / "run"),
                "nodes.runs_dir": str(share / "hub-runs"),
                "nodes.enabled": True,
                "nodes.lease_seconds": LEASE_SECONDS,
            }
            if apart:
                settings["hub.environments_dir"] = str(place / name / "environments")
            made = kind(course, log, HubConfig(settings=settings, start_seconds=120))
            hubs.append(stack.enter_context(made))
        one, two = hubs
        assert isinstance(two, WaitingHub)
        front = Place(port=free_port(), hubs=(f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}"))
        stack.enter_context(shipped("nginx", front, place / "front"))
        yield TwoHubs((one, two), place, database, front.url, shared)
